// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the timer of a process that sends SIGALRM: setitimer with ITIMER_REAL, alarm.

use alloc::sync::Arc;

use abi::Signal;
use abi::siginfo::SigInfo;
use base::lock_level;
use base::sync::SpinLock;
use hal::Platform;

use super::send;
use crate::kernel::Kernel;
use crate::process::Process;
use crate::sched::TimerKey;

/// The timer of a process.
pub(crate) struct Alarm {
    state: SpinLock<State, lock_level::Signal>,
}

#[derive(Default)]
struct State {
    /// When it is due; `None` when it is off.
    deadline_ns: Option<u64>,
    /// After how long it is due again; 0 for never.
    interval_ns: u64,
    /// The timer of the scheduler that is to expire for it.
    timer: Option<TimerKey>,
}

/// What getitimer tells, in ns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AlarmView {
    /// Time left, 0 when it is off.
    pub left_ns: u64,
    /// After how long it is due again; 0 for never.
    pub interval_ns: u64,
}

impl Alarm {
    pub fn new() -> Self {
        Self { state: SpinLock::new(State::default()) }
    }

    /// Returns what is left.
    pub fn view(&self, now_ns: u64) -> AlarmView {
        self.state.lock().view(now_ns)
    }

    /// Switches it off: the process ends.
    pub fn switch_off<P: Platform>(&self, kernel: &'static Kernel<P>) {
        let old = core::mem::take(&mut *self.state.lock());
        old.timer.inspect(|timer| kernel.sched().cancel_timer(*timer));
    }
}

impl State {
    fn view(&self, now_ns: u64) -> AlarmView {
        // One that is due and has not expired yet is not off.
        let left_ns = self.deadline_ns.map_or(0, |at| at.saturating_sub(now_ns).max(1));
        AlarmView { left_ns, interval_ns: if left_ns == 0 { 0 } else { self.interval_ns } }
    }
}

/// Sets the timer of a process and returns what was left of the old one.
pub(crate) fn set_alarm<P: Platform>(
    kernel: &'static Kernel<P>,
    process: &Arc<Process<P>>,
    wish: AlarmView,
) -> AlarmView {
    let now = kernel.machine().now_ns();
    let deadline_ns = (wish.left_ns != 0).then(|| now.saturating_add(wish.left_ns));
    let new = State { deadline_ns, interval_ns: wish.interval_ns, timer: None };
    let old = core::mem::replace(&mut *process.signals.alarm.state.lock(), new);
    old.timer.inspect(|timer| kernel.sched().cancel_timer(*timer));
    if let Some(deadline) = deadline_ns {
        arm(kernel, process, deadline);
    }
    old.view(now)
}

/// Lets the scheduler call back at `deadline`.
fn arm<P: Platform>(kernel: &'static Kernel<P>, process: &Arc<Process<P>>, deadline: u64) {
    let target = Arc::downgrade(process);
    let timer = kernel.sched().call_at(
        deadline,
        Arc::new(move || {
            if let Some(process) = target.upgrade() {
                expire(kernel, &process, deadline);
            }
        }),
    );
    let mut state = process.signals.alarm.state.lock();
    // Unless it has been set anew meanwhile, or has expired at once.
    if state.deadline_ns == Some(deadline) {
        state.timer = Some(timer);
    }
}

fn expire<P: Platform>(kernel: &'static Kernel<P>, process: &Arc<Process<P>>, deadline: u64) {
    let next = {
        let mut state = process.signals.alarm.state.lock();
        // An old timer that expired while it was cancelled.
        if state.deadline_ns != Some(deadline) {
            return;
        }
        state.timer = None;
        state.deadline_ns = match state.interval_ns {
            0 => None,
            // Those that were missed are not made up for.
            interval => {
                let late = kernel.machine().now_ns().saturating_sub(deadline);
                Some(deadline.saturating_add(interval.saturating_mul(late / interval + 1)))
            }
        };
        state.deadline_ns
    };
    let _ = send::send_to_process(kernel, process, SigInfo::from_kernel(Signal::SIGALRM));
    if let Some(deadline) = next {
        arm(kernel, process, deadline);
    }
}
