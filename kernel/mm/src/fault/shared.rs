// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file maps pages of shared-memory objects: tmpfs files, shared anonymous memory.
//!
//! A shared mapping maps the object's page itself. A private one maps it read-only for a load and
//! copies it for a store; it never writes the object.

use alloc::sync::Arc;

use base::Pfn;
use hal::Machine;
use pgtable::MemType;

use super::{FaultError, Site};
use crate::folio::FolioLock;
use crate::mm::{Mm, Resident};
use crate::shmem::{Shmem, ShmemError};

impl From<ShmemError> for FaultError {
    fn from(why: ShmemError) -> Self {
        match why {
            ShmemError::BeyondEnd | ShmemError::Unreadable | ShmemError::Full => {
                FaultError::NoContent
            }
            ShmemError::OutOfMemory => FaultError::OutOfMemory,
        }
    }
}

impl<M: Machine> Mm<M> {
    pub(super) fn fault_shared(
        &self,
        site: &Site<'_, M>,
        table: Pfn,
        object: &Arc<Shmem<M>>,
        index: u64,
    ) -> Result<bool, FaultError> {
        let (page, is_major) = object.page(self.system(), index)?;
        // Locked until it is mapped: a truncation cannot take it away in between.
        let locked = page.lock();
        if !object.holds(&locked, index) {
            return Ok(is_major);
        }
        if site.area.is_private() && site.is_write() {
            let copy = self.system().copy_page(locked.head(), site.area.flags.mem_type())?;
            drop(locked);
            let mut lock = self.lock_leaf_table(table);
            if lock.load(site.page) == 0 {
                let pte = site.read_only_pte(copy.head()).writable().dirty();
                self.system().sync_code(&copy, pte);
                self.map_new_folio(lock.place(site.page, 0), copy, 1);
                lock.exchange(site.page, pte.raw());
            }
            return Ok(is_major);
        }
        self.map_object_page(site, table, &locked)?;
        Ok(is_major)
    }

    fn map_object_page(
        &self,
        site: &Site<'_, M>,
        table: Pfn,
        folio: &FolioLock<'_, M>,
    ) -> Result<(), FaultError> {
        let system = self.system();
        if site.area.flags.mem_type() == MemType::Tagged {
            system.make_page_tagged(folio.head());
        }
        let mut pte = site.read_only_pte(folio.head());
        if !site.area.is_private() && site.area.flags.prot().contains(pgtable::Prot::WRITE) {
            pte = pte.writable();
            if site.is_write() {
                pte = pte.dirty();
            }
        }
        system.sync_code(folio, pte);
        let mut lock = self.lock_leaf_table(table);
        if lock.load(site.page) == 0 {
            system.map_folio(folio, self.id(), lock.place(site.page, 0), 1)?;
            lock.exchange(site.page, pte.raw());
            self.gauges().add_resident(Resident::Shmem, 1);
        }
        Ok(())
    }
}
