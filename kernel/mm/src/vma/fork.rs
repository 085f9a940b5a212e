// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file copies an address space: fork.
//!
//! The child gets every area. Entries are copied only where a fault could not make them again:
//! pages of shared objects are left out and fault in. An anonymous page becomes shared: both
//! entries are read-only from here on, and the first store on either side decides. A swapped page's
//! slot gets one more user.

use alloc::sync::Arc;

use base::PageRange;
use hal::{Machine, PteSlot};
use pgtable::{Entry, Level, NonPresent, Pte};

use super::area::{Area, AreaFlags, Backing};
use crate::frame::OutOfMemory;
use crate::mm::{Mapped, Mm, PageTableLock, Resident, Run, SpareTable};
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
        let mut left = area.pages();
        while let Some((part, mapped)) = self.next_mapped(left) {
            match mapped {
                Mapped::Table(table) => self.copy_table(table, area, part, child, gather)?,
                Mapped::Block(slot) if part.nr_pages() == Level::L2.span_pages() => {
                    if !self.copy_block(slot, part, child, gather)? {
                        continue;
                    }
                }
                Mapped::Block(slot) => {
                    self.split_block(slot, part.start);
                    continue;
                }
            }
            left.start = part.end;
            self.machine().cond_resched();
        }
        Ok(())
    }

    /// Shares a whole block with the child; `false` if it is none any more.
    fn copy_block(
        &self,
        slot: PteSlot,
        pages: PageRange,
        child: &Self,
        gather: &mut TlbGather<'_, M>,
    ) -> Result<bool, OutOfMemory> {
        let system = self.system();
        let child_slot = child.ensure_empty_block(pages.start)?;
        let child_slot = child_slot.expect("nothing is mapped in a new child");
        let spare = SpareTable::new(child)?;
        let Some(mut block) = self.lock_block(slot) else { return Ok(false) };
        let pte = block.pte();
        match self.run_of_block(pages.start, pte) {
            Some(run) => {
                system.map_folio(run.folio, child.id(), run.base, run.nr)?;
                child.gauges().add_resident(Resident::Anon, run.nr.into());
            }
            // Allocates nothing: this address space is a user.
            None => _ = child.huge_zero_page()?,
        }
        let (old, _) = block.update(Pte::write_protected);
        if old.is_writable() {
            gather.note_block_write_protected(pages);
        }
        let room = child.lock_empty_block_nested(child_slot);
        let room = room.expect("nobody else puts anything into a new child");
        room.fill(old.write_protected().old(), spare);
        gather.unlock_block(block);
        Ok(true)
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
        self.unfold_edges(&mut lock, pages);
        let mut child_lock = child.lock_leaf_table_nested(child_table);
        let mut to = ChildTable { mm: child, lock: &mut child_lock, shared: 0 };
        let copied = self.copy_entries_of(area, pages, &mut lock, &mut to, gather);
        child.gauges().add_resident(Resident::Anon, to.shared);
        drop(child_lock);
        gather.unlock(lock);
        copied
    }

    fn copy_entries_of(
        &self,
        area: &Area<M>,
        pages: PageRange,
        lock: &mut PageTableLock<'_, M>,
        child: &mut ChildTable<'_, '_, M>,
        gather: &mut TlbGather<'_, M>,
    ) -> Result<(), OutOfMemory> {
        let mut page = pages.start;
        while page < pages.end {
            let mut nr = 1;
            let (raw, most) = (lock.load(page), (pages.end.get() - page.get()) as u32);
            match Entry::decode(raw) {
                Entry::Present(pte) => {
                    // What is shared is no device's alone.
                    let pte = if pte.is_valid() { pte } else { self.take_back(lock, page, pte) };
                    match self.run_at(lock, page, pte, most) {
                        None => child.lock.fill_run(page, 1, pte.old()),
                        Some(run) => {
                            nr = run.nr;
                            self.share_run(area, &run, lock, child, gather)?;
                        }
                    }
                }
                Entry::NonPresent(NonPresent::Swap { entry, .. }) => {
                    nr = lock.swap_run_len(page, raw, most);
                    self.system().dup_slots(entry, nr);
                    child.lock.fill_swap_run(page, nr, raw);
                    child.mm.gauges().add_swap(nr.into());
                }
                Entry::NonPresent(NonPresent::Poison) => {
                    child.lock.fill(page, NonPresent::Poison.encode());
                }
                Entry::Empty | Entry::Corrupt(_) => {}
            }
            page = page.add(nr.into());
        }
        Ok(())
    }

    #[inline(always)]
    fn share_run(
        &self,
        area: &Area<M>,
        run: &Run<'_>,
        lock: &mut PageTableLock<'_, M>,
        child: &mut ChildTable<'_, '_, M>,
        gather: &mut TlbGather<'_, M>,
    ) -> Result<(), OutOfMemory> {
        if !run.folio.is_anon() && matches!(area.backing, Backing::Shmem { .. }) {
            // The child faults it in from the object.
            return Ok(());
        }
        // A new table has not moved.
        let base = base_of(run.page, run.index);
        self.system().map_folio(run.folio, child.mm.id(), base, run.nr)?;
        let mut shared = run.pte;
        // What is read-only already stays as it is: hardware can only make it young.
        if shared.is_writable() {
            let protect = Pte::write_protected;
            shared = match run.nr {
                1 => lock.update_one(run.page, run.pte, protect),
                nr => lock.update_alike(run.page, run.pte, nr, protect).1.write_protected(),
            };
            gather.note_write_protected(run.pages());
        }
        match run.nr {
            1 => child.lock.fill(run.page, shared.alone().old().raw()),
            nr => child.lock.fill_run(run.page, nr, shared.old()),
        }
        child.shared += i64::from(run.nr);
        Ok(())
    }
}

/// Where entries are copied to.
struct ChildTable<'t, 'm, M: Machine> {
    mm: &'t Mm<M>,
    lock: &'t mut PageTableLock<'m, M>,
    /// Pages shared so far, not in the child's gauges yet.
    shared: i64,
}
