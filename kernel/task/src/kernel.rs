// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds what the process layer has one of per machine.

use alloc::boxed::Box;
use alloc::sync::Arc;

use abi::siginfo::SigInfo;
use abi::{Errno, Signal};
use base::sync::OnceCell;
use base::sync::atomic::{AtomicU64, Ordering};
use hal::{Platform, PowerAction, TraceKind};
use mm::System;

use crate::counters;
use crate::fs::{self, BootError, BootTree, Env, Vfs};
use crate::futex::FutexTable;
use crate::process::{Credentials, Oom, Parts, ProcessTable};
use crate::sched::{Scheduler, UserState};
use crate::signal::{self, Actions, Trampoline};
use crate::syscall::UnknownCalls;

/// The process layer of one machine.
pub struct Kernel<P: Platform> {
    machine: &'static P,
    system: Arc<System<P>>,
    sched: &'static Scheduler<P>,
    pub(crate) processes: ProcessTable<P>,
    pub(crate) oom: Oom,
    pub(crate) futexes: FutexTable,
    files: OnceCell<BootTree<P>>,
    pub(crate) unknown_calls: UnknownCalls,
    pub(crate) trampoline: Trampoline<P>,
    pub(crate) driver_counters: counters::Foreign,
    pub(crate) command_line: OnceCell<&'static str>,
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC, in ns.
    pub(crate) epoch_offset_ns: AtomicU64,
}

impl<P: Platform> Kernel<P> {
    /// Builds the layer, which lives for ever, and starts the threads of the memory manager.
    ///
    /// # Panics
    ///
    /// When there is no memory for a thread.
    pub fn new(system: Arc<System<P>>, sched: &'static Scheduler<P>) -> &'static Self {
        let machine = sched.machine();
        sched.set_memory(Arc::clone(&system));
        let kernel = Box::leak(Box::new(Self {
            machine,
            sched,
            processes: ProcessTable::new(system.nr_managed_frames()),
            oom: Oom::default(),
            futexes: FutexTable::new(),
            files: OnceCell::new(),
            unknown_calls: UnknownCalls::new(),
            trampoline: Trampoline::new(),
            driver_counters: counters::Foreign::new(),
            command_line: OnceCell::new(),
            epoch_offset_ns: AtomicU64::new(machine.epoch_offset_ns()),
            system,
        }));
        let system = Arc::clone(&kernel.system);
        let kswapd = move || {
            machine.mark(TraceKind::ThreadName, || [0, u64::from_le_bytes(*b"kswapd\0\0")]);
            system.run_kswapd(|| false);
        };
        sched.spawn(UserState::default(), kswapd).expect("there is memory for kswapd's stack");
        kernel
    }

    /// Makes known what the kernel was started with: /proc/cmdline.
    pub fn set_command_line(&self, line: &'static str) {
        self.command_line.set(line);
    }

    /// Stops the machine, with everything that is due before.
    pub(crate) fn power(&self, action: PowerAction) -> ! {
        self.print_counters();
        self.machine.write_trace();
        self.machine.power(action)
    }

    pub(crate) fn parts_for_init(&self) -> Parts<P> {
        let actions = Arc::new(Actions::new());
        let credentials = Credentials::default();
        Parts { files: self.files_for_init(), actions, oom_score_adj: 0, credentials }
    }

    /// Builds the tree of files from the initial ramdisk.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn mount_files(&'static self, initrd: &[u8]) -> Result<(), BootError> {
        let epoch_ns = self.epoch_offset_ns.load(Ordering::Relaxed);
        let env = Env::new(&self.system, self.sched, self.sched.tag_preferences(), epoch_ns);
        let tree = fs::boot_tree(&env, initrd)?;
        let tty = Arc::clone(&tree.tty);
        tree.proc.set_source(self);
        self.files.set(tree);
        let receive = move || tty.receive(|wish| self.grant_to_tty(wish));
        // What was typed while nobody took it raises no interrupt any more.
        receive();
        self.sched.set_on_console(receive);
        Ok(())
    }

    /// Does what somebody at the terminal asks for. The foreground process group may be gone.
    fn grant_to_tty(&'static self, wish: fs::TtyWish) {
        match wish {
            fs::TtyWish::Signal { group, signal } => {
                if let Some(signal) = Signal::new(signal.into()) {
                    let _ = signal::send_to_group(self, group, SigInfo::from_kernel(signal));
                }
            }
            fs::TtyWish::MagicKey(key) => self.sysrq(key),
        }
    }

    /// Returns all files.
    ///
    /// # Panics
    ///
    /// Before they are mounted.
    pub(crate) fn vfs(&self) -> &Vfs<P> {
        &self.files.get().expect("files are mounted before there are processes").vfs
    }

    /// Says that the first program cannot start, and stops the machine.
    pub(crate) fn init_does_not_start(&self, path: &[u8], why: Errno) -> ! {
        let path = alloc::string::String::from_utf8_lossy(path);
        log::error!("granule: init does not start: {path}: {why}");
        self.power(PowerAction::Off { status: 1 })
    }

    /// Returns the machine.
    #[inline]
    pub fn machine(&self) -> &'static P {
        self.machine
    }

    /// Returns the memory manager.
    #[inline]
    pub fn system(&self) -> &Arc<System<P>> {
        &self.system
    }

    /// Returns the scheduler.
    #[inline]
    pub fn sched(&self) -> &'static Scheduler<P> {
        self.sched
    }
}
