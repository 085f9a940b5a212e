// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file turns identity registers into AT_HWCAP and AT_HWCAP2, as Linux does.
//!
//! The numbers are those of Linux's arch/arm64/include/uapi/asm/hwcap.h, the conditions those of
//! Documentation/arch/arm64/elf_hwcaps.rst. A capability is listed only when this kernel lets EL0
//! use it: SVE, SME, pointer authentication and BTI stay off, and so does CPUID, because EL0 reads
//! of identity registers are not emulated.

use crate::features::{IdRegs, Mte, field};

/// A capability: its bit, and the register field with the least value that gives it.
struct Cap {
    bit: u32,
    register: fn(&IdRegs) -> u64,
    shift: u32,
    at_least: u64,
}

const fn cap(bit: u32, register: fn(&IdRegs) -> u64, shift: u32, at_least: u64) -> Cap {
    Cap { bit, register, shift, at_least }
}

const fn isar0(id: &IdRegs) -> u64 {
    id.isar0
}

const fn isar1(id: &IdRegs) -> u64 {
    id.isar1
}

const fn mmfr2(id: &IdRegs) -> u64 {
    id.mmfr2
}

const fn pfr0(id: &IdRegs) -> u64 {
    id.pfr0
}

const fn pfr1(id: &IdRegs) -> u64 {
    id.pfr1
}

/// AT_HWCAP. FP and ASIMD are not here: their field is signed, 0xf meaning absent.
const HWCAP: &[Cap] = &[
    cap(3, isar0, 4, 1),   // AES
    cap(4, isar0, 4, 2),   // PMULL
    cap(5, isar0, 8, 1),   // SHA1
    cap(6, isar0, 12, 1),  // SHA2
    cap(7, isar0, 16, 1),  // CRC32
    cap(8, isar0, 20, 2),  // ATOMICS
    cap(12, isar0, 28, 1), // ASIMDRDM
    cap(13, isar1, 12, 1), // JSCVT
    cap(14, isar1, 16, 1), // FCMA
    cap(15, isar1, 20, 1), // LRCPC
    cap(16, isar1, 0, 1),  // DCPOP
    cap(17, isar0, 32, 1), // SHA3
    cap(18, isar0, 36, 1), // SM3
    cap(19, isar0, 40, 1), // SM4
    cap(20, isar0, 44, 1), // ASIMDDP
    cap(21, isar0, 12, 2), // SHA512
    cap(23, isar0, 48, 1), // ASIMDFHM
    cap(24, pfr0, 48, 1),  // DIT
    cap(25, mmfr2, 32, 1), // USCAT
    cap(26, isar1, 20, 2), // ILRCPC
    cap(27, isar0, 52, 1), // FLAGM
    cap(28, pfr1, 4, 2),   // SSBS, with the MSR form
    cap(29, isar1, 36, 1), // SB
];

/// AT_HWCAP2.
const HWCAP2: &[Cap] = &[
    cap(0, isar1, 0, 2),   // DCPODP
    cap(7, isar0, 52, 2),  // FLAGM2
    cap(8, isar1, 32, 1),  // FRINT
    cap(13, isar1, 52, 1), // I8MM
    cap(14, isar1, 44, 1), // BF16
    cap(15, isar1, 48, 1), // DGH
    cap(16, isar0, 60, 1), // RNG
];

/// EVTSTRM: the timer's event stream is on (see `timer.rs`).
const HWCAP_EVTSTRM: u64 = 1 << 2;
/// MTE and MTE3.
const HWCAP2_MTE: u64 = 1 << 18;
const HWCAP2_MTE3: u64 = 1 << 22;

/// Returns AT_HWCAP and AT_HWCAP2. Tags are listed only if the kernel uses them (`mte`).
pub fn hwcaps(id: &IdRegs, mte: Mte) -> (u64, u64) {
    let select = |caps: &[Cap]| {
        caps.iter()
            .filter(|cap| field((cap.register)(id), cap.shift) >= cap.at_least)
            .fold(0, |bits, cap| bits | 1 << cap.bit)
    };
    let mte = match mte {
        Mte::None => 0,
        Mte::Tags => HWCAP2_MTE,
        Mte::Asymmetric => HWCAP2_MTE | HWCAP2_MTE3,
    };
    (select(HWCAP) | floating_point(id) | HWCAP_EVTSTRM, select(HWCAP2) | mte)
}

/// FP (bit 0) and FPHP (9), ASIMD (1) and ASIMDHP (10).
fn floating_point(id: &IdRegs) -> u64 {
    let bits = |value, base: u64, half_precision: u64| match value {
        0 => base,
        1 => base | half_precision,
        _ => 0,
    };
    bits(field(id.pfr0, 16), 1 << 0, 1 << 9) | bits(field(id.pfr0, 20), 1 << 1, 1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::tests::QEMU_MAX;

    #[test]
    fn armv8_0_baseline_is_fp_and_asimd_only() {
        assert_eq!(hwcaps(&IdRegs::default(), Mte::None), (0b11 | HWCAP_EVTSTRM, 0));
    }

    #[test]
    fn absent_fp_is_the_all_ones_field() {
        let id = IdRegs { pfr0: 0xff << 16, ..IdRegs::default() };
        assert_eq!(hwcaps(&id, Mte::None).0, HWCAP_EVTSTRM);
    }

    #[test]
    fn mte3_implies_mte() {
        let hwcap2 = |mte| hwcaps(&IdRegs::default(), mte).1;
        assert_eq!(hwcap2(Mte::Asymmetric), HWCAP2_MTE | HWCAP2_MTE3);
        assert_eq!(hwcap2(Mte::Tags), HWCAP2_MTE);
    }

    #[test]
    fn qemu_max_has_exactly_these() {
        let (hwcap, hwcap2) = hwcaps(&QEMU_MAX, Mte::Asymmetric);
        // FP ASIMD EVTSTRM AES PMULL SHA1 SHA2 CRC32 ATOMICS FPHP ASIMDHP; ASIMDRDM JSCVT FCMA
        // LRCPC DCPOP SHA3 SM3 SM4 ASIMDDP SHA512; ASIMDFHM DIT; ILRCPC FLAGM SSBS SB. Not CPUID,
        // SVE, USCAT, PACA, PACG.
        assert_eq!(hwcap, 0x3dbf_f7ff);
        // DCPODP FLAGM2 FRINT; I8MM BF16 DGH RNG; MTE MTE3. Nothing of SVE, no BTI.
        assert_eq!(hwcap2, 0x45_e181);
    }
}
