// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the only one that knows QEMU: its flags and its version.

mod blkdebug;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;
use crate::profile::{Disk, Profile, Transport};
use crate::size::Size;

/// The program's name where no path is given.
pub const PROGRAM: &str = "qemu-system-aarch64";

/// What the machine boots.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Boot {
    /// The kernel Image.
    pub kernel: PathBuf,
    /// The initramfs, a newc cpio archive.
    pub initramfs: Option<PathBuf>,
    /// The kernel command line.
    pub command_line: String,
    /// The files behind the profile's disks, in the same order.
    pub disks: Vec<PathBuf>,
    /// The TCP port where the machine waits for a debugger before its first instruction.
    pub debugger: Option<u16>,
    /// The recording that the run is written to or read from.
    pub tape: Option<Tape>,
}

/// What a run is recorded to or replayed from. QEMU does so with one CPU.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tape {
    /// What is done with it.
    pub mode: TapeMode,
    /// The file of what the guest does not compute: input, and when which request was done.
    pub events: PathBuf,
    /// The file that gets what the guest writes to the serial line.
    pub serial_log: PathBuf,
}

/// What is done with a recording.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TapeMode {
    /// The run is recorded.
    Record,
    /// The run is replayed. Going backwards starts from a snapshot, which needs these files.
    Replay(Option<Snapshots>),
}

/// Files in QEMU's own format, for snapshots.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshots {
    /// For CPU, RAM and devices. Not one of the disks: they go through the recording, which has no
    /// requests of a debugger in it.
    pub machine: PathBuf,
    /// For each disk, what lies over its file.
    pub disks: Vec<PathBuf>,
}

/// A complete QEMU command: the program and its arguments, and the directory to start it in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandLine(Vec<OsString>, Option<PathBuf>);

/// Makes the command that boots `boot` on `machine`.
///
/// # Panics
///
/// When `boot` has not one file for each disk of the machine.
pub fn command_line(qemu: &Path, machine: &Profile, boot: &Boot) -> CommandLine {
    assert_eq!(machine.disks.len(), boot.disks.len(), "one file for each disk");
    let mut line = CommandLine(vec![qemu.into()], None);
    line.board(machine);
    line.console_and_exit(boot.tape.as_ref());
    if machine.deterministic || boot.tape.is_some() {
        line.determinism(boot.tape.as_ref());
    }
    for (index, (disk, file)) in machine.disks.iter().zip(&boot.disks).enumerate() {
        match disk.transport {
            // The guest opens it by its name alone, which is the same in each run.
            Transport::Host => line.1 = file.parent().map(Path::to_owned),
            Transport::Mmio | Transport::Pci => line.disk(index, disk, file, boot.tape.as_ref()),
        }
    }
    if let Some(size) = machine.device_memory {
        line.device_memory(size);
    }
    line.push(["-kernel".as_ref(), boot.kernel.as_os_str()]);
    if let Some(initramfs) = &boot.initramfs {
        line.push(["-initrd".as_ref(), initramfs.as_os_str()]);
    }
    line.push(["-append", &boot.command_line]);
    if let Some(port) = boot.debugger {
        line.push(["-S", "-gdb", &format!("tcp:127.0.0.1:{port}")]);
    }
    line
}

impl CommandLine {
    /// Returns the command, ready to be started.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.0[0]);
        command.args(&self.0[1..]);
        if let Some(dir) = &self.1 {
            command.current_dir(dir);
        }
        command
    }

    /// Returns whether `argument` is one of the arguments.
    pub fn has(&self, argument: &str) -> bool {
        self.0.iter().any(|own| own == argument)
    }

    /// Has QEMU write a line with the PC of each instruction, `Trace ...`, to a file. One instruction
    /// is translated at a time, and none runs on into the next unlogged.
    pub fn log_instructions(&mut self, log: &Path) {
        self.push(["-accel", "tcg,one-insn-per-tb=on", "-d", "exec,nochain"]);
        self.push(["-D".as_ref(), log.as_os_str()]);
    }

    fn push<S: AsRef<OsStr>>(&mut self, arguments: impl IntoIterator<Item = S>) {
        self.0.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
    }

    fn board(&mut self, machine: &Profile) {
        // virt's own default is GICv2 up to 8 CPUs; the kernel drives GICv3 only.
        let mut board = String::from("virt,gic-version=3");
        if machine.mte {
            board += ",mte=on";
        }
        if machine.el2 {
            board += ",virtualization=on";
        }
        if machine.deterministic {
            // No random seeds in the device tree.
            board += ",dtb-randomness=off";
        }
        // Without -nodefaults, virt wants a network card's boot ROM, which Debian packages apart.
        self.push(["-nodefaults", "-M", &board]);
        // The architected pointer-authentication cipher is slow to emulate; the other one is not.
        self.push(["-cpu", "max,pauth-impdef=on"]);
        self.push(["-smp", &machine.cpus.to_string(), "-m", &machine.memory.to_string()]);
        self.push(["-global", "virtio-mmio.force-legacy=false"]);
    }

    fn console_and_exit(&mut self, tape: Option<&Tape>) {
        self.push(["-display", "none", "-monitor", "none"]);
        match tape {
            None => self.push(["-serial", "stdio"]),
            Some(tape) => {
                let chardev = file_option("stdio,id=serial0,logfile=", &tape.serial_log);
                self.push(["-chardev".as_ref(), chardev.as_os_str()]);
                self.push(["-serial", "chardev:serial0"]);
            }
        }
        // With the kernel option exit=semihosting the guest chooses QEMU's exit status.
        self.push(["-semihosting-config", "enable=on,target=native"]);
        // A guest that restarts ends its run.
        self.push(["-no-reboot"]);
    }

    fn determinism(&mut self, tape: Option<&Tape>) {
        // One instruction is one nanosecond of virtual time.
        let icount = match tape {
            // Idle time is skipped. Not so by the recorder: it would never come to hand on the end
            // of a request.
            None => OsString::from("shift=0,sleep=off"),
            Some(Tape { mode: TapeMode::Record, events, .. }) => {
                file_option("shift=0,rr=record,rrfile=", events)
            }
            Some(Tape { events, .. }) => file_option("shift=0,rr=replay,rrfile=", events),
        };
        self.push(["-icount".as_ref(), icount.as_os_str()]);
        // RNDR and the wall clock repeat too.
        self.push(["-seed", "1", "-rtc", "base=2026-01-01T00:00:00,clock=vm"]);
        if let Some(Tape { mode: TapeMode::Replay(Some(snapshots)), .. }) = tape {
            // A -drive comes before each -blockdev, and the first one gets the machine's state.
            let drive = file_option("if=none,id=machine,format=qcow2,file=", &snapshots.machine);
            self.push(["-drive".as_ref(), drive.as_os_str()]);
        }
    }

    fn device_memory(&mut self, size: Size) {
        let memory = format!("memory-backend-ram,id=device_memory,size={size},share=on");
        self.push(["-object", &memory, "-device", "ivshmem-plain,memdev=device_memory"]);
    }

    fn disk(&mut self, index: usize, disk: &Disk, file: &Path, tape: Option<&Tape>) {
        self.file_node(&format!("file{index}"), file);
        let mut node = format!("file{index}");
        if !disk.errors.is_empty() {
            let faulty = format!("driver=blkdebug,node-name=faulty{index},image={node}");
            self.push(["-blockdev", &(faulty + &blkdebug::rules(&disk.errors))]);
            node = format!("faulty{index}");
        }
        let raw = format!("driver=raw,node-name=disk{index},file={node},discard=unmap");
        self.push(["-blockdev", &raw]);
        node = format!("disk{index}");
        if let Some(tape) = tape {
            node = self.taped_disk(index, node, &tape.mode);
        }
        let device = match disk.transport {
            Transport::Mmio | Transport::Host => "virtio-blk-device",
            // By default a PCI function's queue has half as many descriptors as the driver uses;
            // the other transport leaves the choice to the driver.
            Transport::Pci => "virtio-blk-pci,queue-size=512",
        };
        // By default QEMU stops the machine when the host's disk is full.
        let errors = "rerror=report,werror=report";
        // Requests that are counted are the guest's, each for itself.
        let is_counted = disk.errors.iter().any(|error| error.nth.is_some());
        let merging = if is_counted { ",request-merging=off" } else { "" };
        self.push(["-device", &format!("{device},drive={node},{errors}{merging}")]);
    }

    /// Puts the recorder between a disk and its device, and returns the node that the device uses.
    fn taped_disk(&mut self, index: usize, mut node: String, mode: &TapeMode) -> String {
        if let TapeMode::Replay(Some(snapshots)) = mode {
            self.file_node(&format!("overfile{index}"), &snapshots.disks[index]);
            let over = format!(
                "driver=qcow2,node-name=over{index},file=overfile{index},backing={node},\
                 discard=unmap"
            );
            self.push(["-blockdev", &over]);
            node = format!("over{index}");
        }
        let taped = format!("driver=blkreplay,node-name=taped{index},image={node}");
        self.push(["-blockdev", &taped]);
        format!("taped{index}")
    }

    fn file_node(&mut self, name: &str, file: &Path) {
        let mut driver = file_option(&format!("driver=file,node-name={name},filename="), file);
        // The file lives as long as this run, so that the guest's flushes need not reach the
        // host's disk.
        driver.push(",cache.no-flush=on,discard=unmap");
        self.push(["-blockdev".as_ref(), driver.as_os_str()]);
    }
}

/// Writes an option that ends in a file name.
fn file_option(option: &str, file: &Path) -> OsString {
    let mut text = OsString::from(option);
    text.push(double_commas(file.as_os_str()));
    text
}

/// Writes a file name as a value of QEMU's comma-separated options.
fn double_commas(name: &OsStr) -> OsString {
    match name.to_str() {
        Some(name) => OsString::from(name.replace(',', ",,")),
        // No comma can be doubled without decoding the name; QEMU will say what it thinks of it.
        None => name.to_owned(),
    }
}

impl fmt::Display for CommandLine {
    /// Writes the command for a POSIX shell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(dir) = &self.1 {
            write!(f, "cd {} && ", shell_quote(&dir.to_string_lossy()))?;
        }
        for (index, argument) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&shell_quote(&argument.to_string_lossy()))?;
        }
        Ok(())
    }
}

fn shell_quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=,./:+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A QEMU version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version {
    /// The part before the first dot.
    pub major: u32,
    /// The part after it.
    pub minor: u32,
}

impl Version {
    /// The oldest version that Granule is tested with.
    pub const OLDEST: Self = Self { major: 7, minor: 2 };

    /// Reads the first line of `--version`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_number(Self::number(text)?)
    }

    fn number(text: &str) -> Option<&str> {
        text.strip_prefix("QEMU emulator version ")?.split([' ', '\n']).next()
    }

    fn parse_number(number: &str) -> Option<Self> {
        let mut parts = number.split('.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.parse().ok()?;
        Some(Self { major, minor })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Asks a QEMU for its version.
///
/// # Errors
///
/// When it cannot be started or does not answer like a QEMU.
pub fn version(qemu: &Path) -> Result<Version, Error> {
    let text = full_version(qemu)?;
    Version::parse_number(&text).ok_or_else(|| no_version(qemu))
}

/// Asks a QEMU for its version, with all of its parts: `10.0.2`.
///
/// # Errors
///
/// When it cannot be started or does not answer like a QEMU.
pub fn full_version(qemu: &Path) -> Result<String, Error> {
    let output = Command::new(qemu)
        .arg("--version")
        .output()
        .map_err(Error::start(qemu.display().to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Version::number(&text).map(str::to_owned).ok_or_else(|| no_version(qemu))
}

fn no_version(qemu: &Path) -> Error {
    let command = format!("{} --version", qemu.display());
    Error::Answer { command, expected: "QEMU version" }
}

#[cfg(test)]
mod tests;
