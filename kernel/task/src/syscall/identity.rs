// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tells programs who they are and what they run on: getpid and its like, uname.

use abi::utsname::Utsname;
use abi::{Errno, number};
use hal::Platform;

use super::{Call, Outcome, Row};

/// What uname says: the version of Linux whose calls these are.
pub(crate) const RELEASE: &str = "7.0.0-granule";
/// The build, in the place where Linux has its own.
pub(crate) const VERSION: &str = "#1 SMP";

impl<P: Platform> Call<'_, P> {
    pub(super) const IDENTITY: &'static [Row<P>] = &[
        (number::GETPID, getpid),
        (number::GETTID, gettid),
        (number::GETPPID, getppid),
        (number::GETPGID, getpgid),
        (number::SETPGID, setpgid),
        (number::GETSID, getsid),
        (number::SETSID, setsid),
        (number::UNAME, uname),
        (number::PERSONALITY, personality),
    ];
}

fn getpid<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    Ok(u64::from(call.thread.process().pid()))
}

fn gettid<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    Ok(u64::from(call.thread.tid()))
}

fn getppid<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let pid = call.thread.process().pid();
    Ok(call.kernel.processes.with(|tree| tree.nodes.get(&pid).map_or(0, |node| node.parent.into())))
}

/// Returns the number meant by an argument where 0 is the caller's own.
fn pid_of<P: Platform>(call: &Call<'_, P>, index: usize) -> u32 {
    match call.arg_u32(index) {
        0 => call.thread.process().pid(),
        pid => pid,
    }
}

fn getpgid<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let pid = pid_of(call, 0);
    let group = call.kernel.processes.with(|tree| tree.nodes.get(&pid).map(|node| node.group));
    group.map(u64::from).ok_or(Errno::ESRCH)
}

fn getsid<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let pid = pid_of(call, 0);
    let session = call.kernel.processes.with(|tree| tree.nodes.get(&pid).map(|node| node.session));
    session.map(u64::from).ok_or(Errno::ESRCH)
}

fn setpgid<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let own = call.thread.process().pid();
    let pid = pid_of(call, 0);
    let group = call.arg_i32(1);
    if group < 0 {
        return Err(Errno::EINVAL);
    }
    let group = if group == 0 { pid } else { group as u32 };
    call.kernel.processes.with(|tree| {
        let node = tree.nodes.get(&pid).ok_or(Errno::ESRCH)?;
        if pid != own && node.parent != own {
            return Err(Errno::ESRCH);
        }
        let session = node.session;
        // A leader stays where it is; a group belongs to one session.
        let is_in_session = tree.nodes.get(&own).is_some_and(|own| own.session == session);
        let mut nodes = tree.nodes.values();
        let group_is_there =
            group == pid || nodes.any(|node| node.group == group && node.session == session);
        if session == pid || !is_in_session || !group_is_there {
            return Err(Errno::EPERM);
        }
        if let Some(node) = tree.nodes.get_mut(&pid) {
            node.group = group;
        }
        Ok(0)
    })
}

fn setsid<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let pid = call.thread.process().pid();
    call.kernel.processes.with(|tree| {
        if tree.nodes.values().any(|node| node.group == pid) {
            return Err(Errno::EPERM);
        }
        if let Some(node) = tree.nodes.get_mut(&pid) {
            (node.group, node.session) = (pid, pid);
        }
        Ok(u64::from(pid))
    })
}

fn uname<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let names = Utsname(["Linux", "granule", RELEASE, VERSION, "aarch64", "(none)"]);
    call.write(call.arg(0), &names.to_bytes()).map(|()| 0)
}

fn personality<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    match call.arg_u32(0) {
        abi::sched::PER_QUERY | abi::sched::PER_LINUX => Ok(u64::from(abi::sched::PER_LINUX)),
        _ => Err(Errno::EINVAL),
    }
}
