// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads records as `docs/formats/tag-record.md` describes them, a granule at a time.
//! Slow, and shares nothing with the codec.

use hal::PageTags;

/// Bits of a record's words, taken in order.
struct Bits<'a> {
    bytes: &'a [u8],
    next: usize,
}

impl Bits<'_> {
    fn take(&mut self, width: usize) -> usize {
        let bit = |n: usize| usize::from(self.bytes[n / 8] >> (n % 8) & 1);
        let value = (0..width).map(|n| bit(self.next + n) << n).sum();
        self.next += width;
        value
    }
}

/// Returns the page that a record describes, which is known to be well-formed.
pub fn decode(record: &[u8]) -> [u64; PageTags::WORDS] {
    assert_eq!(record[0] >> 4, 1, "version");
    let arg = usize::from(record[1]);
    let mut bits = Bits { bytes: &record[2..], next: 0 };
    let tags: Vec<usize> = match record[0] & 0xf {
        1 => vec![arg; 256],
        2 => (0..16).map(|_| bits.take(4)).collect::<Vec<_>>().repeat(16),
        3 => {
            let (size, header) = (1 << (arg & 0x7f), arg >> 7);
            let objects: Vec<_> = (0..256 / size).map(|_| bits.take(4)).collect();
            let tag = |granule: usize| {
                if granule % size < header { 0 } else { objects[granule / size] }
            };
            (0..256).map(tag).collect()
        }
        4 => runs(&mut bits, arg),
        5 => slab(&mut bits, arg & 0x7f, arg >> 7),
        6 => mask(&mut bits, arg),
        kind => panic!("kind {kind}"),
    };
    let mut page = PageTags::ZERO;
    tags.iter().enumerate().for_each(|(granule, tag)| page.set(granule, *tag as u8));
    assert_eq!(tags.len(), 256);
    page.0
}

fn runs(bits: &mut Bits<'_>, nr: usize) -> Vec<usize> {
    let tags: Vec<_> = (0..nr).map(|_| bits.take(4)).collect();
    let longest = bits.take(5);
    let mut lens: Vec<_> =
        (0..nr).map(|run| if run == longest { 0 } else { bits.take(7) + 1 }).collect();
    lens[longest] = 256 - lens.iter().sum::<usize>();
    tags.iter().zip(lens).flat_map(|(tag, len)| vec![*tag; len]).collect()
}

fn slab(bits: &mut Bits<'_>, size: usize, header: usize) -> Vec<usize> {
    let phase = bits.take(8);
    let mut tag = if phase > 0 { bits.take(4) } else { 0 };
    let mut tags = Vec::new();
    for granule in 0..256 {
        let at = (granule + size - phase) % size;
        if granule >= phase && at == header {
            tag = bits.take(4);
        }
        tags.push(if granule >= phase && at < header { 0 } else { tag });
    }
    tags
}

fn mask(bits: &mut Bits<'_>, arg: usize) -> Vec<usize> {
    let starts: Vec<_> = (0..256).map(|_| bits.take(1)).collect();
    let is_common = |run: usize| match arg >> 4 {
        0 => false,
        1 => run.is_multiple_of(2),
        _ => run % 2 == 1,
    };
    let (mut run, mut tags) = (0, Vec::new());
    for (granule, start) in starts.into_iter().enumerate() {
        run += start;
        let tag = match granule > 0 && start == 0 {
            true => tags[granule - 1],
            false if is_common(run) => arg & 0xf,
            false => bits.take(4),
        };
        tags.push(tag);
    }
    tags
}
