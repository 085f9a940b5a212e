// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the kernel's last words: what broke, registers, backtrace, exit.
//!
//! The format is read by the build tool, which replaces addresses by names: a line that starts with
//! `granule: PANIC`, registers, then one line `  #N 0x<address>` for each caller, innermost first. A
//! kernel that keeps events (`trace.rs`) writes them behind.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use arch::{backtrace, cpu, exception, image};
use base::percpu::CpuId;

use crate::console::print_in_panic;
use crate::{power, smp};

/// Exit status of a kernel that panicked.
pub const STATUS: u8 = 101;

/// Callers that are printed at most.
const MAX_DEPTH: usize = 40;

/// Some CPU is panicking: the others stop when they next look at an interrupt.
static IS_PANICKING: AtomicBool = AtomicBool::new(false);

macro_rules! say {
    ($($arg:tt)*) => { print_in_panic(format_args!("{}\n", format_args!($($arg)*))) };
}

/// Parks this CPU if another one is panicking.
pub fn stop_if_panicking() {
    if IS_PANICKING.load(Ordering::Acquire) {
        cpu::park();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let own = cpu::current();
    if IS_PANICKING.swap(true, Ordering::AcqRel) {
        // A second panic, here or elsewhere: the first one has the console.
        say!("granule: panic within a panic on cpu {}: {}", own.get(), info.message());
        power::exit(STATUS);
    }
    stop_others(own);
    match info.location() {
        Some(at) => say!("granule: PANIC on cpu {} at {at}: {}", own.get(), info.message()),
        None => say!("granule: PANIC on cpu {}: {}", own.get(), info.message()),
    }
    let mut depth = 0;
    let mut print_caller = |address: u64| {
        say!("  #{depth} {address:#018x}");
        depth += 1;
    };
    match exception::fatal_frame() {
        Some(frame) => {
            say!("{frame}");
            print_caller(frame.pc);
            // The link register is the caller of a leaf function, whose frame has no record yet.
            if image::is_text(frame.x[30]) {
                print_caller(frame.x[30]);
            }
            backtrace::from_frame(frame.x[29]).take(MAX_DEPTH).for_each(&mut print_caller);
        }
        None => backtrace::from_here().take(MAX_DEPTH).for_each(&mut print_caller),
    }
    #[cfg(feature = "trace")]
    crate::trace::write(print_in_panic);
    power::exit(STATUS)
}

/// Asks all other CPUs to stop. Those that do not poll for interrupts any more run on.
fn stop_others(own: CpuId) {
    smp::online().filter(|other| *other != own).for_each(smp::kick);
}
