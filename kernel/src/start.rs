// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file starts the process layer: scheduler on every CPU, swap, the initial ramdisk, init.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use hal::{DiskId, PowerAction};
use mm::{SwapOn, System};
use task::{Kernel, Scheduler, UserState};

use crate::command_line::CommandLine;
use crate::machine::{self, Granule};
use crate::{debugger, power, smp};

/// The program that is started, unless boot option `init` names another.
const INIT: &str = "/init";

/// What the boot loader hands over for user programs.
pub struct Handover {
    /// The initial ramdisk.
    pub initrd: Option<&'static [u8]>,
    /// The kernel command line.
    pub command_line: CommandLine<'static>,
}

/// Runs user programs for ever. Called on the boot CPU, once all CPUs are up.
pub fn run(system: &Arc<System<Granule>>, handover: Handover) -> ! {
    let scheduler = Scheduler::new(machine_of(system));
    machine::set_scheduler(scheduler);
    scheduler.adopt_cpu();
    for cpu in smp::online().skip(1) {
        smp::run_on(cpu, Box::new(|| scheduler.run_cpu()));
    }
    let kernel = Kernel::new(Arc::clone(system), scheduler);
    debugger::show_kernel(kernel);
    kernel.set_command_line(handover.command_line.whole());
    let disks = &scheduler.machine().disks;
    kernel.set_driver_counters(Box::new(|visit| {
        disks.counters.totals().for_each(|(name, value)| visit(name, value));
        #[cfg(feature = "lab")]
        visit("lab_tag_lookups", kernel.system().tag_lookups());
    }));
    if !scheduler.machine().device_memory.devices().is_empty() {
        let machine = scheduler.machine();
        let engine = move || machine.device_memory.run(machine);
        scheduler.spawn(UserState::default(), engine).expect("there is memory for a thread");
    }
    let job = move || start_init(kernel, &handover);
    scheduler.spawn(UserState::default(), job).expect("there is memory for the first thread");
    loop {
        scheduler.idle_once();
    }
}

/// The machine lives as long as the memory manager, which is never dropped.
fn machine_of(system: &Arc<System<Granule>>) -> &'static Granule {
    let system: &'static Arc<System<Granule>> = Box::leak(Box::new(Arc::clone(system)));
    system.machine()
}

fn start_init(kernel: &'static Kernel<Granule>, handover: &Handover) {
    if let Some(disk) = handover.command_line.value("swap") {
        if handover.command_line.is("swap.checksum", "on") {
            kernel.system().set_swap_checksums();
        }
        if handover.command_line.is("swap.tags", "device") {
            kernel.system().set_swap_tags_on_device();
        }
        let discards_free = handover.command_line.is("swap.discard", "on");
        swap_on(kernel, disk, SwapOn { discards_free, ..SwapOn::default() });
    }
    let Some(initrd) = handover.initrd else {
        log::error!("granule: initramfs: the boot loader has handed over none");
        power::act(PowerAction::Off { status: 1 });
    };
    if let Err(why) = kernel.mount_files(initrd) {
        log::error!("granule: initramfs: {why}");
        power::act(PowerAction::Off { status: 1 });
    }
    let path = handover.command_line.value("init").unwrap_or(INIT);
    let args: Vec<&[u8]> = [path.as_bytes()]
        .into_iter()
        .chain(handover.command_line.init_args().map(str::as_bytes))
        .collect();
    let env: [&[u8]; 2] = [b"HOME=/", b"TERM=linux"];
    if let Err(why) = kernel.start_init(path.as_bytes(), &args, &env) {
        log::error!("granule: init does not start: {path}: {why}");
        power::act(PowerAction::Off { status: 1 });
    }
}

/// Puts a disk into service for swap, as swapon would. Without it the machine runs on.
fn swap_on(kernel: &Kernel<Granule>, name: &str, how: SwapOn) {
    let letter = name.strip_prefix("vd").and_then(|rest| rest.bytes().next());
    let disk = letter.filter(u8::is_ascii_lowercase).map(|letter| DiskId(letter - b'a'));
    let result = disk.map(|disk| kernel.system().swap_on(disk, how));
    match result {
        Some(Ok(())) => {
            log::info!("swap on {name}: {} MiB", kernel.system().swap_slots().0 >> 8);
        }
        Some(Err(why)) => log::warn!("no swap on {name}: {why:?}"),
        None => log::warn!("no swap on {name}: no such disk"),
    }
}
