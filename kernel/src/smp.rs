// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file starts the other CPUs and hands them work.
//!
//! A CPU that has started waits, interrupts masked, for a function to run ([`run_on`]). The
//! scheduler's loop will be that function; it never returns then.

#![expect(unsafe_code, reason = "entered from boot/head.S; hands out boot records by address")]

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arch::kstack::KernelStack;
use arch::{cpu, image, psci};
use base::lock_level;
use base::percpu::{CpuId, MAX_CPUS};
use base::sync::{self, SpinLock};
use drivers::gicv3;

use crate::machine::Granule;
use crate::power;

/// What a starting CPU finds through the address it is started with. boot/head.S loads the first
/// two words.
#[repr(C)]
struct BootRecord {
    stack_top: usize,
    cpu: usize,
    machine: &'static Granule,
}

/// A function for a CPU.
pub type Work = Box<dyn FnOnce() + Send>;

/// What is known of each CPU.
struct Cpu {
    affinity: AtomicU64,
    is_online: AtomicBool,
    work: SpinLock<Option<Work>, lock_level::RunQueue>,
}

static CPUS: [Cpu; MAX_CPUS] = [const {
    Cpu {
        affinity: AtomicU64::new(0),
        is_online: AtomicBool::new(false),
        work: SpinLock::new(None),
    }
}; MAX_CPUS];

/// Iterates over the CPUs that run this kernel.
pub fn online() -> impl Iterator<Item = CpuId> {
    let is_online = |cpu: &CpuId| CPUS[cpu.get()].is_online.load(Ordering::Acquire);
    (0..MAX_CPUS).map(CpuId::new).filter(is_online)
}

/// Makes an interrupt pending on a CPU.
pub fn kick(cpu: CpuId) {
    gicv3::kick(CPUS[cpu.get()].affinity.load(Ordering::Relaxed));
}

/// Counts the boot CPU in.
pub fn boot_cpu_is_online() {
    CPUS[0].affinity.store(cpu::affinity(), Ordering::Relaxed);
    CPUS[0].is_online.store(true, Ordering::Release);
}

/// Starts the other CPUs, one after the other, and waits until each one runs. `affinities` are those
/// of all CPUs, the boot CPU among them. Returns how many run then.
pub fn start_others(machine: &'static Granule, affinities: &[u64]) -> usize {
    let others = affinities.iter().filter(|affinity| **affinity != cpu::affinity());
    for (index, &affinity) in (1..MAX_CPUS).zip(others) {
        if let Err(error) = start(machine, CpuId::new(index), affinity) {
            log::warn!("cpu {index} (affinity {affinity:#x}) does not start: {error:?}");
            break;
        }
    }
    online().count()
}

/// Why a CPU was not started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum StartError {
    /// The device tree names no PSCI.
    NoFirmware,
    /// There is no memory for its stack.
    OutOfMemory,
    /// What PSCI answered.
    Firmware(psci::Error),
}

fn start(machine: &'static Granule, cpu: CpuId, affinity: u64) -> Result<(), StartError> {
    let conduit = power::conduit().ok_or(StartError::NoFirmware)?;
    let stack = KernelStack::new().map_err(|_| StartError::OutOfMemory)?;
    let record = BootRecord { stack_top: stack.bounds().end, cpu: cpu.get(), machine };
    // Both stay for ever: the CPU runs on its first stack until power-off.
    core::mem::forget(stack);
    let record: &'static BootRecord = Box::leak(Box::new(record));
    CPUS[cpu.get()].affinity.store(affinity, Ordering::Relaxed);
    let entry = image::phys(image::secondary_entry());
    let address = core::ptr::from_ref(record).expose_provenance() as u64;
    conduit.start_cpu(affinity, entry, address).map_err(StartError::Firmware)?;
    while !CPUS[cpu.get()].is_online.load(Ordering::Acquire) {
        sync::relax();
    }
    Ok(())
}

/// Runs a function on a CPU that waits for one.
///
/// # Panics
///
/// When the CPU has not finished the last one, or is the boot CPU, which never waits for any.
pub fn run_on(cpu: CpuId, work: Work) {
    assert!(cpu != CpuId::BOOT, "the boot CPU takes no work");
    let replaced = CPUS[cpu.get()].work.lock().replace(work);
    assert!(replaced.is_none(), "cpu {} has work already", cpu.get());
    kick(cpu);
}

/// Entry of every other CPU, from boot/head.S, on its own stack.
#[unsafe(no_mangle)]
extern "C" fn secondary_main(record: &'static BootRecord) -> ! {
    let machine = record.machine;
    let own = &CPUS[record.cpu];
    machine.init_cpu();
    own.is_online.store(true, Ordering::Release);
    sync::notify();
    loop {
        // Taken out first: the lock is not held while the work runs.
        let work = own.work.lock().take();
        match work {
            Some(work) => work(),
            None => machine.idle(),
        }
    }
}

const _: () = assert!(core::mem::offset_of!(BootRecord, cpu) == 8);
