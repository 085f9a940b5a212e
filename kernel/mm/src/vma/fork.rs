// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file copies an address space: fork.
//!
//! The child gets every area. Entries are copied only where a fault could not make them again:
//! pages of shared objects are left out and fault in. An anonymous page becomes shared: both
//! entries are read-only from here on, and the first store on either side decides. A swapped page's
//! slot gets one more user.

use alloc::sync::Arc;

use base::{PageRange, Vpn};
use hal::Machine;
use pgtable::{Entry, Level, NonPresent, Pte};

use super::area::{Area, AreaFlags, Backing};
use crate::frame::OutOfMemory;
use crate::mm::{Mm, PageTableLock, Resident};
use crate::rmap::base_of;
use crate::tlb::TlbGather;

impl<M: Machine> Mm<M> {
    /// Makes a copy with one user.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`]; the half-made copy is torn down, and this address space is as it was,
    /// except that pages it had alone may take a fault before the next store.
    pub fn fork(&self) -> Result<Arc<Self>, OutOfMemory> {
        let mut areas = self.write_areas();
        // A tree node per few areas; the child's own structures.
        self.system()
            .reserve_kernel_heap((64 << 10) + areas.nr_areas() * 2 * size_of::<Area<M>>())?;
        let child = Mm::new(self.system())?;
        let result = self.copy_areas(&mut areas, &child);
        drop(areas);
        match result {
            Ok(()) => Ok(child),
            Err(why) => {
                child.put_user();
                Err(why)
            }
        }
    }

    fn copy_areas(
        &self,
        areas: &mut super::Areas<M>,
        child: &Arc<Self>,
    ) -> Result<(), OutOfMemory> {
        let mut child_areas = child.write_areas();
        (child_areas.mmap_top, child_areas.brk) = (areas.mmap_top, areas.brk);
        child_areas.stack_limit = areas.stack_limit;
        let mut gather = TlbGather::complete_at_finish(self);
        for area in areas.iter().filter(|area| !area.flags.contains(AreaFlags::DONT_FORK)) {
            child_areas.insert(area.clone());
            if area.is_private() && !area.flags.contains(AreaFlags::WIPE_ON_FORK) {
                self.copy_entries(area, child, &mut gather)?;
            }
        }
        // Pages this address space could write are read-only now: no CPU may write them through
        // its TLB when the child starts to look at them.
        gather.finish();
        Ok(())
    }

    fn copy_entries(
        &self,
        area: &Area<M>,
        child: &Self,
        gather: &mut TlbGather<'_, M>,
    ) -> Result<(), OutOfMemory> {
        let mut page = area.pages().start;
        while page < area.pages().end {
            let table = match self.leaf_table_or_skip(page) {
                Ok(table) => table,
                Err(next) => {
                    page = next;
                    continue;
                }
            };
            let end = Level::L2.next_entry(page).min(area.pages().end);
            self.copy_table(table, area, PageRange::new(page, end), child, gather)?;
            page = end;
            self.machine().cond_resched();
        }
        Ok(())
    }

    fn copy_table(
        &self,
        table: base::Pfn,
        area: &Area<M>,
        pages: PageRange,
        child: &Self,
        gather: &mut TlbGather<'_, M>,
    ) -> Result<(), OutOfMemory> {
        let child_table = child.ensure_leaf_table(pages.start)?;
        let mut lock = self.lock_leaf_table(table);
        if lock.nr_live() == 0 {
            return Ok(());
        }
        let mut child_lock = child.lock_leaf_table_nested(child_table);
        let copied = pages.pages().try_for_each(|page| {
            self.copy_entry(area, page, &mut lock, child, &mut child_lock, gather)
        });
        drop(child_lock);
        gather.unlock(lock);
        copied
    }

    fn copy_entry(
        &self,
        area: &Area<M>,
        page: Vpn,
        lock: &mut PageTableLock<'_, M>,
        child: &Self,
        child_lock: &mut PageTableLock<'_, M>,
        gather: &mut TlbGather<'_, M>,
    ) -> Result<(), OutOfMemory> {
        match lock.entry(page) {
            Entry::Present(pte) if pte.is_special() => {
                child_lock.exchange(page, pte.old().raw());
            }
            Entry::Present(pte) => {
                self.share_page(area, page, pte, lock, child, child_lock, gather)?
            }
            Entry::NonPresent(NonPresent::Swap { entry, .. }) => {
                self.system().dup_slot(entry);
                let shared = NonPresent::Swap { entry, exclusive: false }.encode();
                lock.exchange(page, shared);
                child_lock.exchange(page, shared);
                child.gauges().add_swap(1);
            }
            Entry::NonPresent(NonPresent::Poison) => {
                child_lock.exchange(page, NonPresent::Poison.encode());
            }
            Entry::NonPresent(_) | Entry::Empty | Entry::Corrupt(_) => {}
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "two address spaces, each with its lock")]
    fn share_page(
        &self,
        area: &Area<M>,
        page: Vpn,
        pte: Pte,
        lock: &mut PageTableLock<'_, M>,
        child: &Self,
        child_lock: &mut PageTableLock<'_, M>,
        gather: &mut TlbGather<'_, M>,
    ) -> Result<(), OutOfMemory> {
        let system = self.system();
        let id = system.words().folio(pte.pfn());
        let folio = system.folio(id);
        if !folio.is_anon() && matches!(area.backing, Backing::Shmem { .. }) {
            // The child faults it in from the object.
            return Ok(());
        }
        let index = pte.pfn().get() - folio.head().get();
        system.map_folio(id, child.id(), base_of(page, index), 1)?;
        let (old, new) = lock.update(page, |raw| Pte::from_raw(raw).write_protected().raw());
        gather.note(page, old, new);
        child_lock.exchange(page, Pte::from_raw(new).old().raw());
        child.gauges().add_resident(Resident::Anon, 1);
        Ok(())
    }
}
