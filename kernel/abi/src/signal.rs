// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds signals: numbers, sets, actions, stacks (include/uapi/asm-generic/signal.h,
//! signal-defs.h). What a signal says is in `siginfo.rs`, the frame of a handler in `sigframe.rs`.

use core::fmt;

use crate::layout::layouts;

/// The largest number.
pub const NSIG: u32 = 64;
/// The first real-time signal, of which several can wait.
pub const SIGRTMIN: u32 = 32;

/// The number of a signal: 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

macro_rules! signals {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        impl Signal {
            $(#[doc = $text] pub const $name: Self = Self($number);)*

            /// Returns its name; `None` for a real-time signal.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

signals! {
    SIGHUP = 1, "The terminal went away.";
    SIGINT = 2, "Interrupt from the keyboard.";
    SIGQUIT = 3, "Quit from the keyboard.";
    SIGILL = 4, "Illegal instruction.";
    SIGTRAP = 5, "Breakpoint or single step.";
    SIGABRT = 6, "abort(3).";
    SIGBUS = 7, "Bad access to memory that is mapped.";
    SIGFPE = 8, "Arithmetic exception.";
    SIGKILL = 9, "Ends the process, whatever it does.";
    SIGUSR1 = 10, "For programs.";
    SIGSEGV = 11, "Bad access to memory.";
    SIGUSR2 = 12, "For programs.";
    SIGPIPE = 13, "Write to a pipe that nobody reads.";
    SIGALRM = 14, "A timer.";
    SIGTERM = 15, "Please end.";
    SIGSTKFLT = 16, "Unused.";
    SIGCHLD = 17, "A child ended or stopped.";
    SIGCONT = 18, "Continues a stopped process.";
    SIGSTOP = 19, "Stops the process, whatever it does.";
    SIGTSTP = 20, "Stop from the keyboard.";
    SIGTTIN = 21, "Read of the terminal by a background process.";
    SIGTTOU = 22, "Write to the terminal by a background process.";
    SIGURG = 23, "Urgent data.";
    SIGXCPU = 24, "Processor time is used up.";
    SIGXFSZ = 25, "File too large.";
    SIGVTALRM = 26, "A timer of user time.";
    SIGPROF = 27, "A timer of processor time.";
    SIGWINCH = 28, "The terminal has another size.";
    SIGIO = 29, "I/O is possible.";
    SIGPWR = 30, "Power is failing.";
    SIGSYS = 31, "Bad system call.";
}

impl Signal {
    /// Returns the signal of a number.
    pub const fn new(number: u64) -> Option<Self> {
        if number >= 1 && number <= NSIG as u64 { Some(Self(number as u8)) } else { None }
    }

    /// Returns its number.
    pub const fn get(self) -> u32 {
        self.0 as u32
    }

    /// Tells whether several of it can wait.
    pub const fn is_realtime(self) -> bool {
        self.get() >= SIGRTMIN
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "SIG{}", self.0),
        }
    }
}

/// A set of signals, as `sigset_t` of the kernel: signal n is bit n - 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SigSet(pub u64);

/// Bytes of a set; the calls insist on it.
pub const SIGSET_SIZE: usize = 8;

impl SigSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// Every signal.
    pub const ALL: Self = Self(u64::MAX);
    /// Those that can be neither blocked, ignored nor caught.
    pub const UNBLOCKABLE: Self = Self::of(&[Signal::SIGKILL, Signal::SIGSTOP]);

    /// Builds a set.
    pub const fn of(signals: &[Signal]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < signals.len() {
            bits |= 1 << (signals[index].0 - 1);
            index += 1;
        }
        Self(bits)
    }

    /// Tells whether a signal is in it.
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 >> (signal.0 - 1) & 1 != 0
    }

    /// Tells whether it has no signal.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns it with one more signal.
    pub const fn with(self, signal: Signal) -> Self {
        Self(self.0 | 1 << (signal.0 - 1))
    }

    /// Returns what is in either.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns what is in both.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns it without those of another set.
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Goes through it in ascending order.
    pub fn iter(self) -> impl Iterator<Item = Signal> {
        (1..=NSIG as u8).map(Signal).filter(move |&signal| self.contains(signal))
    }
}

/// Handler: the default action.
pub const SIG_DFL: u64 = 0;
/// Handler: none, the signal is ignored.
pub const SIG_IGN: u64 = 1;

/// rt_sigprocmask: add to the mask.
pub const SIG_BLOCK: u32 = 0;
/// rt_sigprocmask: remove from the mask.
pub const SIG_UNBLOCK: u32 = 1;
/// rt_sigprocmask: replace the mask.
pub const SIG_SETMASK: u32 = 2;

macro_rules! flags {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        $(#[doc = $text] pub const $name: u64 = $number;)*
    };
}

flags! {
    SA_NOCLDSTOP = 1, "No SIGCHLD for children that stop.";
    SA_NOCLDWAIT = 2, "Children that end leave no zombie.";
    SA_SIGINFO = 4, "The handler takes three arguments.";
    SA_UNSUPPORTED = 0x400, "Never supported: a probe for flags.";
    SA_EXPOSE_TAGBITS = 0x800, "si_addr has its tag.";
    SA_RESTORER = 0x0400_0000, "The restorer is set.";
    SA_ONSTACK = 0x0800_0000, "The handler runs on the alternate stack.";
    SA_RESTART = 0x1000_0000, "Interrupted system calls start again.";
    SA_NODEFER = 0x4000_0000, "The signal is not blocked in its handler.";
    SA_RESETHAND = 0x8000_0000, "The handler is used once.";
}

/// The flags that rt_sigaction keeps; it drops the others.
pub const SA_KNOWN: u64 = SA_NOCLDSTOP
    | SA_NOCLDWAIT
    | SA_SIGINFO
    | SA_EXPOSE_TAGBITS
    | SA_RESTORER
    | SA_ONSTACK
    | SA_RESTART
    | SA_NODEFER
    | SA_RESETHAND;

/// sigaltstack: in use.
pub const SS_ONSTACK: i32 = 1;
/// sigaltstack: none.
pub const SS_DISABLE: i32 = 2;
/// sigaltstack: off while a handler runs on it.
pub const SS_AUTODISARM: i32 = i32::MIN;
/// sigaltstack: least bytes on arm64. A program should ask AT_MINSIGSTKSZ.
pub const MINSIGSTKSZ: u64 = 5120;

layouts! {
    /// `struct sigaction` of the kernel.
    pub struct SigAction [32] {
        /// SIG_DFL, SIG_IGN or an address.
        handler: u64 = 0,
        /// SA_*.
        flags: u64 = 8,
        /// Where the handler returns to, with SA_RESTORER.
        restorer: u64 = 16,
        /// Blocked while it runs.
        mask: u64 = 24,
    }

    /// `stack_t`.
    pub struct SigStack [24] {
        /// Lowest byte.
        sp: u64 = 0,
        /// SS_*.
        flags: i32 = 8,
        /// Bytes.
        size: u64 = 16,
    }
}

#[cfg(test)]
mod tests {
    use super::{SigAction, SigSet, Signal};

    #[test]
    fn numbers_outside_1_to_64_are_no_signals() {
        assert_eq!(Signal::new(0), None);
        assert_eq!(Signal::new(11), Some(Signal::SIGSEGV));
        assert_eq!(Signal::new(64).map(Signal::get), Some(64));
        assert_eq!(Signal::new(65), None);
        assert_eq!(Signal::new(1 << 32 | 9), None);
    }

    #[test]
    fn signal_n_is_bit_n_minus_1() {
        let set = SigSet::EMPTY.with(Signal::SIGHUP).with(Signal::new(64).unwrap());
        assert_eq!(set.0, 1 << 63 | 1);
        assert!(set.contains(Signal::SIGHUP) && !set.contains(Signal::SIGINT));
        assert_eq!(set.iter().map(Signal::get).collect::<std::vec::Vec<_>>(), [1, 64]);
        assert_eq!(SigSet::UNBLOCKABLE.0, 1 << 8 | 1 << 18);
    }

    #[test]
    fn an_action_is_32_bytes_with_the_mask_last() {
        let action = SigAction { handler: 1, flags: 2, restorer: 3, mask: 4 };
        assert_eq!(action.to_bytes()[24], 4);
    }
}
