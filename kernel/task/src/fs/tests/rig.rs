// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file sets up a tree of files on a simulated machine.

use std::boxed::Box;
use std::string::String;
use std::sync::Arc;
use std::vec;
use std::vec::Vec;

use abi::Errno;
use abi::open::{O_CREAT, O_RDWR};
use base::percpu::CpuId;
use hal::sim::{Adversary, SimConfig, SimMachine};
use hal::{Clock, Wait, WaitChannel};
use mm::System;

use crate::fs::{
    BootTree, Env, File, InodeRef, Nap, OpenHow, ProcFs, SliceSink, SliceSource, Tty, Vfs,
    boot_tree,
};
use crate::sched::TagPreferences;

/// Sleeps on the simulated machine. No signal comes.
struct SimNap(SimMachine);

impl Nap for SimNap {
    fn nap(
        &self,
        channel: WaitChannel,
        deadline_ns: Option<u64>,
        ready: &mut dyn FnMut() -> bool,
    ) -> Result<bool, Errno> {
        let mut was_ready = false;
        self.0.sleep_until(channel, &mut || {
            was_ready = ready();
            was_ready || deadline_ns.is_some_and(|deadline| deadline <= self.0.now_ns())
        });
        Ok(was_ready)
    }

    fn wake(&self, channel: WaitChannel) {
        self.0.wake_all(channel);
    }
}

/// A simulated machine and the tree of files on it.
#[derive(Clone)]
pub struct Rig {
    pub machine: SimMachine,
    pub vfs: Arc<Vfs<SimMachine>>,
    pub tty: Arc<Tty<SimMachine>>,
    pub proc: Arc<ProcFs<SimMachine>>,
}

pub const CPU0: CpuId = CpuId::new(0);
pub const CPU1: CpuId = CpuId::new(1);

impl Rig {
    /// Builds 16 MiB of RAM, one disk of 32 pages, and an empty root.
    pub fn new() -> Self {
        Self::with_archive(&[]).expect("an empty tree")
    }

    pub fn with_archive(archive: &[u8]) -> Result<Self, String> {
        let config =
            SimConfig { disks: vec![32 * 8], adversary: Adversary::CALM, ..SimConfig::default() };
        let machine = config.build();
        machine.clone().run_on(CPU0, || {
            let nap = Box::leak(Box::new(SimNap(machine.clone())));
            let preferences = Box::leak(Box::new(TagPreferences::new(&machine)));
            let env = Env::new(&System::new(machine.clone()), nap, preferences, 0);
            let BootTree { vfs, tty, proc, .. } =
                boot_tree(&env, archive).map_err(|error| std::format!("{error}"))?;
            Ok(Self { machine, vfs: Arc::new(vfs), tty, proc })
        })
    }

    /// Runs a test on a CPU of a new machine.
    pub fn run(test: impl FnOnce(&Rig)) {
        let rig = Self::new();
        rig.machine.run_on(CPU0, || test(&rig));
    }

    pub fn root(&self) -> &InodeRef<SimMachine> {
        self.vfs.root()
    }

    pub fn find(&self, path: &str) -> Result<InodeRef<SimMachine>, Errno> {
        self.vfs.find(self.root(), path.as_bytes(), true)
    }

    pub fn open(&self, path: &str, flags: u32) -> Result<Arc<File<SimMachine>>, Errno> {
        self.vfs.open(self.root(), path.as_bytes(), OpenHow { flags, mode: 0o644 })
    }

    /// Opens a file for reading and writing, and makes it if need be.
    pub fn file(&self, path: &str) -> Arc<File<SimMachine>> {
        self.open(path, O_RDWR | O_CREAT).expect("a file that can be made")
    }

    pub fn dir(&self, path: &str) {
        self.vfs.make_dir(self.root(), path.as_bytes(), 0o755).expect("a new directory");
    }

    pub fn symlink(&self, path: &str, target: &str) {
        let target = Vec::from(target.as_bytes());
        self.vfs.make_symlink(self.root(), path.as_bytes(), target).expect("a new link");
    }

    /// Returns the whole content of a file.
    pub fn content(&self, path: &str) -> Result<Vec<u8>, Errno> {
        let file = self.open(path, 0)?;
        let mut all = Vec::new();
        loop {
            match read(&file, 1000)? {
                part if part.is_empty() => return Ok(all),
                part => all.extend(part),
            }
        }
    }

    pub fn text(&self, path: &str) -> String {
        String::from_utf8(self.content(path).expect("a file that can be read")).expect("text")
    }
}

pub fn read(file: &File<SimMachine>, max: usize) -> Result<Vec<u8>, Errno> {
    let mut buf = vec![0; max];
    let len = file.read(&mut SliceSink::new(&mut buf))?;
    buf.truncate(len);
    Ok(buf)
}

pub fn read_at(file: &File<SimMachine>, at: u64, max: usize) -> Result<Vec<u8>, Errno> {
    let mut buf = vec![0; max];
    let len = file.read_at(at, &mut SliceSink::new(&mut buf))?;
    buf.truncate(len);
    Ok(buf)
}

pub fn write(file: &File<SimMachine>, bytes: &[u8]) -> Result<usize, Errno> {
    file.write(&mut SliceSource::new(bytes))
}

pub fn write_at(file: &File<SimMachine>, at: u64, bytes: &[u8]) -> Result<usize, Errno> {
    file.write_at(at, &mut SliceSource::new(bytes))
}

/// Lists a directory with a buffer of `len` bytes at a time, `pause` in between.
pub fn list(file: &File<SimMachine>, len: usize, mut pause: impl FnMut()) -> Vec<String> {
    let mut names = Vec::new();
    let mut buf = vec![0; len];
    loop {
        let filled = file.list(&mut buf).expect("a directory");
        if filled == 0 {
            return names;
        }
        let mut rest = &buf[..filled];
        while !rest.is_empty() {
            let record = usize::from(u16::from_le_bytes([rest[16], rest[17]]));
            let name = rest[19..record].split(|byte| *byte == 0).next().expect("a name");
            names.push(String::from_utf8_lossy(name).into_owned());
            rest = &rest[record..];
        }
        pause();
    }
}
