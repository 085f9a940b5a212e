// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is a queue of signals that wait to be delivered.

use alloc::collections::VecDeque;

use abi::siginfo::{SI_USER, SigInfo};
use abi::{SigSet, Signal};

/// Most signals with information in one queue. Further ones of the kernel and of kill are delivered
/// without; further ones of sigqueue are refused.
pub(crate) const MAX_QUEUED: usize = 4096;

/// Signals that an instruction causes are delivered first, so that their handler sees that
/// instruction (Linux kernel/signal.c, SYNCHRONOUS_MASK).
const SYNCHRONOUS: SigSet = SigSet::of(&[
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGFPE,
    Signal::SIGSYS,
]);

/// The queue has no room for the information of one more signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Full;

/// Signals that wait. A standard signal waits once, a real-time signal as often as it was sent.
#[derive(Default, Debug)]
pub(crate) struct Pending {
    set: SigSet,
    queue: VecDeque<SigInfo>,
}

impl Pending {
    /// Returns which signals wait.
    pub fn set(&self) -> SigSet {
        self.set
    }

    /// Adds a signal. One that waits already, and is not a real-time one, is not added again.
    ///
    /// # Errors
    ///
    /// [`Full`], when the sender relies on the information.
    pub fn add(&mut self, signal: Signal, info: SigInfo) -> Result<(), Full> {
        if self.set.contains(signal) && !signal.is_realtime() {
            return Ok(());
        }
        if self.queue.len() < MAX_QUEUED && self.queue.try_reserve(1).is_ok() {
            self.queue.push_back(info);
        } else if signal.is_realtime() && info.code != SI_USER {
            return Err(Full);
        }
        self.set = self.set.with(signal);
        Ok(())
    }

    /// Takes the signal out that is delivered next, of those that are not in `blocked`.
    pub fn take(&mut self, blocked: SigSet) -> Option<(Signal, SigInfo)> {
        let signal = self.next(blocked)?;
        let is_it = |info: &SigInfo| info.signal() == Some(signal);
        let at = self.queue.iter().position(is_it);
        let info = at.and_then(|at| self.queue.remove(at));
        if !self.queue.iter().any(is_it) {
            self.set = self.set.minus(SigSet::of(&[signal]));
        }
        Some((signal, info.unwrap_or_else(|| SigInfo::sent(signal, SI_USER, 0, 0))))
    }

    /// Drops signals.
    pub fn flush(&mut self, signals: SigSet) {
        if !self.set.intersection(signals).is_empty() {
            self.set = self.set.minus(signals);
            self.queue.retain(|info| !info.signal().is_some_and(|it| signals.contains(it)));
        }
    }

    fn next(&self, blocked: SigSet) -> Option<Signal> {
        let ready = self.set.minus(blocked);
        let synchronous = ready.intersection(SYNCHRONOUS);
        // Those that came from kill are as any other.
        let is_caused = |info: &&SigInfo| {
            info.code > 0 && info.signal().is_some_and(|it| synchronous.contains(it))
        };
        let caused = self.queue.iter().find(is_caused).and_then(SigInfo::signal);
        caused.or_else(|| ready.iter().next())
    }
}
