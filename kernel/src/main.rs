// SPDX-License-Identifier: MIT OR Apache-2.0
//! This binary is the kernel: it brings the machine up and wires the layers to it.
//!
//! On the host it is empty, and its pure modules are tested.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![cfg_attr(
    not(target_os = "none"),
    allow(dead_code, reason = "tested on the host, used on the machine")
)]

extern crate alloc;

mod command_line;
mod device_layout;
mod device_tree;
mod heap;
#[cfg(target_os = "none")]
mod host_disk;
mod memory_layout;
mod thp_options;
mod tlb_options;
#[cfg(any(not(target_os = "none"), feature = "trace"))]
mod trace_ring;

#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod console;
#[cfg(target_os = "none")]
mod debugger;
#[cfg(target_os = "none")]
mod device_memory;
#[cfg(target_os = "none")]
mod disks;
#[cfg(all(target_os = "none", feature = "ktest"))]
mod ktest;
#[cfg(all(target_os = "none", feature = "lab"))]
mod lab;
#[cfg(target_os = "none")]
mod machine;
#[cfg(target_os = "none")]
mod panic;
#[cfg(target_os = "none")]
mod power;
#[cfg(target_os = "none")]
mod provoke;
#[cfg(target_os = "none")]
mod smp;
#[cfg(target_os = "none")]
mod start;
#[cfg(all(target_os = "none", feature = "trace"))]
mod trace;

/// Brings the machine up. Entered from boot/head.S on the boot CPU, with the physical addresses of
/// the device tree and of the image, and the exception level that the loader used.
#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "entered from boot/head.S by name")]
#[unsafe(no_mangle)]
extern "C" fn kernel_main(device_tree: u64, image: u64, entry_level: u64) -> ! {
    use base::PhysAddr;
    use hal::Clock;
    #[cfg(feature = "ktest")]
    use hal::{Devices, PowerAction};

    arch::image::set_load_address(PhysAddr::new(image));
    let (tree, tree_range) = boot::device_tree(PhysAddr::new(device_tree));
    let command_line = command_line::CommandLine::new(tree.command_line);
    boot::console(&tree);
    console::set_level(command_line.value("loglevel"));
    power::init(&command_line, tree.firmware);
    let features = boot::features(&command_line);
    let layout = boot::memory(&tree, tree_range, &command_line);
    #[cfg_attr(not(feature = "ktest"), expect(unused_mut, reason = "tests take frames from it"))]
    let mut machine = boot::machine(&tree, &command_line, features, &layout);
    #[cfg(feature = "ktest")]
    let tests = ktest::reserve(&mut machine, &command_line);
    let system = memory_manager(machine);
    boot::large_folios(&command_line, system.thp().settings());
    boot::tlb_policy(&command_line, system);
    #[cfg(feature = "lab")]
    lab::set_up(&command_line, system);
    let machine = system.machine();
    boot::trace(&command_line, machine.nr_cpus);
    machine.init_cpu();
    boot::console_input(machine);
    machine.disks.enable_interrupts(&machine.gic);
    smp::boot_cpu_is_online();
    let nr_cpus = smp::start_others(machine, &tree.cpus);
    log::info!(
        "granule: {nr_cpus} cpus, {} MiB, {} MiB of heap free, entered at EL{entry_level}, up after {} us",
        layout.ram_bytes() >> 20,
        heap::free_bytes() >> 20,
        machine.now_ns() / 1000
    );
    provoke::by(&command_line, machine);
    #[cfg(feature = "lab")]
    if let Some(race) = command_line.value("lab.race") {
        lab::race::run(race, system);
        hal::Devices::power(machine, hal::PowerAction::Off { status: 0 });
    }
    #[cfg(feature = "ktest")]
    if let (Some(frames), Some(filter)) = (tests, command_line.value("ktest")) {
        let status = u8::from(ktest::run(system, frames, filter) > 0);
        machine.power(PowerAction::Off { status });
    }
    let initrd = boot::initrd(&tree, &layout);
    start::run(system, start::Handover { initrd, command_line })
}

/// Makes the memory manager, which lives for ever. Not inlined: while it is made it is on the stack, and is
/// kilobytes that the steps before it need.
#[cfg(target_os = "none")]
#[inline(never)]
fn memory_manager(
    machine: machine::Granule,
) -> &'static alloc::sync::Arc<mm::System<machine::Granule>> {
    use alloc::boxed::Box;

    let system = Box::leak(Box::new(mm::System::new(machine)));
    debugger::show_system(system);
    system
}

#[cfg(not(target_os = "none"))]
fn main() {}
