// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file writes records as bytes and reads them back, for wherever they leave the memory of one
//! kernel: two bytes of shape, then the words.

use hal::PageTags;

use super::{Kind, MAX_WORDS, Malformed, Record, Shape, decode};

/// Version of the format, in the high four bits of a record's first byte.
pub const VERSION: u8 = 1;
const SHAPE_BYTES: usize = 2;
/// Bytes of the largest record.
pub const MAX_BYTES: usize = SHAPE_BYTES + 8 * MAX_WORDS;

impl Record {
    /// Writes the record to the start of `bytes` and returns how many it takes.
    pub fn to_bytes(&self, bytes: &mut [u8; MAX_BYTES]) -> usize {
        let Shape { kind, arg } = self.shape();
        bytes[..SHAPE_BYTES].copy_from_slice(&[VERSION << 4 | kind as u8, arg]);
        let (words, _) = bytes[SHAPE_BYTES..].as_chunks_mut::<8>();
        for (bytes, word) in words.iter_mut().zip(self.words()) {
            *bytes = word.to_le_bytes();
        }
        SHAPE_BYTES + 8 * self.words().len()
    }
}

/// Decodes a record of exactly these bytes.
///
/// # Errors
///
/// [`Malformed`] for everything that [`Record::to_bytes`] does not write.
pub fn decode_bytes(bytes: &[u8]) -> Result<PageTags, Malformed> {
    let ([first, arg], rest) = bytes.split_first_chunk().ok_or(Malformed)?;
    if first >> 4 != VERSION {
        return Err(Malformed);
    }
    let shape = Shape { kind: Kind::from_number(first & 0xf)?, arg: *arg };
    let nr_words = shape.nr_words()?;
    if rest.len() != 8 * nr_words {
        return Err(Malformed);
    }
    let mut words = [0; MAX_WORDS];
    let (chunks, _) = rest.as_chunks::<8>();
    for (word, bytes) in words.iter_mut().zip(chunks) {
        *word = u64::from_le_bytes(*bytes);
    }
    decode(shape, &words[..nr_words])
}
