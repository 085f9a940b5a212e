// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file chooses the values of the registers that control translation and checking (SCTLR_EL1,
//! TCR_EL1, HCR_EL2). boot/head.S loads the ones that every CPU can take; [`crate::cpu`] adds what
//! the CPU at hand has.

/// SCTLR_EL1 fields (Arm ARM D24.2.175).
pub mod sctlr {
    /// MMU on.
    pub const M: u64 = 1 << 0;
    /// Data cache on.
    pub const C: u64 = 1 << 2;
    /// SP alignment checked at EL1 and EL0.
    pub const SA_SA0: u64 = 0b11 << 3;
    /// Instruction cache on.
    pub const I: u64 = 1 << 12;
    /// EL0 may use DC ZVA.
    pub const DZE: u64 = 1 << 14;
    /// EL0 may read CTR_EL0.
    pub const UCT: u64 = 1 << 15;
    /// EL0 may execute WFI and WFE.
    pub const NTWI_NTWE: u64 = 1 << 16 | 1 << 18;
    /// Clear: an exception to EL1 sets PSTATE.PAN.
    pub const SPAN: u64 = 1 << 23;
    /// EL0 may clean and invalidate caches by address.
    pub const UCI: u64 = 1 << 26;
    /// Tag-check faults of EL0 are complete when an exception to EL1 has been taken.
    pub const ITFSB: u64 = 1 << 37;
    /// How tag-check faults at EL0 are reported, also of unprivileged accesses at EL1.
    pub const TCF0_SHIFT: u32 = 38;
    /// The two bits of TCF0.
    pub const TCF0: u64 = 0b11 << TCF0_SHIFT;
    /// The same for EL1. 0: the kernel's own accesses are not checked.
    pub const TCF: u64 = 0b11 << 40;
    /// EL0 may access allocation tags.
    pub const ATA0: u64 = 1 << 42;
    /// EL1 may access allocation tags.
    pub const ATA: u64 = 1 << 43;
    /// PAN also covers pages that EL0 may only execute.
    pub const EPAN: u64 = 1 << 57;
    /// The bits that depend on the CPU's features.
    pub const OF_FEATURES: u64 = ITFSB | ATA0 | ATA | EPAN;
    /// RES1, or 1 for the behaviour of Armv8.0: LSMAOE, nTLSMD, EIS, TSCXT, EOS, SED, ITD.
    const ONES: u64 = 1 << 29 | 1 << 28 | 1 << 22 | 1 << 20 | 1 << 11 | 1 << 8 | 1 << 7;

    /// Value while the MMU is off.
    pub const MMU_OFF: u64 = ONES;
    /// Value of a running CPU, without what depends on its features. SPAN stays clear. All
    /// accesses may be misaligned (A, bit 1, clear); no page is execute-never because it is
    /// writable (WXN clear): no kernel mapping is both, and user ones are for `mm` to decide.
    pub const RUNNING: u64 = ONES | M | C | SA_SA0 | I | DZE | UCT | NTWI_NTWE | UCI;
}

/// TCR_EL1 fields (Arm ARM D24.2.196).
pub mod tcr {
    /// Hardware sets the access flag.
    pub const HA: u64 = 1 << 39;
    /// Hardware manages dirty state.
    pub const HD: u64 = 1 << 40;
    /// The top byte of kernel *data* addresses is ignored: tag instructions take the tag from
    /// there. TBID1: instruction addresses keep it.
    pub const TBI1_TBID1: u64 = 1 << 38 | 1 << 52;
    /// Kernel accesses through addresses with logical tag 0xf, which is every plain kernel pointer,
    /// are not checked.
    pub const TCMA1: u64 = 1 << 58;
    /// EL0 accesses to the kernel half fault without a walk.
    pub const E0PD1: u64 = 1 << 56;

    /// The bits that depend on the CPU's features.
    pub const OF_FEATURES: u64 = HA | HD | TBI1_TBID1 | TCMA1 | E0PD1;

    /// 64 - 48 address bits.
    const T0SZ_T1SZ: u64 = 16 | 16 << 16;
    /// Walks are inner shareable and write-back cached in both halves.
    const WALKS: u64 = (0b01 | 0b01 << 2 | 0b11 << 4) << 8 | (0b01 | 0b01 << 2 | 0b11 << 4) << 24;
    /// TG1: 4 KiB granule. (TG0 is 0 for that.)
    const TG1: u64 = 0b10 << 30;
    /// 16-bit ASIDs, taken from TTBR0_EL1 (A1 clear).
    const AS: u64 = 1 << 36;
    /// The top byte of user addresses is ignored, as Linux's user ABI has it.
    const TBI0: u64 = 1 << 37;

    /// Value that every CPU can take. boot/head.S adds IPS.
    pub const EARLY: u64 = T0SZ_T1SZ | WALKS | TG1 | AS | TBI0;
}

/// HCR_EL2 while the kernel runs at EL1 under an empty EL2 (Arm ARM D24.2.48): RW (EL1 is AArch64);
/// APK, API, ATA (no trap of pointer authentication or allocation tags).
pub const HCR_EL2: u64 = 1 << 31 | 1 << 40 | 1 << 41 | 1 << 56;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_value_checks_nothing_of_the_kernels_own_accesses() {
        assert_eq!(sctlr::RUNNING & (sctlr::TCF | sctlr::TCF0 | sctlr::SPAN), 0);
        assert_eq!(sctlr::RUNNING & (1 << 1 | 1 << 19 | 1 << 25), 0, "A, WXN, EE");
    }

    #[test]
    fn tcr_has_4_kib_granules_and_48_bits_in_both_halves() {
        assert_eq!(tcr::EARLY & 0x3f, 16);
        assert_eq!(tcr::EARLY >> 16 & 0x3f, 16);
        assert_eq!(tcr::EARLY >> 14 & 0b11, 0b00, "TG0");
        assert_eq!(tcr::EARLY >> 30 & 0b11, 0b10, "TG1");
        assert_eq!(tcr::EARLY >> 8 & 0x3f, 0x35, "SH0 ORGN0 IRGN0");
        assert_eq!(tcr::EARLY >> 24 & 0x3f, 0x35, "SH1 ORGN1 IRGN1");
    }
}
