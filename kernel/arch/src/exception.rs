// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file handles exceptions that the kernel itself takes: faults of user copies, and bugs.
//!
//! A bug ends in a panic. The panic handler finds the registers of the moment through
//! [`fatal_frame`].

#![expect(unsafe_code, reason = "reaches the registers that vectors.S has saved")]

use core::fmt;
use core::sync::atomic::{AtomicPtr, Ordering};

use base::percpu::MAX_CPUS;

use crate::layout::STACK_BIT;
use crate::syndrome::{self, class};
use crate::{cpu, user_copy};

core::arch::global_asm!(
    include_str!("vectors.S"),
    STACK_BIT = const STACK_BIT,
    EMERGENCY_SHIFT = const size_of::<EmergencyStack>().trailing_zeros(),
    emergency_stacks = sym EMERGENCY_STACKS,
    kernel_exception = sym kernel_exception,
    kernel_stack_overflow = sym kernel_stack_overflow,
);

/// Registers of the moment an exception was taken from EL1, as vectors.S stores them.
#[repr(C)]
pub struct ExceptionFrame {
    /// x0 to x30.
    pub x: [u64; 31],
    /// SP.
    pub sp: u64,
    /// ELR_EL1.
    pub pc: u64,
    /// SPSR_EL1.
    pub pstate: u64,
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1.
    pub far: u64,
}

const _: () = assert!(size_of::<ExceptionFrame>() == 288);

/// Where the frame of a stack overflow is stored and reported from.
#[repr(C, align(16384))]
struct EmergencyStack([u8; 16384]);

// The atomics make it writable data; nobody but the stack pointer ever touches it.
static EMERGENCY_STACKS: EmergencyStacks =
    EmergencyStacks(core::cell::UnsafeCell::new([const { EmergencyStack([0; 16384]) }; MAX_CPUS]));

#[repr(transparent)]
struct EmergencyStacks(core::cell::UnsafeCell<[EmergencyStack; MAX_CPUS]>);

// SAFETY: each CPU's stack pointer uses its own element, and no Rust code uses any.
unsafe impl Sync for EmergencyStacks {}

/// The frame of the exception that a CPU is about to panic for.
static FATAL_FRAMES: [AtomicPtr<ExceptionFrame>; MAX_CPUS] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];

/// Returns the registers of the exception that made this CPU panic, if it was one.
pub fn fatal_frame() -> Option<&'static ExceptionFrame> {
    let frame = FATAL_FRAMES[cpu::current().get()].load(Ordering::Relaxed);
    // SAFETY: null, or a frame that vectors.S stored on a stack of this CPU, below which the panic
    // runs; nothing returns past it any more.
    unsafe { frame.as_ref() }
}

/// Which of the four vectors an exception from EL1 took, in their order.
const KIND_NAMES: [&str; 4] = ["synchronous", "IRQ", "FIQ", "SError"];

/// Handles an exception from EL1. Returns only to go on after a fault of a user copy.
extern "C" fn kernel_exception(frame: &mut ExceptionFrame, kind: usize) {
    if kind == 0
        && class(frame.esr) == class::DATA_ABORT_EL1
        && let Some(resume) = user_copy::fixup_for(frame.pc)
    {
        frame.pc = resume;
        frame.x[16] = frame.esr;
        frame.x[17] = frame.far;
        return;
    }
    set_fatal(frame);
    match kind {
        0 => panic!("kernel fault: {}", Reason(frame)),
        _ => panic!("kernel took an {} at {:#x}", KIND_NAMES[kind & 3], frame.pc),
    }
}

/// Reports an exception that found SP outside every stack.
extern "C" fn kernel_stack_overflow(frame: &mut ExceptionFrame) -> ! {
    set_fatal(frame);
    panic!("kernel stack overflow: sp {:#x}, {}", frame.sp, Reason(frame));
}

fn set_fatal(frame: &mut ExceptionFrame) {
    FATAL_FRAMES[cpu::current().get()].store(frame, Ordering::Relaxed);
}

/// Says in a few words what a synchronous exception was.
struct Reason<'a>(&'a ExceptionFrame);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ExceptionFrame { esr, far, pc, .. } = *self.0;
        let name = syndrome::class_name(esr);
        match class(esr) {
            class::DATA_ABORT_EL1 | class::FETCH_ABORT_EL1 => {
                let fault = syndrome::fault_name(esr);
                write!(f, "{name} ({fault}) on {far:#x} at {pc:#x}, ESR {esr:#x}")
            }
            _ => write!(f, "{name} at {pc:#x}, ESR {esr:#x}"),
        }
    }
}

impl fmt::Display for ExceptionFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  pc  {:016x}  sp  {:016x}  pstate {:08x}", self.pc, self.sp, self.pstate)?;
        write!(f, "  esr {:016x}  far {:016x}", self.esr, self.far)?;
        for (number, value) in self.x.iter().enumerate() {
            let separator = if number % 4 == 0 { "\n" } else { "" };
            write!(f, "{separator}  x{number:<2} {value:016x}")?;
        }
        Ok(())
    }
}
