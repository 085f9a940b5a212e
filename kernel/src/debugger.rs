// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is where a debugger starts: the structures that lead to all others, and names that debug
//! information does not have. The kernel itself reads none of it; `qemu/gdb` does.

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering::Release};

use base::counter::Event;
use drivers::BlockEvent;
use mm::{Legend, System};
use task::Kernel;

use crate::machine::Granule;

/// What `qemu/gdb/granule/roots.py` finds by name.
#[expect(dead_code, reason = "read by a debugger")]
struct Roots {
    /// The memory manager, once there is one.
    system: AtomicPtr<System<Granule>>,
    /// The process layer, likewise.
    kernel: AtomicPtr<Kernel<Granule>>,
    /// Names of the memory manager's bits and counters.
    legend: Legend,
    /// Names of the disks' counters.
    block_events: &'static [&'static str],
}

#[used]
static ROOTS: Roots = Roots {
    system: AtomicPtr::new(ptr::null_mut()),
    kernel: AtomicPtr::new(ptr::null_mut()),
    legend: Legend::ALL,
    block_events: BlockEvent::NAMES,
};

/// Shows a debugger the memory manager.
pub fn show_system(system: &'static System<Granule>) {
    ROOTS.system.store(ptr::from_ref(system).cast_mut(), Release);
}

/// Shows a debugger the process layer.
pub fn show_kernel(kernel: &'static Kernel<Granule>) {
    ROOTS.kernel.store(ptr::from_ref(kernel).cast_mut(), Release);
}
