// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the background reclaimer: it keeps frames free so that allocations need not wait, and
//! discards what swap does not need any more.

use base::Order;
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

    /// Asks the background thread to reclaim for a run of `order`, whatever is free.
    pub(crate) fn wake_kswapd_for(&self, order: Order) {
        // Release: it finds the order when it finds that it is wanted.
        self.reclaim().kswapd_order.fetch_max(order.get().into(), Ordering::Release);
        self.wake_kswapd();
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
            let order = self.reclaim().kswapd_order.swap(0, Ordering::Acquire);
            self.reclaim_to_high();
            self.reclaim_for(Order::new(order as u8));
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

    /// Reclaims until a run of `order` can be taken, or twice as many pages have become free: they
    /// are scattered then, and more would not help (Linux: `compact_gap`).
    fn reclaim_for(&self, order: Order) {
        if order == Order::PAGE {
            return;
        }
        let nr_pages = u64::from(order.nr_pages());
        let has_room = || {
            // Single frames that complete runs may be in the CPUs' caches.
            self.front().drain_all();
            let is_enough = self.front().nr_free() >= self.watermarks().high + nr_pages;
            is_enough && self.front().has_run(order)
        };
        // At a first look at a page its access flag may be cleared and no more.
        let mut nr_scan = 2 * self.nr_listed();
        let mut nr_left = 2 * nr_pages;
        while nr_left > 0 && nr_scan > 0 && !has_room() {
            let nr_freed = self.shrink(STRIDE, Reclaimer::Kswapd, Trim::Longer);
            nr_left = nr_left.saturating_sub(nr_freed);
            nr_scan = nr_scan.saturating_sub(STRIDE);
        }
    }
}
