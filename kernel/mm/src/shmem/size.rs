// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file changes the length of an object, and removes its pages.

use core::ops::ControlFlow;

use base::PAGE_SIZE;
use base::sync::atomic::Ordering;
use hal::Machine;
use pgtable::Pte;

use super::object::{MAX_PAGES, Shmem, ShmemError, Slot};
use crate::folio::{FolioFlags, FolioLock, Place};
use crate::lab::TlbFault;
use crate::mm::Resident;
use crate::rmap::MappedBy;
use crate::system::System;

impl<M: Machine> Shmem<M> {
    /// Makes the object at least `len` bytes long.
    ///
    /// # Errors
    ///
    /// [`ShmemError::Full`] past the largest length.
    pub fn extend(&self, len: u64) -> Result<(), ShmemError> {
        if len > MAX_PAGES * PAGE_SIZE as u64 {
            return Err(ShmemError::Full);
        }
        self.len.fetch_max(len, Ordering::AcqRel);
        Ok(())
    }

    /// Makes the object `len` bytes long. What lies beyond is gone, from every mapping too; should
    /// the object grow again, it reads as zeroes.
    ///
    /// # Errors
    ///
    /// [`ShmemError`], with the length as it was: past the largest one, or the last page cannot be
    /// had to clear its tail.
    pub fn truncate(&self, len: u64) -> Result<(), ShmemError> {
        if len >= self.len_bytes() {
            return self.extend(len);
        }
        let within = len % PAGE_SIZE as u64;
        if within != 0 {
            self.zero_tail(len / PAGE_SIZE as u64, within as usize)?;
        }
        self.len.store(len, Ordering::Release);
        self.remove_pages(&self.system, len.div_ceil(PAGE_SIZE as u64));
        Ok(())
    }

    fn zero_tail(&self, index: u64, from: usize) -> Result<(), ShmemError> {
        if self.map.lock().get(index) == Slot::Hole {
            return Ok(());
        }
        let zeroes = [0; PAGE_SIZE];
        self.write_page(index, |pfn| {
            self.system.machine().write_bytes(pfn.at(from), &zeroes[from..]);
        })
    }

    /// Makes pages `first..end` holes.
    pub fn punch(&self, first: u64, end: u64) {
        self.remove_range(&self.system, first, end);
    }

    /// Removes every page from `first` on.
    pub(super) fn remove_pages(&self, system: &System<M>, first: u64) {
        self.remove_range(system, first, MAX_PAGES);
    }

    fn remove_range(&self, system: &System<M>, first: u64, end: u64) {
        let mut index = first;
        loop {
            let next = self.map.lock().next(index).filter(|(at, _)| *at < end);
            let Some((at, slot)) = next else { return };
            let removed = match slot {
                Slot::Hole => true,
                Slot::Swap(_) | Slot::Lost => {
                    let mut map = self.map.lock();
                    let is_still = map.get(at) == slot;
                    if is_still {
                        map.set(at, Slot::Hole);
                    }
                    drop(map);
                    if is_still {
                        self.uncharge(1);
                        if let Slot::Swap(entry) = slot {
                            let mut drops = crate::swap::SlotDrops::new(system);
                            drops.add(entry, 1);
                            drops.finish();
                        }
                    }
                    is_still
                }
                Slot::Folio(id) => {
                    let folio = {
                        let map = self.map.lock();
                        (map.get(at) == slot).then(|| system.get_folio(id))
                    };
                    folio.is_some_and(|folio| self.remove_folio(system, at, &folio.lock()))
                }
            };
            // Not removed: reclaim moved it meanwhile; look again.
            if removed {
                index = at + 1;
            }
            system.machine().cond_resched();
        }
    }

    /// Removes a locked folio if it still is page `index`.
    fn remove_folio(&self, system: &System<M>, index: u64, folio: &FolioLock<'_, M>) -> bool {
        if !self.holds(folio, index) {
            return false;
        }
        system.unmap_everywhere(folio);
        self.map.lock().set(index, Slot::Hole);
        folio.set_place(Place::Nowhere);
        system.put_folio(folio.id());
        self.uncharge(1);
        true
    }
}

impl<M: Machine> System<M> {
    /// Takes away every entry that maps a locked folio of an object. Complete when it returns.
    fn unmap_everywhere(&self, folio: &FolioLock<'_, M>) {
        let _ = self.visit_mappings(folio, |at| {
            let MappedBy::Table(table) = at.by else { panic!("pages of objects are single") };
            let old = table.exchange(at.page, 0);
            // Others may map something else here as soon as the table is unlocked.
            if !self.is_weak(TlbFault::TruncatedUnnoted) {
                at.mm.invalidate_now(base::PageRange::of_len(at.page, 1));
            }
            if Pte::from_raw(old).is_dirty() {
                folio.set(FolioFlags::DIRTY);
            }
            at.mm.gauges().add_resident(Resident::of(folio), -1);
            let base = table.place(at.page, at.index);
            drop(self.unmap_folio(folio.id(), folio, at.mm.id(), base, 1));
            ControlFlow::Continue(())
        });
    }
}
