// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file moves level-3 tables whole, from one level-2 entry to another (Linux: `move_normal_pmd()`),
//! and knows which have moved.
//!
//! The reverse map names a page by its address. Where a table has moved, its pages keep their names: the
//! table's frame word says how far it is from where they were, and this list leads the other way, from a
//! name to the tables that have pages so named ([ADR 10]). So a move touches no entry and no folio.
//!
//! A name may belong to several tables of an address space: those that have moved away, and the one that is
//! there now. Whoever walks looks at all of them, so there are not to be many, and the record of a folio at
//! one name counts to 1023: no more than [`MOST_AWAY`] are away from one place.
//!
//! [ADR 10]: ../../../../docs/adr/0010-tables-move-whole.md

use alloc::vec::Vec;

use arrayvec::ArrayVec;

use base::{PageRange, Pfn, Vpn};
use hal::{Machine, PteSlot};
use pgtable::{Found, Level, TablePte};

use super::Mm;
use crate::frame::OutOfMemory;

/// Level-3 tables of the address space that user memory has: 2^36 pages in tables of 2^9.
const REGIONS: u32 = 1 << 27;

/// Most tables that move at once: for so long no reverse-map walker has the tree.
const TOGETHER: usize = 32;

/// Most tables that are away from one place. Others move entry by entry.
const MOST_AWAY: usize = 64;

/// Returns the number of the 2 MiB that a page lies in.
const fn region_of(page: Vpn) -> u32 {
    (page.get() >> 9) as u32 % REGIONS
}

/// Returns by how much a table moves from `page` to `to`.
const fn distance(page: Vpn, to: Vpn) -> u32 {
    region_of(page).wrapping_sub(region_of(to)) % REGIONS
}

/// Returns where the reverse map has what a table that has moved so far maps at `page`.
#[inline(always)]
pub(crate) const fn origin_of(page: Vpn, moved: u32) -> Vpn {
    Vpn::new(page.get().wrapping_add((moved as u64) << 9))
}

/// Returns the page that a table which has moved so far maps what the reverse map has at `origin`.
pub(crate) const fn page_at(origin: Vpn, moved: u32) -> Vpn {
    Vpn::new(origin.get().wrapping_sub((moved as u64) << 9))
}

/// The level-3 tables of an address space that have moved, by where the reverse map has their pages.
pub(crate) struct MovedTables(Vec<Moved>);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Moved {
    /// The 2 MiB that the reverse map has its pages in.
    origin: u32,
    moved: u32,
    table: Pfn,
}

impl MovedTables {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Returns the tables whose pages the reverse map has around `page`, and how far each has moved.
    #[inline]
    pub fn from(&self, page: Vpn) -> impl Iterator<Item = (Pfn, u32)> {
        let origin = region_of(page);
        let start = match self.0.is_empty() {
            true => 0,
            false => self.0.partition_point(|table| table.origin < origin),
        };
        let found = self.0[start..].iter().take_while(move |table| table.origin == origin);
        found.map(|table| (table.table, table.moved))
    }

    /// Returns how many bytes a list with room for `nr` more takes, 0 if there is room.
    fn bytes_for(&self, nr: usize) -> usize {
        let has_room = self.0.capacity() - self.0.len() >= nr;
        // It grows to twice its size at least.
        if has_room { 0 } else { 2 * (self.0.len() + nr) * size_of::<Moved>() }
    }

    /// Makes room for `nr` more.
    fn reserve(&mut self, nr: usize) -> Result<(), OutOfMemory> {
        self.0.try_reserve(nr).map_err(|_| OutOfMemory)
    }

    /// Notes that a table, now at `page`, has moved so far. There is room for it.
    fn note(&mut self, page: Vpn, moved: u32, table: Pfn) {
        if moved != 0 {
            let new = Moved { origin: region_of(origin_of(page, moved)), moved, table };
            let at = self.0.partition_point(|table| *table < new);
            self.0.insert(at, new);
        }
    }

    /// Forgets a table that is at `page` and has moved so far.
    pub fn forget(&mut self, page: Vpn, moved: u32) {
        if moved != 0 {
            let origin = region_of(origin_of(page, moved));
            let found =
                self.0.binary_search_by_key(&(origin, moved), |own| (own.origin, own.moved));
            self.0.remove(found.expect("a table that has moved is on the list"));
        }
    }

    /// Returns how many there are.
    #[cfg(feature = "audit")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// A table that is about to move.
struct Step {
    table: Pfn,
    from: PteSlot,
    to: PteSlot,
    page: Vpn,
}

impl<M: Machine> Mm<M> {
    /// Moves the tables of the first pages of `pages` to `to` and the pages after it, as far as there are
    /// whole tables that go where nothing is, and returns how many pages these have. The mmap lock is held
    /// alone. When this returns, no CPU uses the old place.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when there is no room; nothing has changed then.
    pub(crate) fn move_tables(&self, pages: PageRange, to: Vpn) -> Result<u64, OutOfMemory> {
        let span = Level::L2.span_pages();
        if pages.start.align_down(span) != pages.start || to.align_down(span) != to {
            return Ok(0);
        }
        let mut steps: ArrayVec<Step, TOGETHER> = ArrayVec::new();
        for n in 0..(pages.nr_pages() / span).min(TOGETHER as u64) {
            match self.plan_step(pages.start.add(n * span), to.add(n * span)) {
                Ok(Some(step)) => steps.push(step),
                Err(why) if steps.is_empty() => return Err(why),
                Ok(None) | Err(_) => break,
            }
        }
        let nr_pages = steps.len() as u64 * span;
        if !steps.is_empty() {
            let pages = PageRange::of_len(pages.start, nr_pages);
            self.reserve_for_moved(&steps)?;
            self.last_leaf.forget();
            self.take_steps(&steps, pages, distance(pages.start, to));
        }
        Ok(nr_pages)
    }

    /// Finds the table of `page`, and the empty level-2 entry of `to`, if there are the two.
    fn plan_step(&self, page: Vpn, to: Vpn) -> Result<Option<Step>, OutOfMemory> {
        let Found::Leaf(table) = pgtable::find(self.machine(), self.root, page) else {
            return Ok(None);
        };
        // One that is away already may go on, and back when a move has failed.
        let is_away = self.lock_table(table).moved() != 0;
        if !is_away && self.with_moved(|moved| moved.from(page).count()) >= MOST_AWAY {
            return Ok(None);
        }
        let Some(to) = self.ensure_empty_block(to)? else { return Ok(None) };
        let above = self.path_to(page, Level::L2)[Level::L2 as usize];
        Ok(Some(Step { table, from: PteSlot::new(above, Level::L2.index(page)), to, page }))
    }

    /// Makes room on the list for those that are not on it. On the way back, when a move has failed, there is
    /// room: nobody else uses the list.
    fn reserve_for_moved(&self, steps: &[Step]) -> Result<(), OutOfMemory> {
        let is_new = |step: &&Step| self.lock_table(step.table).moved() == 0;
        let nr = steps.iter().filter(is_new).count();
        let bytes = self.with_moved(|moved| moved.bytes_for(nr));
        if bytes == 0 {
            return Ok(());
        }
        self.system.reserve_kernel_heap(2 * bytes)?;
        self.with_moved(|moved| moved.reserve(nr))
    }

    fn with_moved<R>(&self, work: impl FnOnce(&mut MovedTables) -> R) -> R {
        let mut tree = self.tables.write();
        work(&mut tree.as_mut().expect("a user holds the tables").moved)
    }

    fn take_steps(&self, steps: &[Step], pages: PageRange, distance: u32) {
        // No reverse-map walker uses a table while this is held, and none finds a page in between.
        let mut tree = self.tables.write();
        let moved = &mut tree.as_mut().expect("a user holds the tables").moved;
        for step in steps {
            self.lock_table(step.from.table).exchange_at(step.from.index.into(), 0);
        }
        // Before the tables are anywhere else: what is stored through the old place would be lost as soon as
        // reclaim has taken a page away at the new one. Walks go with it, which would mark entries as used.
        self.forget_tables(pages);
        for step in steps {
            let mut table = self.lock_table(step.table);
            let before = table.lock.moved();
            let after = before.wrapping_add(distance) % REGIONS;
            moved.forget(step.page, before);
            table.lock.set_moved(after);
            drop(table);
            moved.note(page_at(origin_of(step.page, before), after), after, step.table);
            let entry = TablePte::new(step.table).raw();
            self.lock_table(step.to.table).exchange_at(step.to.index.into(), entry);
        }
    }
}
