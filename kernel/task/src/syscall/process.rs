// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the calls that make, replace, end and wait for processes and threads.

use abi::clone::{CLONE_ARGS_SIZE_VER0, CLONE_THREAD, CSIGNAL, CloneArgs};
use abi::rlimit::Rusage;
use abi::wait::{
    P_ALL, P_PGID, P_PID, WALL, WCLONE, WCONTINUED, WEXITED, WNOHANG, WNOTHREAD, WNOWAIT, WSTOPPED,
    WUNTRACED,
};
use abi::{Errno, Layout, number};
use alloc::vec::Vec;
use base::sync::atomic::Ordering;
use hal::Platform;

use super::{Call, Outcome, Row};
use crate::process::{CloneRequest, ExecRequest, ExitStatus, MAX_ARG_STRLEN, WaitFor, WaitOptions};
use crate::signal;

impl<P: Platform> Call<'_, P> {
    pub(super) const PROCESS: &'static [Row<P>] = &[
        (number::CLONE, clone),
        (number::CLONE3, clone3),
        (number::EXECVE, execve),
        (number::EXIT, exit),
        (number::EXIT_GROUP, exit_group),
        (number::WAIT4, wait4),
        (number::WAITID, waitid),
        (number::SET_TID_ADDRESS, set_tid_address),
        (number::SET_ROBUST_LIST, set_robust_list),
        (number::SCHED_YIELD, sched_yield),
        (number::SCHED_GETAFFINITY, sched_getaffinity),
        (number::SCHED_SETAFFINITY, sched_setaffinity),
        (number::GETCPU, getcpu),
        (number::MEMBARRIER, membarrier),
    ];
}

fn clone<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let flags = call.arg(0) & 0xffff_ffff;
    let request = CloneRequest {
        flags: flags & !CSIGNAL,
        stack: call.arg(1),
        parent_tid: call.arg(2),
        tls: call.arg(3),
        child_tid: call.arg(4),
        exit_signal: (flags & CSIGNAL) as u8,
    };
    do_clone(call, &request)
}

fn clone3<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let size = call.arg(1) as usize;
    if size < CLONE_ARGS_SIZE_VER0 {
        return Err(Errno::EINVAL);
    }
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    let mut bytes = alloc::vec![0; size.max(CloneArgs::SIZE)];
    call.kernel.copy_in(call.thread, call.arg(0), &mut bytes[..size])?;
    // Fields that this kernel does not know must not be used.
    if bytes[CloneArgs::SIZE..].iter().any(|byte| *byte != 0) {
        return Err(Errno::E2BIG);
    }
    let args: CloneArgs = Layout::get(&bytes);
    let has_half_a_stack = (args.stack == 0) != (args.stack_size == 0);
    if has_half_a_stack || args.flags & CSIGNAL != 0 || args.exit_signal & !CSIGNAL != 0 {
        return Err(Errno::EINVAL);
    }
    if args.set_tid_size != 0 || args.flags >> 32 != 0 {
        return Err(Errno::EINVAL);
    }
    let request = CloneRequest {
        flags: args.flags,
        stack: args.stack.wrapping_add(args.stack_size),
        parent_tid: args.parent_tid,
        tls: args.tls,
        child_tid: args.child_tid,
        exit_signal: args.exit_signal as u8,
    };
    do_clone(call, &request)
}

fn do_clone<P: Platform>(call: &mut Call<'_, P>, request: &CloneRequest) -> Outcome {
    let is_signal = request.exit_signal <= 64;
    if !is_signal || request.flags & CLONE_THREAD != 0 && request.flags & CSIGNAL != 0 {
        return Err(Errno::EINVAL);
    }
    call.kernel.clone_thread(call.thread, call.regs, request).map(u64::from)
}

fn execve<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (kernel, thread) = (call.kernel, call.thread);
    let path = kernel.read_string(thread, call.arg(0), 4096, Errno::ENAMETOOLONG)?;
    let mut room = crate::process::MAX_ARG_BYTES;
    let args = read_strings(call, call.arg(1), &mut room)?;
    let env = read_strings(call, call.arg(2), &mut room)?;
    let request = ExecRequest { path, args, env };
    kernel.exec(thread, call.regs, request).map_err(|(why, _)| why)?;
    // x0 of a new program is 0 (Linux: the return value of execve).
    Ok(0)
}

/// Reads an array of strings that ends with a null pointer; a null array is empty.
fn read_strings<P: Platform>(
    call: &Call<'_, P>,
    array: u64,
    room: &mut usize,
) -> Result<Vec<Vec<u8>>, Errno> {
    let mut strings = Vec::new();
    if array == 0 {
        return Ok(strings);
    }
    loop {
        let at = array.wrapping_add(8 * strings.len() as u64);
        let string = call.kernel.read_u64(call.thread, at)?;
        if string == 0 {
            return Ok(strings);
        }
        let limit = (*room).min(MAX_ARG_STRLEN);
        let string = call.kernel.read_string(call.thread, string, limit, Errno::E2BIG)?;
        *room = room.checked_sub(string.len() + 1 + 8).ok_or(Errno::E2BIG)?;
        strings.push(string);
    }
}

fn exit<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    call.kernel.end_self(call.thread, ExitStatus::Code(call.arg(0) as u8));
    Ok(0)
}

fn exit_group<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    call.kernel.end_process(call.thread.process(), ExitStatus::Code(call.arg(0) as u8));
    Ok(0)
}

fn wait4<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (pid, status_at, options) = (call.arg_i32(0), call.arg(1), call.arg_u32(2));
    if options & !(WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WCLONE | WALL) != 0 {
        return Err(Errno::EINVAL);
    }
    let whom = match pid {
        i32::MIN => return Err(Errno::ESRCH),
        -1 => WaitFor::Any,
        0 => WaitFor::Group(own_group(call)),
        group if group < 0 => WaitFor::Group(group.unsigned_abs()),
        pid => WaitFor::Process(pid as u32),
    };
    let options = WaitOptions {
        ended: true,
        stopped: options & WUNTRACED != 0,
        continued: options & WCONTINUED != 0,
        no_hang: options & WNOHANG != 0,
        keep: false,
    };
    let found = call.kernel.wait_for_child(call.thread.process(), whom, options)?;
    let Some((pid, event)) = found else { return Ok(0) };
    if status_at != 0 {
        call.write(status_at, &event.to_word().to_le_bytes())?;
    }
    write_rusage(call, 3)?;
    Ok(u64::from(pid))
}

fn waitid<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (kind, id, options) = (call.arg_i32(0), call.arg_i32(1), call.arg_u32(3));
    let known = WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | WNOTHREAD | WCLONE | WALL;
    if options & !known != 0 || options & (WEXITED | WSTOPPED | WCONTINUED) == 0 {
        return Err(Errno::EINVAL);
    }
    let whom = match (kind, id) {
        (P_ALL, _) => WaitFor::Any,
        (P_PID, 1..) => WaitFor::Process(id as u32),
        (P_PGID, 0) => WaitFor::Group(own_group(call)),
        (P_PGID, 1..) => WaitFor::Group(id as u32),
        _ => return Err(Errno::EINVAL),
    };
    let options = WaitOptions {
        ended: options & WEXITED != 0,
        stopped: options & WSTOPPED != 0,
        continued: options & WCONTINUED != 0,
        no_hang: options & WNOHANG != 0,
        keep: options & WNOWAIT != 0,
    };
    let found = call.kernel.wait_for_child(call.thread.process(), whom, options)?;
    write_rusage(call, 4)?;
    if call.arg(2) != 0 {
        let info = found.map_or([0; 128], |(pid, event)| signal::child_info(pid, event));
        call.write(call.arg(2), &info)?;
    }
    Ok(0)
}

fn own_group<P: Platform>(call: &Call<'_, P>) -> u32 {
    let pid = call.thread.process().pid();
    call.kernel.processes.with(|tree| tree.nodes.get(&pid).map_or(pid, |node| node.group))
}

/// Stores the resources that a child has used, which nobody counts, where argument `index` says.
fn write_rusage<P: Platform>(call: &Call<'_, P>, index: usize) -> Result<(), Errno> {
    match call.arg(index) {
        0 => Ok(()),
        at => call.write(at, &Rusage::default().to_bytes()),
    }
}

fn set_tid_address<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    call.thread.clear_tid.store(call.arg(0), Ordering::Relaxed);
    gettid_of(call)
}

fn gettid_of<P: Platform>(call: &Call<'_, P>) -> Outcome {
    Ok(u64::from(call.thread.tid()))
}

fn set_robust_list<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    if call.arg(1) != abi::futex::RobustListHead::SIZE as u64 {
        return Err(Errno::EINVAL);
    }
    call.thread.robust_list.store(call.arg(0), Ordering::Relaxed);
    Ok(0)
}

fn sched_yield<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    call.kernel.sched().yield_now();
    Ok(0)
}

/// Threads run anywhere: the answer is all CPUs.
fn sched_getaffinity<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (tid, len, at) = (call.arg_u32(0), call.arg_u32(1) as usize, call.arg(2));
    if len < 8 || !len.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    if tid != 0 && call.kernel.processes.thread(tid).is_none() {
        return Err(Errno::ESRCH);
    }
    let mask = (1u64 << call.kernel.machine().nr_cpus()) - 1;
    call.write(at, &mask.to_le_bytes())?;
    Ok(8)
}

/// A wish, which is read and not followed.
fn sched_setaffinity<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (tid, len, at) = (call.arg_u32(0), call.arg_u32(1) as usize, call.arg(2));
    let mut mask = [0; 8];
    let len = len.min(8);
    call.kernel.copy_in(call.thread, at, &mut mask[..len])?;
    if tid != 0 && call.kernel.processes.thread(tid).is_none() {
        return Err(Errno::ESRCH);
    }
    let all = (1u64 << call.kernel.machine().nr_cpus()) - 1;
    if u64::from_le_bytes(mask) & all == 0 { Err(Errno::EINVAL) } else { Ok(0) }
}

fn getcpu<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let cpu = call.kernel.machine().cpu().get() as u32;
    for (index, value) in [(0, cpu), (1, 0)] {
        if call.arg(index) != 0 {
            call.write(call.arg(index), &u32::to_le_bytes(value))?;
        }
    }
    Ok(0)
}

/// Barriers between threads: no command is offered, which programs take as "not there".
fn membarrier<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    match call.arg_i32(0) {
        abi::sched::MEMBARRIER_CMD_QUERY if call.arg_u32(1) == 0 => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}
