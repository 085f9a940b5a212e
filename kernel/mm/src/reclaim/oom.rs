// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file says which address space to give up when memory cannot be got back in any other way.

use alloc::sync::Arc;

use hal::Machine;

use crate::mm::Mm;
use crate::system::System;

impl<M: Machine> System<M> {
    /// Returns the address space that has most, among those that `may_go` accepts: resident, swapped
    /// and table pages, as Linux's `oom_badness()` counts. The caller kills who uses it.
    pub fn pick_oom_victim(&self, mut may_go: impl FnMut(&Mm<M>) -> bool) -> Option<Arc<Mm<M>>> {
        let mut worst: Option<Arc<Mm<M>>> = None;
        let mut last = 0;
        while let Some(mm) = self.mms().next(last) {
            last = mm.id().get();
            let is_worse = worst.as_ref().is_none_or(|worst| mm.badness() > worst.badness());
            if !mm.is_dead() && is_worse && may_go(&mm) {
                worst = Some(mm);
            }
        }
        worst
    }
}
