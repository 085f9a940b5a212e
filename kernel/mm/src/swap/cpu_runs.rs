// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file keeps slots aside for a CPU: what it swaps out one after the other lies side by side, and it
//! rarely needs the area's map, which all share.
//!
//! There is a run for each order (Linux: `percpu_swap_cluster`), so that folios of one size fill a run and
//! leave no gaps that others cannot use. A run is taken as long as there is one, and shorter when the area
//! fills up: handing a slot out costs the same in an empty area and in one that is nearly full.

use core::ops::Range;

use base::Order;

use crate::run_map::RunMap;

/// How much longer a run is than what is asked for: 16 times.
const AHEAD: u8 = 4;

/// What is left of a CPU's runs, by order; folios of 2 MiB take a whole cluster, and no run.
#[derive(Default)]
pub(super) struct CpuRuns([Range<u32>; Order::BLOCK.get() as usize]);

impl CpuRuns {
    /// Takes 2^`order` slots from the run of that order.
    pub fn take(&mut self, order: Order) -> Option<u32> {
        let run = self.0.get_mut(usize::from(order.get()))?;
        let first = run.start;
        (first < run.end).then(|| {
            run.start += order.nr_pages();
            first
        })
    }

    /// Takes a new run for `order`, whose old one is used up, as long as there is, and the first slots of
    /// it.
    pub fn refill(&mut self, order: Order, map: &mut RunMap) -> Option<u32> {
        let longest = (order.get() + AHEAD).min(Order::BLOCK.get());
        let (first, nr) = (order.get()..=longest).rev().find_map(|size| {
            let size = Order::new(size);
            Some((map.alloc(size)?, size.nr_pages()))
        })?;
        if let Some(run) = self.0.get_mut(usize::from(order.get())) {
            *run = first + order.nr_pages()..first + nr;
        }
        Some(first)
    }

    /// Gives everything back.
    pub fn give_back(&mut self, map: &mut RunMap) {
        self.0.iter_mut().for_each(|run| map.free_range(core::mem::take(run)));
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const SIXTEEN: Order = Order::new(4);

    fn map(nr_blocks: u32) -> RunMap {
        let mut map = RunMap::new(nr_blocks as usize);
        (0..nr_blocks).for_each(|block| map.add_block(block));
        map
    }

    #[test]
    fn each_order_has_its_run() {
        let (mut map, mut runs) = (map(1), CpuRuns::default());
        let mut next = |order| runs.take(order).or_else(|| runs.refill(order, &mut map)).unwrap();
        let pages: Vec<u32> = (0..3).map(|_| next(Order::PAGE)).collect();
        let large: Vec<u32> = (0..3).map(|_| next(SIXTEEN)).collect();
        let more: Vec<u32> = (0..3).map(|_| next(Order::PAGE)).collect();
        assert_eq!([&pages[..], &more[..]].concat(), (0..6).collect::<Vec<_>>());
        assert_eq!(large, [256, 272, 288]);
        assert_eq!(map.nr_free(), 512 - 16 - 256);
        runs.give_back(&mut map);
        assert_eq!(map.nr_free(), 512 - 6 - 48);
    }

    #[test]
    fn runs_get_shorter_before_there_is_nothing() {
        let (mut map, mut runs) = (map(1), CpuRuns::default());
        // Every fourth slot is taken, and then some: no run of 4 is free, and one of 2.
        (0..512).step_by(4).for_each(|slot| assert!(map.take_unit(slot)));
        let mut nr = 0;
        while runs.take(Order::PAGE).or_else(|| runs.refill(Order::PAGE, &mut map)).is_some() {
            nr += 1;
        }
        assert_eq!((nr, map.nr_free()), (384, 0));
        assert_eq!(runs.refill(SIXTEEN, &mut map), None);
        assert_eq!(runs.take(Order::BLOCK), None, "whole clusters have no run");
    }
}
