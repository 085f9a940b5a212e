// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes empty disk images in QEMU's own format, which can hold snapshots.
//!
//! The layout is that of QEMU's docs/interop/qcow2.txt, version 3: four clusters for the header, the
//! reference count table, its one block and the level-1 table. All numbers are big-endian.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::size::Size;

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;

/// What the clusters are for.
const REFCOUNT_TABLE: u64 = CLUSTER;
const REFCOUNT_BLOCK: u64 = 2 * CLUSTER;
const LEVEL_1: u64 = 3 * CLUSTER;
const NR_CLUSTERS: usize = 4;

/// What one entry of the level-1 table leads to: a cluster of 8-byte entries for a cluster each.
const LEVEL_1_SPAN: u64 = CLUSTER / 8 * CLUSTER;

/// "QFI\xfb".
const MAGIC: u32 = 0x5146_49fb;
const VERSION: u32 = 3;
const HEADER_LEN: u32 = 104;
/// Reference counts have 2^4 bits.
const REFCOUNT_ORDER: u32 = 4;

/// Writes an image of `size` in which nothing is allocated to a new file.
///
/// # Errors
///
/// When the host cannot create or extend the file.
pub fn create(path: &Path, size: Size) -> io::Result<()> {
    let mut image = vec![0; NR_CLUSTERS * CLUSTER as usize];
    let mut put = |at: u64, bytes: &[u8]| {
        image[at as usize..][..bytes.len()].copy_from_slice(bytes);
    };
    put(0, &header(size));
    put(REFCOUNT_TABLE, &REFCOUNT_BLOCK.to_be_bytes());
    put(REFCOUNT_BLOCK, &[0, 1].repeat(NR_CLUSTERS));
    File::create(path)?.write_all(&image)
}

fn header(size: Size) -> Vec<u8> {
    let nr_level_1 = u32::try_from(size.bytes().div_ceil(LEVEL_1_SPAN)).unwrap_or(u32::MAX);
    let long = |value: u64| [(value >> 32) as u32, value as u32];
    let none = [0, 0];
    let fields = [
        [MAGIC, VERSION],
        // No name of what lies below: who opens the image says it.
        none,
        [0, CLUSTER_BITS],
        long(size.bytes()),
        // Not encrypted.
        [0, nr_level_1],
        long(LEVEL_1),
        long(REFCOUNT_TABLE),
        // One cluster of it, and no snapshots.
        [1, 0],
        none,
        // Three words of feature bits.
        none,
        none,
        none,
        [REFCOUNT_ORDER, HEADER_LEN],
    ];
    fields.as_flattened().iter().flat_map(|word| word.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_be_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
    }

    #[test]
    fn header_has_each_field_at_its_place() {
        let header = header(Size::mib(6 << 10));
        assert_eq!(header.len(), HEADER_LEN as usize);
        // Offsets as in the format's document.
        assert_eq!((word(&header, 4), word(&header, 20)), (3, 16));
        assert_eq!((word(&header, 24), word(&header, 28)), (1, 2 << 30));
        assert_eq!((word(&header, 36), word(&header, 44)), (12, 3 << 16));
        assert_eq!((word(&header, 52), word(&header, 56)), (1 << 16, 1));
        assert_eq!((word(&header, 96), word(&header, 100)), (4, 104));
    }

    #[test]
    fn own_clusters_are_counted_and_no_others() {
        let path = std::env::temp_dir().join(format!("granule-overlay-{}", std::process::id()));
        create(&path, Size::mib(1)).expect("a file");
        let image = std::fs::read(&path).expect("the file");
        std::fs::remove_file(&path).expect("remove");
        assert_eq!(image.len(), 4 << 16);
        assert_eq!(word(&image, (1 << 16) + 4), 2 << 16);
        assert_eq!(image[2 << 16..][..10], [0, 1, 0, 1, 0, 1, 0, 1, 0, 0]);
    }
}
