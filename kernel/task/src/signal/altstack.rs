// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the alternate signal stack of a thread: sigaltstack (Linux: kernel/signal.c,
//! include/linux/sched/signal.h).

use abi::Errno;
use abi::signal::{MINSIGSTKSZ, SS_AUTODISARM, SS_DISABLE, SS_ONSTACK, SigStack};

use crate::process::Thread;
use hal::Platform;

/// An alternate stack; none when it has no bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AltStack(SigStack);

impl Default for AltStack {
    fn default() -> Self {
        Self(SigStack { sp: 0, flags: SS_DISABLE, size: 0 })
    }
}

impl AltStack {
    /// Builds one from what sigaltstack is given.
    ///
    /// # Errors
    ///
    /// EINVAL for flags that are not known, ENOMEM when it is too small.
    pub fn new(wish: SigStack) -> Result<Self, Errno> {
        match wish.flags & !SS_AUTODISARM {
            SS_DISABLE => Ok(Self(SigStack { sp: 0, size: 0, ..wish })),
            0 | SS_ONSTACK if wish.size < MINSIGSTKSZ => Err(Errno::ENOMEM),
            0 | SS_ONSTACK => Ok(Self(wish)),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Returns it as a frame stores it.
    pub fn stored(&self) -> SigStack {
        self.0
    }

    /// Returns it as sigaltstack shows it to code whose stack pointer is `sp`.
    pub fn shown(&self, sp: u64) -> SigStack {
        let state = match (self.0.size, self.holds(sp)) {
            (0, _) => SS_DISABLE,
            (_, true) => SS_ONSTACK,
            (_, false) => 0,
        };
        SigStack { flags: state | self.0.flags & SS_AUTODISARM, ..self.0 }
    }

    /// Tells whether code with this stack pointer runs on it. One that is switched off while in use
    /// is never in use.
    pub fn holds(&self, sp: u64) -> bool {
        let SigStack { sp: low, flags, size } = self.0;
        flags & SS_AUTODISARM == 0 && sp > low && sp - low <= size
    }

    /// Returns where the stack of a handler begins that wants to run here, if it can.
    pub fn top_for_handler(&self, sp: u64) -> Option<u64> {
        let is_usable = self.0.size != 0 && !self.holds(sp);
        is_usable.then(|| self.0.sp.wrapping_add(self.0.size))
    }

    /// Returns what is left while a handler runs.
    pub fn while_handled(self) -> Self {
        if self.0.flags & SS_AUTODISARM != 0 { Self::default() } else { self }
    }
}

/// Replaces the alternate stack of the running thread, whose user stack pointer is `sp`, and
/// returns what sigaltstack shows of the old one.
///
/// # Errors
///
/// EPERM while it is in use; see [`AltStack::new`].
pub(crate) fn change_altstack<P: Platform>(
    thread: &Thread<P>,
    sp: u64,
    wish: Option<SigStack>,
) -> Result<SigStack, Errno> {
    let mut own = thread.signals.own.lock();
    let old = own.altstack;
    if let Some(wish) = wish {
        if old.holds(sp) {
            return Err(Errno::EPERM);
        }
        own.altstack = AltStack::new(wish)?;
    }
    Ok(old.shown(sp))
}
