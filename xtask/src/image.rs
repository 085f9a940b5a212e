// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file flattens the kernel ELF to the raw Image that a boot loader loads.
//!
//! The ELF stays beside it for its symbols. QEMU boots an Image by the Linux arm64 protocol (device
//! tree in x0, load address from the header), which it does not do for an ELF.

use std::fmt;

use object::elf::{EM_AARCH64, FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, ReadRef};

/// The distance from the Image's start to the word "ARM\x64" (Linux
/// Documentation/arch/arm64/booting.rst).
const MAGIC_OFFSET: usize = 0x38;
const MAGIC: &[u8; 4] = b"ARM\x64";

/// An Image larger than this is a linker script gone wrong.
const MAX_BYTES: u64 = 256 << 20;

/// Why an ELF makes no Image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageError {
    /// Not a 64-bit ELF, or cut short.
    NotElf,
    /// An ELF for another machine than arm64.
    NotArm64,
    /// No segment has bytes to load.
    Empty,
    /// Two segments want the same physical bytes, at this address.
    Overlap(u64),
    /// The segments spread over more than 256 MiB.
    TooLarge(u64),
    /// The first bytes are not an arm64 Image header.
    NoHeader,
}

/// A piece of the ELF and the physical address where it goes.
struct Segment<'a> {
    phys: u64,
    bytes: &'a [u8],
}

/// Lays the loadable segments of `elf` out by physical address, gaps filled with zeroes.
///
/// Memory beyond the last byte of the file (`.bss`) is the header's `image_size` to announce.
///
/// # Errors
///
/// When `elf` is not an arm64 ELF whose lowest segment starts with an Image header.
pub fn flatten(elf: &[u8]) -> Result<Vec<u8>, ImageError> {
    let mut segments = segments(elf)?;
    segments.sort_by_key(|segment| segment.phys);
    let start = segments.first().ok_or(ImageError::Empty)?.phys;
    let mut image = Vec::new();
    for segment in &segments {
        let offset = segment.phys - start;
        let len_bytes = offset + segment.bytes.len() as u64;
        if len_bytes > MAX_BYTES {
            return Err(ImageError::TooLarge(len_bytes));
        }
        if offset < image.len() as u64 {
            return Err(ImageError::Overlap(segment.phys));
        }
        image.resize(offset as usize, 0);
        image.extend_from_slice(segment.bytes);
    }
    match image.get(MAGIC_OFFSET..MAGIC_OFFSET + MAGIC.len()) {
        Some(magic) if magic == MAGIC => Ok(image),
        _ => Err(ImageError::NoHeader),
    }
}

fn segments<'a>(elf: &'a [u8]) -> Result<Vec<Segment<'a>>, ImageError> {
    let not_elf = |_| ImageError::NotElf;
    let header = FileHeader64::<Endianness>::parse(elf).map_err(not_elf)?;
    let endian = header.endian().map_err(not_elf)?;
    if header.e_machine(endian) != EM_AARCH64 {
        return Err(ImageError::NotArm64);
    }
    let headers = header.program_headers(endian, elf).map_err(not_elf)?;
    let mut segments = Vec::new();
    for program in headers.iter().filter(|program| program.p_type(endian) == PT_LOAD) {
        let (offset, len_bytes) = program.file_range(endian);
        let bytes = elf.read_bytes_at(offset, len_bytes).map_err(|()| ImageError::NotElf)?;
        if !bytes.is_empty() {
            segments.push(Segment { phys: program.p_paddr(endian), bytes });
        }
    }
    Ok(segments)
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotElf => f.write_str("not a 64-bit ELF file, or cut short"),
            Self::NotArm64 => f.write_str("an ELF file for another machine than arm64"),
            Self::Empty => f.write_str("no loadable segment has bytes"),
            Self::Overlap(phys) => write!(f, "two segments are loaded at {phys:#x}"),
            Self::TooLarge(bytes) => write!(f, "the image would have {bytes} bytes"),
            Self::NoHeader => f.write_str("the first segment does not start with an Image header"),
        }
    }
}

impl std::error::Error for ImageError {}

#[cfg(test)]
mod tests {
    use object::elf::PT_NOTE;

    use super::*;

    const BASE: u64 = 0x4020_0000;

    /// Builds a little-endian ELF64 from `(physical address, bytes)`.
    fn elf(machine: u16, segments: &[(u64, &[u8])]) -> Vec<u8> {
        elf_of_type(PT_LOAD, machine, segments)
    }

    fn elf_of_type(p_type: u32, machine: u16, segments: &[(u64, &[u8])]) -> Vec<u8> {
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(16, 0);
        for half in [2u16, machine] {
            elf.extend(half.to_le_bytes());
        }
        elf.extend(1u32.to_le_bytes());
        for word in [0u64, 64, 0] {
            elf.extend(word.to_le_bytes());
        }
        elf.extend(0u32.to_le_bytes());
        for half in [64u16, 56, segments.len() as u16, 64, 0, 0] {
            elf.extend(half.to_le_bytes());
        }
        let mut offset = (64 + 56 * segments.len()) as u64;
        for (phys, bytes) in segments {
            elf.extend(p_type.to_le_bytes());
            elf.extend(5u32.to_le_bytes());
            let len_bytes = bytes.len() as u64;
            for word in [offset, 0xffff_8000_0000_0000, *phys, len_bytes, len_bytes + 64, 1] {
                elf.extend(word.to_le_bytes());
            }
            offset += len_bytes;
        }
        for (_, bytes) in segments {
            elf.extend(*bytes);
        }
        elf
    }

    fn text() -> [u8; 64] {
        let mut text = [0xaa; 64];
        text[MAGIC_OFFSET..MAGIC_OFFSET + 4].copy_from_slice(MAGIC);
        text
    }

    #[test]
    fn segments_land_at_their_physical_distance_whatever_their_order() {
        let elf = elf(EM_AARCH64, &[(BASE + 0x70, b"data"), (BASE, &text())]);
        let image = flatten(&elf).expect("an image");
        assert_eq!(image.len(), 0x74);
        assert_eq!(image[..0x40], text());
        assert_eq!(image[0x40..0x70], [0; 0x30]);
        assert_eq!(&image[0x70..], b"data");
    }

    #[test]
    fn segments_that_share_a_byte_are_refused() {
        let elf = elf(EM_AARCH64, &[(BASE, &text()), (BASE + 0x3f, b"data")]);
        assert_eq!(flatten(&elf), Err(ImageError::Overlap(BASE + 0x3f)));
    }

    #[test]
    fn bss_takes_no_room_in_the_image() {
        let elf = elf(EM_AARCH64, &[(BASE, &text()), (BASE + 0x1000, b"")]);
        assert_eq!(flatten(&elf).map(|image| image.len()), Ok(64));
    }

    #[test]
    fn flatten_refuses_what_is_no_kernel() {
        const EM_X86_64: u16 = 62;
        let far = BASE + (1 << 30);
        assert_eq!(flatten(b"#!/bin/sh"), Err(ImageError::NotElf));
        assert_eq!(flatten(&elf(EM_X86_64, &[(BASE, &text())])), Err(ImageError::NotArm64));
        assert_eq!(flatten(&elf(EM_AARCH64, &[])), Err(ImageError::Empty));
        let notes = elf_of_type(PT_NOTE, EM_AARCH64, &[(BASE, &text())]);
        assert_eq!(flatten(&notes), Err(ImageError::Empty));
        assert_eq!(flatten(&elf(EM_AARCH64, &[(BASE, &[0; 64])])), Err(ImageError::NoHeader));
        assert_eq!(flatten(&elf(EM_AARCH64, &[(BASE, b"short")])), Err(ImageError::NoHeader));
        assert_eq!(
            flatten(&elf(EM_AARCH64, &[(BASE, &text()), (far, b"x")])),
            Err(ImageError::TooLarge((1 << 30) + 1))
        );
    }

    #[test]
    fn flatten_refuses_an_elf_cut_anywhere() {
        let elf = elf(EM_AARCH64, &[(BASE, &text())]);
        for len in 0..elf.len() {
            assert_eq!(flatten(&elf[..len]), Err(ImageError::NotElf), "cut to {len} bytes");
        }
    }
}
