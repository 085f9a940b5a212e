// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file keeps the events of a simulated machine, once a test wants them.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::vec::Vec;

use super::SimMachine;
use crate::trace::{Trace, TraceEvent, TraceKind};

/// What happened. The host's lock and a plain atomic: keeping adds no scheduling points.
#[derive(Debug, Default)]
pub(super) struct TraceLog {
    is_on: AtomicBool,
    events: Mutex<Vec<TraceEvent>>,
}

impl SimMachine {
    /// Keeps events of all kinds from now on. Looking at the clock for them lets time pass.
    pub fn start_trace(&self) {
        self.trace_log().is_on.store(true, Relaxed);
    }

    /// Takes the events kept so far, in the order in which they ended.
    pub fn take_trace(&self) -> Vec<TraceEvent> {
        core::mem::take(
            &mut *self.trace_log().events.lock().unwrap_or_else(PoisonError::into_inner),
        )
    }
}

impl Trace for SimMachine {
    #[inline]
    fn traces(&self, _kind: TraceKind) -> bool {
        self.trace_log().is_on.load(Relaxed)
    }

    fn keep(&self, event: TraceEvent) {
        self.trace_log().events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}
