// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is what a process does about each signal: the table of rt_sigaction, and the defaults.

use alloc::sync::Arc;

use abi::signal::{NSIG, SA_KNOWN, SA_NODEFER, SA_RESETHAND, SIG_DFL, SIG_IGN, SigAction};
use abi::{SigSet, Signal};
use base::lock_level;
use base::sync::SpinLock;
use hal::Platform;

use super::send;
use crate::kernel::Kernel;
use crate::process::Process;

/// Signals that stop a process.
pub(super) const STOPPING: SigSet =
    SigSet::of(&[Signal::SIGSTOP, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU]);

/// Signals that nothing happens on by default.
const IGNORED: SigSet =
    SigSet::of(&[Signal::SIGCHLD, Signal::SIGCONT, Signal::SIGURG, Signal::SIGWINCH]);

/// What happens on a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Disposition {
    /// A handler runs.
    Handle(SigAction),
    /// Nothing.
    Ignore,
    /// The process ends.
    Terminate,
    /// The process stops.
    Stop,
}

/// What a process does about each signal.
pub(crate) struct Actions {
    table: SpinLock<[SigAction; NSIG as usize], lock_level::Signal>,
}

impl Actions {
    /// Builds a table of default actions.
    pub fn new() -> Self {
        Self { table: SpinLock::new([SigAction::default(); NSIG as usize]) }
    }

    /// Returns a copy that is changed independently: fork.
    pub fn copy(&self) -> Self {
        Self { table: SpinLock::new(*self.table.lock()) }
    }

    /// Returns a copy in which handlers are default actions: exec, CLONE_CLEAR_SIGHAND.
    pub fn without_handlers(&self) -> Self {
        let mut table = *self.table.lock();
        for action in &mut table {
            let handler = if action.handler == SIG_IGN { SIG_IGN } else { SIG_DFL };
            *action = SigAction { handler, ..SigAction::default() };
        }
        Self { table: SpinLock::new(table) }
    }

    /// Returns the action of a signal.
    pub fn get(&self, signal: Signal) -> SigAction {
        self.table.lock()[index(signal)]
    }

    /// Sets the action of a signal and returns the old one. Unknown flags are dropped, and what
    /// cannot be blocked does not get into the mask.
    pub fn set(&self, signal: Signal, action: SigAction) -> SigAction {
        let mask = SigSet(action.mask).minus(SigSet::UNBLOCKABLE).0;
        let action = SigAction { flags: action.flags & SA_KNOWN, mask, ..action };
        core::mem::replace(&mut self.table.lock()[index(signal)], action)
    }

    /// Makes the action of a signal the default one.
    pub fn reset(&self, signal: Signal) {
        self.table.lock()[index(signal)].handler = SIG_DFL;
    }

    /// Says what happens on a signal now.
    pub fn disposition(&self, signal: Signal) -> Disposition {
        let action = self.get(signal);
        match action.handler {
            SIG_DFL => default_of(signal),
            SIG_IGN => Disposition::Ignore,
            _ => Disposition::Handle(action),
        }
    }

    /// As [`Actions::disposition`], for a signal that is delivered: a handler that is good for one
    /// signal is used up.
    pub fn use_up(&self, signal: Signal) -> Disposition {
        let disposition = self.disposition(signal);
        if let Disposition::Handle(action) = disposition
            && action.flags & SA_RESETHAND != 0
        {
            self.reset(signal);
        }
        disposition
    }
}

/// Returns what a handler's thread blocks while it runs, beside what it blocks anyway.
pub(super) fn blocked_by(action: &SigAction, signal: Signal) -> SigSet {
    let mask = SigSet(action.mask);
    if action.flags & SA_NODEFER != 0 { mask } else { mask.with(signal) }
}

/// Sets the action of a signal, if there is a new one, and returns the old one. Pending signals that
/// are now ignored are dropped.
pub(crate) fn change_action<P: Platform>(
    kernel: &'static Kernel<P>,
    process: &Arc<Process<P>>,
    signal: Signal,
    new: Option<SigAction>,
) -> SigAction {
    let actions = process.signals.actions();
    let Some(new) = new else { return actions.get(signal) };
    let old = actions.set(signal, new);
    if actions.disposition(signal) == Disposition::Ignore {
        send::flush(kernel, process, SigSet::of(&[signal]));
    }
    old
}

fn default_of(signal: Signal) -> Disposition {
    if IGNORED.contains(signal) {
        Disposition::Ignore
    } else if STOPPING.contains(signal) {
        Disposition::Stop
    } else {
        Disposition::Terminate
    }
}

fn index(signal: Signal) -> usize {
    signal.get() as usize - 1
}
