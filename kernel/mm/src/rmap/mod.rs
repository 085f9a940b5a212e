// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder is the reverse map: who maps a folio, where, and how often. Exactly.
//!
//! A folio records one *mapping* per (address space, place): the number of its pages mapped there,
//! and the page at which its first page is or would be mapped. Two fit in the descriptor, more go
//! to a spill table. From that follow, without a walk over anything:
//!
//! - how many address spaces map the folio, so "mapped shared" has neither false positives nor
//!   false negatives (Linux tracks two and guesses beyond, `folio_maybe_mapped_shared()`);
//! - every entry that maps it: reclaim goes straight to the page tables named here. There are no
//!   `anon_vma`s and no per-page counts.
//!
//! A page's place is its address, but in a level-3 table that mremap has moved whole: there it is the
//! address that it had before (`mm/moved_tables.rs`).
//!
//! The price is 8 bytes per (folio, address space), what the page-table entry itself costs for an
//! order-0 folio and a sixteenth of it for a 64 KiB one.
//!
//! # Locks
//!
//! The entries are guarded by a spin bit in the folio's flags, level `Rmap`, below the page-table
//! lock: whoever maps or unmaps holds the page-table lock and takes the bit for the bookkeeping.
//! So a walk cannot hold the bit while it takes page-table locks; it copies a mapping out, and
//! checks under the page-table lock that the entries still map the folio (`walk.rs`).

mod entry;
mod spill;
mod walk;

pub(crate) use spill::{HEAP_RESERVE, SpillTables};
pub(crate) use walk::{MappedAt, MappedBy};

pub use entry::MmId;
pub(crate) use entry::{Mapping, base_of};

use base::Vpn;
use base::lock_level::{self, LevelToken};
use base::sync::atomic::{AtomicU64, Ordering};
use base::sync::{notify, relax, spin_wait};
use hal::Machine;

use crate::folio::{Folio, FolioFlags, FolioId, FolioRef};
use crate::frame::OutOfMemory;
use crate::system::System;

/// Shows that a folio's reverse-map entries are locked.
pub(crate) struct RmapLock<'s, M: Machine> {
    system: &'s System<M>,
    folio: &'s Folio,
    _level: LevelToken<lock_level::Rmap>,
}

impl<M: Machine> Drop for RmapLock<'_, M> {
    fn drop(&mut self) {
        self.folio.clear(FolioFlags::RMAP_LOCKED);
        notify();
    }
}

impl<M: Machine> System<M> {
    /// Locks the reverse-map entries of a folio.
    #[inline(always)]
    pub(crate) fn lock_rmap<'s>(&'s self, folio: &'s Folio) -> RmapLock<'s, M> {
        let level = LevelToken::enter();
        while folio.set(FolioFlags::RMAP_LOCKED).contains(FolioFlags::RMAP_LOCKED) {
            let _wait = spin_wait::<lock_level::Rmap>(folio.head().get() as usize);
            while folio.has(FolioFlags::RMAP_LOCKED) {
                relax();
            }
        }
        RmapLock { system: self, folio, _level: level }
    }

    /// Records the first mapping of a folio that nobody else can see yet, `nr` pages of it. The
    /// caller's reference becomes that of the mappings.
    #[inline(always)]
    pub(crate) fn map_new_folio(&self, folio: &Folio, mm: MmId, base: Vpn, nr: u32) {
        debug_assert!(!folio.is_mapped(), "new folio {:?} is mapped", folio.head());
        folio.rmap[0].store(Mapping { mm, base, nr }.pack(), Ordering::Relaxed);
        folio.mapcount.store(nr, Ordering::Relaxed);
    }

    /// Records `nr` more pages of a folio mapped at `base`. The mappings take a reference of their
    /// own if they are the first.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when it needs a spill entry and there is no room. Nothing has changed then.
    #[inline(always)]
    pub(crate) fn map_folio(
        &self,
        folio: &Folio,
        mm: MmId,
        base: Vpn,
        nr: u32,
    ) -> Result<(), OutOfMemory> {
        self.lock_rmap(folio).add(Mapping { mm, base, nr })
    }

    /// Records that `nr` pages of a folio are no longer mapped at `base`. The reference returned is
    /// to be put when the TLBs have forgotten them and not before: another address space that still
    /// maps the folio may be about to drop it, and waits for its own TLB invalidations only.
    #[inline(always)]
    pub(crate) fn unmap_folio<'s>(
        &'s self,
        id: FolioId,
        folio: &'s Folio,
        mm: MmId,
        base: Vpn,
        nr: u32,
    ) -> FolioRef<'s, M> {
        let rmap = self.lock_rmap(folio);
        if !rmap.remove(Mapping { mm, base, nr }) {
            // The other mappings cannot go, and their reference with them, while this is locked.
            folio.get();
        }
        drop(rmap);
        FolioRef::adopt(self, id, folio)
    }

    /// Like [`System::unmap_folio`], for pages that no TLB reaches any more: a reference comes back
    /// only if nothing maps the folio now. Nobody has to keep what others map.
    #[inline(always)]
    pub(crate) fn unmap_forgotten_folio<'s>(
        &'s self,
        id: FolioId,
        folio: &'s Folio,
        mm: MmId,
        base: Vpn,
        nr: u32,
    ) -> Option<FolioRef<'s, M>> {
        let was_last = self.lock_rmap(folio).remove(Mapping { mm, base, nr });
        was_last.then(|| FolioRef::adopt(self, id, folio))
    }

    /// Records, in one step, that `nr` pages mapped at `base` are no longer counted as folio `from`'s but
    /// as folio `to`'s, at `to_base`. A reference to `from` comes back if nothing is counted there now.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when there is no room for an entry, and the heap's reserve is not to be
    /// touched (`must` is false). Nothing has changed then.
    pub(crate) fn recount_mapping<'s>(
        &'s self,
        from: (FolioId, &'s Folio, Vpn),
        to: (&'s Folio, Vpn),
        mm: MmId,
        nr: u32,
        must: bool,
    ) -> Result<Option<FolioRef<'s, M>>, OutOfMemory> {
        let new = Mapping { mm, base: to.1, nr };
        let rmap = self.lock_rmap(to.0);
        match rmap.add(new) {
            Err(_) if must => rmap.add_from_reserve(new),
            result => result?,
        }
        drop(rmap);
        let (id, folio, base) = from;
        Ok(self.unmap_forgotten_folio(id, folio, mm, base, nr))
    }

    /// Records that `nr` mapped pages of a folio moved from place `from` to place `to`.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] when only part of the folio moves and there is no room for a second place.
    /// Nothing has changed then.
    pub(crate) fn move_mapping(
        &self,
        id: FolioId,
        mm: MmId,
        from: Vpn,
        to: Vpn,
        nr: u32,
    ) -> Result<(), OutOfMemory> {
        if from == to {
            // From a table that has moved to one that is where it was.
            return Ok(());
        }
        let (old, new) = (Mapping { mm, base: from, nr }, Mapping { mm, base: to, nr });
        let rmap = self.lock_rmap(self.folio(id));
        if rmap.rename_inline(old, new) {
            return Ok(());
        }
        rmap.add(new)?;
        let was_last = rmap.remove(old);
        debug_assert!(!was_last, "the moved pages are still mapped");
        Ok(())
    }

    /// Tells whether `mm` and no other address space maps the folio.
    pub(crate) fn is_mapped_only_by(&self, folio: &Folio, mm: MmId) -> bool {
        self.lock_rmap(folio).all(|mapping| mapping.mm == mm)
    }
}

impl<M: Machine> RmapLock<'_, M> {
    #[inline(always)]
    fn add(&self, new: Mapping) -> Result<(), OutOfMemory> {
        let was_mapped = self.folio.is_mapped();
        if !self.add_inline(new) {
            self.add_spilled(new)?;
        }
        if !was_mapped {
            self.folio.get();
        }
        self.folio.mapcount.fetch_add(new.nr, Ordering::Relaxed);
        Ok(())
    }

    /// Adds a mapping whose addition must not fail, from what the heap keeps for that.
    fn add_from_reserve(&self, new: Mapping) {
        let spilled = self.system.spill().add(&self.folio.rmap_spill, new, || usize::MAX);
        spilled.expect("reverse map: the heap's reserve is used up");
        if !self.folio.is_mapped() {
            self.folio.get();
        }
        self.folio.mapcount.fetch_add(new.nr, Ordering::Relaxed);
    }

    #[cold]
    fn add_spilled(&self, new: Mapping) -> Result<(), OutOfMemory> {
        let machine = self.system.machine();
        // A failure asked for looks like a heap that was low for a moment.
        let room = || if machine.inject_alloc_failure() { 0 } else { machine.kernel_heap_room() };
        self.system.spill().add(&self.folio.rmap_spill, new, room)
    }

    /// Adds to a mapping in the descriptor, or starts one there.
    #[inline(always)]
    fn add_inline(&self, new: Mapping) -> bool {
        let mut free = None;
        for cell in self.folio.rmap.iter().rev() {
            let old = cell.load(Ordering::Relaxed);
            if Mapping::is_packed_at(old, new.key()) {
                cell.store(Mapping::packed_plus(old, new.nr), Ordering::Relaxed);
                return true;
            }
            if old == 0 {
                free = Some(cell);
            }
        }
        // A mapping at this place may be in the spill table: it must not be in both.
        let spilled = self.folio.rmap_spill.load(Ordering::Relaxed) != 0;
        match free {
            Some(cell) if !spilled => {
                cell.store(new.pack(), Ordering::Relaxed);
                true
            }
            _ => false,
        }
    }

    /// Moves a whole mapping that is in the descriptor, if nothing is at its new place yet: needs no
    /// room, so it cannot fail.
    fn rename_inline(&self, old: Mapping, new: Mapping) -> bool {
        if self.folio.rmap_spill.load(Ordering::Relaxed) != 0 {
            return false;
        }
        let unpack = |cell: &AtomicU64| Mapping::unpack(cell.load(Ordering::Relaxed));
        if self.folio.rmap.iter().filter_map(unpack).any(|mapping| mapping.is_at(new)) {
            return false;
        }
        match self.folio.rmap.iter().find(|cell| unpack(cell) == Some(old)) {
            Some(cell) => {
                cell.store(new.pack(), Ordering::Relaxed);
                true
            }
            None => false,
        }
    }

    /// Takes away from a mapping. Returns `true` if nothing is mapped any more: the reference of the
    /// mappings is the caller's then.
    #[inline(always)]
    fn remove(&self, gone: Mapping) -> bool {
        let cells = self.folio.rmap.iter().map(|cell| (cell, cell.load(Ordering::Relaxed)));
        let key = gone.key();
        match { cells }.find(|(_, old)| Mapping::is_packed_at(*old, key)) {
            Some((cell, old)) => {
                cell.store(Mapping::packed_minus(old, gone.nr), Ordering::Relaxed);
            }
            None => self.system.spill().remove(&self.folio.rmap_spill, gone),
        }
        self.folio.mapcount.fetch_sub(gone.nr, Ordering::Relaxed) == gone.nr
    }

    /// Tells whether `test` holds for every mapping.
    pub(crate) fn all(&self, mut test: impl FnMut(Mapping) -> bool) -> bool {
        let inline = self.folio.rmap.iter();
        inline.filter_map(|cell| Mapping::unpack(cell.load(Ordering::Relaxed))).all(&mut test)
            && self.system.spill().all(&self.folio.rmap_spill, test)
    }

    /// Returns the mapping that follows `cursor` in the order of (address space, place).
    fn next_after(&self, cursor: Option<Mapping>) -> Option<Mapping> {
        let inline = self.folio.rmap.iter();
        let inline = inline
            .filter_map(|cell| Mapping::unpack(cell.load(Ordering::Relaxed)))
            .filter(|mapping| cursor.is_none_or(|cursor| cursor.key() < mapping.key()));
        let spilled = self.system.spill().next_after(&self.folio.rmap_spill, cursor);
        inline.chain(spilled).min_by_key(|mapping| mapping.key())
    }
}
