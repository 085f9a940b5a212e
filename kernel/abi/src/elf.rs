// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds headers of ELF files (include/uapi/linux/elf.h, elf-em.h).

use crate::layout::layouts;

/// The first four bytes.
pub const ELFMAG: [u8; 4] = *b"\x7fELF";
/// Where the class is in `ident`.
pub const EI_CLASS: usize = 4;
/// Where the byte order is in `ident`.
pub const EI_DATA: usize = 5;
/// Class: 64 bits.
pub const ELFCLASS64: u8 = 2;
/// Byte order: little endian.
pub const ELFDATA2LSB: u8 = 1;
/// Type: at fixed addresses.
pub const ET_EXEC: u16 = 2;
/// Type: at any address.
pub const ET_DYN: u16 = 3;
/// Machine: arm64.
pub const EM_AARCH64: u16 = 183;

/// Segment: to be mapped.
pub const PT_LOAD: u32 = 1;
/// Segment: for the dynamic linker.
pub const PT_DYNAMIC: u32 = 2;
/// Segment: path of the dynamic linker.
pub const PT_INTERP: u32 = 3;
/// Segment: the program headers themselves.
pub const PT_PHDR: u32 = 6;
/// Segment: thread-local storage.
pub const PT_TLS: u32 = 7;
/// Segment: rights of the stack.
pub const PT_GNU_STACK: u32 = 0x6474_e551;
/// Segment: what the program demands of its platform.
pub const PT_GNU_PROPERTY: u32 = 0x6474_e553;

/// Segment flag: executable.
pub const PF_X: u32 = 1;
/// Segment flag: writable.
pub const PF_W: u32 = 2;
/// Segment flag: readable.
pub const PF_R: u32 = 4;

layouts! {
    /// `Elf64_Ehdr`.
    pub struct Ehdr [64] {
        /// Magic number, class, byte order, version, ABI.
        ident: [u8; 16] = 0,
        /// ET_*.
        kind: u16 = 16,
        /// EM_*.
        machine: u16 = 18,
        /// 1.
        version: u32 = 20,
        /// Where the program starts.
        entry: u64 = 24,
        /// Where the program headers are in the file.
        phoff: u64 = 32,
        /// Where the section headers are in the file.
        shoff: u64 = 40,
        /// Flags of the machine.
        flags: u32 = 48,
        /// Bytes of this header.
        ehsize: u16 = 52,
        /// Bytes of a program header.
        phentsize: u16 = 54,
        /// Number of program headers.
        phnum: u16 = 56,
        /// Bytes of a section header.
        shentsize: u16 = 58,
        /// Number of section headers.
        shnum: u16 = 60,
        /// Which section has the sections' names.
        shstrndx: u16 = 62,
    }

    /// `Elf64_Phdr`.
    pub struct Phdr [56] {
        /// PT_*.
        kind: u32 = 0,
        /// PF_*.
        flags: u32 = 4,
        /// Where its bytes are in the file.
        offset: u64 = 8,
        /// Where they go in memory.
        vaddr: u64 = 16,
        /// Not used.
        paddr: u64 = 24,
        /// Bytes in the file.
        filesz: u64 = 32,
        /// Bytes in memory; those beyond `filesz` are 0.
        memsz: u64 = 40,
        /// Alignment in the file and in memory.
        align: u64 = 48,
    }
}
