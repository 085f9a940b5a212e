// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file brings a page home from a device for the CPU that touches it.
//!
//! The folio's lock is tried; who does not get it waits until it is free and looks again. So the page
//! comes home once, whoever else touches it. If it cannot, it stays on the device, and only the
//! program that touched it hears of that.
//!
//! Linux hands the page to the driver, and the driver hands it to migrate_vma_setup() as `fault_page`, for
//! it to be collected although it is locked already and held once more. Here the lock itself is handed on:
//! `bring_home` moves the folio that it is the lock of, all of it, whatever its order.

use hal::Machine;
use pgtable::Pte;

use super::FaultError;
use crate::mm::{Mm, PageTableLock};

impl<M: Machine> Mm<M> {
    /// Brings the page home that `pte` names on a device; `lock` is its table's.
    pub(super) fn fault_on_device(
        &self,
        pte: Pte,
        lock: PageTableLock<'_, M>,
    ) -> Result<(), FaultError> {
        let system = self.system();
        let id = system.folio_of(pte);
        let taken = system.get_folio(id).try_lock();
        drop(lock);
        match taken {
            Ok(folio) => system.bring_home(folio).map_err(|why| {
                log::warn!("{:?}: a page stays on its device: {why:?}", self.id());
                FaultError::NoContent
            }),
            Err(folio) => {
                drop(folio);
                system.wait_for_folio(id);
                Ok(())
            }
        }
    }
}
