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
        // A tree node per few areas; the child's own structures; entries of the reverse map.
        let own = (64 << 10) + areas.nr_areas() * 2 * size_of::<Area<M>>();
        self.system().reserve_kernel_heap(own + crate::rmap::HEAP_RESERVE)?;
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
        child.set_thp_disable(self.thp_disable());
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
        let mut shared = 0;
        let copied = pages.pages().try_for_each(|page| match lock.load(page) {
            0 => Ok(()),
            raw => {
                let mut to = ChildTable { mm: child, lock: &mut child_lock, shared: &mut shared };
                self.copy_entry(area, page, raw, &mut lock, &mut to, gather)
            }
        });
        child.gauges().add_resident(Resident::Anon, shared);
        drop(child_lock);
        gather.unlock(lock);
        copied
    }

    #[inline]
    fn copy_entry(
        &self,
        area: &Area<M>,
        page: Vpn,
        raw: u64,
        lock: &mut PageTableLock<'_, M>,
        child: &mut ChildTable<'_, '_, M>,
        gather: &mut TlbGather<'_, M>,
    ) -> Result<(), OutOfMemory> {
        match Entry::decode(raw) {
            Entry::Present(pte) if pte.is_special() => child.lock.fill(page, pte.old().raw()),
            Entry::Present(pte) => return self.share_page(area, page, pte, lock, child, gather),
            Entry::NonPresent(NonPresent::Swap { entry, .. }) => {
                self.system().dup_slot(entry);
                let shared = NonPresent::Swap { entry, exclusive: false }.encode();
                lock.exchange(page, shared);
                child.lock.fill(page, shared);
                child.mm.gauges().add_swap(1);
            }
            Entry::NonPresent(NonPresent::Poison) => {
                child.lock.fill(page, NonPresent::Poison.encode());
            }
            Entry::NonPresent(_) | Entry::Empty | Entry::Corrupt(_) => {}
        }
        Ok(())
    }

    #[inline]
    fn share_page(
        &self,
        area: &Area<M>,
        page: Vpn,
        pte: Pte,
        lock: &mut PageTableLock<'_, M>,
        child: &mut ChildTable<'_, '_, M>,
        gather: &mut TlbGather<'_, M>,
    ) -> Result<(), OutOfMemory> {
        let system = self.system();
        let folio = system.folio(system.words().folio(pte.pfn()));
        if !folio.is_anon() && matches!(area.backing, Backing::Shmem { .. }) {
            // The child faults it in from the object.
            return Ok(());
        }
        let index = pte.pfn().get() - folio.head().get();
        system.map_folio(folio, child.mm.id(), base_of(page, index), 1)?;
        let mut shared = pte.raw();
        // What is read-only already stays as it is: hardware can only make it young.
        if pte.is_writable() {
            let protect = |raw| Pte::from_raw(raw).write_protected().raw();
            (_, shared) = lock.update_from(page, shared, protect);
            gather.note_write_protected(page);
        }
        child.lock.fill(page, Pte::from_raw(shared).old().raw());
        *child.shared += 1;
        Ok(())
    }
}

/// Where entries are copied to.
struct ChildTable<'t, 'm, M: Machine> {
    mm: &'t Mm<M>,
    lock: &'t mut PageTableLock<'m, M>,
    /// Pages shared so far, not in the child's gauges yet.
    shared: &'t mut i64,
}
