// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file starts a stopped guest and a debugger on it (`cargo xtask gdb`).

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use clap::Args;

use crate::build::Checks;
use crate::error::Error;
use crate::guest::{Guest, Setup};
use crate::need::{self, Need};
use crate::options::{Defaults, GuestOptions};
use crate::scratch::Scratch;
use crate::setup;
use crate::workspace;

const NEEDS: [Need; 4] = [setup::TARGETS[0], setup::TARGETS[1], Need::Qemu, Need::Gdb];

const DEFAULTS: Defaults = Defaults { machine: "demo", checks: Checks::Checked, program: "demo" };

/// Starts a stopped guest under gdb, with commands that show memory management
///
/// The guest's output goes to the same terminal. In gdb, `help mm-pt` and so on explain the commands, of
/// which docs/DEBUGGING.md shows examples: mm-pt, mm-vma, mm-folio, mm-rmap, mm-swap, mm-tags, mm-tlb, mm-lru,
/// mm-ps, mm-counters.
#[derive(Args, Debug)]
pub struct Gdb {
    #[command(flatten)]
    guest: GuestOptions,
    /// gdb command to run, may be repeated; gdb ends after the last one
    #[arg(long, visible_alias = "command", value_name = "COMMAND")]
    ex: Vec<String>,
    /// File that gets the guest's output
    #[arg(long, value_name = "FILE")]
    serial: Option<PathBuf>,
    /// Program to run as init, and its arguments [default: the demo]
    #[arg(last = true, value_name = "PROGRAM")]
    init: Vec<String>,
}

/// A QEMU that ends with its debugger.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have ended on its own; then there is nothing to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Gdb {
    /// Runs the verb and returns gdb's exit status.
    ///
    /// # Errors
    ///
    /// When the guest or gdb cannot be started.
    pub fn run(&self) -> Result<u8, Error> {
        let setup = self.guest.setup_for_debugger(DEFAULTS, &NEEDS, &self.init)?;
        let port = free_port().map_err(Error::start("a server on the loopback interface"))?;
        let guest = Guest::prepare(&setup, Scratch::new()?, Some(port))?;
        session(&guest, &setup, port, &self.ex, self.serial.as_deref())
    }
}

/// Starts a guest that waits for a debugger at `port`, and gdb on it; returns gdb's exit status. What the
/// guest prints goes to the file `serial`, if there is one.
pub(crate) fn session(
    guest: &Guest,
    setup: &Setup,
    port: u16,
    ex: &[String],
    serial: Option<&Path>,
) -> Result<u8, Error> {
    let gdb = need::find_gdb().ok_or_else(|| Error::Missing(vec![Need::Gdb]))?;
    let mut qemu = guest.command_line().command();
    if let Some(path) = serial {
        qemu.stdout(File::create(path).map_err(Error::file("create", path))?);
    }
    // In a process group of its own, so that Ctrl-C is for gdb alone.
    qemu.stdin(Stdio::null()).process_group(0);
    let _stopped = Stopped(qemu.spawn().map_err(Error::start(setup.qemu.display().to_string()))?);
    let mut command = command(&gdb, &setup.kernel.elf, port, &loader(), ex);
    let status = command.status().map_err(Error::start(gdb.display().to_string()))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}

/// Finds a port that nobody listens on.
pub(crate) fn free_port() -> std::io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// Returns what loads the kernel's own gdb commands.
fn loader() -> PathBuf {
    workspace::root().join("qemu/gdb/load.py")
}

/// Seconds that gdb waits for QEMU to listen, and for each answer. It waits 2 for an answer by itself, and
/// loses the connection of a host that is busy.
const PATIENCE: u32 = 120;

/// Makes the gdb command.
fn command(gdb: &Path, elf: &Path, port: u16, loader: &Path, ex: &[String]) -> Command {
    let mut command = Command::new(gdb);
    command.arg("-q").arg(elf);
    // gdb asks nothing that has only one answer here.
    command.args(["-ex", "set confirm off", "-ex", "set pagination off"]);
    for setting in ["tcp connect-timeout", "remotetimeout"] {
        command.args(["-ex", &format!("set {setting} {PATIENCE}")]);
    }
    command.arg("-x").arg(loader);
    command.args(["-ex", &format!("target remote 127.0.0.1:{port}")]);
    for ex in ex {
        command.args(["-ex", ex]);
    }
    if !ex.is_empty() {
        command.arg("-batch").stdin(Stdio::null());
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(ex: &[&str]) -> Vec<String> {
        let ex: Vec<String> = ex.iter().map(|ex| (*ex).to_owned()).collect();
        let loader = Path::new("qemu/gdb/load.py");
        let command = command(Path::new("gdb"), Path::new("kernel.elf"), 4711, loader, &ex);
        command.get_args().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn gdb_loads_the_commands_and_then_attaches() {
        let words = words(&[]);
        assert_eq!(words[..2], ["-q", "kernel.elf"]);
        assert_eq!(words[10..], ["-x", "qemu/gdb/load.py", "-ex", "target remote 127.0.0.1:4711"]);
    }

    #[test]
    fn given_commands_come_last_and_end_gdb() {
        let words = words(&["mm-pt 0x1000", "detach"]);
        assert_eq!(words[14..], ["-ex", "mm-pt 0x1000", "-ex", "detach", "-batch"]);
    }

    #[test]
    fn free_ports_can_be_listened_on() {
        let port = free_port().expect("a port");
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("still free");
    }
}
