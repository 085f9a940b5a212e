// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file forks, and waits for what was forked.

#![expect(unsafe_code, reason = "fork")]

use std::ffi::CString;

use crate::memory;
use crate::sys::{self, Errno};

/// A child process.
#[derive(Debug)]
pub struct Child(i32);

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// With an exit code.
    Exited(i32),
    /// By a signal.
    Killed(i32),
    /// Neither of the two: it has not ended.
    Not {
        /// The status of wait4.
        status: i32,
    },
}

/// Forks; the child runs `body` and exits with the code that it returns.
///
/// # Errors
///
/// The call's.
pub fn try_fork(body: impl FnOnce() -> i32) -> Result<Child, Errno> {
    // SAFETY: the forking process has one thread, or its child needs none of the others.
    match unsafe { libc::fork() } {
        0 => {
            let code = body();
            // SAFETY: the call ends the process.
            unsafe { libc::_exit(code) }
        }
        -1 => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
        pid => Ok(Child(pid)),
    }
}

/// As [`try_fork`], for tests that expect success.
///
/// # Panics
///
/// When fork fails.
pub fn fork(body: impl FnOnce() -> i32) -> Child {
    try_fork(body).expect("fork")
}

/// Gives the signals of faults their default action, which the standard library has changed.
pub fn no_handlers() {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: the default action runs nothing of this process.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Runs `body` in a child and expects that it returns: an assertion that fails kills it.
///
/// # Panics
///
/// When it does not.
pub fn in_child(body: impl FnOnce()) {
    let child = fork(|| {
        body();
        0
    });
    assert_eq!(child.wait(), Ended::Exited(0), "what became of the child");
}

impl Child {
    /// Returns its process id.
    pub fn pid(&self) -> i32 {
        self.0
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// When wait4 fails.
    pub fn wait(self) -> Ended {
        let (pid, ended) = wait(self.0, 0).expect("wait4");
        assert_eq!(pid, self.0, "wait4 waits for the process asked for");
        ended
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// When kill fails.
    pub fn kill(&self, signal: i32) {
        sys::call(libc::SYS_kill, [self.0 as usize, signal as usize]).expect("kill");
    }
}

/// Tries to execute `path` without arguments in a child, and returns the error number of execve.
///
/// # Panics
///
/// When something else happens.
pub fn exec(path: &str) -> Option<Errno> {
    let path = CString::new(path).expect("no NUL");
    let child = fork(|| {
        let (path, nothing) = (path.as_ptr().expose_provenance(), [0usize; 2]);
        let nothing = nothing.as_ptr().expose_provenance();
        match sys::call(libc::SYS_execve, [path, nothing, nothing]) {
            Err(error) => error,
            Ok(_) => 0,
        }
    });
    match child.wait() {
        Ended::Exited(0) => None,
        Ended::Exited(errno) => Some(errno),
        ended => panic!("execve ended with {ended:?}"),
    }
}

/// Handles a signal, doing nothing.
pub fn handle(signal: i32) {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: the handler does nothing.
    unsafe { libc::signal(signal, nothing as extern "C" fn(i32) as usize) };
}

/// Ignores a signal.
pub fn ignore(signal: i32) {
    // SAFETY: nothing of this process runs.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Says in a word what a signal does.
pub fn action(signal: i32) -> &'static str {
    // SAFETY: all zeroes is a valid action; it is replaced.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes the action.
    let result = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
    assert_eq!(result, 0, "sigaction");
    match action.sa_sigaction {
        libc::SIG_DFL => "default",
        libc::SIG_IGN => "ignored",
        _ => "handled",
    }
}

/// Has SIGALRM end the process, or what it waits for, after so many seconds.
pub fn alarm(seconds: u32) {
    // SAFETY: the call sets a timer.
    unsafe { libc::alarm(seconds) };
}

/// Returns the process id, as the kernel says it now.
pub fn pid() -> u32 {
    sys::call(libc::SYS_getpid, []).expect("getpid") as u32
}

/// Returns how many faults of this process were resolved, with I/O and without (getrusage).
pub fn nr_faults() -> i64 {
    // Two times of 16 bytes, then numbers; ru_minflt and ru_majflt are the fifth and sixth.
    let mut usage = [0i64; 18];
    let at = (&raw mut usage).expose_provenance();
    sys::call(libc::SYS_getrusage, [libc::RUSAGE_SELF as usize, at]).expect("getrusage");
    usage[8] + usage[9]
}

/// Ends the process without running anything of it.
pub fn exit(code: i32) -> ! {
    // SAFETY: the call ends the process.
    unsafe { libc::_exit(code) }
}

/// Returns an entry of the auxiliary vector.
pub fn auxiliary_value(kind: u64) -> u64 {
    // SAFETY: the call reads the vector that the kernel passed.
    unsafe { libc::getauxval(kind) }
}

/// Returns the string at `address`, up to its NUL.
pub fn string_at(address: usize) -> String {
    let bytes = (address..).map(memory::load_byte).take_while(|byte| *byte != 0).collect();
    String::from_utf8(bytes).expect("UTF-8")
}

/// Calls wait4 and returns the process and its status; `pid` 0 when none has anything to report.
///
/// # Errors
///
/// The call's.
pub fn wait(pid: i32, options: i32) -> Result<(i32, Ended), Errno> {
    loop {
        let mut status = 0i32;
        let at = (&raw mut status).expose_provenance();
        match sys::call(libc::SYS_wait4, [pid as usize, at, options as usize, 0]) {
            Ok(pid) => return Ok((pid as i32, Ended::of_status(status))),
            Err(libc::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

impl Ended {
    fn of_status(status: i32) -> Self {
        if libc::WIFEXITED(status) {
            Self::Exited(libc::WEXITSTATUS(status))
        } else if libc::WIFSIGNALED(status) {
            Self::Killed(libc::WTERMSIG(status))
        } else {
            Self::Not { status }
        }
    }
}
