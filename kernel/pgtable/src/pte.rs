// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file gives meaning to the bits of a present entry.
//!
//! *Present* means: a frame is mapped here. It is *valid* (the walker uses it) unless the mapping
//! permits no access at all.
//!
//! Dirty state follows the hardware's scheme whether or not the hardware has it (Arm ARM D8.5.3,
//! and Linux arch/arm64/include/asm/pgtable.h, which chose the same): DBM says "may be written",
//! AP\[2\] says "would fault", so
//!
//! | DBM | AP\[2\] | SW_DIRTY | state |
//! |---|---|---|---|
//! | 0 | 1 | 0 | read-only, clean |
//! | 0 | 1 | 1 | read-only, written before it was write-protected |
//! | 1 | 1 | 0 | writable, clean: a store sets AP\[2\] to 0, or faults so that software does |
//! | 1 | 0 | - | writable, dirty |
//!
//! An entry is never put into a TLB while its access flag is clear (Arm ARM D8.5.2), but one whose
//! flag was *cleared* may still be in one: aging a page invalidates nothing. So only an entry that
//! is not valid is known to be in no TLB.

use bitflags::bitflags;

use base::{Pfn, PhysAddr};

bitflags! {
    /// What user code may do with a page.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Prot: u8 {
        /// Loads.
        const READ = 1;
        /// Stores.
        const WRITE = 2;
        /// Instruction fetches.
        const EXEC = 4;
    }
}

/// The memory type of a user page: an index into MAIR_EL1 as `arch` programs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum MemType {
    /// Normal, write-back cacheable. Accesses are tag-unchecked.
    Normal = 0,
    /// Normal-Tagged, write-back cacheable. Accesses are tag-checked.
    Tagged = 1,
}

/// VMSAv8-64 descriptor bits, 4 KiB granule, stage 1 EL1&0 (Arm ARM D8.3.1.2, D8.3.2).
mod bit {
    pub const VALID: u64 = 1 << 0;
    /// At level 3: a page. At levels 0 to 2: a table.
    pub const PAGE_OR_TABLE: u64 = 1 << 1;
    pub const ATTR_SHIFT: u32 = 2;
    pub const ATTR_MASK: u64 = 0b111 << ATTR_SHIFT;
    /// AP\[1\]: EL0 may access.
    pub const USER: u64 = 1 << 6;
    /// AP\[2\]: stores fault.
    pub const READ_ONLY: u64 = 1 << 7;
    pub const INNER_SHAREABLE: u64 = 0b11 << 8;
    pub const ACCESSED: u64 = 1 << 10;
    pub const NOT_GLOBAL: u64 = 1 << 11;
    pub const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
    /// Dirty-bit modifier: hardware may clear AP\[2\] instead of faulting.
    pub const DBM: u64 = 1 << 51;
    pub const CONTIGUOUS: u64 = 1 << 52;
    pub const PRIVILEGED_NX: u64 = 1 << 53;
    pub const USER_NX: u64 = 1 << 54;
    // Bits 58:55 are ignored by hardware.
    pub const SW_DIRTY: u64 = 1 << 55;
    pub const SW_SPECIAL: u64 = 1 << 56;
    pub const SW_FROZEN: u64 = 1 << 57;
    /// In a frozen entry: its frame is a device's.
    pub const SW_DEVICE: u64 = 1 << 58;
    /// Access and dirty state. AP\[2\] is dirty state where DBM is set, and set where it is not.
    pub const USE: u64 = ACCESSED | SW_DIRTY | READ_ONLY;
    /// In an entry that is not valid: it is present all the same (NOT_GLOBAL's place, as on Linux).
    pub const PRESENT_INVALID: u64 = NOT_GLOBAL;
}

pub(crate) use bit::PRESENT_INVALID;

/// A present last-level entry of a user mapping.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Pte(u64);

impl Pte {
    /// Builds a clean, young entry that maps `pfn`. `WRITE` makes it writable at once.
    pub fn new(pfn: Pfn, prot: Prot, mem: MemType) -> Self {
        let base = Pte(pfn.base().get()
            | (mem as u64) << bit::ATTR_SHIFT
            | bit::INNER_SHAREABLE
            | bit::PAGE_OR_TABLE
            | bit::READ_ONLY
            | bit::ACCESSED
            | bit::PRIVILEGED_NX);
        base.with_prot(prot)
    }

    /// Wraps the raw bits of an entry that is known to be present.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// Returns the raw bits.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Tells whether raw bits are those of a present entry.
    pub const fn is_present(raw: u64) -> bool {
        raw & bit::VALID != 0 || raw & bit::PRESENT_INVALID != 0
    }

    /// Tells whether the hardware walker uses the entry.
    pub const fn is_valid(self) -> bool {
        self.0 & bit::VALID != 0
    }

    /// Returns the frame that the entry maps.
    pub const fn pfn(self) -> Pfn {
        PhysAddr::new(self.0 & bit::ADDRESS).pfn()
    }

    /// Returns the entry that maps `pfn`, the same otherwise.
    #[must_use]
    pub const fn with_pfn(self, pfn: Pfn) -> Self {
        Self(self.0 & !bit::ADDRESS | pfn.base().get())
    }

    /// Returns the memory type.
    pub const fn mem_type(self) -> MemType {
        match (self.0 & bit::ATTR_MASK) >> bit::ATTR_SHIFT {
            1 => MemType::Tagged,
            _ => MemType::Normal,
        }
    }

    /// Returns the entry with another memory type.
    #[must_use]
    pub const fn with_mem_type(self, mem: MemType) -> Self {
        Self(self.0 & !bit::ATTR_MASK | (mem as u64) << bit::ATTR_SHIFT)
    }

    /// Tells whether user code may write (maybe after a fault that marks the page dirty).
    pub const fn is_writable(self) -> bool {
        self.0 & bit::DBM != 0
    }

    /// Tells whether user code may fetch instructions.
    pub const fn is_executable(self) -> bool {
        self.is_valid() && self.0 & bit::USER_NX == 0
    }

    /// Tells whether the page was accessed since [`Pte::old`].
    pub const fn is_young(self) -> bool {
        self.0 & bit::ACCESSED != 0
    }

    /// Tells whether the page was written since [`Pte::clean`].
    pub const fn is_dirty(self) -> bool {
        self.0 & bit::SW_DIRTY != 0 || self.is_hardware_dirty()
    }

    /// Tells whether the entry maps frames that no folio owns: the zero page, or the huge one.
    pub const fn is_special(self) -> bool {
        self.0 & bit::SW_SPECIAL != 0
    }

    /// Returns the entry marked as mapping a frame that no folio owns.
    #[must_use]
    pub const fn special(self) -> Self {
        Self(self.0 | bit::SW_SPECIAL)
    }

    /// Returns the entry with the access flag set.
    #[must_use]
    pub const fn young(self) -> Self {
        Self(self.0 | bit::ACCESSED)
    }

    /// Returns the entry with the access flag clear.
    #[must_use]
    pub const fn old(self) -> Self {
        Self(self.0 & !bit::ACCESSED)
    }

    /// Returns the entry marked dirty; a writable one no longer faults on stores.
    #[must_use]
    pub const fn dirty(self) -> Self {
        if self.is_writable() {
            Self(self.0 & !bit::READ_ONLY | bit::SW_DIRTY)
        } else {
            Self(self.0 | bit::SW_DIRTY)
        }
    }

    /// Returns the entry marked clean; the next store to a writable one marks it dirty again.
    #[must_use]
    pub const fn clean(self) -> Self {
        Self(self.0 & !bit::SW_DIRTY | bit::READ_ONLY)
    }

    /// Returns the entry as writable, its dirty state kept.
    #[must_use]
    pub const fn writable(self) -> Self {
        let raw = self.0 | bit::DBM;
        if self.0 & bit::SW_DIRTY != 0 { Self(raw & !bit::READ_ONLY) } else { Self(raw) }
    }

    /// Returns the entry as read-only, its dirty state kept: hardware's goes to the software bit.
    #[must_use]
    pub const fn write_protected(self) -> Self {
        let dirty = if self.is_hardware_dirty() { bit::SW_DIRTY } else { 0 };
        Self((self.0 | bit::READ_ONLY | dirty) & !bit::DBM)
    }

    /// Returns the entry with the permissions of `prot`; access and dirty state are kept.
    ///
    /// EL0 always may read what it may write or execute: the architecture has no other encoding
    /// that Granule uses.
    #[must_use]
    #[inline]
    pub fn with_prot(self, prot: Prot) -> Self {
        let mut pte = self.write_protected();
        if prot.is_empty() {
            pte.0 &= !(bit::VALID | bit::USER);
            pte.0 |= bit::PRESENT_INVALID | bit::USER_NX;
            return pte;
        }
        pte.0 |= bit::VALID | bit::USER | bit::NOT_GLOBAL;
        if prot.contains(Prot::EXEC) {
            pte.0 &= !bit::USER_NX;
        } else {
            pte.0 |= bit::USER_NX;
        }
        if prot.contains(Prot::WRITE) { pte.writable() } else { pte }
    }

    /// Tells whether both map the same frame, with the same memory type, in a run or alone.
    pub(crate) const fn translates_like(self, other: Self) -> bool {
        (self.0 ^ other.0) & (bit::ADDRESS | bit::ATTR_MASK | bit::CONTIGUOUS) == 0
    }

    /// Tells whether the entry is one of a run of 16 that a TLB may cache as one.
    pub const fn is_contiguous(self) -> bool {
        self.0 & bit::CONTIGUOUS != 0
    }

    /// Returns the entry as one that keeps all it says, but that hardware does not use: its folio is
    /// being split or moved, and who touches the page waits.
    #[must_use]
    pub const fn frozen(self) -> Self {
        Self(self.0 & !(bit::VALID | bit::CONTIGUOUS) | bit::SW_FROZEN)
    }

    /// Returns the entry as a frozen one that names frame `pfn` of a device instead: Linux's
    /// device-private entry, but that rights, access and dirty state stay in it.
    #[must_use]
    pub const fn on_device(self, pfn: Pfn) -> Self {
        Self(self.frozen().with_frame(pfn).0 | bit::SW_DEVICE)
    }

    /// Tells whether the entry names a frame of a device. Such an entry is never valid.
    #[inline(always)]
    pub const fn is_on_device(self) -> bool {
        self.0 & bit::SW_DEVICE != 0
    }

    /// Returns the entry as that of a page which a device has for itself: all it says is kept, and no
    /// CPU uses it. Linux's device-exclusive entry. An entry that permits nothing is not made one.
    #[must_use]
    pub const fn device_exclusive(self) -> Self {
        Self(self.0 & !(bit::VALID | bit::CONTIGUOUS))
    }

    /// Tells whether a device has the page for itself: EL0 may access it, and the entry is neither
    /// valid nor frozen.
    #[inline(always)]
    pub const fn is_device_exclusive(self) -> bool {
        self.0 & (bit::VALID | bit::USER | bit::SW_FROZEN) == bit::USER
    }

    /// Returns the entry as it was before [`Pte::device_exclusive`], but that it stands for itself.
    #[must_use]
    pub const fn taken_back(self) -> Self {
        Self(self.0 | bit::VALID)
    }

    /// Tells whether no CPU and maybe a device knows the page: it is in the device's memory, or the
    /// device has it for itself.
    #[inline(always)]
    pub const fn is_known_to_device_only(self) -> bool {
        self.is_on_device() || self.is_device_exclusive()
    }

    /// Returns the entry that was frozen as one that maps frame `pfn` of RAM.
    #[must_use]
    pub const fn thawed_at(self, pfn: Pfn) -> Self {
        let entry = self.with_frame(pfn);
        Self(entry.0 & !bit::SW_DEVICE).thawed()
    }

    const fn with_frame(self, pfn: Pfn) -> Self {
        Self(self.0 & !bit::ADDRESS | pfn.base().get())
    }

    /// Returns the entry as it was before [`Pte::frozen`], but that it stands for itself.
    #[must_use]
    pub const fn thawed(self) -> Self {
        // An entry that permits nothing was not valid before.
        let valid = if self.0 & bit::USER != 0 { bit::VALID } else { 0 };
        Self(self.0 & !bit::SW_FROZEN | valid)
    }

    /// Tells whether the entry's folio is being split or moved.
    #[inline(always)]
    pub const fn is_frozen(self) -> bool {
        self.0 & bit::SW_FROZEN != 0
    }

    /// Returns the entry as one of a run of 16 that a TLB may cache as one: frames and pages from a
    /// multiple of 16 on, alike in all but access and dirty state (Arm ARM D8.7.1).
    #[must_use]
    pub const fn contiguous(self) -> Self {
        Self(self.0 | bit::CONTIGUOUS)
    }

    /// Returns the entry as one that stands for itself.
    #[must_use]
    pub const fn alone(self) -> Self {
        Self(self.0 & !bit::CONTIGUOUS)
    }

    /// Returns the entry that maps the frame `n` further up, the same otherwise.
    #[must_use]
    #[inline(always)]
    pub const fn advanced(self, n: u32) -> Self {
        Self(self.0 + ((n as u64) << base::PAGE_SHIFT))
    }

    /// Tells whether `other` maps the same frame with the same rights: access and dirty state do not
    /// matter.
    #[inline(always)]
    pub const fn is_like(self, other: Self) -> bool {
        (self.0 ^ other.0) & !bit::USE == 0
    }

    /// Tells whether `other` gives the same rights, to whatever frame.
    #[inline(always)]
    pub const fn has_rights_of(self, other: Self) -> bool {
        (self.0 ^ other.0) & !(bit::USE | bit::ADDRESS) == 0
    }

    /// Tells whether `other` says the same, access and dirty state included, of whatever frame.
    #[inline(always)]
    pub const fn differs_in_frame_only(self, other: Self) -> bool {
        (self.0 ^ other.0) & !bit::ADDRESS == 0
    }

    /// Returns the entry with the access and dirty state of `other` added to its own.
    #[must_use]
    #[inline(always)]
    pub const fn used_like(self, other: Self) -> Self {
        let young = if other.is_young() { self.young() } else { self };
        if other.is_dirty() { young.dirty() } else { young }
    }

    /// Returns the entry with the access and dirty state of a run of entries like it: `any` has the
    /// bits that any of them has, `all` those that all have.
    #[must_use]
    #[inline(always)]
    pub const fn used_as(self, any: u64, all: u64) -> Self {
        let young = Self(self.0 | any & bit::ACCESSED);
        let hardware_dirty = self.is_writable() && all & bit::READ_ONLY == 0;
        if any & bit::SW_DIRTY != 0 || hardware_dirty { young.dirty() } else { young }
    }

    /// Returns the raw bits of the level-2 entry that maps the 2 MiB from this entry's frame on.
    pub const fn block(self) -> u64 {
        self.0 & !(bit::PAGE_OR_TABLE | bit::CONTIGUOUS)
    }

    /// Reads a level-2 entry: what [`Pte::block`] was made of, `None` when it maps no block.
    pub const fn of_block(raw: u64) -> Option<Self> {
        if TablePte::decode(raw).is_none() && Self::is_present(raw) {
            Some(Self(raw | bit::PAGE_OR_TABLE))
        } else {
            None
        }
    }

    /// Tells whether an access by user code goes through this entry without a fault, on a machine
    /// whose hardware sets the access flag (`af`) and dirty state (`dbm`) or does not.
    pub const fn permits(self, write: bool, execute: bool, af: bool, dbm: bool) -> bool {
        let young = af || self.is_young();
        let read_ok = self.is_valid() && young;
        let write_ok = self.0 & bit::READ_ONLY == 0 || dbm && self.is_writable();
        read_ok && (!write || write_ok) && (!execute || self.is_executable())
    }

    const fn is_hardware_dirty(self) -> bool {
        self.0 & (bit::DBM | bit::READ_ONLY) == bit::DBM
    }
}

impl core::fmt::Debug for Pte {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let flag = |on, text| if on { text } else { "-" };
        write!(
            f,
            "Pte({:?} {}{}{}{}{}{})",
            self.pfn(),
            flag(self.is_valid(), "v"),
            flag(self.is_writable(), "w"),
            flag(self.is_executable(), "x"),
            flag(self.is_young(), "a"),
            flag(self.is_dirty(), "d"),
            flag(self.mem_type() == MemType::Tagged, "t"),
        )
    }
}

/// Permissions and memory type that many entries are to have: worked out once, applied to each.
#[derive(Clone, Copy, Debug)]
pub struct Rights {
    /// What an entry keeps.
    keep: u64,
    /// What it gets, but for `WRITE`.
    set: u64,
    write: bool,
}

impl Rights {
    /// Builds the rights that [`Pte::with_prot`] and [`Pte::with_mem_type`] give.
    pub fn new(prot: Prot, mem: MemType) -> Self {
        let access = match prot.is_empty() {
            true => bit::PRESENT_INVALID,
            false => bit::VALID | bit::USER | bit::NOT_GLOBAL,
        };
        let no_exec = if prot.contains(Prot::EXEC) { 0 } else { bit::USER_NX };
        let mem_bits = (mem as u64) << bit::ATTR_SHIFT;
        let of_rights = bit::VALID | bit::USER | bit::NOT_GLOBAL | bit::USER_NX | bit::DBM;
        Self {
            keep: !(of_rights | bit::ATTR_MASK),
            set: access | no_exec | mem_bits | bit::READ_ONLY,
            write: prot.contains(Prot::WRITE),
        }
    }

    /// Returns the entry with these rights, but `WRITE` only if `may_write`; access and dirty state
    /// are kept. Where only `WRITE` is given the entry stays valid without it: the first store is
    /// to fault and find a page that it can be given.
    #[must_use]
    #[inline(always)]
    pub const fn apply(self, pte: Pte, may_write: bool) -> Pte {
        let dirty = if pte.is_hardware_dirty() { bit::SW_DIRTY } else { 0 };
        let new = Pte(pte.0 & self.keep | self.set | dirty);
        let new = if self.write && may_write { new.writable() } else { new };
        if pte.is_frozen() { new.frozen() } else { new }
    }
}

/// An entry of level 0 to 2 that points to a table of the next level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct TablePte(u64);

impl TablePte {
    /// Builds the entry that points to `table`.
    pub const fn new(table: Pfn) -> Self {
        Self(table.base().get() | bit::VALID | bit::PAGE_OR_TABLE)
    }

    /// Reads raw bits of an entry of level 0 to 2; `None` when it points to no table.
    pub const fn decode(raw: u64) -> Option<Self> {
        const TABLE: u64 = bit::VALID | bit::PAGE_OR_TABLE;
        if raw & TABLE == TABLE { Some(Self(raw)) } else { None }
    }

    /// Returns the raw bits.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Returns the frame of the table.
    pub const fn table(self) -> Pfn {
        PhysAddr::new(self.0 & bit::ADDRESS).pfn()
    }
}

#[cfg(test)]
mod tests;
