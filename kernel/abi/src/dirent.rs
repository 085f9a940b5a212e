// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds `struct linux_dirent64`, which getdents64 returns (include/linux/dirent.h,
//! include/linux/fs_types.h).

/// An entry of unknown type.
pub const DT_UNKNOWN: u8 = 0;

/// Bytes before the name.
pub const HEADER: usize = 19;

/// Returns the type of an entry with a mode: bits 15:12 of it.
pub const fn type_of_mode(mode: u32) -> u8 {
    (mode >> 12 & 15) as u8
}

/// Returns the bytes of an entry with a name of `name_len` bytes, a multiple of 8.
pub const fn record_len(name_len: usize) -> usize {
    (HEADER + name_len + 1).next_multiple_of(8)
}

/// Writes an entry to the start of `out` and returns its length, or `None` without room for it.
/// `next` is the offset at which a listing goes on after it.
pub fn write(out: &mut [u8], ino: u64, next: u64, kind: u8, name: &[u8]) -> Option<usize> {
    let len = record_len(name.len());
    let record = out.get_mut(..len)?;
    record.fill(0);
    record[..8].copy_from_slice(&ino.to_le_bytes());
    record[8..16].copy_from_slice(&next.to_le_bytes());
    record[16..18].copy_from_slice(&(len as u16).to_le_bytes());
    record[18] = kind;
    record[HEADER..HEADER + name.len()].copy_from_slice(name);
    Some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_padded_to_eight_and_ends_in_a_zero() {
        let mut out = [0xff; 40];
        assert_eq!(write(&mut out, 7, 9, 4, b"dev"), Some(24));
        assert_eq!(out[..8], 7u64.to_le_bytes());
        assert_eq!(out[8..16], 9u64.to_le_bytes());
        assert_eq!(out[16..24], [24, 0, 4, b'd', b'e', b'v', 0, 0]);
        assert_eq!(out[24], 0xff);
        // 19 + 4 + 1 is 24 already; one byte more needs 32.
        assert_eq!((record_len(4), record_len(5)), (24, 32));
        assert_eq!(write(&mut out[..23], 7, 9, 4, b"dev"), None);
        assert_eq!(type_of_mode(crate::stat::S_IFLNK | 0o777), 10);
    }
}
