// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file handles and sends signals, by the bare system calls: the C library has ideas of its own.

#![expect(unsafe_code, reason = "handlers read what the kernel gives them")]

use core::ffi::c_void;
use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use crate::process::Child;
use crate::sys::{self, Errno};
use crate::{memory, process};

/// `SI_TKILL` (asm-generic/siginfo.h).
pub const SI_TKILL: i32 = -6;
/// `SI_KERNEL` (asm-generic/siginfo.h).
pub const SI_KERNEL: i32 = 0x80;

/// What a handler is.
pub type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void);

/// `struct sigaction` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Action {
    /// SIG_DFL, SIG_IGN or an address.
    pub handler: usize,
    /// SA_*.
    pub flags: usize,
    /// Where the handler returns to, with SA_RESTORER.
    pub restorer: usize,
    /// Blocked while it runs.
    pub mask: u64,
}

/// Returns a set of signals.
pub fn set(signals: &[i32]) -> u64 {
    signals.iter().fold(0, |set, signal| set | 1 << (signal - 1))
}

/// Calls rt_sigaction and returns the old action.
///
/// # Errors
///
/// The call's.
pub fn sigaction(signal: i32, action: Option<&Action>) -> Result<Action, Errno> {
    let mut old = Action::default();
    let new = action.map_or(0, |action| core::ptr::from_ref(action).expose_provenance());
    let at = (&raw mut old).expose_provenance();
    sys::call(libc::SYS_rt_sigaction, [signal as usize, new, at, 8]).map(|_| old)
}

/// Lets `handler` handle a signal. It returns by the kernel's own trampoline: no restorer is given.
///
/// # Panics
///
/// When rt_sigaction fails.
pub fn handle(signal: i32, flags: i32, mask: u64, handler: Handler) {
    let flags = (flags | libc::SA_SIGINFO) as usize;
    let action = Action { handler: handler as usize, flags, restorer: 0, mask };
    sigaction(signal, Some(&action)).expect("rt_sigaction");
}

/// Changes the mask and returns the old one.
///
/// # Panics
///
/// When rt_sigprocmask fails.
pub fn mask(how: i32, set: u64) -> u64 {
    let mut old = 0u64;
    let new = (&raw const set).expose_provenance();
    let at = (&raw mut old).expose_provenance();
    sys::call(libc::SYS_rt_sigprocmask, [how as usize, new, at, 8]).expect("rt_sigprocmask");
    old
}

/// Returns the signals that wait.
///
/// # Panics
///
/// When rt_sigpending fails.
pub fn pending() -> u64 {
    let mut set = 0u64;
    let at = (&raw mut set).expose_provenance();
    sys::call(libc::SYS_rt_sigpending, [at, 8]).expect("rt_sigpending");
    set
}

/// Sleeps with another mask until a signal was handled.
pub fn suspend(mask: u64) {
    let at = (&raw const mask).expose_provenance();
    let outcome = sys::call(libc::SYS_rt_sigsuspend, [at, 8]);
    assert_eq!(outcome, Err(libc::EINTR), "sigsuspend always ends so");
}

/// Takes a signal out of those that wait; `timeout` is in nanoseconds. Returns siginfo as words.
///
/// # Errors
///
/// The call's.
pub fn timed_wait(wanted: u64, timeout: i64) -> Result<(i32, [i32; 32]), Errno> {
    let timeout = libc::timespec { tv_sec: 0, tv_nsec: timeout };
    let mut info = [0i32; 32];
    let arguments = [
        (&raw const wanted).expose_provenance(),
        (&raw mut info).expose_provenance(),
        (&raw const timeout).expose_provenance(),
        8,
    ];
    sys::call(libc::SYS_rt_sigtimedwait, arguments).map(|signal| (signal as i32, info))
}

/// Sends a signal to the calling thread.
///
/// # Panics
///
/// When tgkill fails.
pub fn raise(signal: i32) {
    let pid = pid() as usize;
    let tid = sys::call(libc::SYS_gettid, []).expect("gettid");
    sys::call(libc::SYS_tgkill, [pid, tid, signal as usize]).expect("tgkill");
}

/// Calls kill.
///
/// # Errors
///
/// The call's.
pub fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    sys::call(libc::SYS_kill, [pid as usize, signal as usize]).map(drop)
}

/// Returns the number of the process.
pub fn pid() -> i32 {
    sys::call(libc::SYS_getpid, []).map_or(0, |pid| pid as i32)
}

/// What [`NOTE`] has noted last, and how often.
pub static NOTED: Noted = Noted {
    count: AtomicUsize::new(0),
    signal: AtomicI32::new(0),
    code: AtomicI32::new(0),
    sender: AtomicI32::new(0),
};

/// What a handler has seen.
#[derive(Debug)]
pub struct Noted {
    count: AtomicUsize,
    signal: AtomicI32,
    code: AtomicI32,
    sender: AtomicI32,
}

impl Noted {
    /// Returns how many signals were noted.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Returns number, code and sender of the last one.
    pub fn last(&self) -> (i32, i32, i32) {
        let last = [&self.signal, &self.code, &self.sender].map(|it| it.load(Ordering::SeqCst));
        (last[0], last[1], last[2])
    }
}

/// A handler that notes what it was given.
pub const NOTE: Handler = note;

extern "C" fn note(signal: i32, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a siginfo.
    let info = unsafe { &*info };
    // SAFETY: any field of it may be read as a number.
    let sender = unsafe { info.si_pid() };
    NOTED.signal.store(signal, Ordering::SeqCst);
    NOTED.code.store(info.si_code, Ordering::SeqCst);
    NOTED.sender.store(sender, Ordering::SeqCst);
    NOTED.count.fetch_add(1, Ordering::SeqCst);
}

/// Calls sigaltstack and returns the old stack as address, flags and bytes.
///
/// # Errors
///
/// The call's.
pub fn altstack(new: Option<(usize, i32, usize)>) -> Result<(usize, i32, usize), Errno> {
    let mut old = [0usize; 3];
    let new = new.map(|(sp, flags, size)| [sp, flags as u32 as usize, size]);
    let at = new.as_ref().map_or(0, |new| core::ptr::from_ref(new).expose_provenance());
    sys::call(libc::SYS_sigaltstack, [at, (&raw mut old).expose_provenance()])?;
    Ok((old[0], old[1] as i32, old[2]))
}

/// What handlers of a test did, in their order.
pub static ORDER: Order =
    Order { entries: [const { AtomicI32::new(0) }; 16], count: AtomicUsize::new(0) };

/// A list of up to 16 numbers, which handlers may add to.
#[derive(Debug)]
pub struct Order {
    entries: [AtomicI32; 16],
    count: AtomicUsize,
}

impl Order {
    /// Adds a number.
    ///
    /// # Panics
    ///
    /// When there are 16.
    pub fn add(&self, number: i32) {
        let index = self.count.fetch_add(1, Ordering::SeqCst);
        self.entries[index].store(number, Ordering::SeqCst);
    }

    /// Tells whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.count.store(0, Ordering::SeqCst);
    }

    /// Returns what was added.
    pub fn taken(&self) -> Vec<i32> {
        let count = self.count.load(Ordering::SeqCst);
        self.entries[..count].iter().map(|entry| entry.load(Ordering::SeqCst)).collect()
    }
}

/// A handler that adds 100 times the signal plus the queued value to [`ORDER`].
pub const NOTE_VALUE: Handler = note_value;

extern "C" fn note_value(signal: i32, info: *mut libc::siginfo_t, _: *mut c_void) {
    // `si_value` is 24 bytes into `siginfo_t`.
    let value = memory::load(info.expose_provenance() + 24) as i32;
    ORDER.add(signal * 100 + value);
}

/// Queues a signal with a value to this process.
///
/// # Panics
///
/// When rt_sigqueueinfo fails.
pub fn queue(signal: i32, value: i32) {
    let mut info = [0i32; 32];
    (info[0], info[2], info[6]) = (signal, libc::SI_QUEUE, value);
    let at = (&raw const info).expose_provenance();
    let arguments = [pid() as usize, signal as usize, at];
    sys::call(libc::SYS_rt_sigqueueinfo, arguments).expect("rt_sigqueueinfo");
}

/// Starts a child that waits to be ended.
pub fn sleeper() -> Child {
    process::fork(|| {
        mask(libc::SIG_SETMASK, 0);
        loop {
            suspend(0);
        }
    })
}
