// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file finds the size of a page's smallest record by trying all that there could be.

use hal::PageTags;

/// Returns the bytes of the smallest record of a page, not counting its shape.
pub fn record_bytes(page: &PageTags) -> usize {
    let tags: Vec<u8> = (0..256).map(|granule| page.get(granule)).collect();
    let starts: Vec<usize> = (1..256).filter(|n| tags[*n] != tags[*n - 1]).collect();
    let nr_runs = starts.len() + 1;
    let mut sizes = vec![128];
    if nr_runs == 1 {
        sizes.push(0);
    }
    if tags.chunks(16).all(|part| part == &tags[..16]) {
        sizes.push(8);
    }
    sizes.extend(
        [(6, 8), (11, 16), (23, 32), (64, 64)]
            .iter()
            .filter(|(most, _)| nr_runs <= *most)
            .map(|(_, bytes)| *bytes),
    );
    let is_common = |parity: usize| {
        let first = |run: usize| if run == 0 { 0 } else { starts[run - 1] };
        let mut runs = (parity..nr_runs).step_by(2);
        nr_runs > 1 && runs.all(|run| tags[first(run)] == tags[first(parity)])
    };
    if (0..2).any(|parity| is_common(parity) && (nr_runs + parity) / 2 <= 64) {
        sizes.push(64);
    }
    for size in 2..=127 {
        for header in 0..2 {
            let is_object = |phase: usize| {
                (0..256).all(|granule| {
                    let at = (granule + size - phase) % size;
                    let is_header = granule >= phase && at < header;
                    let may_change = granule >= phase && at == header;
                    let is_as_before = granule == 0 || tags[granule] == tags[granule - 1];
                    if is_header { tags[granule] == 0 } else { may_change || is_as_before }
                })
            };
            if size <= 16 && 256 % size == 0 && is_object(0) {
                sizes.push(128 / size);
            }
            let bytes = match size {
                2 => continue,
                3..5 => 64,
                5..9 => 32,
                9..20 => 16,
                _ => 8,
            };
            if (0..size).any(is_object) {
                sizes.push(bytes);
            }
        }
    }
    sizes.into_iter().min().unwrap()
}
