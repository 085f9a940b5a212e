// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes disk images with an empty swap area, as `mkswap` does.
//!
//! The layout is that of Linux `include/linux/swap.h`, `union swap_header`, for 4 KiB pages.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::size::Size;

const PAGE_SIZE: usize = 4096;

/// `union swap_header`: the first 1024 bytes belong to a boot loader.
const VERSION: usize = 1024;
const LAST_PAGE: usize = 1028;
const UUID: usize = 1036;
const VOLUME_NAME: usize = 1052;

const SIGNATURE: &[u8; 10] = b"SWAPSPACE2";

/// Always the same, because images must not differ between runs.
const OUR_UUID: &[u8; 16] = b"granule-swapfile";
const OUR_NAME: &[u8] = b"granule";

/// Writes a swap area of `size` to a new sparse file.
///
/// # Errors
///
/// When the host cannot create or extend the file.
pub fn create(path: &Path, size: Size) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&header(size))?;
    file.set_len(size.bytes())
}

/// Makes the first page of a swap area of `size`.
///
/// # Panics
///
/// On a size below two pages, or of more pages than the header can count.
fn header(size: Size) -> [u8; PAGE_SIZE] {
    let nr_pages = u32::try_from(size.bytes() / PAGE_SIZE as u64).expect("at most 2^32 pages");
    assert!(nr_pages >= 2, "a swap area has a header and a slot");
    let mut page = [0; PAGE_SIZE];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(VERSION, &1u32.to_le_bytes());
    put(LAST_PAGE, &(nr_pages - 1).to_le_bytes());
    put(UUID, OUR_UUID);
    put(VOLUME_NAME, OUR_NAME);
    put(PAGE_SIZE - SIGNATURE.len(), SIGNATURE);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_has_the_fields_of_swapon() {
        let page = header(Size::mib(1024));
        assert_eq!(&page[4086..], b"SWAPSPACE2");
        assert_eq!(page[1024..1028], [1, 0, 0, 0]);
        assert_eq!(page[1028..1032], (262_144u32 - 1).to_le_bytes());
        assert_eq!(page[1032..1036], [0; 4], "no bad pages");
        assert_eq!(&page[1036..1059], b"granule-swapfilegranule");
        assert!(page[..1024].iter().chain(&page[1059..4086]).all(|byte| *byte == 0));
    }

    #[test]
    fn a_last_page_that_is_not_whole_is_not_used() {
        let page = header("10239".parse().expect("a size"));
        assert_eq!(page[1028..1032], [1, 0, 0, 0]);
    }
}
