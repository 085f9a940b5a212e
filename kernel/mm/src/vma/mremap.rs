// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file resizes and moves areas: mremap.

use base::{PageRange, Vpn};
use hal::{Machine, PteSlot};
use pgtable::{Entry, Level, NonPresent};

use super::area::{Area, AreaFlags};
use super::areas::Areas;
use super::mmap::{HEAP_BYTES, MAX_AREAS, MapError, Placement};
use crate::frame::OutOfMemory;
use crate::mm::{Mapped, Mm, PageTableLock};
use crate::tlb::TlbGather;

/// A resize, a move, or both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RemapRequest {
    /// The pages as they are; not empty.
    pub old: PageRange,
    /// How many pages there shall be; not 0.
    pub new_nr_pages: u64,
    /// The mapping may move if it cannot grow where it is.
    pub may_move: bool,
    /// The mapping moves here; what is there goes away.
    pub fixed: Option<Vpn>,
}

/// Why a mapping was not resized or moved. Nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RemapError {
    /// Part of the old range is not mapped, or it spans several areas.
    NotMapped,
    /// No room to grow, in place or elsewhere; too many areas; no memory.
    NoRoom,
    /// The new place is invalid or overlaps the old one.
    BadPlace,
}

impl From<OutOfMemory> for RemapError {
    fn from(_: OutOfMemory) -> Self {
        RemapError::NoRoom
    }
}

impl From<MapError> for RemapError {
    fn from(why: MapError) -> Self {
        match why {
            MapError::NoRoom => RemapError::NoRoom,
            MapError::BadPlace | MapError::Occupied => RemapError::BadPlace,
        }
    }
}

impl<M: Machine> Mm<M> {
    /// Resizes or moves a mapping and returns its first page.
    ///
    /// # Errors
    ///
    /// [`RemapError`].
    pub fn remap(&self, request: RemapRequest) -> Result<Vpn, RemapError> {
        self.system().reserve_kernel_heap(HEAP_BYTES)?;
        let mut areas = self.write_areas();
        let RemapRequest { old, new_nr_pages, may_move, fixed } = request;
        let area = areas.find(old.start).ok_or(RemapError::NotMapped)?.clone();
        if area.flags.contains(AreaFlags::SPECIAL) {
            return Err(RemapError::NotMapped);
        }
        if areas.nr_areas() + 3 > MAX_AREAS {
            return Err(RemapError::NoRoom);
        }
        if let Some(start) = fixed {
            let new = PageRange::of_len(start, new_nr_pages);
            if !old.intersect(new).is_empty() {
                return Err(RemapError::BadPlace);
            }
            let start = areas.place(Placement::Fixed(start), new_nr_pages, &area.backing)?;
            self.shrink(&mut areas, old, new_nr_pages);
            let kept = PageRange::of_len(old.start, old.nr_pages().min(new_nr_pages));
            require_covered(&area, kept)?;
            self.unmap_now(&mut areas, new);
            return self.move_area(&mut areas, &area, kept, start, new_nr_pages);
        }
        if new_nr_pages <= old.nr_pages() {
            self.shrink(&mut areas, old, new_nr_pages);
            return Ok(old.start);
        }
        require_covered(&area, old)?;
        if self.grow_in_place(&mut areas, &area, old, new_nr_pages) {
            return Ok(old.start);
        }
        if !may_move {
            return Err(RemapError::NoRoom);
        }
        let start = areas.place_like(old.start, new_nr_pages, &area.backing)?;
        self.move_area(&mut areas, &area, old, start, new_nr_pages)
    }

    fn unmap_now(&self, areas: &mut Areas<M>, pages: PageRange) {
        let mut gather = TlbGather::complete_at_finish(self);
        self.unmap_locked(areas, pages, &mut gather);
        gather.finish();
    }

    fn shrink(&self, areas: &mut Areas<M>, old: PageRange, new_nr_pages: u64) {
        if new_nr_pages < old.nr_pages() {
            self.unmap_now(areas, PageRange::new(old.start.add(new_nr_pages), old.end));
        }
    }

    fn grow_in_place(
        &self,
        areas: &mut Areas<M>,
        area: &Area<M>,
        old: PageRange,
        new_nr_pages: u64,
    ) -> bool {
        let more = PageRange::new(old.end, old.start.add(new_nr_pages));
        if old.end != area.pages().end
            || more.end > Vpn::END
            || areas.overlapping(more).next().is_some()
        {
            return false;
        }
        let offset = more.start.get() - area.pages().start.get();
        let backing = area.backing.advanced(offset);
        areas.insert(Area::new(more, area.flags, backing));
        true
    }

    /// Moves the pages `old` of `area` to `start` and makes the new area `new_nr_pages` long.
    fn move_area(
        &self,
        areas: &mut Areas<M>,
        area: &Area<M>,
        old: PageRange,
        start: Vpn,
        new_nr_pages: u64,
    ) -> Result<Vpn, RemapError> {
        let moved = area.cut(old).moved_to(start, new_nr_pages);
        if let Err((done, why)) = self.move_entries(old, start) {
            // Back to where they were: room for them was there before.
            let back = PageRange::of_len(start, done);
            self.move_entries(back, old.start).expect("entries go back to where they came from");
            return Err(why.into());
        }
        areas.insert(moved);
        self.unmap_now(areas, old);
        Ok(start)
    }

    /// Moves the entries of `old` to `new_start` and those after it. On failure says how many
    /// pages were moved.
    fn move_entries(&self, old: PageRange, new_start: Vpn) -> Result<(), (u64, OutOfMemory)> {
        let mut left = old;
        while let Some((part, mapped)) = self.next_mapped(left) {
            let done = part.start.get() - old.start.get();
            let to = new_start.add(done);
            let table = match mapped {
                Mapped::Table(table) => {
                    let rest = PageRange::new(part.start, old.end);
                    let nr = self.move_tables(rest, to).map_err(|why| (done, why))?;
                    if nr != 0 {
                        left.start = part.start.add(nr);
                        self.machine().cond_resched();
                        continue;
                    }
                    table
                }
                Mapped::Block(slot) => {
                    match self.move_whole_block(slot, part, to).map_err(|why| (done, why))? {
                        true => left.start = part.end,
                        false => self.split_block(slot, part.start),
                    }
                    continue;
                }
            };
            // As far as one table reaches on either side.
            let nr = part.nr_pages().min(Level::L2.next_entry(to).get() - to.get());
            let part = PageRange::of_len(part.start, nr);
            self.move_within_tables(table, part, to).map_err(|(moved, why)| (done + moved, why))?;
            left.start = part.end;
            self.machine().cond_resched();
        }
        Ok(())
    }

    /// Moves the block at `slot` as one, where all of it moves to a place that a block can have.
    fn move_whole_block(
        &self,
        slot: PteSlot,
        part: PageRange,
        to: Vpn,
    ) -> Result<bool, OutOfMemory> {
        let span = Level::L2.span_pages();
        if part.nr_pages() != span || to.align_down(span) != to {
            return Ok(false);
        }
        match self.ensure_empty_block(to)? {
            Some(room) => self.move_block((slot, part.start), (room, to)),
            // A table was left there.
            None => Ok(false),
        }
    }

    fn move_within_tables(
        &self,
        table: base::Pfn,
        pages: PageRange,
        to: Vpn,
    ) -> Result<(), (u64, OutOfMemory)> {
        let to_table = self.ensure_leaf_table(to).map_err(|why| (0, why))?;
        let mut gather = TlbGather::complete_at_unlock(self);
        let mut lock = self.lock_leaf_table(table.min(to_table));
        let mut second =
            (table != to_table).then(|| self.lock_leaf_table_nested(table.max(to_table)));
        let mut result = Ok(());
        let mut done = 0;
        while done < pages.nr_pages() {
            let mut tables = match &mut second {
                None => Tables::One(&mut lock),
                Some(second) if table < to_table => Tables::Two { from: &mut lock, to: second },
                Some(second) => Tables::Two { from: second, to: &mut lock },
            };
            if done == 0 {
                self.unfold_edges(tables.from(), pages);
            }
            let page = pages.start.add(done);
            let most = (pages.nr_pages() - done) as u32;
            match self.move_run(&mut tables, page, to.add(done), most, &mut gather) {
                Ok(nr) => done += u64::from(nr),
                Err(why) => {
                    result = Err((done, why));
                    break;
                }
            }
        }
        // Nobody can store through the old place any more when reclaim can find the pages at the new
        // one: the tables are locked until this has completed.
        gather.settle();
        drop(second);
        gather.unlock(lock);
        result
    }

    /// Moves what is at `page`, up to `most` entries if they are a run, to `to`, with its reverse
    /// mapping. Returns how many pages were dealt with.
    fn move_run(
        &self,
        tables: &mut Tables<'_, '_, M>,
        page: Vpn,
        to: Vpn,
        most: u32,
        gather: &mut TlbGather<'_, M>,
    ) -> Result<u32, OutOfMemory> {
        let raw = tables.from().load(page);
        match Entry::decode(raw) {
            Entry::Empty => return Ok(1),
            Entry::Present(pte) => {
                if let Some(run) = self.run_at(tables.from(), page, pte, most) {
                    let to_base = tables.to().place(to, run.index);
                    self.system().move_mapping(run.id, self.id(), run.base, to_base, run.nr)?;
                    let nr = run.nr;
                    let old = gather.replace_run(tables.from(), page, nr, |_| 0);
                    tables.to().fill_run(to, nr, old);
                    return Ok(nr);
                }
            }
            Entry::NonPresent(NonPresent::Swap { .. }) => {
                let nr = tables.from().swap_run_len(page, raw, most);
                tables.from().empty_swap_run(page, nr);
                tables.to().fill_swap_run(to, nr, raw);
                return Ok(nr);
            }
            Entry::NonPresent(_) | Entry::Corrupt(_) => {}
        }
        let old = gather.replace(tables.from(), page, 0);
        tables.to().exchange(to, old);
        Ok(1)
    }
}

/// The locked tables between which entries move.
enum Tables<'t, 'm, M: Machine> {
    One(&'t mut PageTableLock<'m, M>),
    Two { from: &'t mut PageTableLock<'m, M>, to: &'t mut PageTableLock<'m, M> },
}

impl<'m, M: Machine> Tables<'_, 'm, M> {
    fn from(&mut self) -> &mut PageTableLock<'m, M> {
        match self {
            Tables::One(one) => one,
            Tables::Two { from, .. } => from,
        }
    }

    fn to(&mut self) -> &mut PageTableLock<'m, M> {
        match self {
            Tables::One(one) => one,
            Tables::Two { to, .. } => to,
        }
    }
}

fn require_covered<M: Machine>(area: &Area<M>, pages: PageRange) -> Result<(), RemapError> {
    if area.pages().covers(pages) { Ok(()) } else { Err(RemapError::NotMapped) }
}
