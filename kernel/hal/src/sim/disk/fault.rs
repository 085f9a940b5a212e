// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file decides which disk requests fail.

use alloc::vec::Vec;
use core::ops::Range;

use crate::block_dev::{BlockOp, DiskId};

/// Requests that fail. Built from [`IoFault::any`] by narrowing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IoFault {
    disk: Option<DiskId>,
    op: Option<BlockOp>,
    sectors: Range<u64>,
    /// Requests that still match without failing.
    spared: u64,
    /// Requests that will fail after those.
    doomed: u64,
    /// They are reported as done, and only a leading part of their data was moved.
    is_silent: bool,
}

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It is done.
    Succeeds,
    /// It fails, and some leading part of its data was moved.
    Fails,
    /// The same, reported as success: a torn write, a short read.
    StopsShort,
}

impl IoFault {
    /// Every request of every disk.
    pub const fn any() -> Self {
        Self {
            disk: None,
            op: None,
            sectors: 0..u64::MAX,
            spared: 0,
            doomed: u64::MAX,
            is_silent: false,
        }
    }

    /// Only requests to `disk`.
    #[must_use]
    pub const fn on(self, disk: DiskId) -> Self {
        Self { disk: Some(disk), ..self }
    }

    /// Only requests that do `op`.
    #[must_use]
    pub const fn of(self, op: BlockOp) -> Self {
        Self { op: Some(op), ..self }
    }

    /// Only requests that touch any of `sectors`.
    #[must_use]
    pub const fn at(self, sectors: Range<u64>) -> Self {
        Self { sectors, ..self }
    }

    /// Only the `n`-th request, counted from 1, among those that match otherwise.
    #[must_use]
    pub const fn nth(self, n: u64) -> Self {
        Self { spared: n - 1, doomed: 1, ..self }
    }

    /// The disk reports success, though it has moved a leading part only.
    #[must_use]
    pub const fn silently(self) -> Self {
        Self { is_silent: true, ..self }
    }

    /// Only the `n`-th request, counted from 1, among those that match otherwise, and all after it.
    #[must_use]
    pub const fn since(self, n: u64) -> Self {
        Self { spared: n - 1, doomed: u64::MAX, ..self }
    }
}

/// All faults that are set.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<IoFault>);

impl Faults {
    pub(super) fn add(&mut self, fault: IoFault) {
        self.0.push(fault);
    }

    /// Says what becomes of a request being submitted; counts it against every fault it matches.
    pub(super) fn strike(
        &mut self,
        disk: DiskId,
        op: BlockOp,
        sector: u64,
        nr_sectors: u64,
    ) -> Fate {
        let matches = |fault: &IoFault| {
            let meets =
                sector < fault.sectors.end && fault.sectors.start < sector + nr_sectors.max(1);
            fault.disk.is_none_or(|d| d == disk) && fault.op.is_none_or(|o| o == op) && meets
        };
        let mut fate = Fate::Succeeds;
        for fault in self.0.iter_mut().filter(|fault| matches(fault)) {
            match (fault.spared, fault.doomed) {
                (0, 0) => {}
                (0, _) => {
                    fault.doomed -= 1;
                    fate = if fault.is_silent { Fate::StopsShort } else { Fate::Fails };
                }
                (_, _) => fault.spared -= 1,
            }
        }
        fate
    }
}
