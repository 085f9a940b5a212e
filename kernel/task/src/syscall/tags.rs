// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds prctl: tag checking of a thread, its name, and what programs ask at their start.

use abi::prctl::{
    PR_CAPBSET_READ, PR_GET_DUMPABLE, PR_GET_NAME, PR_GET_NO_NEW_PRIVS, PR_GET_SECCOMP,
    PR_GET_TAGGED_ADDR_CTRL, PR_GET_THP_DISABLE, PR_GET_TIMERSLACK, PR_MTE_TAG_MASK,
    PR_MTE_TAG_SHIFT, PR_MTE_TCF_ASYNC, PR_MTE_TCF_SYNC, PR_SET_DUMPABLE, PR_SET_NAME,
    PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, PR_SET_PTRACER, PR_SET_TAGGED_ADDR_CTRL,
    PR_SET_THP_DISABLE, PR_SET_TIMERSLACK, PR_SET_VMA, PR_TAGGED_ADDR_ENABLE,
    PR_THP_DISABLE_EXCEPT_ADVISED,
};
use abi::{Errno, number};
use hal::Platform;
use mm::ThpDisable;

use super::{Call, Outcome, Row};
use crate::process::NAME_LEN;
use crate::sched::{TagChecks, TagWish};

/// Nanoseconds by which timers may be late: Linux's default.
const TIMER_SLACK_NS: u64 = 50_000;
impl<P: Platform> Call<'_, P> {
    pub(super) const TAGS: &'static [Row<P>] = &[(number::PRCTL, prctl)];
}

fn prctl<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    match u64::from(call.arg_u32(0)) {
        PR_SET_TAGGED_ADDR_CTRL => set_tagged_addr_ctrl(call),
        PR_GET_TAGGED_ADDR_CTRL => get_tagged_addr_ctrl(call),
        PR_SET_THP_DISABLE => set_thp_disable(call),
        PR_GET_THP_DISABLE => get_thp_disable(call),
        PR_SET_NAME => set_name(call),
        PR_GET_NAME => call.write(call.arg(1), &call.thread.name()).map(|()| 0),
        PR_GET_DUMPABLE => Ok(1),
        PR_SET_DUMPABLE if call.arg(1) > 1 => Err(Errno::EINVAL),
        PR_SET_NO_NEW_PRIVS if call.arg(1) != 1 => Err(Errno::EINVAL),
        PR_SET_PDEATHSIG if call.arg(1) > 64 => Err(Errno::EINVAL),
        PR_SET_DUMPABLE | PR_SET_NO_NEW_PRIVS | PR_SET_PDEATHSIG | PR_SET_TIMERSLACK
        | PR_SET_PTRACER | PR_SET_VMA => Ok(0),
        PR_GET_NO_NEW_PRIVS | PR_GET_SECCOMP => Ok(0),
        PR_CAPBSET_READ if call.arg(1) > 40 => Err(Errno::EINVAL),
        PR_CAPBSET_READ => Ok(1),
        PR_GET_TIMERSLACK => Ok(TIMER_SLACK_NS),
        _ => Err(Errno::EINVAL),
    }
}

fn set_name<P: Platform>(call: &Call<'_, P>) -> Outcome {
    let mut name = [0; NAME_LEN];
    // A string shorter than the field may end where memory does.
    let stop = call.kernel.copy_in(call.thread, call.arg(1), &mut name[..NAME_LEN - 1]);
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(NAME_LEN - 1);
    if let Err(stopped) = stop
        && stopped.done <= end
    {
        return Err(Errno::EFAULT);
    }
    call.thread.set_name(&name[..end]);
    Ok(0)
}

fn is_rest_zero<P: Platform>(call: &Call<'_, P>, first: usize) -> bool {
    (first..5).all(|index| call.arg(index) == 0)
}

/// Switches large folios off or on for the process and its children, over exec as well.
fn set_thp_disable<P: Platform>(call: &Call<'_, P>) -> Outcome {
    let wish = match (call.arg(1) != 0, call.arg(2)) {
        (false, 0) => ThpDisable::No,
        (true, 0) => ThpDisable::All,
        (true, PR_THP_DISABLE_EXCEPT_ADVISED) => ThpDisable::ExceptAdvised,
        _ => return Err(Errno::EINVAL),
    };
    if !is_rest_zero(call, 3) {
        return Err(Errno::EINVAL);
    }
    call.thread.process().mm().set_thp_disable(wish);
    Ok(0)
}

fn get_thp_disable<P: Platform>(call: &Call<'_, P>) -> Outcome {
    if !is_rest_zero(call, 1) {
        return Err(Errno::EINVAL);
    }
    Ok(match call.thread.process().mm().thp_disable() {
        ThpDisable::No => 0,
        ThpDisable::All => 1,
        ThpDisable::ExceptAdvised => 1 | PR_THP_DISABLE_EXCEPT_ADVISED,
    })
}

/// As Linux's set_mte_ctrl(): who accepts both ways accepts the mixed one too, where the CPUs have
/// it. Which it is, is decided by the CPU (`sched/tag_check.rs`).
fn set_tagged_addr_ctrl<P: Platform>(call: &Call<'_, P>) -> Outcome {
    let wish = call.arg(1);
    let machine = call.kernel.machine();
    let of_mte =
        if machine.has_tags() { PR_MTE_TCF_SYNC | PR_MTE_TCF_ASYNC | PR_MTE_TAG_MASK } else { 0 };
    if wish & !(PR_TAGGED_ADDR_ENABLE | of_mte) != 0 || !is_rest_zero(call, 2) {
        return Err(Errno::EINVAL);
    }
    let mut accepted = TagChecks::empty();
    accepted.set(TagChecks::SYNC, wish & PR_MTE_TCF_SYNC != 0);
    accepted.set(TagChecks::ASYNC, wish & PR_MTE_TCF_ASYNC != 0);
    let both = accepted.contains(TagChecks::SYNC | TagChecks::ASYNC);
    accepted.set(TagChecks::ASYMMETRIC, both);
    let preferences = call.kernel.sched().tag_preferences();
    let accepted = accepted & preferences.available();
    let include = ((wish & PR_MTE_TAG_MASK) >> PR_MTE_TAG_SHIFT) as u16;
    let tags = TagWish { accepted, include };
    call.kernel.sched().current().with_user(|user| user.tags = tags);
    machine.load_tag_control(tags.on(preferences.of(machine.cpu())));
    call.thread.tagged_addr_ctrl.store(wish, base::sync::atomic::Ordering::Relaxed);
    Ok(0)
}

fn get_tagged_addr_ctrl<P: Platform>(call: &Call<'_, P>) -> Outcome {
    if !is_rest_zero(call, 1) {
        return Err(Errno::EINVAL);
    }
    Ok(call.thread.tagged_addr_ctrl.load(base::sync::atomic::Ordering::Relaxed))
}
