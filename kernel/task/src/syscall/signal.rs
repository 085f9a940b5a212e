// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the calls on signals.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::siginfo::{SI_TKILL, SI_USER, SIGINFO_SIZE, SigInfo};
use abi::signal::{SIG_BLOCK, SIG_SETMASK, SIG_UNBLOCK, SIGSET_SIZE, SigAction, SigStack};
use abi::time::{ITIMER_PROF, ITIMER_REAL, ITIMER_VIRTUAL, Itimerval, Timespec, Timeval};
use abi::{Errno, Layout, SigSet, Signal, number};
use hal::Platform;

use super::{Call, Outcome, Row, restart};
use crate::process::{Process, Thread};
use crate::signal::{self, AlarmView};

impl<P: Platform> Call<'_, P> {
    pub(super) const SIGNAL: &'static [Row<P>] = &[
        (number::RT_SIGACTION, rt_sigaction),
        (number::RT_SIGPROCMASK, rt_sigprocmask),
        (number::RT_SIGRETURN, rt_sigreturn),
        (number::RT_SIGPENDING, rt_sigpending),
        (number::RT_SIGSUSPEND, rt_sigsuspend),
        (number::RT_SIGTIMEDWAIT, rt_sigtimedwait),
        (number::RT_SIGQUEUEINFO, rt_sigqueueinfo),
        (number::RT_TGSIGQUEUEINFO, rt_tgsigqueueinfo),
        (number::KILL, kill),
        (number::TKILL, tkill),
        (number::TGKILL, tgkill),
        (number::SIGALTSTACK, sigaltstack),
        (number::SETITIMER, setitimer),
        (number::GETITIMER, getitimer),
    ];

    /// Reads a set of signals; argument `size` must say how long it is.
    pub(super) fn read_set(&self, at: u64, size: usize) -> Result<SigSet, Errno> {
        self.check_set_size(size)?;
        self.read::<u64, 8>(at).map(SigSet)
    }

    fn check_set_size(&self, size: usize) -> Result<(), Errno> {
        if self.arg(size) == SIGSET_SIZE as u64 { Ok(()) } else { Err(Errno::EINVAL) }
    }

    fn signal_arg(&self, index: usize) -> Result<Signal, Errno> {
        Signal::new(self.arg_u32(index).into()).ok_or(Errno::EINVAL)
    }
}

fn rt_sigaction<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    call.check_set_size(3)?;
    let signal = call.signal_arg(0)?;
    let (new_at, old_at) = (call.arg(1), call.arg(2));
    let new: Option<SigAction> = match new_at {
        0 => None,
        at => Some(call.read::<_, 32>(at)?),
    };
    if new.is_some() && SigSet::UNBLOCKABLE.contains(signal) {
        return Err(Errno::EINVAL);
    }
    let old = signal::change_action(call.kernel, call.thread.process(), signal, new);
    if old_at != 0 {
        call.write(old_at, &old.to_bytes())?;
    }
    Ok(0)
}

fn rt_sigprocmask<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    call.check_set_size(3)?;
    let (how, new_at, old_at) = (call.arg_u32(0), call.arg(1), call.arg(2));
    let old = call.thread.signals.mask();
    if new_at != 0 {
        let set = call.read_set(new_at, 3)?;
        let mask = match how {
            SIG_BLOCK => old.union(set),
            SIG_UNBLOCK => old.minus(set),
            SIG_SETMASK => set,
            _ => return Err(Errno::EINVAL),
        };
        signal::block(call.kernel, call.thread, mask);
    }
    if old_at != 0 {
        call.write(old_at, &old.0.to_le_bytes())?;
    }
    Ok(0)
}

fn rt_sigreturn<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    Ok(signal::sigreturn(call.kernel, call.thread, call.regs))
}

fn rt_sigpending<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let size = call.arg(1) as usize;
    if size > SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let pending = signal::pending(call.thread).intersection(call.thread.signals.mask());
    call.write(call.arg(0), &pending.0.to_le_bytes()[..size]).map(|()| 0)
}

fn rt_sigsuspend<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let mask = call.read_set(call.arg(0), 1)?;
    signal::suspend_with(call.kernel, call.thread, mask);
    Err(restart::NO_HANDLER)
}

fn rt_sigtimedwait<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let wanted = call.read_set(call.arg(0), 3)?;
    let (info_at, timeout_at) = (call.arg(1), call.arg(2));
    let deadline = match timeout_at {
        0 => None,
        at => {
            let timeout: Timespec = call.read::<_, 16>(at)?;
            let ns = timeout.to_ns().ok_or(Errno::EINVAL)?;
            Some(call.kernel.machine().now_ns().saturating_add(ns))
        }
    };
    let info = signal::wait_for(call.kernel, call.thread, wanted, deadline)?;
    if info_at != 0 {
        call.write(info_at, &info.to_user())?;
    }
    Ok(info.signo as u64)
}

/// Reads what sigqueue sends, for a receiver with number `pid`.
fn read_info<P: Platform>(
    call: &Call<'_, P>,
    at: u64,
    signal: u32,
    pid: u32,
) -> Result<SigInfo, Errno> {
    let bytes = call.kernel.read_array::<SIGINFO_SIZE>(call.thread, at)?;
    let info = SigInfo { signo: signal as i32, ..SigInfo::get(&bytes) };
    // Only to itself may a process say that the kernel, or kill, had sent it.
    let pretends = info.code >= SI_USER || info.code == SI_TKILL;
    if pretends && pid != call.thread.process().pid() { Err(Errno::EPERM) } else { Ok(info) }
}

fn rt_sigqueueinfo<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (pid, signal) = (call.arg_u32(0), call.arg_u32(1));
    let info = read_info(call, call.arg(2), signal, pid)?;
    let process = find(call, pid)?;
    match check_signal(signal)? {
        Some(_) => signal::send_to_process(call.kernel, &process, info).map(|()| 0),
        None => Ok(0),
    }
}

fn rt_tgsigqueueinfo<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (pid, tid, signal) = (call.arg_i32(0), call.arg_i32(1), call.arg_u32(2));
    if pid <= 0 || tid <= 0 {
        return Err(Errno::EINVAL);
    }
    let info = read_info(call, call.arg(3), signal, pid as u32)?;
    send_to_tid(call, Some(pid as u32), tid as u32, signal, info)
}

/// Returns the signal to be sent; `None` for 0, which only asks whether the receiver is there.
fn check_signal(signal: u32) -> Result<Option<Signal>, Errno> {
    match signal {
        0 => Ok(None),
        number => Signal::new(number.into()).map(Some).ok_or(Errno::EINVAL),
    }
}

/// Returns the process that has a thread or zombie of this number.
fn find<P: Platform>(call: &Call<'_, P>, id: u32) -> Result<Arc<Process<P>>, Errno> {
    let process = call.kernel.processes.with(|tree| {
        let of_thread = || tree.threads.get(&id).map(|thread| Arc::clone(thread.process()));
        tree.nodes.get(&id).map(|node| Arc::clone(&node.process)).or_else(of_thread)
    });
    process.ok_or(Errno::ESRCH)
}

fn kill<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (target, number) = (call.arg_i32(0), call.arg_u32(1));
    let own = call.thread.process().pid();
    let user = call.thread.process().credentials().user.real;
    let signal = check_signal(number)?;
    // The processes are dropped without the lock.
    let (_receivers, outcome) = call.kernel.processes.without_forks(|| {
        let receivers = match receivers(call, target) {
            Ok(receivers) => receivers,
            Err(why) => return (Vec::new(), Err(why)),
        };
        let outcome = match signal {
            Some(signal) => {
                let info = SigInfo::sent(signal, SI_USER, own, user);
                signal::send_to_all(call.kernel, &receivers, info).map(|()| 0)
            }
            None if receivers.is_empty() => Err(Errno::ESRCH),
            None => Ok(0),
        };
        (receivers, outcome)
    });
    outcome
}

/// Returns the processes that kill means by `target`.
fn receivers<P: Platform>(call: &Call<'_, P>, target: i32) -> Result<Vec<Arc<Process<P>>>, Errno> {
    Ok(match target {
        i32::MIN => return Err(Errno::ESRCH),
        1.. => Vec::from([find(call, target as u32)?]),
        -1 => all_but(call, call.thread.process().pid()),
        0 => members(call, None),
        group => members(call, Some(group.unsigned_abs())),
    })
}

/// Returns every process but init and the caller's.
fn all_but<P: Platform>(call: &Call<'_, P>, own: u32) -> Vec<Arc<Process<P>>> {
    call.kernel.processes.with(|tree| {
        let others = tree.nodes.iter().filter(|(pid, _)| **pid > 1 && **pid != own);
        others.map(|(_, node)| Arc::clone(&node.process)).collect()
    })
}

/// Returns the processes of a group, `None` meaning the caller's.
fn members<P: Platform>(call: &Call<'_, P>, group: Option<u32>) -> Vec<Arc<Process<P>>> {
    let own = call.thread.process().pid();
    call.kernel.processes.with(|tree| {
        let group = group.or_else(|| tree.nodes.get(&own).map(|node| node.group));
        let members = tree.nodes.values().filter(|node| Some(node.group) == group);
        members.map(|node| Arc::clone(&node.process)).collect()
    })
}

fn tkill<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (tid, signal) = (call.arg_i32(0), call.arg_u32(1));
    if tid <= 0 {
        return Err(Errno::EINVAL);
    }
    let info = by_tkill(call, signal);
    send_to_tid(call, None, tid as u32, signal, info)
}

fn tgkill<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (pid, tid, signal) = (call.arg_i32(0), call.arg_i32(1), call.arg_u32(2));
    if pid <= 0 || tid <= 0 {
        return Err(Errno::EINVAL);
    }
    let info = by_tkill(call, signal);
    send_to_tid(call, Some(pid as u32), tid as u32, signal, info)
}

fn by_tkill<P: Platform>(call: &Call<'_, P>, signal: u32) -> SigInfo {
    let pid = call.thread.process().pid();
    let user = call.thread.process().credentials().user.real;
    let unknown = SigInfo { code: SI_TKILL, ..SigInfo::default() };
    let signal = Signal::new(signal.into());
    signal.map_or(unknown, |signal| SigInfo::sent(signal, SI_TKILL, pid, user))
}

/// Sends to a thread; `pid` says which process it must be of.
fn send_to_tid<P: Platform>(
    call: &Call<'_, P>,
    pid: Option<u32>,
    tid: u32,
    signal: u32,
    info: SigInfo,
) -> Outcome {
    let is_meant = |thread: &Arc<Thread<P>>| pid.is_none_or(|pid| thread.process().pid() == pid);
    let thread = call.kernel.processes.thread(tid).filter(is_meant);
    let signal = check_signal(signal)?;
    match (thread, signal) {
        (Some(thread), Some(_)) => signal::send_to_thread(call.kernel, &thread, info).map(|()| 0),
        (Some(_), None) => Ok(0),
        // A first thread that has left while others go on is there as a zombie.
        (None, _) if find(call, tid).is_ok() && pid.is_none_or(|pid| pid == tid) => Ok(0),
        (None, _) => Err(Errno::ESRCH),
    }
}

fn sigaltstack<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (new_at, old_at) = (call.arg(0), call.arg(1));
    let wish: Option<SigStack> = match new_at {
        0 => None,
        at => Some(call.read::<_, 24>(at)?),
    };
    let old = signal::change_altstack(call.thread, call.regs.sp, wish)?;
    if old_at != 0 {
        call.write(old_at, &old.to_bytes())?;
    }
    Ok(0)
}

fn to_itimerval(view: AlarmView) -> Itimerval {
    // What is left is never shown as nothing.
    let up = |ns: u64| Timeval::from_ns(ns.saturating_add(999));
    Itimerval { interval: up(view.interval_ns), value: up(view.left_ns) }
}

/// Checks which timer is meant. Those of processor time are never on, because nobody counts it.
fn is_real<P: Platform>(call: &Call<'_, P>) -> Result<bool, Errno> {
    match call.arg_i32(0) {
        ITIMER_REAL => Ok(true),
        ITIMER_VIRTUAL | ITIMER_PROF => Ok(false),
        _ => Err(Errno::EINVAL),
    }
}

fn getitimer<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let now = call.kernel.machine().now_ns();
    let view = match is_real(call)? {
        true => to_itimerval(call.thread.process().signals.alarm.view(now)),
        false => Itimerval::default(),
    };
    call.write(call.arg(1), &view.to_bytes()).map(|()| 0)
}

fn setitimer<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (new_at, old_at) = (call.arg(1), call.arg(2));
    let wish: Itimerval = match new_at {
        0 => Itimerval::default(),
        at => call.read::<_, 32>(at)?,
    };
    let interval_ns = wish.interval.to_ns().ok_or(Errno::EINVAL)?;
    let left_ns = wish.value.to_ns().ok_or(Errno::EINVAL)?;
    let old = match (is_real(call)?, left_ns) {
        (true, _) => {
            let wish = AlarmView { left_ns, interval_ns };
            to_itimerval(signal::set_alarm(call.kernel, call.thread.process(), wish))
        }
        (false, 0) => Itimerval::default(),
        (false, _) => return Err(Errno::EINVAL),
    };
    if old_at != 0 {
        call.write(old_at, &old.to_bytes())?;
    }
    Ok(0)
}
