// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the medium of a simulated disk: sectors, arbitrary until written.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use super::WORDS;
use crate::block_dev::SECTOR_SIZE;
use crate::sim::rng::mix;

/// Sectors of one disk, stored from their first use on.
#[derive(Debug)]
pub(super) struct Media {
    nr_sectors: u64,
    seed: u64,
    sectors: BTreeMap<u64, Box<[u64; WORDS]>>,
}

impl Media {
    pub(super) fn new(nr_sectors: u64, seed: u64, disk: usize) -> Self {
        Self { nr_sectors, seed: mix(seed ^ disk as u64), sectors: BTreeMap::new() }
    }

    /// Returns a sector for change.
    pub(super) fn sector_mut(&mut self, sector: u64) -> &mut [u64; WORDS] {
        assert!(sector < self.nr_sectors, "sector {sector} is past the end");
        let start = mix(self.seed ^ sector);
        let arbitrary = || Box::new(core::array::from_fn(|i| mix(start.wrapping_add(i as u64))));
        self.sectors.entry(sector).or_insert_with(arbitrary)
    }

    pub(super) fn read(&mut self, sector: u64, buf: &mut [u8]) {
        for (sector, bytes) in (sector..).zip(buf.chunks_mut(SECTOR_SIZE)) {
            let words = self.sector_mut(sector).iter();
            for (part, word) in bytes.chunks_mut(8).zip(words) {
                part.copy_from_slice(&word.to_le_bytes()[..part.len()]);
            }
        }
    }

    pub(super) fn write(&mut self, sector: u64, bytes: &[u8]) {
        assert!(bytes.len().is_multiple_of(SECTOR_SIZE), "a medium is written by the sector");
        for (sector, bytes) in (sector..).zip(bytes.chunks_exact(SECTOR_SIZE)) {
            for (word, part) in self.sector_mut(sector).iter_mut().zip(bytes.chunks_exact(8)) {
                *word = u64::from_le_bytes(part.try_into().expect("chunks of 8"));
            }
        }
    }
}
