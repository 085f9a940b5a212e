// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file compares `docs/formats/tag-record.md` with the codec: its examples and its table.

use core::fmt::Write;

use hal::PageTags;
use mm::tag_codec::{MAX_BYTES, decode_bytes, encode};

use crate::checks::check_page;
use crate::patterns::{Dice, PATTERNS};

const TEXT: &str = include_str!("../../../../docs/formats/tag-record.md");

const PAGES: usize = 500;

#[test]
fn examples_are_what_the_codec_writes() {
    let words = |line: &'static str, what| line.strip_prefix("    ")?.strip_prefix(what);
    let mut lines = TEXT.lines();
    let mut nr = 0;
    while let Some(line) = lines.next() {
        let Some(text) = words(line, "page    ") else { continue };
        let mut granules = Vec::new();
        assert_eq!(parse(text, &mut granules), "", "{text}");
        assert_eq!(granules.len(), 256, "{text}");
        let mut page = PageTags::ZERO;
        granules.iter().enumerate().for_each(|(granule, tag)| page.set(granule, *tag));
        check_page(&page);
        let mut record = Vec::new();
        for line in lines.by_ref().map_while(|line| line.strip_prefix("    ")) {
            let bytes = line.strip_prefix("record").unwrap_or(line).split_whitespace();
            record.extend(bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()));
        }
        let mut bytes = [0; MAX_BYTES];
        let len = encode(&page).to_bytes(&mut bytes);
        assert_eq!(hex(&record), hex(&bytes[..len]), "{text}");
        assert_eq!(decode_bytes(&record), Ok(page));
        nr += 1;
    }
    assert_eq!(nr, 8, "examples");
}

#[test]
fn the_table_of_patterns_is_what_the_codec_stores() {
    let mut table = String::new();
    for pattern in PATTERNS {
        let mut dice = Dice::new(7);
        let (mut runs, mut by_runs, mut bytes) = (0, 0, 0);
        for _ in 0..PAGES {
            let page = (pattern.page)(&mut dice);
            let nr = 1 + (1..256).filter(|n| page.get(*n) != page.get(n - 1)).count();
            runs += nr;
            by_runs += match nr {
                0..=1 => 0,
                2..=6 => 8,
                7..=11 => 16,
                12..=23 => 32,
                24..=46 => 64,
                _ => 128,
            };
            bytes += 8 * encode(&page).words().len();
        }
        let name = pattern.name;
        let [runs, by_runs, bytes] = [runs, by_runs, bytes].map(mean);
        writeln!(table, "| {name} | {runs} | {by_runs} | {bytes} |").unwrap();
    }
    assert!(TEXT.contains(&table), "the table is now:\n{table}");
}

/// Returns a sum as the mean over all pages, to a tenth, rounded down.
fn mean(sum: usize) -> String {
    format!("{}.{}", sum / PAGES, sum * 10 / PAGES % 10)
}

/// Reads pieces `tag*count` and `(pieces)*count`. Returns what follows them.
fn parse<'t>(mut text: &'t str, granules: &mut Vec<u8>) -> &'t str {
    loop {
        text = text.trim_start();
        let mut part = Vec::new();
        if let Some(inner) = text.strip_prefix('(') {
            text = parse(inner, &mut part).strip_prefix(')').expect("a bracket is closed");
        } else if let Some(tag) = text.chars().next().and_then(|tag| tag.to_digit(16)) {
            part.push(tag as u8);
            text = &text[1..];
        } else {
            return text;
        }
        let count = text.strip_prefix('*').expect("a count follows");
        let len = count.find(|c: char| !c.is_ascii_digit()).unwrap_or(count.len());
        granules.extend(part.repeat(count[..len].parse().unwrap()));
        text = &count[len..];
    }
}

fn hex(bytes: &[u8]) -> String {
    let words: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    words.chunks(32).map(|line| line.join(" ")).collect::<Vec<_>>().join("\n            ")
}
