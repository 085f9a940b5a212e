// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the background reclaimer: it keeps frames free so that allocations need not wait, and
//! discards what swap does not need any more.

use base::sync::atomic::Ordering;
use hal::{Machine, WaitChannel};

use super::scan::{Reclaimer, Trim};
use crate::events::MmEvent;
use crate::system::System;

/// Pages looked at between two looks at the watermark.
const STRIDE: u64 = 128;

impl<M: Machine> System<M> {
    /// Asks the background thread to reclaim. May be called with any lock held.
    pub(crate) fn wake_kswapd(&self) {
        let wanted = &self.reclaim().kswapd_wanted;
        if !wanted.load(Ordering::Relaxed) && !wanted.swap(true, Ordering::SeqCst) {
            self.machine().wake_all(WaitChannel::of(wanted));
        }
    }

    /// Reclaims in the background until `should_stop` returns `true`: the body of a kernel thread.
    pub fn run_kswapd(&self, mut should_stop: impl FnMut() -> bool) {
        let wanted = &self.reclaim().kswapd_wanted;
        loop {
            let mut is_over = false;
            self.machine().sleep_until(WaitChannel::of(wanted), &mut || {
                is_over = should_stop();
                is_over || wanted.swap(false, Ordering::SeqCst)
            });
            if is_over {
                return;
            }
            self.count(MmEvent::KswapdWakeup, 1);
            self.reclaim_to_high();
            self.discard_stale_clusters();
        }
    }

    /// Wakes the background thread so that it asks whether it should stop.
    pub fn poke_kswapd(&self) {
        self.machine().wake_all(WaitChannel::of(&self.reclaim().kswapd_wanted));
    }

    fn reclaim_to_high(&self) {
        while self.front().nr_free() < self.watermarks().high {
            if self.shrink(STRIDE, Reclaimer::Kswapd, Trim::Longer) == 0 {
                // Nothing to be had. Whoever needs memory will find out for itself.
                return;
            }
        }
    }
}
