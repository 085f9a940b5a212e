// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests runs against a naive map.

use super::*;
use std::collections::BTreeSet;
use std::vec::Vec;

/// A small linear congruential generator: tests need variety, not quality.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }
}

fn with_blocks(nr: u32) -> RunMap {
    let mut map = RunMap::new(nr as usize);
    (0..nr).for_each(|index| map.add_block(index));
    map
}

#[test]
fn runs_are_aligned_and_small_requests_spare_large_runs() {
    let mut map = with_blocks(2);
    // block 0: [a...............]   block 1: untouched
    let a = map.alloc(Order::PAGE).unwrap();
    let b = map.alloc(Order::new(4)).unwrap();
    assert_eq!(b % 16, 0);
    assert_eq!(a / BLOCK_UNITS, b / BLOCK_UNITS, "the broken block is used up first");
    assert_eq!(map.alloc(Order::BLOCK).unwrap() % BLOCK_UNITS, 0);
    assert_eq!(map.alloc(Order::BLOCK), None);
    assert_eq!(map.nr_free(), 512 - 17);
}

#[test]
fn a_range_is_given_back_whatever_its_ends() {
    for (start, end) in [(0, 1), (1, 2), (3, 64), (5, 700), (512, 1024), (0, 1024), (7, 7)] {
        let mut map = with_blocks(2);
        while map.alloc(Order::PAGE).is_some() {}
        map.free_range(start..end);
        assert_eq!(map.nr_free(), u64::from(end - start));
        let mut found: Vec<u32> = core::iter::from_fn(|| map.alloc(Order::PAGE)).collect();
        found.sort();
        assert_eq!(found, (start..end).collect::<Vec<_>>());
    }
}

#[test]
fn random_alloc_and_free_agree_with_a_naive_map() {
    for seed in 0..50 {
        let mut dice = Dice(seed);
        let mut map = with_blocks(3);
        let mut taken: Vec<(u32, Order)> = Vec::new();
        let mut units = BTreeSet::new();
        for _ in 0..2000 {
            if dice.roll(2) == 0 || taken.is_empty() {
                let order = Order::new(dice.roll(10) as u8);
                if let Some(first) = map.alloc(order) {
                    assert_eq!(first % order.nr_pages(), 0);
                    for unit in first..first + order.nr_pages() {
                        assert!(units.insert(unit), "seed {seed}: unit {unit} handed out twice");
                    }
                    taken.push((first, order));
                } else {
                    // Naive check that no such aligned run exists.
                    let step = order.nr_pages();
                    let exists = (0..3 * BLOCK_UNITS)
                        .step_by(step as usize)
                        .any(|first| (first..first + step).all(|unit| !units.contains(&unit)));
                    assert!(!exists, "seed {seed}: {order:?} refused although a run is free");
                }
            } else {
                let (first, order) = taken.swap_remove(dice.roll(taken.len() as u64) as usize);
                map.free(first, order);
                (first..first + order.nr_pages()).for_each(|unit| assert!(units.remove(&unit)));
            }
            assert_eq!(map.nr_free(), 3 * 512 - units.len() as u64);
        }
    }
}

#[test]
fn alloc_units_takes_what_is_there() {
    let mut map = with_blocks(1);
    let mut got = Vec::new();
    map.alloc_units(500, |unit| got.push(unit));
    map.alloc_units(32, |unit| got.push(unit));
    assert_eq!(got.len(), 512);
    assert_eq!(got.iter().collect::<BTreeSet<_>>().len(), 512);
    assert!(!map.take_unit(7));
    map.free(7, Order::PAGE);
    assert!(map.take_unit(7));
}

#[test]
fn double_free_is_a_broken_invariant() {
    let caught = std::panic::catch_unwind(|| with_blocks(1).free(64, Order::PAGE));
    let message = *caught.unwrap_err().downcast::<std::string::String>().unwrap();
    assert_eq!(message, "run map: double free of unit 64, Order(0)");
}

#[test]
fn wholly_free_blocks_can_be_removed() {
    let mut map = with_blocks(2);
    let unit = map.alloc(Order::PAGE).unwrap();
    let removed = map.remove_free_block().unwrap();
    assert_ne!(removed, unit / BLOCK_UNITS);
    assert_eq!(map.remove_free_block(), None);
    map.free(unit, Order::PAGE);
    assert_eq!(map.remove_free_block(), Some(unit / BLOCK_UNITS));
    assert_eq!(map.nr_free(), 0);
}
