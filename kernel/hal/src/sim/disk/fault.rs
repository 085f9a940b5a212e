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
}

impl IoFault {
    /// Every request of every disk.
    pub const fn any() -> Self {
        Self { disk: None, op: None, sectors: 0..u64::MAX, spared: 0, doomed: u64::MAX }
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

    /// Tells whether a request being submitted will fail; counts it against every fault it matches.
    pub(super) fn strike(
        &mut self,
        disk: DiskId,
        op: BlockOp,
        sector: u64,
        nr_sectors: u64,
    ) -> bool {
        let matches = |fault: &IoFault| {
            let meets =
                sector < fault.sectors.end && fault.sectors.start < sector + nr_sectors.max(1);
            fault.disk.is_none_or(|d| d == disk) && fault.op.is_none_or(|o| o == op) && meets
        };
        let mut is_struck = false;
        for fault in self.0.iter_mut().filter(|fault| matches(fault)) {
            match (fault.spared, fault.doomed) {
                (0, 0) => {}
                (0, _) => (fault.doomed, is_struck) = (fault.doomed - 1, true),
                (_, _) => fault.spared -= 1,
            }
        }
        is_struck
    }
}
