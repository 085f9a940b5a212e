// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program is init where Linux is measured: it gives a program what Granule gives its init.
//!
//! It mounts /proc, /sys and /dev, loads the modules of `/modules` in the order of their names, puts
//! the disk of the kernel option `swap=` into service, waits until nothing else runs, runs `/program` with its own arguments, says
//! how that ended, and turns the machine off. A step that fails is said, and what can follow follows.

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use user_tests::{boot_clock, swap, sys};

/// Where things are in the initramfs that `cargo xtask` makes.
const MODULES: &str = "/modules";
const PROGRAM: &str = "/program";

/// How long Linux gets to end what it does behind init's back after boot. Where virtual time counts
/// instructions, idle time is skipped.
const SETTLE: Duration = Duration::from_secs(30);

const MOUNTS: [(&str, &str); 3] = [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")];

/// Linux 4.1's way off: the machine is gone, if it can be (include/uapi/linux/reboot.h).
const POWER_OFF: [usize; 3] = [0xfee1_dead, 672_274_793, 0x4321_fedc];

fn main() -> ExitCode {
    let first_user_ns = boot_clock::since_reset_ns();
    for (kind, at) in MOUNTS {
        said(&format!("mount {at}"), mount(kind, at));
    }
    for module in modules().unwrap_or_default() {
        said(&format!("load {}", module.display()), load(&module));
    }
    // Options that Linux does not know are in the environment of init.
    if let Ok(disk) = std::env::var("swap") {
        let on = swap::on(&format!("/dev/{disk}"), 0).map_err(io::Error::from_raw_os_error);
        said(&format!("swapon {disk}"), on);
    }
    std::thread::sleep(SETTLE);
    let mut program = Command::new(PROGRAM);
    program.args(std::env::args_os().skip(1));
    program.env(boot_clock::VARIABLE, first_user_ns.to_string());
    match program.status() {
        Ok(status) => println!("linux_init: {PROGRAM}: {status}"),
        Err(error) => println!("linux_init: {PROGRAM}: {error}"),
    }
    sys::call(libc::SYS_sync, []).expect("sync never fails");
    said(
        "power off",
        sys::call(libc::SYS_reboot, POWER_OFF).map(drop).map_err(io::Error::from_raw_os_error),
    );
    // init that ends is a panic, which ends the machine too.
    ExitCode::FAILURE
}

/// Says what went wrong, if anything did.
fn said(step: &str, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        println!("linux_init: {step}: {error}");
    }
}

fn mount(kind: &str, at: &str) -> io::Result<()> {
    let [kind, at] = [kind, at].map(|text| CString::new(text).expect("no NUL"));
    let [kind, at] = [&kind, &at].map(|text| text.as_ptr().expose_provenance());
    let mounted = sys::call(libc::SYS_mount, [kind, at, kind, 0, 0]);
    mounted.map(drop).map_err(io::Error::from_raw_os_error)
}

/// Returns the modules in the order in which they need each other.
fn modules() -> io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(MODULES)?;
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    Ok(paths)
}

fn load(module: &Path) -> io::Result<()> {
    let file = std::fs::File::open(module)?;
    let options = c"".as_ptr().expose_provenance();
    let loaded = sys::call(libc::SYS_finit_module, [file.as_raw_fd() as usize, options, 0]);
    loaded.map(drop).map_err(io::Error::from_raw_os_error)
}
