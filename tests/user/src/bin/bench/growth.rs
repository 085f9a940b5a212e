// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file shows whether a page costs the same in small regions and in large ones.

use user_tests::meminfo;

use crate::choice::Choice;
use crate::cost::{Cost, measured};
use crate::pages;
use crate::region::{Region, store_each};
use crate::report::{self, Kind};
use crate::size::Size;

/// The section's name.
pub const SECTION: &str = "growth";

/// Lengths of regions in MiB, from 16 MiB to 4 GiB.
const LENS_MIB: [usize; 5] = [16, 64, 256, 1024, 4096];

/// Measures the rows that were chosen, for each length that memory permits.
pub fn print(choice: &Choice) {
    if !["growth_fault", "growth_fork_exit", "growth_munmap"]
        .map(|row| choice.has(SECTION, row))
        .contains(&true)
    {
        return;
    }
    for len_mib in LENS_MIB.into_iter().filter(|len_mib| fits(*len_mib)) {
        for size in Size::ALL {
            let kind = Kind { size, is_tagged: false };
            let Some(region) = Region::of_len(kind, len_mib << 20) else { continue };
            for (name, cost) in life(&region) {
                if choice.has(SECTION, name) {
                    report::cost(&format!("{name}@{len_mib}M"), kind, &cost);
                }
            }
        }
    }
}

/// Measures a region's first touch, a fork of it, and its end: one region, because filling 4 GiB for
/// each would take longer than all else.
fn life(region: &Region) -> [(&'static str, Cost); 3] {
    let mapping = region.map();
    let (nr_pages, own) = (region.nr_pages(), region.own_count_of_stores());
    let fault = measured(nr_pages, own, || store_each(&mapping));
    let fork_exit = measured(nr_pages, 0, pages::fork_once);
    let munmap = measured(nr_pages, 0, || drop(mapping));
    [("growth_fault", fault), ("growth_fork_exit", fork_exit), ("growth_munmap", munmap)]
}

/// Returns whether nothing need be reclaimed for a region.
fn fits(len_mib: usize) -> bool {
    meminfo::read("MemFree").is_some_and(|free| (len_mib as u64) << 20 < free / 10 * 9)
}
