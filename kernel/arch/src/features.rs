// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads the identity registers: what the CPU has, and what Linux would tell user
//! programs about it.
//!
//! Decoding is pure and tested on the host; only [`IdRegs::read`] needs the machine.

use crate::descriptor;

/// Raw identity registers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct IdRegs {
    /// ID_AA64ISAR0_EL1.
    pub isar0: u64,
    /// ID_AA64ISAR1_EL1.
    pub isar1: u64,
    /// ID_AA64ISAR2_EL1.
    pub isar2: u64,
    /// ID_AA64MMFR0_EL1.
    pub mmfr0: u64,
    /// ID_AA64MMFR1_EL1.
    pub mmfr1: u64,
    /// ID_AA64MMFR2_EL1.
    pub mmfr2: u64,
    /// ID_AA64PFR0_EL1.
    pub pfr0: u64,
    /// ID_AA64PFR1_EL1.
    pub pfr1: u64,
}

impl IdRegs {
    /// Reads the registers of the running CPU.
    #[cfg(target_os = "none")]
    pub fn read() -> Self {
        use aarch64_cpu::registers::*;
        Self {
            isar0: ID_AA64ISAR0_EL1.get(),
            isar1: ID_AA64ISAR1_EL1.get(),
            isar2: crate::sysreg::id_aa64isar2_el1(),
            mmfr0: ID_AA64MMFR0_EL1.get(),
            mmfr1: ID_AA64MMFR1_EL1.get(),
            mmfr2: ID_AA64MMFR2_EL1.get(),
            pfr0: ID_AA64PFR0_EL1.get(),
            pfr1: ID_AA64PFR1_EL1.get(),
        }
    }
}

/// Returns the 4-bit field of an identity register at `shift`.
pub(crate) const fn field(register: u64, shift: u32) -> u64 {
    register >> shift & 0xf
}

/// How much of the memory tagging extension there is (ID_AA64PFR1_EL1.MTE).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Mte {
    /// Nothing that a kernel could use. Tag instructions without tag memory count as nothing.
    #[default]
    None,
    /// Allocation tags, synchronous and asynchronous checks (FEAT_MTE2).
    Tags,
    /// Asymmetric checks as well (FEAT_MTE3).
    Asymmetric,
}

/// What the kernel uses of the CPU.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CpuFeatures {
    /// FEAT_MTE2 and FEAT_MTE3.
    pub mte: Mte,
    /// FEAT_HAFDBS: hardware sets the access flag.
    pub hw_access_flag: bool,
    /// FEAT_HAFDBS: hardware manages dirty state.
    pub hw_dirty: bool,
    /// FEAT_TLBIRANGE.
    pub tlbi_range: bool,
    /// FEAT_TTL: a TLBI may say which level it is about.
    pub tlbi_level: bool,
    /// 16-bit ASIDs.
    pub asid16: bool,
    /// FEAT_RNG: RNDR.
    pub rndr: bool,
    /// FEAT_MOPS: instructions that copy and fill memory.
    pub mops: bool,
    /// FEAT_E0PD: EL0 accesses to the kernel half fault without a walk.
    pub e0pd: bool,
    /// FEAT_PAN3: PAN also covers execute-only user pages.
    pub epan: bool,
    /// A fault of the machine, found by trying: granules of a page share two tags. Set at boot.
    pub coarse_tags: bool,
}

impl CpuFeatures {
    /// Decodes identity registers.
    pub const fn decode(id: &IdRegs) -> Self {
        let hafdbs = field(id.mmfr1, 0);
        Self {
            mte: match field(id.pfr1, 8) {
                0 | 1 => Mte::None,
                2 => Mte::Tags,
                _ => Mte::Asymmetric,
            },
            hw_access_flag: hafdbs >= 1,
            hw_dirty: hafdbs >= 2,
            tlbi_range: field(id.isar0, 56) >= 2,
            tlbi_level: field(id.mmfr2, 48) >= 1,
            asid16: field(id.mmfr0, 4) >= 2,
            rndr: field(id.isar0, 60) >= 1,
            mops: field(id.isar2, 16) >= 1,
            e0pd: field(id.mmfr2, 60) >= 1,
            epan: field(id.mmfr1, 20) >= 3,
            coarse_tags: false,
        }
    }

    /// Tells whether memory has allocation tags.
    pub const fn has_tags(&self) -> bool {
        !matches!(self.mte, Mte::None)
    }

    /// Returns MAIR_EL1 for this CPU.
    pub const fn mair(&self) -> u64 {
        if self.has_tags() { descriptor::MAIR_TAGGED } else { descriptor::MAIR }
    }

    /// Returns what both have: the boot CPU's features hold for the machine only as far as every
    /// other CPU has them too.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        Self {
            mte: self.mte.min(other.mte),
            hw_access_flag: self.hw_access_flag && other.hw_access_flag,
            hw_dirty: self.hw_dirty && other.hw_dirty,
            tlbi_range: self.tlbi_range && other.tlbi_range,
            tlbi_level: self.tlbi_level && other.tlbi_level,
            asid16: self.asid16 && other.asid16,
            rndr: self.rndr && other.rndr,
            mops: self.mops && other.mops,
            e0pd: self.e0pd && other.e0pd,
            epan: self.epan && other.epan,
            coarse_tags: self.coarse_tags || other.coarse_tags,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `-M virt,mte=on -cpu max` of QEMU 7.2.
    pub const QEMU_MAX: IdRegs = IdRegs {
        isar0: 0x1221_1111_1021_2120,
        isar1: 0x0011_1111_0121_1012,
        isar2: 0,
        mmfr0: 0x0000_0323_1020_1126,
        mmfr1: 0x0000_0110_1021_1122,
        mmfr2: 0x1021_0110_1001_1011,
        pfr0: 0x1201_0011_2111_0022,
        pfr1: 0x0000_0000_0100_0321,
    };

    #[test]
    fn qemu_max_has_what_it_says() {
        assert_eq!(
            CpuFeatures::decode(&QEMU_MAX),
            CpuFeatures {
                mte: Mte::Asymmetric,
                hw_access_flag: true,
                hw_dirty: true,
                tlbi_range: true,
                tlbi_level: true,
                asid16: true,
                rndr: true,
                mops: false,
                e0pd: true,
                epan: false,
                coarse_tags: false,
            }
        );
    }

    #[test]
    fn tag_instructions_without_tag_memory_are_no_mte() {
        let id = IdRegs { pfr1: 0x100, ..QEMU_MAX };
        assert_eq!(CpuFeatures::decode(&id).mte, Mte::None);
        assert_eq!(CpuFeatures::decode(&id).mair(), descriptor::MAIR);
    }

    #[test]
    fn access_flag_without_dirty_is_a_cpu_of_its_own() {
        let id = IdRegs { mmfr1: 0x1, ..QEMU_MAX };
        let features = CpuFeatures::decode(&id);
        assert!(features.hw_access_flag && !features.hw_dirty);
    }
}
