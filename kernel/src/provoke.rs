// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file breaks the kernel on request, so that tests on the host see its last words.
//!
//! | boot option | what happens |
//! |---|---|
//! | `panic=test` | a panic |
//! | `panic=other` | a panic on another CPU, while this one is idle |
//! | `fault=test` | a load from an address where nothing is mapped |
//! | `fault=stack` | a recursion without end |
//! | `fault=resume` | a kernel thread that runs is resumed once more |

#![expect(unsafe_code, reason = "loads from nowhere")]

use alloc::boxed::Box;

use arch::context::{self, Context};
use base::percpu::CpuId;

use crate::command_line::CommandLine;
use crate::machine::Granule;
use crate::{println, smp};

/// Does what the command line asks for; mostly nothing.
pub fn by(command_line: &CommandLine<'_>, machine: &Granule) {
    match command_line.value("panic") {
        Some("test") => panic!("boot option panic=test"),
        Some("other") => {
            smp::run_on(CpuId::new(1), Box::new(|| panic!("boot option panic=other")));
            loop {
                machine.idle();
            }
        }
        _ => {}
    }
    match command_line.value("fault") {
        Some("test") => load_from_nowhere(),
        Some("stack") => println!("stack depth {}", recurse(0)),
        Some("resume") => context::switch(&Context::running(), &Context::running()),
        _ => {}
    }
}

fn load_from_nowhere() {
    let nowhere: *const u64 = core::ptr::without_provenance(0xffff_7000_0000_0000);
    // SAFETY: faults, and that is the point: nothing is ever mapped there.
    let value = unsafe { nowhere.read_volatile() };
    println!("read {value:#x} from {nowhere:p}");
}

/// Calls itself until the stack ends.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = core::hint::black_box([depth; 64]);
    if frame[0] == u64::MAX {
        return 0;
    }
    // After the call, so that it is not a tail call.
    recurse(depth + 1) + frame[(depth % 64) as usize]
}
