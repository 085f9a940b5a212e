// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds accessors of system registers that `aarch64-cpu` lacks, one instruction each.

#![expect(unsafe_code, reason = "MRS and MSR")]

/// Declares accessors: a reader, and a writer where it is named too.
macro_rules! registers {
    ($($(#[$doc:meta])* $register:literal: $read:ident $(, $write:ident)?;)*) => {
        $(
            $(#[$doc])*
            #[inline(always)]
            pub fn $read() -> u64 {
                let value: u64;
                // SAFETY: reading a register of EL1 has no effect on memory.
                unsafe {
                    core::arch::asm!(
                        concat!("mrs {}, ", $register),
                        out(reg) value,
                        options(nomem, nostack, preserves_flags)
                    );
                }
                value
            }
            $(
                /// Writes the register of the same name.
                ///
                /// # Safety
                ///
                /// The value keeps every promise the kernel's code relies on: its mappings,
                /// its vectors, and checks of its own accesses that stay off.
                #[inline(always)]
                pub(crate) unsafe fn $write(value: u64) {
                    // SAFETY: the caller's promise. Memory accesses must not move across it.
                    unsafe {
                        core::arch::asm!(
                            concat!("msr ", $register, ", {}"),
                            in(reg) value,
                            options(nostack, preserves_flags)
                        );
                    }
                }
            )?
        )*
    };
}

registers! {
    /// Reads TFSRE0_EL1: asynchronous tag-check faults of EL0 (Arm ARM D24.2.198).
    "S3_0_C5_C6_1": tfsre0_el1, set_tfsre0_el1;
    /// Reads GCR_EL1: which tags IRG may not generate (Arm ARM D24.2.44).
    "S3_0_C1_C0_6": gcr_el1, set_gcr_el1;
    /// Reads RGSR_EL1: the seed of IRG (Arm ARM D24.2.136).
    "S3_0_C1_C0_5": rgsr_el1, set_rgsr_el1;
    /// Reads GMID_EL1: the block size of LDGM and STGM (Arm ARM D24.2.45).
    "S3_1_C0_C0_4": gmid_el1;
    /// Reads ID_AA64ISAR2_EL1: instructions the CPU has.
    "S3_0_C0_C6_2": id_aa64isar2_el1;
    /// Reads DCZID_EL0: the block size of DC ZVA (Arm ARM D24.2.34).
    "DCZID_EL0": dczid_el0;
    /// Reads CTR_EL0: cache line sizes (Arm ARM D24.2.33).
    "CTR_EL0": ctr_el0;
    /// Reads ISR_EL1: which interrupts are pending (Arm ARM D24.2.88).
    "ISR_EL1": isr_el1;
    /// Reads SCTLR_EL1. `aarch64-cpu` does not know its tag-checking fields.
    "SCTLR_EL1": sctlr_el1, set_sctlr_el1;
    /// Reads TCR_EL1. `aarch64-cpu` does not know E0PD1 and TCMA1.
    "TCR_EL1": tcr_el1, set_tcr_el1;
    /// Reads MAIR_EL1.
    "MAIR_EL1": mair_el1, set_mair_el1;
    /// Reads TTBR0_EL1.
    "TTBR0_EL1": ttbr0_el1, set_ttbr0_el1;
    /// Reads TTBR1_EL1.
    "TTBR1_EL1": ttbr1_el1;
    /// Reads FAR_EL1.
    "FAR_EL1": far_el1;
    /// Reads MPIDR_EL1.
    "MPIDR_EL1": mpidr_el1;
    /// Reads TPIDR_EL1: this kernel's CPU index.
    "TPIDR_EL1": tpidr_el1;
    /// Reads TPIDR_EL0: the user thread pointer.
    "TPIDR_EL0": tpidr_el0, set_tpidr_el0;
    /// Reads CurrentEL.
    "CurrentEL": current_el;
    /// Reads PAR_EL1: the result of an address translation (Arm ARM D24.2.121).
    "PAR_EL1": par_el1;
    /// Reads CNTKCTL_EL1: what EL0 may do with the timers, and the event stream.
    "CNTKCTL_EL1": cntkctl_el1;
    /// Reads PMCR_EL0: the PMU as a whole (Arm ARM D24.5.7).
    "PMCR_EL0": pmcr_el0, set_pmcr_el0;
    /// Reads PMCNTENSET_EL0: which counters count (Arm ARM D24.5.6).
    "PMCNTENSET_EL0": pmcntenset_el0, set_pmcntenset_el0;
    /// Reads PMEVTYPER0_EL0: what counter 0 counts (Arm ARM D24.5.12).
    "PMEVTYPER0_EL0": pmevtyper0_el0, set_pmevtyper0_el0;
    /// Reads PMUSERENR_EL0: what EL0 may do with the PMU (Arm ARM D24.5.17).
    "PMUSERENR_EL0": pmuserenr_el0, set_pmuserenr_el0;
    /// Reads PSTATE.DAIF.
    "DAIF": daif;
    /// Reads PSTATE.PAN.
    "S3_0_C4_C2_3": pan;
}
