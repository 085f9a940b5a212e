// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads translation-table entries as hardware does: VMSAv8-64, 4 KiB granule, stage 1.
//!
//! It is written from the Arm ARM and shares nothing with the `pgtable` crate, so that the machine
//! judges the kernel's entries independently (DDI 0487 D8.3, "VMSAv8-64 descriptor
//! formats"; D8.4, "Memory access control"; D8.5, "Hardware updates to the translation tables").

use base::Pfn;

use crate::user_mem::Access;

/// Bit 0: the entry translates.
const VALID: u64 = 1 << 0;
/// Bit 1: a table at levels 0 to 2, a page at level 3; clear, a block (reserved at level 3).
const TABLE_OR_PAGE: u64 = 1 << 1;
/// AttrIndx, bits 4:2.
const ATTR_SHIFT: u32 = 2;
/// AP\[1\]: EL0 may access.
const EL0: u64 = 1 << 6;
/// AP\[2\]: read-only.
const READ_ONLY: u64 = 1 << 7;
/// SH, bits 9:8.
const SH: u64 = 3 << 8;
const SH_INNER: u64 = 3 << 8;
/// AF: accessed.
const ACCESSED: u64 = 1 << 10;
/// nG: the translation belongs to one ASID.
const NOT_GLOBAL: u64 = 1 << 11;
/// Output address, bits 47:12.
const OUTPUT: u64 = 0x0000_ffff_ffff_f000;
/// DBM: read-only means writable-clean, where hardware manages dirty state.
const DBM: u64 = 1 << 51;
/// Contiguous: one of 16 entries that translate one run.
const CONTIGUOUS: u64 = 1 << 52;
/// PXN: EL1 may not execute.
const PXN: u64 = 1 << 53;
/// UXN: EL0 may not execute.
const UXN: u64 = 1 << 54;
/// Bits 58:55 are software's; bits 62:59 of a page or block entry are ignored without FEAT_HPDS2.
const IGNORED: u64 = 0xff << 55;
/// UXNTable: nothing below may be executed at EL0.
const UXN_TABLE: u64 = 1 << 60;
/// APTable\[0\]: nothing below may be accessed at EL0.
const NO_EL0_TABLE: u64 = 1 << 61;
/// APTable\[1\]: nothing below may be written.
const READ_ONLY_TABLE: u64 = 1 << 62;

/// Entries in a contiguous run.
pub(super) const RUN: u16 = 16;

/// What memory an entry maps, by its index into MAIR_EL1. `arch` programs the same three.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryType {
    /// Index 0: Normal write-back.
    Normal,
    /// Index 1: Normal write-back with allocation tags.
    Tagged,
    /// Index 2: Device-nGnRE.
    Device,
}

/// One valid entry, as a level of the walk reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entry {
    /// Points to a table of the next level.
    Table(TableEntry),
    /// Translates a page (level 3) or a block.
    Leaf(LeafEntry),
}

/// A table descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TableEntry(u64);

/// A page or block descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LeafEntry(u64);

/// Restrictions that table entries on the way put on everything below.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Limits(u64);

/// What an access gets from a leaf entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Permit {
    Yes,
    No,
    /// A store, once hardware has made the entry dirty.
    OnceDirty,
}

impl Entry {
    /// Reads an entry of `level`; `None` when it is invalid there.
    pub(super) const fn read(value: u64, level: u8) -> Option<Self> {
        match (value & VALID != 0, value & TABLE_OR_PAGE != 0, level) {
            (true, true, 0..=2) => Some(Self::Table(TableEntry(value))),
            (true, true, _) | (true, false, 1 | 2) => Some(Self::Leaf(LeafEntry(value))),
            // A level 0 block needs FEAT_LPA2; a level 3 entry with bit 1 clear is reserved.
            (true, false, _) | (false, _, _) => None,
        }
    }
}

/// Tells whether `value` is valid at some level.
pub(super) const fn is_valid(value: u64) -> bool {
    value & VALID != 0
}

/// Returns the frames a valid entry names whatever its level: one for a table or page, 512 for a
/// block of level 2, which has another encoding.
pub(super) const fn frames_named(value: u64) -> (Pfn, u32) {
    (output(value), if value & TABLE_OR_PAGE != 0 { 1 } else { 512 })
}

const fn output(value: u64) -> Pfn {
    Pfn::new(((value & OUTPUT) >> 12) as u32)
}

impl TableEntry {
    /// Returns the next table.
    pub(super) const fn next(self) -> Pfn {
        output(self.0)
    }

    /// Returns `limits` and this table's own.
    pub(super) const fn limits(self, limits: Limits) -> Limits {
        Limits(limits.0 | self.0 & (UXN_TABLE | NO_EL0_TABLE | READ_ONLY_TABLE))
    }
}

impl LeafEntry {
    /// Returns the raw entry.
    pub(super) const fn raw(self) -> u64 {
        self.0
    }

    /// Returns the first frame it translates to.
    pub(super) const fn frame(self) -> Pfn {
        output(self.0)
    }

    /// Returns the memory type, `None` for an index that nobody programs.
    pub(super) const fn memory_type(self) -> Option<MemoryType> {
        match (self.0 >> ATTR_SHIFT) & 7 {
            0 => Some(MemoryType::Normal),
            1 => Some(MemoryType::Tagged),
            2 => Some(MemoryType::Device),
            _ => None,
        }
    }

    /// Tells whether the access flag is set.
    pub(super) const fn is_accessed(self) -> bool {
        self.0 & ACCESSED != 0
    }

    /// Returns the entry with its access flag set.
    pub(super) const fn accessed(self) -> Self {
        Self(self.0 | ACCESSED)
    }

    /// Returns the entry as a store through it leaves it (D8.5: AP\[2\] cleared).
    pub(super) const fn dirty(self) -> Self {
        Self(self.0 & !READ_ONLY)
    }

    /// Returns the entry with the output address of another.
    pub(super) const fn at_frame_of(self, other: Self) -> Self {
        Self(self.0 & !OUTPUT | other.0 & OUTPUT)
    }

    /// Tells whether the entry is one of a contiguous run.
    pub(super) const fn is_contiguous(self) -> bool {
        self.0 & CONTIGUOUS != 0
    }

    /// Decides over an access from EL0.
    pub(super) const fn permits(self, limits: Limits, access: Access, hw_dirty: bool) -> Permit {
        let is_user = self.0 & EL0 != 0 && limits.0 & NO_EL0_TABLE == 0;
        let is_permitted = match access {
            Access::Read => is_user,
            Access::Write => is_user && limits.0 & READ_ONLY_TABLE == 0,
            // AP[1] does not matter: an execute-only page is one that EL0 may not read.
            Access::Execute => self.0 & UXN == 0 && limits.0 & UXN_TABLE == 0,
        };
        match access {
            _ if !is_permitted => Permit::No,
            Access::Write if self.0 & READ_ONLY == 0 => Permit::Yes,
            Access::Write if hw_dirty && self.0 & DBM != 0 => Permit::OnceDirty,
            Access::Write => Permit::No,
            Access::Read | Access::Execute => Permit::Yes,
        }
    }

    /// Tells whether hardware manages the entry's dirty state: a store from EL0 may change it.
    pub(super) const fn is_dirty_managed(self, limits: Limits) -> bool {
        self.0 & DBM != 0 && self.0 & EL0 != 0 && limits.0 & (NO_EL0_TABLE | READ_ONLY_TABLE) == 0
    }

    /// Tells whether two entries agree in memory type and contiguity. With the output address and
    /// the level, these are what only break-before-make may change (D8.17).
    pub(super) fn is_same_kind(self, other: Self) -> bool {
        self.memory_type() == other.memory_type() && self.is_contiguous() == other.is_contiguous()
    }

    /// Tells whether two entries of one contiguous run agree but for output address, access flag,
    /// dirty state, permissions and software's bits. Permissions may differ while the kernel
    /// changes them entry by entry; until it has invalidated, either may apply (D8.7).
    pub(super) const fn agrees_in_run(self, other: Self) -> bool {
        let may_differ = OUTPUT | ACCESSED | DBM | EL0 | READ_ONLY | UXN | IGNORED;
        (self.0 ^ other.0) & !may_differ == 0
    }

    /// Returns what is wrong with the entry as a mapping of user memory, if anything is.
    pub(super) const fn fault_in_entry(self, level: u8) -> Option<&'static str> {
        let low_frames = if level == 2 { 511 } else { 0 };
        if level == 1 {
            Some("a 1 GiB block")
        } else if self.memory_type().is_none() {
            Some("AttrIndx beyond MAIR_EL1")
        } else if self.0 & NOT_GLOBAL == 0 {
            Some("a global entry, which no ASID invalidation removes")
        } else if self.0 & SH != SH_INNER && self.0 >> ATTR_SHIFT & 7 != 2 {
            Some("Normal memory that is not inner shareable")
        } else if self.0 & PXN == 0 {
            Some("PXN clear: the kernel could execute it")
        } else if self.frame().get() & low_frames != 0 {
            Some("a block that is not aligned to its size")
        } else if level == 2 && self.is_contiguous() {
            Some("a contiguous run of blocks")
        } else {
            None
        }
    }
}
