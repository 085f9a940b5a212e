// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file delivers the pending signals of the running thread, just before it runs user code: it
//! starts handlers, does default actions and restarts system calls (Linux: kernel/signal.c,
//! get_signal(); arch/arm64/kernel/signal.c, do_signal()).

use alloc::sync::Arc;

use abi::siginfo::{SEGV_ACCERR, SEGV_MAPERR, SigInfo, TRAP_BRKPT};
use abi::signal::{SA_EXPOSE_TAGBITS, SA_ONSTACK, SA_RESTART, SA_RESTORER, SigAction};
use abi::{Errno, Layout, SigSet, Signal, number};
use base::VirtAddr;
use base::sync::atomic::Ordering;
use hal::{FpState, Platform, UserRegs};

use super::action::{Disposition, blocked_by};
use super::frame::{self, BadFrame, FramePlace, Interrupted};
use super::{PendingLock, altstack, fault, mask, send, stop};
use crate::kernel::Kernel;
use crate::process::{ExitStatus, Thread, Work};
use crate::syscall::restart;

/// Signals whose information has an address.
const WITH_ADDRESS: SigSet =
    SigSet::of(&[Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGTRAP]);

/// Handles pending signals of the running thread before it runs user code.
pub(crate) fn deliver<P: Platform>(
    kernel: &'static Kernel<P>,
    thread: &Arc<Thread<P>>,
    regs: &mut UserRegs,
) {
    let mut restart = Restart::begin(thread, regs);
    // Cleared before the queues are looked at: who queues a signal afterwards sets them again.
    thread.clear_work(Work::SIGNAL | Work::RESTART);
    kernel.sched().current().set_interrupted(false);
    loop {
        stop::wait_while_stopped(kernel, thread);
        if thread.has_work(Work::EXIT) {
            return;
        }
        let Some((signal, info, nr_resumed)) = take(thread) else { break };
        match thread.process().signals.actions().use_up(signal) {
            Disposition::Ignore => {}
            Disposition::Handle(action) => {
                restart.before_handler(thread, regs, &action);
                if handle(kernel, thread, regs, signal, info, &action).is_err() {
                    frame_failed(thread, signal, regs.sp);
                }
            }
            _ if send::is_protected(thread.process(), signal) => {}
            Disposition::Stop => stop::begin(kernel, thread, signal, nr_resumed),
            Disposition::Terminate => {
                log_end(thread, signal, &info, regs);
                kernel.end_process(thread.process(), ExitStatus::Signal(signal.get() as u8));
                return;
            }
        }
    }
    restart.without_handler(regs);
    // A handler has taken the mask into its frame; without one it is restored here.
    mask::restore_mask(kernel, thread);
}

/// Takes the next signal: first of the thread, then of the process.
/// Also returns the number of SIGCONTs before: read with the queue locked, because a SIGCONT empties
/// the queues of stop signals first and is counted then.
fn take<P: Platform>(thread: &Thread<P>) -> Option<(Signal, SigInfo, u64)> {
    let blocked = thread.signals.mask();
    let shared = &thread.process().signals;
    let take_from = |queue: &PendingLock| {
        let mut queue = queue.lock();
        let nr_resumed = shared.stop.nr_resumed();
        queue.take(blocked).map(|(signal, info)| (signal, info, nr_resumed))
    };
    take_from(&thread.signals.pending).or_else(|| take_from(&shared.pending))
}

/// Tells the log which program a signal ends, for signals that are a program's mistakes.
fn log_end<P: Platform>(thread: &Thread<P>, signal: Signal, info: &SigInfo, regs: &UserRegs) {
    if WITH_ADDRESS.contains(signal) && !info.is_from_user() {
        let name = thread.name();
        let len = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        log::info!(
            "{}[{}]: {signal:?} code {} at {:#x}, pc {:#x} sp {:#x}",
            alloc::string::String::from_utf8_lossy(&name[..len]),
            thread.tid(),
            info.code,
            info.fields[0],
            regs.pc,
            regs.sp,
        );
    }
}

/// A system call that was interrupted. The registers are first made to start it again; a handler
/// may make it return EINTR instead.
struct Restart {
    call: Option<Call>,
}

struct Call {
    why: Errno,
    next_pc: u64,
}

impl Restart {
    fn begin<P: Platform>(thread: &Thread<P>, regs: &mut UserRegs) -> Self {
        if !thread.has_work(Work::RESTART) {
            return Self { call: None };
        }
        let why = Errno((regs.x[0] as i64).unsigned_abs() as u16);
        let call = Call { why, next_pc: regs.pc };
        regs.x[0] = thread.restart_x0.load(Ordering::Relaxed);
        // SVC is four bytes long.
        regs.pc -= 4;
        Self { call: Some(call) }
    }

    fn before_handler<P: Platform>(
        &mut self,
        thread: &Thread<P>,
        regs: &mut UserRegs,
        action: &SigAction,
    ) {
        let Some(call) = self.call.take() else { return };
        *thread.resume.lock() = None;
        let starts_again = match call.why {
            restart::NO_INTERRUPT => true,
            restart::SYS => action.flags & SA_RESTART != 0,
            _ => false,
        };
        if !starts_again {
            regs.x[0] = Errno::EINTR.to_return_value();
            regs.pc = call.next_pc;
        }
    }

    fn without_handler(self, regs: &mut UserRegs) {
        if self.call.is_some_and(|call| call.why == restart::BLOCK) {
            regs.x[8] = number::RESTART_SYSCALL as u64;
        }
    }
}

/// Builds the frame of a handler and makes the registers those it begins with.
fn handle<P: Platform>(
    kernel: &'static Kernel<P>,
    thread: &Arc<Thread<P>>,
    regs: &mut UserRegs,
    signal: Signal,
    info: SigInfo,
    action: &SigAction,
) -> Result<(), Errno> {
    let mask = thread.signals.mask();
    let (altstack, saved_mask, fault) = {
        let mut own = thread.signals.own.lock();
        let is_fault = WITH_ADDRESS.contains(signal) && !info.is_from_user();
        let fault = if is_fault { own.fault.take() } else { None };
        (own.altstack, own.saved_mask, fault)
    };
    let alternate = altstack.top_for_handler(regs.sp).filter(|_| action.flags & SA_ONSTACK != 0);
    let place = FramePlace::below(alternate.unwrap_or(regs.sp));
    let mut fp = FpState::default();
    kernel.machine().save_fp(&mut fp);
    let interrupted = Interrupted {
        regs,
        fp: &fp,
        mask: saved_mask.unwrap_or(mask),
        altstack: altstack.stored(),
        fault,
    };
    let bytes = frame::encode(&interrupted, &shown(signal, info, action));
    kernel.copy_out(thread, place.frame, &bytes)?;
    let mut record = [0; 16];
    [regs.x[29], regs.x[30]].put(&mut record);
    kernel.copy_out(thread, place.record, &record)?;

    let return_to = match action.flags & SA_RESTORER {
        0 => thread.process().image().trampoline,
        _ => action.restorer,
    };
    frame::enter_handler(regs, signal, action, place, return_to);
    {
        let mut own = thread.signals.own.lock();
        own.saved_mask = None;
        own.altstack = altstack.while_handled();
    }
    mask::block(kernel, thread, mask.union(blocked_by(action, signal)));
    Ok(())
}

/// Returns the information as the handler may see it: addresses without tags, unless it asked for
/// them.
fn shown(signal: Signal, mut info: SigInfo, action: &SigAction) -> SigInfo {
    let has_address = WITH_ADDRESS.contains(signal) && !info.is_from_user();
    let is_breakpoint = signal == Signal::SIGTRAP && info.code == TRAP_BRKPT;
    if has_address && !is_breakpoint && action.flags & SA_EXPOSE_TAGBITS == 0 {
        info.fields[0] = VirtAddr::new(info.fields[0]).untagged().get();
    }
    info
}

/// Says that a handler's frame could not be written. A handler of SIGSEGV that has no stack to run
/// on would be called for ever.
fn frame_failed<P: Platform>(thread: &Arc<Thread<P>>, signal: Signal, sp: u64) {
    if signal == Signal::SIGSEGV {
        thread.process().signals.actions().reset(signal);
    }
    log::debug!("thread {}: no frame for {signal:?} below {sp:#x}", thread.tid());
    fault::force_sigsegv(thread, SigInfo::from_kernel(Signal::SIGSEGV));
}

/// Goes back to what a handler interrupted: rt_sigreturn. Returns what x0 was.
pub(crate) fn sigreturn<P: Platform>(
    kernel: &'static Kernel<P>,
    thread: &Arc<Thread<P>>,
    regs: &mut UserRegs,
) -> u64 {
    let frame = regs.sp;
    let mut read = |offset: usize, buf: &mut [u8]| {
        let from = frame.wrapping_add(offset as u64);
        kernel.copy_in(thread, from, buf).map_err(|_| BadFrame)
    };
    let restored = if frame.is_multiple_of(16) { frame::decode(&mut read) } else { Err(BadFrame) };
    let Ok(restored) = restored else {
        let page = VirtAddr::new(frame).untagged().page();
        let is_mapped = thread.process().mm().area_view(page).is_some();
        let code = if is_mapped { SEGV_ACCERR } else { SEGV_MAPERR };
        fault::force_sigsegv(thread, SigInfo::fault(Signal::SIGSEGV, code, frame));
        return 0;
    };
    *regs = restored.regs;
    kernel.machine().load_fp(&restored.fp);
    mask::block(kernel, thread, restored.mask);
    // As on Linux, one that is in use again, or makes no sense, is left as it is.
    let _ = altstack::change_altstack(thread, regs.sp, Some(restored.altstack));
    regs.x[0]
}
