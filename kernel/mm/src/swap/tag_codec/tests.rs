// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests the tag codec: every class, its borders, and records nobody writes.

use super::*;
use std::vec::Vec;

/// Builds a page of `nr` runs whose lengths are `len` but for the last, which fills the page.
fn page_of_runs(nr: usize, len: usize) -> PageTags {
    let mut tags = PageTags::ZERO;
    for granule in 0..GRANULES {
        let run = (granule / len).min(nr - 1);
        tags.set(granule, (run * 7 % 16) as u8);
    }
    tags
}

fn class(encoded: &Encoded) -> &'static str {
    match encoded {
        Encoded::Uniform(_) => "uniform",
        Encoded::Inline { .. } => "inline",
        Encoded::Bytes16(_) => "16",
        Encoded::Bytes32(_) => "32",
        Encoded::Bytes64(_) => "64",
        Encoded::Raw(_) => "raw",
    }
}

#[test]
fn class_borders_are_those_of_the_format() {
    let expected = [
        (1, "uniform"),
        (2, "inline"),
        (6, "inline"),
        (7, "16"),
        (11, "16"),
        (12, "32"),
        (23, "32"),
        (24, "64"),
        (46, "64"),
        (47, "raw"),
        (256, "raw"),
    ];
    for (nr, name) in expected {
        let page = page_of_runs(nr, 1);
        let encoded = encode(&page);
        assert_eq!(class(&encoded), name, "{nr} runs");
        assert_eq!(decode(&encoded), Ok(page), "{nr} runs");
    }
}

#[test]
fn the_longest_run_may_be_anywhere_and_longer_than_seven_bits() {
    for nr in 2..=46 {
        for longest in [0, nr / 2, nr - 1] {
            let mut lens = std::vec![1; nr];
            lens[longest] = GRANULES - (nr - 1);
            let tags: Vec<u8> = (0..nr).map(|run| (run % 16) as u8).collect();
            let page = lay_out(&tags, &lens);
            assert_eq!(decode(&encode(&page)), Ok(page), "{nr} runs, longest {longest}");
        }
    }
}

#[test]
fn two_runs_of_128_are_both_representable() {
    let page = lay_out(&[3, 9], &[128, 128]);
    assert_eq!(decode(&encode(&page)), Ok(page));
}

#[test]
fn every_page_of_a_seeded_sample_round_trips() {
    let mut state = 1u64;
    let mut roll = |below: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % below
    };
    for _ in 0..20_000 {
        let mean = 1 + roll(64);
        let mut page = PageTags::ZERO;
        let mut tag = roll(16) as u8;
        for granule in 0..GRANULES {
            if roll(mean) == 0 {
                tag = roll(16) as u8;
            }
            page.set(granule, tag);
        }
        assert_eq!(decode(&encode(&page)), Ok(page));
    }
}

#[test]
fn records_nobody_writes_are_refused_or_harmless() {
    assert_eq!(decode(&Encoded::Uniform(16)), Err(Malformed));
    assert_eq!(decode(&Encoded::Inline { runs: 0, bits: 0 }), Err(Malformed));
    assert_eq!(decode(&Encoded::Inline { runs: 2, bits: 2 }), Err(Malformed), "longest >= n");
    assert_eq!(decode(&Encoded::Bytes16([15 | 15 << 4, 0])), Err(Malformed));
    assert_eq!(decode(&Encoded::Bytes64([!0; 8])), Err(Malformed));
    // All lengths 128: their sum leaves nothing for the longest.
    assert_eq!(decode(&Encoded::Bytes32([3 | !0 << 10, !0, !0, !0])), Err(Malformed));
}
