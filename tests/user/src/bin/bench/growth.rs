// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows whether a page costs the same in small regions and in large ones.

use user_tests::meminfo;

use crate::choice::Choice;
use crate::cost::Cost;
use crate::pages;
use crate::region::Region;
use crate::report::{self, Kind};
use crate::size::Size;

/// The section's name.
pub const SECTION: &str = "growth";

/// Lengths of regions in MiB, from 16 MiB to 4 GiB.
const LENS_MIB: [usize; 5] = [16, 64, 256, 1024, 4096];

type Measure = fn(&Region) -> Option<Cost>;

const ROWS: [(&str, Measure); 3] = [
    ("growth_fault", pages::fault),
    ("growth_fork_exit", pages::fork_and_exit),
    ("growth_munmap", pages::unmap),
];

/// Measures the rows that were chosen, for each length that memory permits.
pub fn print(choice: &Choice) {
    for (name, measure) in ROWS.into_iter().filter(|row| choice.has(SECTION, row.0)) {
        for len_mib in LENS_MIB {
            for size in Size::ALL {
                let kind = Kind { size, is_tagged: false };
                let region = fits(len_mib).then(|| Region::of_len(kind, len_mib << 20)).flatten();
                if let Some(cost) = region.as_ref().and_then(measure) {
                    report::cost(&format!("{name}@{len_mib}M"), kind, &cost);
                }
            }
        }
    }
}

/// Returns whether nothing need be reclaimed for a region.
fn fits(len_mib: usize) -> bool {
    meminfo::read("MemFree").is_some_and(|free| (len_mib as u64) << 20 < free / 10 * 9)
}
