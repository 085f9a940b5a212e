// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file says which change of an entry needs which sequence.
//!
//! A TLB may hold the old entry, the new one, or for some changes both at once, and then combine
//! them. The architecture forbids that by break-before-make (Arm ARM D8.17.1): make the entry
//! invalid, invalidate the TLBs, wait, then write the new one.

use crate::pte::Pte;

/// What the change of one last-level entry from old to new bits demands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// No TLB can hold the old entry: store the new one, nothing else.
    Store,
    /// A TLB may hold the old entry, which only permits less than the new one: store the new one.
    /// A CPU that still has the old entry takes a fault more and forgets it then.
    StoreAndForgetLazily,
    /// A TLB may hold the old entry, which permits what the new one does not: store the new one,
    /// invalidate, and wait before anybody relies on it.
    StoreThenInvalidate,
    /// Old and new must not be in TLBs together: clear, invalidate, wait, store.
    BreakBeforeMake,
}

/// Returns what changing the raw entry `old` to `new` demands.
#[inline]
pub const fn change_of(old: u64, new: u64) -> Change {
    let (old, new) = (Pte::from_raw(old), Pte::from_raw(new));
    if !old.is_valid() {
        Change::Store
    } else if new.is_valid() {
        change_of_valid(old, new)
    } else {
        Change::StoreThenInvalidate
    }
}

#[inline]
const fn change_of_valid(old: Pte, new: Pte) -> Change {
    if !old.translates_like(new) {
        return Change::BreakBeforeMake;
    }
    // A cached writable entry may be cached as dirty: stores through it would not mark the page.
    let loses_write = old.is_writable() && !new.is_writable();
    let loses_dirty = old.is_dirty() && !new.is_dirty();
    let loses_exec = old.is_executable() && !new.is_executable();
    if loses_write || loses_dirty || loses_exec {
        Change::StoreThenInvalidate
    } else if old.raw() == new.raw() {
        Change::Store
    } else {
        Change::StoreAndForgetLazily
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AreaId, MemType, NonPresent, Prot, SwapEntry};
    use base::Pfn;

    fn pte(prot: Prot) -> Pte {
        Pte::new(Pfn::new(0x40000), prot, MemType::Normal)
    }

    #[test]
    fn entries_that_no_tlb_holds_are_just_replaced() {
        let rw = pte(Prot::READ | Prot::WRITE);
        let swap = SwapEntry { area: AreaId::new(0).unwrap(), slot: 5 };
        let swap = NonPresent::Swap { entry: swap, exclusive: false }.encode();
        assert_eq!(change_of(0, rw.raw()), Change::Store);
        assert_eq!(change_of(swap, rw.raw()), Change::Store);
        // Its access flag may have been set a moment ago, when a TLB took it in.
        assert_eq!(change_of(rw.old().raw(), 0), Change::StoreThenInvalidate);
        assert_eq!(change_of(rw.with_prot(Prot::empty()).raw(), rw.raw()), Change::Store);
    }

    #[test]
    fn another_frame_or_memory_type_needs_a_break() {
        let ro = pte(Prot::READ);
        let other = Pte::new(Pfn::new(0x40001), Prot::READ, MemType::Normal);
        assert_eq!(change_of(ro.raw(), other.raw()), Change::BreakBeforeMake);
        let tagged = ro.with_mem_type(MemType::Tagged);
        assert_eq!(change_of(ro.raw(), tagged.raw()), Change::BreakBeforeMake);
    }

    #[test]
    fn taking_permission_or_dirty_away_invalidates_and_giving_does_not() {
        let rw = pte(Prot::READ | Prot::WRITE).dirty();
        let ro = rw.write_protected();
        assert_eq!(change_of(rw.raw(), ro.raw()), Change::StoreThenInvalidate);
        assert_eq!(change_of(rw.raw(), rw.clean().raw()), Change::StoreThenInvalidate);
        assert_eq!(change_of(rw.raw(), 0), Change::StoreThenInvalidate);
        assert_eq!(change_of(ro.raw(), rw.raw()), Change::StoreAndForgetLazily);
        assert_eq!(change_of(rw.clean().raw(), rw.raw()), Change::StoreAndForgetLazily);
        assert_eq!(change_of(rw.raw(), rw.raw()), Change::Store);
    }
}
