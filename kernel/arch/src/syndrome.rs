// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file decodes exception syndromes (ESR_EL1) into the words of `hal`: pure functions, tested
//! on the host.

use base::VirtAddr;
use hal::{Access, FaultCause, MemFault, Trap};

/// Exception classes, ESR_EL1.EC (Arm ARM D24.2.40, table of EC values).
pub mod class {
    /// SVC in AArch64 state.
    pub const SVC: u64 = 0x15;
    /// Instruction abort from EL0.
    pub const FETCH_ABORT_EL0: u64 = 0x20;
    /// Instruction abort from EL1.
    pub const FETCH_ABORT_EL1: u64 = 0x21;
    /// PC alignment fault.
    pub const PC_ALIGNMENT: u64 = 0x22;
    /// Data abort from EL0.
    pub const DATA_ABORT_EL0: u64 = 0x24;
    /// Data abort from EL1.
    pub const DATA_ABORT_EL1: u64 = 0x25;
    /// SP alignment fault.
    pub const SP_ALIGNMENT: u64 = 0x26;
    /// Trapped floating-point exception in AArch64 state.
    pub const FLOATING_POINT: u64 = 0x2c;
    /// Hardware breakpoint from EL0.
    pub const HW_BREAKPOINT_EL0: u64 = 0x30;
    /// Software step from EL0.
    pub const STEP_EL0: u64 = 0x32;
    /// Watchpoint from EL0.
    pub const WATCHPOINT_EL0: u64 = 0x34;
    /// BRK.
    pub const BRK: u64 = 0x3c;
}

/// ISS bit 6 of a data abort: the access was a write.
const WRITE_NOT_READ: u64 = 1 << 6;
/// ISS bit 8 of a data abort: the access was cache maintenance, which bit 6 reports as a write.
const CACHE_MAINTENANCE: u64 = 1 << 8;
/// ISS bit 10 of an abort: FAR_EL1 does not hold the address.
const FAR_NOT_VALID: u64 = 1 << 10;
/// EC bit 0 of an abort: taken without a change of exception level.
const SAME_LEVEL: u64 = 1 << 26;

/// Returns the exception class.
pub const fn class(esr: u64) -> u64 {
    esr >> 26 & 0x3f
}

/// Decodes a synchronous exception from EL0. `sp` is SP_EL0.
pub fn decode_trap(esr: u64, far: u64, sp: u64) -> Trap {
    match class(esr) {
        class::SVC => Trap::Syscall,
        class::FETCH_ABORT_EL0 | class::DATA_ABORT_EL0 => Trap::Fault(decode_fault(esr, far)),
        class::PC_ALIGNMENT => Trap::Misaligned(far, esr),
        // FAR_EL1 is not written for a misaligned SP.
        class::SP_ALIGNMENT => Trap::Misaligned(sp, esr),
        class::BRK => Trap::Breakpoint(esr as u16, esr),
        class::HW_BREAKPOINT_EL0 | class::STEP_EL0 | class::WATCHPOINT_EL0 => Trap::Debug(esr),
        class::FLOATING_POINT => Trap::FloatingPoint(esr),
        // Unknown, illegal state, trapped system instruction, SVE or SME access, BTI, ...
        _ => Trap::Undefined(esr),
    }
}

/// Decodes an abort on a user address, taken from EL0 or from a user copy at EL1. The reported
/// syndrome is that of an abort from EL0 in both cases.
pub fn decode_fault(esr: u64, far: u64) -> MemFault {
    let is_fetch = matches!(class(esr), class::FETCH_ABORT_EL0 | class::FETCH_ABORT_EL1);
    let access = if is_fetch {
        Access::Execute
    } else if esr & (WRITE_NOT_READ | CACHE_MAINTENANCE) == WRITE_NOT_READ {
        Access::Write
    } else {
        Access::Read
    };
    let addr = VirtAddr::new(if esr & FAR_NOT_VALID == 0 { far } else { 0 });
    let esr = esr & !SAME_LEVEL;
    match cause(esr) {
        // Whether a kernel address is mapped is nobody's business at EL0: without FEAT_E0PD it
        // shows as a permission fault. Linux reports it as a level 0 translation fault as well
        // (arch/arm64/mm/fault.c, set_thread_esr).
        FaultCause::Permission | FaultCause::Translation if !addr.untagged().is_user() => {
            MemFault { addr, access, cause: FaultCause::Translation, esr: esr & !0x3f | 0x04 }
        }
        cause => MemFault { addr, access, cause, esr },
    }
}

/// Classifies a fault status code: DFSC or IFSC, ISS bits 5:0.
fn cause(esr: u64) -> FaultCause {
    match esr & 0x3f {
        0b00_0100..=0b00_0111 | 0b10_1011 => FaultCause::Translation,
        0b00_1000..=0b00_1011 => FaultCause::AccessFlag,
        0b00_1100..=0b00_1111 => FaultCause::Permission,
        0b01_0001 => FaultCause::TagCheck,
        0b10_0001 => FaultCause::Alignment,
        // Address size, external abort, parity, TLB conflict, unsupported atomic: nothing that
        // another mapping would cure.
        _ => FaultCause::External,
    }
}

/// Names an exception class for a kernel fault report.
pub fn class_name(esr: u64) -> &'static str {
    match class(esr) {
        0x00 => "unknown instruction",
        0x07 => "FP/SIMD access while disabled",
        0x0e => "illegal execution state",
        class::SVC => "SVC in the kernel",
        0x18 => "trapped system register",
        class::FETCH_ABORT_EL1 => "instruction abort",
        class::PC_ALIGNMENT => "misaligned PC",
        class::DATA_ABORT_EL1 => "data abort",
        class::SP_ALIGNMENT => "misaligned SP",
        0x2f => "SError",
        class::BRK => "BRK",
        _ => "exception",
    }
}

/// Names the cause of an abort for a kernel fault report.
pub fn fault_name(esr: u64) -> &'static str {
    match cause(esr) {
        FaultCause::Translation => "translation fault",
        FaultCause::AccessFlag => "access flag fault",
        FaultCause::Permission => "permission fault",
        FaultCause::TagCheck => "tag check fault",
        FaultCause::Alignment => "alignment fault",
        FaultCause::External => "external abort",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds a syndrome: class, IL set, ISS.
    fn esr(class: u64, iss: u64) -> u64 {
        class << 26 | 1 << 25 | iss
    }

    fn fault(class: u64, iss: u64, far: u64) -> MemFault {
        decode_fault(esr(class, iss), far)
    }

    #[test]
    fn svc_is_a_syscall_whatever_its_immediate() {
        assert_eq!(decode_trap(esr(class::SVC, 0), 0, 0), Trap::Syscall);
        assert_eq!(decode_trap(esr(class::SVC, 0x1234), 0, 0), Trap::Syscall);
    }

    #[test]
    fn data_abort_tells_address_access_and_cause() {
        for (iss, access, cause) in [
            (0x07, Access::Read, FaultCause::Translation),
            (0x47, Access::Write, FaultCause::Translation),
            (0x4f, Access::Write, FaultCause::Permission),
            (0x0b, Access::Read, FaultCause::AccessFlag),
            (0x11, Access::Read, FaultCause::TagCheck),
            (0x51, Access::Write, FaultCause::TagCheck),
            (0x21, Access::Read, FaultCause::Alignment),
            (0x10, Access::Read, FaultCause::External),
            (0x03, Access::Read, FaultCause::External),
        ] {
            let found = fault(class::DATA_ABORT_EL0, iss, 0x7000);
            assert_eq!((found.access, found.cause), (access, cause), "ISS {iss:#x}");
            assert_eq!(found.addr, VirtAddr::new(0x7000));
            assert_eq!(found.esr, esr(class::DATA_ABORT_EL0, iss));
        }
    }

    #[test]
    fn cache_maintenance_is_a_read_although_the_syndrome_says_write() {
        assert_eq!(fault(class::DATA_ABORT_EL0, 0x147, 0x7000).access, Access::Read);
    }

    #[test]
    fn fetch_abort_is_an_execute_access() {
        let found = fault(class::FETCH_ABORT_EL0, 0x0f, 0x1000);
        assert_eq!((found.access, found.cause), (Access::Execute, FaultCause::Permission));
    }

    #[test]
    fn fault_keeps_the_tag_bits_of_the_address() {
        let far = 0x0b00_7fff_1234_5678;
        assert_eq!(fault(class::DATA_ABORT_EL0, 0x11, far).addr, VirtAddr::new(far));
    }

    #[test]
    fn kernel_address_looks_unmapped_whatever_is_there() {
        let found = fault(class::DATA_ABORT_EL0, 0x0e, 0xffff_0000_4000_0000);
        assert_eq!(found.cause, FaultCause::Translation);
        assert_eq!(found.esr, esr(class::DATA_ABORT_EL0, 0x04));
        // The tag says nothing about the half: bit 55 does.
        let tagged = fault(class::DATA_ABORT_EL0, 0x0e, 0x0cff_0000_4000_0000);
        assert_eq!(tagged.cause, FaultCause::Translation);
    }

    #[test]
    fn external_abort_without_valid_far_has_no_address() {
        let found = fault(class::DATA_ABORT_EL0, 0x410, 0xdead_beef);
        assert_eq!((found.addr.get(), found.cause), (0, FaultCause::External));
    }

    #[test]
    fn fault_of_a_user_copy_reads_as_one_from_el0() {
        let found = fault(class::DATA_ABORT_EL1, 0x47, 0x7000);
        assert_eq!(found.esr, esr(class::DATA_ABORT_EL0, 0x47));
    }

    #[test]
    fn other_classes_keep_their_payload() {
        assert_eq!(
            decode_trap(esr(class::BRK, 0x3e8), 0, 0),
            Trap::Breakpoint(0x3e8, esr(class::BRK, 0x3e8))
        );
        let pc = esr(class::PC_ALIGNMENT, 0);
        assert_eq!(decode_trap(pc, 0x1001, 0x2002), Trap::Misaligned(0x1001, pc));
        let sp = esr(class::SP_ALIGNMENT, 0);
        assert_eq!(decode_trap(sp, 0x1001, 0x2002), Trap::Misaligned(0x2002, sp));
        for undefined in [0x00, 0x0e, 0x18, 0x19, 0x1d] {
            let esr = esr(undefined, 0);
            assert_eq!(decode_trap(esr, 0, 0), Trap::Undefined(esr));
        }
    }
}
