// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file boots the benchmark's program, on Granule and on Linux, and takes down what it says.

use std::path::Path;
use std::process::Stdio;

use super::result::{self, Measured};
use crate::build::{self, Kernel};
use crate::error::Error;
use crate::guest::{Guest, Setup};
use crate::initramfs::Initramfs;
use crate::lines::Piece;
use crate::linux_kernel::LinuxKernel;
use crate::linux_modules::{self, Module};
use crate::profile::{Profile, Transport};
use crate::scratch::Scratch;
use crate::watchdog::Limits;

/// Lets the program read the PMU's counter of instructions.
const COUNTER: &str = "pmu.user=on";

/// What Linux is told: where its console is, to keep quiet there, and to end with init.
const LINUX_OPTIONS: [&str; 3] = ["console=ttyAMA0", "quiet", "panic=-1"];

/// How much of a guest's output is shown when it fails.
const SHOWN_LINES: usize = 40;

/// Returns Granule's part of a run from the setup of any guest.
pub fn granule(setup: &Setup) -> Setup {
    let mut setup = setup.clone();
    setup.kernel_args.push(COUNTER.to_owned());
    setup
}

/// Returns Linux's part: the same machine with another kernel, and an initramfs whose init brings
/// that to where Granule starts its own.
///
/// # Errors
///
/// When a module or a program cannot be read.
pub fn linux(setup: &Setup, kernel: &LinuxKernel, program: &Path) -> Result<Setup, Error> {
    let modules = linux_modules::load_order(&kernel.modules, &drivers(&setup.machine))?;
    let init = build::user_program("linux_init")?;
    let read = |path: &Path| std::fs::read(path).map_err(Error::file("read", path));
    let initramfs = initramfs(&read(&init)?, &read(program)?, &modules);
    Ok(Setup {
        // Without symbols of ours a backtrace stays as it is.
        kernel: Kernel { elf: kernel.image.clone(), image: kernel.image.clone() },
        initramfs: Some(initramfs),
        kernel_args: LINUX_OPTIONS.map(str::to_owned).into(),
        ..setup.clone()
    })
}

/// Returns the modules that the machine's disks need.
fn drivers(machine: &Profile) -> Vec<&'static str> {
    let transports = machine.disks.iter().map(|disk| match disk.transport {
        Transport::Mmio | Transport::Host => "virtio_mmio",
        Transport::Pci => "virtio_pci",
    });
    let mut drivers: Vec<_> = transports.collect();
    drivers.dedup();
    if !drivers.is_empty() {
        drivers.push("virtio_blk");
    }
    drivers
}

fn initramfs(init: &[u8], program: &[u8], modules: &[Module]) -> Vec<u8> {
    let mut tree = Initramfs::new();
    tree.program("init", init);
    tree.program("program", program);
    tree.dir("modules");
    for (index, Module { name, bytes }) in modules.iter().enumerate() {
        tree.file(&format!("modules/{index:02}-{name}.ko"), bytes);
    }
    tree.finish()
}

/// Runs a guest and adds what its program reports to `measured`; shows it as it comes.
///
/// # Errors
///
/// When the guest cannot be started, or its program does not get to its end.
pub fn measure(
    guest: &'static str,
    setup: &Setup,
    limits: &Limits,
    measured: &mut Measured,
) -> Result<(), Error> {
    let prepared = Guest::prepare(setup, Scratch::new()?, None)?;
    let (mut log, mut has_ended) = (Vec::new(), false);
    let ending = prepared.run(Stdio::null(), limits, &mut |piece| {
        let (Piece::Line(line) | Piece::Fragment(line)) = piece;
        let line = String::from_utf8_lossy(&line).into_owned();
        has_ended |= result::is_end(&line);
        if measured.take(&line) {
            eprintln!("{guest}: {line}");
        } else {
            log.push(line);
        }
    })?;
    if has_ended {
        return Ok(());
    }
    let shown = log.len().saturating_sub(SHOWN_LINES);
    log[shown..].iter().for_each(|line| eprintln!("{line}"));
    Err(Error::GuestFailed { guest, how: ending.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_loads_the_drivers_of_the_disks_that_there_are() {
        let drivers_of = |name| drivers(&Profile::load(name).expect("a profile"));
        assert_eq!(drivers_of("bench"), ["virtio_mmio", "virtio_blk"]);
        assert_eq!(drivers_of("pci-disk"), ["virtio_pci", "virtio_blk"]);
        assert_eq!(drivers_of("no-disk"), [""; 0]);
    }

    #[test]
    fn modules_are_named_in_the_order_in_which_they_are_loaded() {
        let module = |name: &str| Module { name: name.to_owned(), bytes: vec![1] };
        let archive = initramfs(b"init", b"program", &[module("virtio"), module("blk")]);
        let text = String::from_utf8_lossy(&archive);
        let at = |name: &str| text.find(name).unwrap_or_else(|| panic!("no {name}"));
        assert!(at("modules/00-virtio.ko") < at("modules/01-blk.ko"));
    }
}
