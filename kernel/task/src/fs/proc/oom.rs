// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is what a process shows of its standing when a victim of memory shortage is chosen
//! (Linux fs/proc/base.c). `oom_adj` is the scale of -17 to 15 that Linux had first.

use alloc::vec::Vec;

use abi::Errno;
use hal::Machine;
use mm::OomCandidate;

use super::root::ProcFs;
use super::source::ProcessView;
use super::{Text, put};

/// The largest `oom_score_adj`.
const MAX: i16 = 1000;
/// The ends of `oom_adj`.
const OLD_MIN: i16 = -17;
const OLD_MAX: i16 = 15;

type Shown = Result<Vec<u8>, Errno>;

/// Shows points as thousandths of all memory: from 0, and 666 for nothing and no adjustment.
pub(super) fn score<M: Machine>(view: &ProcessView<M>, proc: &ProcFs<M>) -> Shown {
    let system = proc.fs().env().system();
    let total = (system.nr_managed_frames() + system.meminfo().swap_total) as i64;
    let pages = view.mm.as_ref().map_or(0, |mm| mm.badness());
    let candidate = OomCandidate { pages, adjustment: view.oom_score_adj, birth: 0 };
    let points = candidate.points(total as u64).filter(|_| view.mm.is_some());
    let mut text = Text::default();
    put!(text, "{}\n", points.map_or(0, |points| (1000 + points * 1000 / total) * 2 / 3));
    Ok(text.0)
}

pub(super) fn score_adj<M: Machine>(view: &ProcessView<M>, _proc: &ProcFs<M>) -> Shown {
    let mut text = Text::default();
    put!(text, "{}\n", view.oom_score_adj);
    Ok(text.0)
}

pub(super) fn adj<M: Machine>(view: &ProcessView<M>, _proc: &ProcFs<M>) -> Shown {
    let mut text = Text::default();
    let old = match view.oom_score_adj {
        MAX => OLD_MAX,
        adj => (i32::from(adj) * 17 / 1000) as i16,
    };
    put!(text, "{}\n", old.min(OLD_MAX));
    Ok(text.0)
}

/// Reads what is written to `oom_score_adj`.
pub(super) fn parse_score_adj(bytes: &[u8]) -> Result<i16, Errno> {
    parse(bytes, OomCandidate::NEVER, MAX)
}

/// Reads what is written to `oom_adj`, as `oom_score_adj`.
pub(super) fn parse_adj(bytes: &[u8]) -> Result<i16, Errno> {
    Ok(match parse(bytes, OLD_MIN, OLD_MAX)? {
        OLD_MAX => MAX,
        old => (i32::from(old) * 1000 / 17) as i16,
    })
}

fn parse(bytes: &[u8], min: i16, max: i16) -> Result<i16, Errno> {
    let text = core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
    let number: i16 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
    if (min..=max).contains(&number) { Ok(number) } else { Err(Errno::EINVAL) }
}
