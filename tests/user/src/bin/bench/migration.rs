// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file measures the way to a device's memory and back, by the requests of Linux's test_hmm.
//!
//! A request that moves pages there has the device read them too; what that takes is measured by itself
//! and taken off.

use user_tests::dmirror::Dmirror;
use user_tests::memory::{self, Mapping, RW};
use user_tests::thp::BLOCK;

use crate::choice::Choice;
use crate::cost::{Cost, measured};
use crate::counter::count;
use crate::region::{self, Region, load_each};
use crate::report;

/// The section's name.
pub const SECTION: &str = "migration";

/// Bytes of the sample by which the device's reads are counted.
const SAMPLE_BYTES: usize = 4 << 20;

/// Measures an operation on memory, with a device that has room for all of it.
type Measure = fn(&Trip<'_>) -> Cost;

const ROWS: [(&str, Measure); 3] = [
    ("migrate_there", |trip| trip.there()),
    ("migrate_back", |trip| trip.back_on_request()),
    ("migrate_back_by_fault", |trip| trip.back_by_fault()),
];

/// Measures the rows that were chosen, on memory of each kind, where there is a device.
pub fn print(choice: &Choice) {
    let Ok(device) = Dmirror::open(0) else { return };
    for (name, measure) in ROWS.into_iter().filter(|row| choice.has(SECTION, row.0)) {
        for kind in region::kinds().filter(|kind| choice.has_kind(name, *kind)) {
            let Some(region) = Region::new(kind) else { continue };
            report::cost(name, kind, &measure(&Trip { device: &device, region: &region }));
        }
    }
}

/// A region's way.
struct Trip<'a> {
    device: &'a Dmirror,
    region: &'a Region,
}

impl Trip<'_> {
    fn there(&self) -> Cost {
        let own = self.own_count_of_reads();
        let (mapping, mut seen) = (self.region.populated(), buffer());
        measured(self.region.nr_pages(), own, || self.move_there(&mapping, &mut seen))
    }

    fn back_on_request(&self) -> Cost {
        let mapping = self.region.populated();
        self.move_there(&mapping, &mut buffer());
        measured(self.region.nr_pages(), 0, || {
            for block in mapping.range().step_by(BLOCK) {
                self.device.migrate_to_system(block..block + BLOCK).expect("room in RAM");
            }
        })
    }

    fn back_by_fault(&self) -> Cost {
        let own = self.region.own_count_of_loads();
        let mapping = self.region.populated();
        self.move_there(&mapping, &mut buffer());
        measured(self.region.nr_pages(), own, || load_each(&mapping))
    }

    fn move_there(&self, mapping: &Mapping, seen: &mut [u8]) {
        for block in mapping.range().step_by(BLOCK) {
            let moved = self.device.migrate_to_device_into(block..block + BLOCK, seen);
            moved.expect("room on the device");
        }
    }

    /// Counts what the device takes to read as much as a region.
    fn own_count_of_reads(&self) -> u64 {
        let sample = Mapping::aligned(SAMPLE_BYTES, BLOCK, RW).expect("mmap");
        sample.pages().for_each(|page| memory::store(page, 1));
        let mut seen = buffer();
        self.move_there(&sample, &mut seen);
        let counted = count(|| {
            for block in sample.range().step_by(BLOCK) {
                self.device.read(block..block + BLOCK, &mut seen).expect("the device has it");
            }
        });
        counted * (self.region.len_bytes / SAMPLE_BYTES) as u64
    }
}

/// Returns room for what the device sees of a block: memory that has been touched.
fn buffer() -> Vec<u8> {
    vec![1; BLOCK]
}
