// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder is processes and their threads.
//!
//! # The life of a process
//!
//! 1. *Alive*: has threads. The first has the process's number; `clone` makes more of either.
//! 2. *Leaving*: the last thread has left. Address space and files are gone.
//! 3. *Zombie*: the parent has been told and may ask how it ended (`wait.rs`).
//! 4. Gone: the parent has asked, or does not want to know.
//!
//! # How a thread is stopped
//!
//! Nobody ends another's thread. Whoever wants it ended sets [`Work::EXIT`] and interrupts its sleep;
//! the thread sees it before it would run user code again, and leaves (`exit.rs`).

mod clone;
mod credentials;
mod exec;
mod exit;
mod files;
mod oom;
mod run;
mod table;
mod trap;
mod view;
mod wait;

pub(crate) use clone::CloneRequest;
pub(crate) use credentials::{Credentials, Ids};
pub(crate) use exec::ExecRequest;
pub(crate) use files::Files;
pub(crate) use oom::Oom;
pub(crate) use table::{INIT, News, ProcessTable, Tree};
pub(crate) use wait::{ChildEvent, WaitFor, WaitOptions};

use alloc::sync::Arc;
use alloc::vec::Vec;

use base::lock_level;
use base::sync::atomic::{AtomicBool, AtomicI16, AtomicU32, AtomicU64, Ordering};
use base::sync::{OnceCell, SpinLock};
use hal::{Platform, TraceKind};
use mm::Mm;

use crate::sched;
use crate::signal::{Actions, ProcessSignals, ThreadSignals};
use crate::syscall::restart::Resume;

/// Bytes of a thread's name, the final NUL among them (Linux's TASK_COMM_LEN).
pub const NAME_LEN: usize = 16;
/// How far a stack grows, in bytes.
pub(crate) const STACK_LIMIT: u64 = 8 << 20;
/// Most bytes of an argument or environment string (Linux's MAX_ARG_STRLEN).
pub(crate) const MAX_ARG_STRLEN: usize = 32 * 4096;
/// Most bytes of all of them: a quarter of the stack.
pub(crate) const MAX_ARG_BYTES: usize = STACK_LIMIT as usize / 4;

/// Reasons to look up before user code runs, a bit each.
pub(crate) struct Work;

impl Work {
    /// The thread ends.
    pub const EXIT: u32 = 1 << 0;
    /// A signal may be pending.
    pub const SIGNAL: u32 = 1 << 1;
    /// A system call was interrupted and may have to be started again.
    pub const RESTART: u32 = 1 << 2;
}

/// How a process or thread ended, as wait4 reports it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ExitStatus {
    /// It called exit with this status.
    Code(u8),
    /// A signal ended it.
    Signal(u8),
}

impl ExitStatus {
    /// Returns the status word (include/uapi/linux/wait.h; the bits are POSIX's by custom).
    pub fn to_word(self) -> u32 {
        match self {
            Self::Code(code) => u32::from(code) << 8,
            Self::Signal(signal) => u32::from(signal),
        }
    }
}

/// A process: what its threads share.
pub struct Process<P: Platform> {
    pid: u32,
    mm: SpinLock<Arc<Mm<P>>, lock_level::Task>,
    /// What exec was called with, for /proc.
    image: SpinLock<Arc<Image>, lock_level::Task>,
    /// How the process ends; the first to set it wins.
    group_exit: OnceCell<ExitStatus>,
    /// How its first thread ended, on its own.
    leader_exit: SpinLock<Option<ExitStatus>, lock_level::Task>,
    /// A thread replaces the program and waits until the others have left.
    is_execing: AtomicBool,
    /// Set when a child made by vfork needs its parent's memory no more.
    vfork_done: AtomicU32,
    /// Thousandths of all memory that count as its own when a victim is chosen (`oom.rs`).
    oom_score_adj: AtomicI16,
    credentials: SpinLock<Credentials, lock_level::Task>,
    pub(crate) files: Files<P>,
    pub(crate) signals: ProcessSignals,
}

/// What a process runs.
#[derive(Default, Debug)]
pub(crate) struct Image {
    /// The absolute path of the program.
    pub path: Vec<u8>,
    /// The addresses of the arguments' bytes.
    pub args: core::ops::Range<u64>,
    /// The addresses of the environment's bytes.
    pub env: core::ops::Range<u64>,
    /// Where handlers return to that name no place themselves.
    pub trampoline: u64,
}

/// A thread of a process.
pub struct Thread<P: Platform> {
    tid: AtomicU32,
    process: Arc<Process<P>>,
    kernel_thread: OnceCell<&'static sched::Thread<P>>,
    work: AtomicU32,
    /// Where 0 is stored, and who waits is woken, when the thread ends. 0 for nowhere.
    pub(crate) clear_tid: AtomicU64,
    /// Head of the list of robust futexes.
    pub(crate) robust_list: AtomicU64,
    name: SpinLock<[u8; NAME_LEN], lock_level::Task>,
    exit_status: OnceCell<ExitStatus>,
    /// x0 at the system call that may have to be started again.
    pub(crate) restart_x0: AtomicU64,
    /// The call that restart_syscall goes on with.
    pub(crate) resume: SpinLock<Option<Resume>, lock_level::Task>,
    /// What PR_SET_TAGGED_ADDR_CTRL was given.
    pub(crate) tagged_addr_ctrl: AtomicU64,
    pub(crate) signals: ThreadSignals,
}

/// What a process has that a child may share.
pub(crate) struct Parts<P: Platform> {
    pub files: Files<P>,
    /// What it does about signals.
    pub actions: Arc<Actions>,
    /// Its standing when a victim is chosen.
    pub oom_score_adj: i16,
    /// Whose it is.
    pub credentials: Credentials,
}

impl<P: Platform> Process<P> {
    fn new(pid: u32, mm: Arc<Mm<P>>, image: Arc<Image>, parts: Parts<P>) -> Arc<Self> {
        Arc::new(Self {
            pid,
            mm: SpinLock::new(mm),
            image: SpinLock::new(image),
            group_exit: OnceCell::new(),
            leader_exit: SpinLock::new(None),
            is_execing: AtomicBool::new(false),
            vfork_done: AtomicU32::new(0),
            oom_score_adj: AtomicI16::new(parts.oom_score_adj),
            credentials: SpinLock::new(parts.credentials),
            files: parts.files,
            signals: ProcessSignals::new(parts.actions),
        })
    }

    /// Returns the process's number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the address space. It has no users any more when the process is a zombie.
    pub fn mm(&self) -> Arc<Mm<P>> {
        Arc::clone(&self.mm.lock())
    }

    /// Returns the parts that a child made with `flags` (CLONE_*) begins with.
    pub(crate) fn parts_for_child(&self, flags: u64) -> Result<Parts<P>, abi::Errno> {
        let actions = self.signals.actions_for_child(flags);
        let oom_score_adj = self.oom_score_adj();
        let credentials = self.credentials();
        Ok(Parts { files: self.files.for_child(flags), actions, oom_score_adj, credentials })
    }

    /// Returns whose it is.
    pub(crate) fn credentials(&self) -> Credentials {
        *self.credentials.lock()
    }

    /// Changes whose it is.
    pub(crate) fn with_credentials<R>(&self, change: impl FnOnce(&mut Credentials) -> R) -> R {
        change(&mut self.credentials.lock())
    }

    /// Returns its standing when a victim is chosen, -1000 to 1000.
    pub(crate) fn oom_score_adj(&self) -> i16 {
        self.oom_score_adj.load(Ordering::Relaxed)
    }

    pub(crate) fn set_oom_score_adj(&self, adj: i16) {
        self.oom_score_adj.store(adj, Ordering::Relaxed);
    }

    pub(crate) fn image(&self) -> Arc<Image> {
        Arc::clone(&self.image.lock())
    }

    /// Returns how the process ends, once that is known.
    pub(crate) fn group_exit(&self) -> Option<ExitStatus> {
        self.group_exit.get().copied()
    }
}

impl<P: Platform> Thread<P> {
    fn new(tid: u32, process: Arc<Process<P>>, name: [u8; NAME_LEN]) -> Arc<Self> {
        Arc::new(Self {
            tid: AtomicU32::new(tid),
            process,
            kernel_thread: OnceCell::new(),
            work: AtomicU32::new(0),
            clear_tid: AtomicU64::new(0),
            robust_list: AtomicU64::new(0),
            name: SpinLock::new(name),
            exit_status: OnceCell::new(),
            restart_x0: AtomicU64::new(0),
            resume: SpinLock::new(None),
            tagged_addr_ctrl: AtomicU64::new(0),
            signals: ThreadSignals::new(),
        })
    }

    /// Tells whether wrong tags are recorded and not reported at once.
    #[inline]
    fn records_tag_faults(&self) -> bool {
        self.tagged_addr_ctrl.load(Ordering::Relaxed) & abi::prctl::PR_MTE_TCF_ASYNC != 0
    }

    /// Tells whether pointers given to system calls may carry tags.
    #[inline]
    pub(crate) fn may_pass_tags(&self) -> bool {
        self.tagged_addr_ctrl.load(Ordering::Relaxed) & abi::prctl::PR_TAGGED_ADDR_ENABLE != 0
    }

    /// Takes over what a child inherits from the thread that makes it.
    pub(crate) fn inherit(&self, parent: &Self, flags: u64) {
        let tags = parent.tagged_addr_ctrl.load(Ordering::Relaxed);
        self.tagged_addr_ctrl.store(tags, Ordering::Relaxed);
        self.signals.inherit(&parent.signals, flags);
        // A stop that has begun did not see this thread.
        if self.process.signals.stop.is_active() {
            self.add_work(Work::SIGNAL);
        }
    }

    /// Returns the thread's number.
    pub fn tid(&self) -> u32 {
        self.tid.load(Ordering::Relaxed)
    }

    /// Returns the process.
    pub fn process(&self) -> &Arc<Process<P>> {
        &self.process
    }

    /// Returns the name, NUL-padded.
    pub fn name(&self) -> [u8; NAME_LEN] {
        *self.name.lock()
    }

    /// Sets the name; what is too long is cut.
    pub(crate) fn set_name(&self, name: &[u8]) {
        let mut padded = [0; NAME_LEN];
        let len = name.len().min(NAME_LEN - 1);
        padded[..len].copy_from_slice(&name[..len]);
        *self.name.lock() = padded;
    }

    /// Says in the trace, where there is one, that the running thread is this one.
    pub(super) fn mark_name(&self, machine: &P) {
        machine.mark(TraceKind::ThreadName, || {
            let [first, _] = *self.name().as_chunks().0 else {
                unreachable!("16 bytes are two words")
            };
            [self.tid().into(), u64::from_le_bytes(first)]
        });
    }

    /// Returns the kernel thread that runs it, once it does.
    pub(crate) fn kernel_thread(&self) -> Option<&'static sched::Thread<P>> {
        self.kernel_thread.get().copied()
    }

    /// Leaves word for the thread, before it runs user code again.
    pub(crate) fn add_work(&self, work: u32) {
        self.work.fetch_or(work, Ordering::SeqCst);
    }

    pub(crate) fn has_work(&self, work: u32) -> bool {
        self.work.load(Ordering::SeqCst) & work != 0
    }

    pub(crate) fn clear_work(&self, work: u32) {
        self.work.fetch_and(!work, Ordering::SeqCst);
    }
}
