// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file encodes the translation-table descriptors of the kernel's own mappings (Arm ARM
//! D8.3, 4 KiB granule, stage 1, EL1&0).

use base::PhysAddr;

/// Entries in one table.
pub const ENTRIES: usize = 512;

/// Bit 0: the entry is used at all.
pub const VALID: u64 = 1;
/// Bits 1:0 of a table descriptor, and of a page descriptor at L3.
pub const TABLE_OR_PAGE: u64 = 0b11;
/// Bits 1:0 of a block descriptor at L1 and L2.
pub const BLOCK: u64 = 0b01;
/// AP[2] (bit 7): read-only.
pub const READ_ONLY: u64 = 1 << 7;
/// AP[1] (bit 6): EL0 may access.
pub const USER: u64 = 1 << 6;
/// Inner shareable (SH, bits 9:8).
pub const INNER_SHAREABLE: u64 = 0b11 << 8;
/// Access flag (bit 10).
pub const ACCESSED: u64 = 1 << 10;
/// Not global: tagged with an ASID (bit 11).
pub const NOT_GLOBAL: u64 = 1 << 11;
/// Dirty-bit modifier (bit 51): hardware may clear AP[2].
pub const DIRTY_MODIFIER: u64 = 1 << 51;
/// Privileged execute-never (bit 53).
pub const PRIVILEGED_NO_EXECUTE: u64 = 1 << 53;
/// Unprivileged execute-never (bit 54).
pub const USER_NO_EXECUTE: u64 = 1 << 54;

/// Output address bits of a page, block or table descriptor (48-bit addresses).
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// Memory types, by their index in MAIR_EL1. The indices are Linux's
/// (arch/arm64/include/asm/memory.h), so that a dump reads the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum MemoryType {
    /// Normal, write-back.
    Normal = 0,
    /// Normal, write-back, with allocation tags; plain Normal on a machine without.
    NormalTagged = 1,
    /// Normal, not cached.
    NormalNonCacheable = 2,
    /// Device-nGnRnE.
    DeviceStrict = 3,
    /// Device-nGnRE.
    Device = 4,
}

impl MemoryType {
    /// AttrIndx, bits 4:2 of a descriptor.
    pub const fn bits(self) -> u64 {
        (self as u64) << 2
    }

    const fn mair_attribute(self, value: u64) -> u64 {
        value << (8 * self as u64)
    }
}

/// MAIR_EL1 on a CPU without allocation tags (Arm ARM D24.2.109).
pub const MAIR: u64 = mair(0xff);
/// MAIR_EL1 on a CPU with allocation tags: attribute 0xf0 is Normal write-back *Tagged*.
pub const MAIR_TAGGED: u64 = mair(0xf0);

const fn mair(tagged: u64) -> u64 {
    MemoryType::Normal.mair_attribute(0xff)
        | MemoryType::NormalTagged.mair_attribute(tagged)
        | MemoryType::NormalNonCacheable.mair_attribute(0x44)
        | MemoryType::DeviceStrict.mair_attribute(0x00)
        | MemoryType::Device.mair_attribute(0x04)
}

/// What may be done with a kernel mapping. There is no value for writable and executable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protection {
    /// Kernel code.
    ReadExecute,
    /// Constants, and the linear-map alias of code.
    Read,
    /// Everything else.
    ReadWrite,
}

/// Returns the attribute bits of a kernel mapping, for blocks and pages alike.
pub const fn kernel_attributes(protection: Protection, memory_type: MemoryType) -> u64 {
    let permission = match protection {
        Protection::ReadExecute => READ_ONLY | USER_NO_EXECUTE,
        Protection::Read => READ_ONLY | USER_NO_EXECUTE | PRIVILEGED_NO_EXECUTE,
        Protection::ReadWrite => USER_NO_EXECUTE | PRIVILEGED_NO_EXECUTE,
    };
    VALID | ACCESSED | INNER_SHAREABLE | memory_type.bits() | permission
}

/// Returns a page descriptor (L3).
pub const fn page(to: PhysAddr, attributes: u64) -> u64 {
    to.get() & ADDRESS | attributes | TABLE_OR_PAGE
}

/// Returns a block descriptor (L1 or L2).
pub const fn block(to: PhysAddr, attributes: u64) -> u64 {
    to.get() & ADDRESS | attributes | BLOCK
}

/// Returns a table descriptor (L0 to L2) that restricts nothing.
pub const fn table(to: PhysAddr) -> u64 {
    to.get() & ADDRESS | TABLE_OR_PAGE
}

/// Returns the address a valid descriptor points to.
pub const fn output(descriptor: u64) -> PhysAddr {
    PhysAddr::new(descriptor & ADDRESS)
}

/// Tells whether an L0 to L2 descriptor points to a table.
pub const fn is_table(descriptor: u64) -> bool {
    descriptor & TABLE_OR_PAGE == TABLE_OR_PAGE
}

/// Returns the index into the table of `level` (0 to 3) for an address.
pub const fn index(va: usize, level: u32) -> usize {
    (va >> level_shift(level)) & (ENTRIES - 1)
}

/// Returns log2 of what one entry of `level` covers.
pub const fn level_shift(level: u32) -> u32 {
    39 - 9 * level
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mair_places_each_attribute_at_its_index() {
        assert_eq!(MAIR_TAGGED, 0x04_00_44_f0_ff);
        assert_eq!(MAIR, 0x04_00_44_ff_ff);
    }

    #[test]
    fn kernel_attributes_never_grant_write_and_execute() {
        for protection in [Protection::ReadExecute, Protection::Read, Protection::ReadWrite] {
            let bits = kernel_attributes(protection, MemoryType::Normal);
            let is_writable = bits & READ_ONLY == 0;
            let is_executable = bits & PRIVILEGED_NO_EXECUTE == 0;
            assert!(!(is_writable && is_executable), "{protection:?}");
            assert_ne!(bits & USER_NO_EXECUTE, 0, "{protection:?}");
            assert_eq!(bits & USER, 0, "{protection:?}");
        }
    }

    #[test]
    fn page_descriptor_of_text_has_the_encoding_of_the_architecture() {
        let text = kernel_attributes(Protection::ReadExecute, MemoryType::Normal);
        // UXN | AF | SH inner | AP[2] | valid page, AttrIndx 0
        assert_eq!(page(PhysAddr::new(0x4020_1000), text), 0x0040_0000_4020_1783);
        assert_eq!(block(PhysAddr::new(0x4020_0000), text), 0x0040_0000_4020_0781);
    }

    #[test]
    fn index_takes_nine_bits_a_level() {
        let va = 0xffff_8000_0060_3000;
        assert_eq!([index(va, 0), index(va, 1), index(va, 2), index(va, 3)], [256, 0, 3, 3]);
    }
}
