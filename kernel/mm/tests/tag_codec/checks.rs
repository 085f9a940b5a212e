// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file has what must hold of every page and of all bytes. The tests call it, and so does the
//! fuzzer (`fuzz/fuzz_targets/tag_codec.rs`).

use hal::PageTags;
use mm::tag_codec::{Kind, MAX_BYTES, Malformed, Shape, decode, decode_bytes, encode};

use crate::reference;

/// Checks that a page's record gives the page back, by itself, as bytes, and to a reader who knows
/// the format from its description only.
pub fn check_page(page: &PageTags) {
    let record = encode(page);
    assert_eq!(decode(record.shape(), record.words()), Ok(*page));
    let mut bytes = [0xaa; MAX_BYTES];
    let len = record.to_bytes(&mut bytes);
    assert_eq!(decode_bytes(&bytes[..len]), Ok(*page));
    assert_eq!(reference::decode(&bytes[..len]), page.0, "{:x?}", &bytes[..len]);
}

/// Checks that bytes are refused, or are what the encoder writes for their page. Tells whether they
/// were accepted.
pub fn check_record(bytes: &[u8]) -> bool {
    let Ok(page) = decode_bytes(bytes) else { return false };
    let mut again = [0xaa; MAX_BYTES];
    let len = encode(&page).to_bytes(&mut again);
    assert_eq!(&again[..len], bytes, "another record for the same page");
    true
}

/// Checks everything that can be made of some bytes.
pub fn any(bytes: &[u8]) {
    check_record(bytes);
    check_page(&raw_page(bytes));
    let page = drawn_page(bytes);
    check_page(&page);
    // Words that fit the shape, so that more of them get far.
    if let [kind, arg, rest @ ..] = bytes {
        let words = raw_page(rest).0;
        let shape = Kind::from_number(kind % 8).map(|kind| Shape { kind, arg: *arg });
        let decoded = shape.and_then(|shape| {
            let nr_words = shape.nr_words()?;
            decode(shape, &words[..nr_words]).map(|page| (shape, nr_words, page))
        });
        match decoded {
            Err(Malformed) => {}
            Ok((shape, nr_words, page)) => {
                let again = encode(&page);
                assert_eq!((again.shape(), again.words()), (shape, &words[..nr_words]));
            }
        }
    }
    // A record of a drawn page with some bits turned over.
    let mut record = [0; MAX_BYTES];
    let len = encode(&page).to_bytes(&mut record);
    for change in bytes.chunks_exact(3).take(3) {
        record[usize::from(change[0]) % len] ^= change[1];
        check_record(&record[..len]);
    }
}

/// Takes the bytes as tags, as far as they go.
fn raw_page(bytes: &[u8]) -> PageTags {
    let mut page = PageTags::ZERO;
    for (word, bytes) in page.0.iter_mut().zip(bytes.chunks(8)) {
        let mut all = [0; 8];
        all[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_le_bytes(all);
    }
    page
}

/// Takes the bytes as orders to draw a page: four at a time, of which the first chooses what to do
/// from the second granule's number on.
fn drawn_page(bytes: &[u8]) -> PageTags {
    let mut page = PageTags::ZERO;
    for order in bytes.chunks_exact(4) {
        let (start, arg) = (usize::from(order[1]), usize::from(order[2]));
        let tag = |n: usize| (usize::from(order[3]) + n * (1 + arg / 64 * 2)) as u8 & 0xf;
        match order[0] % 4 {
            // A run.
            0 => (start..256).take(arg + 1).for_each(|granule| page.set(granule, tag(0))),
            // Objects of one size, with a header or without.
            1 | 2 => {
                let size = arg % 40 + 1;
                let has_header = order[0] % 4 == 2;
                for granule in start..256 {
                    let (object, at) = ((granule - start) / size, (granule - start) % size);
                    page.set(granule, if has_header && at == 0 { 0 } else { tag(object) });
                }
            }
            // Single granules.
            _ => (start..256).step_by(arg + 1).for_each(|granule| page.set(granule, tag(0))),
        }
    }
    page
}
