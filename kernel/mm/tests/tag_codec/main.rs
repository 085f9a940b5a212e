// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests the tag codec: every kind of record and its borders, records that nobody writes,
//! pages as allocators leave them, and that `docs/formats/tag-record.md` says what is so.

mod checks;
mod document;
mod patterns;
mod reference;
mod smallest;

use hal::PageTags;
use mm::tag_codec::{Kind, MAX_BYTES, Malformed, Shape, decode, decode_bytes, encode};

use checks::{any, check_page, check_record};
use patterns::{Dice, PATTERNS, page_of};

/// Builds a page from the first granules of its runs and their tags.
fn page_of_runs(runs: &[(usize, u8)]) -> PageTags {
    page_of(|granule| runs.iter().rfind(|(start, _)| *start <= granule).map_or(0, |(_, tag)| *tag))
}

/// Returns kind and bytes of the record of a page, which is checked.
fn stored(page: &PageTags) -> (Kind, usize) {
    check_page(page);
    let record = encode(page);
    (record.shape().kind, 8 * record.words().len())
}

#[test]
fn a_page_of_one_tag_takes_nothing_and_one_of_sixteen_repeated_a_word() {
    for tag in 0..16 {
        assert_eq!(stored(&PageTags::uniform(tag)), (Kind::Uniform, 0));
    }
    assert_eq!(stored(&page_of(|granule| (granule % 16) as u8)), (Kind::Repeat, 8));
    assert_eq!(stored(&page_of(|granule| (granule % 2) as u8)), (Kind::Repeat, 8));
}

#[test]
fn runs_change_their_size_where_the_format_says() {
    let expected = [
        (2, Kind::Runs, 8),
        (6, Kind::Runs, 8),
        (7, Kind::Runs, 16),
        (11, Kind::Runs, 16),
        (12, Kind::Runs, 32),
        (23, Kind::Runs, 32),
        (24, Kind::Mask, 64),
        (64, Kind::Mask, 64),
        (65, Kind::Aligned, 128),
        (200, Kind::Aligned, 128),
    ];
    for (nr, kind, bytes) in expected {
        // Single granules, then one long run.
        let page = page_of(|granule| (granule.min(nr - 1) * 7 % 16) as u8);
        assert_eq!(stored(&page), (kind, bytes), "{nr} runs");
    }
}

#[test]
fn the_longest_run_may_be_anywhere_and_longer_than_seven_bits() {
    for nr in 2..=23 {
        for longest in [0, nr / 2, nr - 1] {
            let runs: Vec<_> = (0..nr)
                .map(|run| (if run > longest { 256 - nr + run } else { run }, (run % 16) as u8))
                .collect();
            assert_eq!(stored(&page_of_runs(&runs)).0, Kind::Runs, "{nr} runs, longest {longest}");
        }
    }
    assert_eq!(stored(&page_of_runs(&[(0, 3), (1, 9), (129, 4)])), (Kind::Runs, 8), "two of 128");
}

#[test]
fn aligned_objects_take_a_tag_each() {
    let mut dice = Dice::new(1);
    for log2 in 0..=4 {
        for header in 0..=usize::from(log2 > 0) {
            let tags: Vec<u8> = (0..256 >> log2).map(|_| dice.roll(1..16) as u8).collect();
            let in_header = |granule: usize| granule % (1 << log2) < header;
            let page =
                page_of(|granule| if in_header(granule) { 0 } else { tags[granule >> log2] });
            assert_eq!(stored(&page), (Kind::Aligned, 128 >> log2), "{log2}, header {header}");
        }
    }
}

#[test]
fn objects_of_every_size_and_phase_make_a_slab() {
    let mut dice = Dice::new(2);
    for size in 3..=127_usize {
        for phase in (0..size).step_by(size.div_ceil(9)) {
            for header in 0..=1 {
                let tags = dice.distinct_neighbours(256);
                let page = page_of(|granule| {
                    let at = granule + size - phase;
                    if at % size < header { 0 } else { tags[at / size] }
                });
                let most = match size {
                    20.. => 8,
                    9.. => 16,
                    5.. => 32,
                    _ => 64,
                };
                let (_, bytes) = stored(&page);
                assert!(bytes <= most, "{bytes} bytes for {size}, phase {phase}, header {header}");
            }
        }
    }
}

#[test]
fn a_header_between_objects_needs_no_place_in_a_mask() {
    for parity in 0..2 {
        for nr in [65, 126, 127, 128, 129, 130] {
            let tags = Dice::new(nr as u64).distinct_neighbours(256);
            let tag = |run: usize| if run % 2 == parity { 9 } else { tags[run / 2] % 8 };
            // Lengths 1, 2, 1, 1, 1, 2...: no objects of one size.
            let run_of = |granule: usize| (granule - granule.div_ceil(6)).min(nr - 1);
            let page = page_of(|granule| tag(run_of(granule)));
            let nr_others = (nr + parity) / 2;
            let expected = if nr_others <= 64 { (Kind::Mask, 64) } else { (Kind::Aligned, 128) };
            assert_eq!(stored(&page), expected, "{nr} runs, {parity}");
        }
    }
}

#[test]
fn no_page_has_a_smaller_record_than_the_encoder_writes() {
    let mut dice = Dice::new(3);
    for (n, pattern) in PATTERNS.iter().cycle().take(8 * PATTERNS.len()).enumerate() {
        let mut page = (pattern.page)(&mut dice);
        if n % 3 == 0 {
            page.set(dice.roll(0..256), dice.roll(0..16) as u8);
        }
        let (kind, bytes) = stored(&page);
        assert_eq!(bytes, smallest::record_bytes(&page), "{}: {kind:?}", pattern.name);
    }
}

#[test]
fn records_nobody_writes_are_refused() {
    let refused = |kind, arg, words: &[u64]| {
        assert_eq!(decode(Shape { kind, arg }, words), Err(Malformed), "{kind:?} {arg} {words:x?}");
    };
    refused(Kind::Uniform, 16, &[]);
    refused(Kind::Uniform, 3, &[0]);
    refused(Kind::Repeat, 1, &[0x10]);
    refused(Kind::Repeat, 0, &[0x3333_3333_3333_3333]);
    refused(Kind::Aligned, 5, &[0x10; 1]);
    refused(Kind::Aligned, 0x80, &[0x10; 16]);
    refused(Kind::Aligned, 0, &[0x0123_4567_89ab_cdef; 16]);
    refused(Kind::Runs, 1, &[0]);
    refused(Kind::Runs, 24, &[0; 4]);
    refused(Kind::Runs, 2, &[0]);
    // The second of two runs is the third; the sum of the lengths leaves nothing for the longest.
    refused(Kind::Runs, 2, &[0x21 | 2 << 8]);
    refused(Kind::Runs, 3, &[0x321 | 1 << 12 | 0x3fff << 17]);
    // A bit beyond the last field.
    let page = page_of_runs(&[(0, 1), (100, 2)]);
    let word = encode(&page).words()[0];
    assert_eq!(decode(Shape { kind: Kind::Runs, arg: 2 }, &[word]), Ok(page));
    refused(Kind::Runs, 2, &[word | 1 << 63]);
    refused(Kind::Slab, 2, &[0; 8]);
    refused(Kind::Slab, 20, &[0; 1]);
    refused(Kind::Slab, 20, &[0x12_3456_7890_1214]);
    refused(Kind::Mask, 1, &[0; 8]);
    refused(Kind::Mask, 0x30, &[0; 8]);
    refused(Kind::Mask, 0, &[1, 0, 0, 0, 0, 0, 0, 0]);
    refused(Kind::Mask, 0, &[!1, !0, !0, !0, 0, 0, 0, 0]);
    refused(Kind::Mask, 0x10, &[!1, !0, !0, !0, 0, 0, 0, 0]);
}

#[test]
fn bytes_of_another_version_kind_or_length_are_refused() {
    assert_eq!(decode_bytes(&[0x11, 7]), Ok(PageTags::uniform(7)));
    for bytes in [&[][..], &[0x11], &[0x11, 7, 0], &[0x21, 7], &[0x01, 7], &[0x10, 7], &[0x17, 7]] {
        assert_eq!(decode_bytes(bytes), Err(Malformed), "{bytes:x?}");
    }
    let mut bytes = [0; MAX_BYTES];
    let len = encode(&page_of_runs(&[(0, 1), (100, 2)])).to_bytes(&mut bytes);
    assert!(decode_bytes(&bytes[..len]).is_ok());
    assert_eq!(decode_bytes(&bytes[..len - 1]), Err(Malformed));
    assert_eq!(decode_bytes(&bytes[..len + 1]), Err(Malformed));
}

#[test]
fn patterns_with_a_few_tags_changed_round_trip() {
    let mut dice = Dice::new(4);
    for pattern in PATTERNS.iter().cycle().take(40 * PATTERNS.len()) {
        let mut page = (pattern.page)(&mut dice);
        for _ in 0..dice.roll(0..4) {
            page.set(dice.roll(0..256), dice.roll(0..16) as u8);
        }
        check_page(&page);
    }
}

#[test]
fn records_with_a_few_bits_changed_are_refused_or_still_canonical() {
    let mut dice = Dice::new(5);
    let mut nr_refused = 0;
    for pattern in PATTERNS.iter().cycle().take(40 * PATTERNS.len()) {
        let mut bytes = [0; MAX_BYTES];
        let len = encode(&(pattern.page)(&mut dice)).to_bytes(&mut bytes);
        for _ in 0..20 {
            let mut changed = bytes;
            for _ in 0..dice.roll(1..4) {
                changed[dice.roll(0..len)] ^= 1 << dice.roll(0..8);
            }
            nr_refused += u32::from(!check_record(&changed[..len]));
        }
    }
    assert!(nr_refused > 1000, "{nr_refused}");
}

#[test]
fn what_the_fuzzer_runs_holds_for_a_seeded_sample() {
    let mut dice = Dice::new(6);
    for _ in 0..30_000 {
        let bytes: Vec<u8> = (0..dice.roll(0..160)).map(|_| dice.roll(0..256) as u8).collect();
        any(&bytes);
    }
}
