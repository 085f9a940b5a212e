// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads ELF programs and says what they consist of (Linux: fs/binfmt_elf.c).

use alloc::vec::Vec;

use abi::elf::{self, Ehdr, Phdr};
use abi::{Errno, Layout};
use base::{PAGE_SIZE, addr::USER_TOP};

/// Most bytes of program headers that are read, as on Linux.
const MAX_HEADERS_SIZE: usize = 65_536;
/// Longest path of an interpreter, with the zero at its end.
const PATH_MAX: u64 = 4096;

/// Whether the program chooses its own place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It does: ET_EXEC.
    Fixed,
    /// It runs anywhere: ET_DYN.
    Relocatable,
}

/// A part of the file to be mapped. All of it is in the user half of the address space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Its first byte in memory, before relocation.
    pub vaddr: u64,
    /// Its bytes in memory; not 0. Those beyond the file's are 0.
    pub memsz: u64,
    /// Its first byte in the file; as far from the start of a page as `vaddr`.
    pub offset: u64,
    /// Its bytes in the file.
    pub filesz: u64,
    /// PF_*.
    pub flags: u32,
}

/// What a program consists of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// Whether it chooses its own place.
    pub kind: Kind,
    /// Where it starts, before relocation.
    pub entry: u64,
    /// Where its program headers are in memory, before relocation, if they are mapped.
    pub headers: Option<u64>,
    /// Number of program headers.
    pub nr_headers: u16,
    /// What is to be mapped.
    pub segments: Vec<Segment>,
    /// Its largest alignment; a power of two, at least a page.
    pub align: u64,
    /// Whether the stack is to be executable.
    pub has_exec_stack: bool,
    /// Path of its dynamic linker, without the zero at its end.
    pub interpreter: Option<Vec<u8>>,
}

/// Fills a buffer from an offset of the file, whole or not at all.
pub type Read<'a> = dyn FnMut(u64, &mut [u8]) -> Result<(), Errno> + 'a;

/// A segment that cannot be mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct BadSegment;

impl Image {
    /// Reads the headers of a file.
    ///
    /// # Errors
    ///
    /// ENOEXEC for what is no program of this machine, ENOMEM, and EINVAL for segments that no
    /// address space can hold. (Linux finds the last of these when the old program is gone, and
    /// kills the process.)
    pub fn parse(read: &mut Read<'_>) -> Result<Self, Errno> {
        let mut header = [0; Ehdr::SIZE];
        read(0, &mut header).map_err(|_| Errno::ENOEXEC)?;
        let header = Ehdr::from_bytes(&header);
        let kind = kind(&header)?;
        let headers = read_headers(&header, read)?;
        let interpreter = interpreter(&headers, read)?;
        let segments = segments(&headers)?;
        if segments.is_empty() {
            return Err(Errno::ENOEXEC);
        }
        Ok(Self {
            kind,
            entry: header.entry,
            headers: headers_in_memory(&header, &segments),
            nr_headers: header.phnum,
            segments,
            align: alignment(&headers),
            has_exec_stack: headers
                .iter()
                .any(|header| header.kind == elf::PT_GNU_STACK && header.flags & elf::PF_X != 0),
            interpreter,
        })
    }

    /// Returns the lowest and the highest address of the segments, before relocation.
    pub fn span(&self) -> (u64, u64) {
        let low = self.segments.iter().map(|segment| segment.vaddr).min();
        let high = self.segments.iter().map(|segment| segment.vaddr + segment.memsz).max();
        (low.unwrap_or(0), high.unwrap_or(0))
    }
}

fn kind(header: &Ehdr) -> Result<Kind, Errno> {
    let ident = &header.ident;
    let is_ours = ident.starts_with(&elf::ELFMAG)
        && ident[elf::EI_CLASS] == elf::ELFCLASS64
        && ident[elf::EI_DATA] == elf::ELFDATA2LSB
        && header.machine == elf::EM_AARCH64
        && usize::from(header.phentsize) == Phdr::SIZE;
    match header.kind {
        elf::ET_EXEC if is_ours => Ok(Kind::Fixed),
        elf::ET_DYN if is_ours => Ok(Kind::Relocatable),
        _ => Err(Errno::ENOEXEC),
    }
}

fn read_headers(header: &Ehdr, read: &mut Read<'_>) -> Result<Vec<Phdr>, Errno> {
    let len = usize::from(header.phnum) * Phdr::SIZE;
    if len == 0 || len > MAX_HEADERS_SIZE {
        return Err(Errno::ENOEXEC);
    }
    let mut bytes = buffer(len)?;
    read(header.phoff, &mut bytes).map_err(|_| Errno::ENOEXEC)?;
    Ok(bytes.chunks_exact(Phdr::SIZE).map(Phdr::get).collect())
}

/// Allocates zeroes. The size is the program's, so memory may be too short.
fn buffer(len: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(len, 0);
    Ok(bytes)
}

fn interpreter(headers: &[Phdr], read: &mut Read<'_>) -> Result<Option<Vec<u8>>, Errno> {
    let Some(header) = headers.iter().find(|header| header.kind == elf::PT_INTERP) else {
        return Ok(None);
    };
    if !(2..=PATH_MAX).contains(&header.filesz) {
        return Err(Errno::ENOEXEC);
    }
    let mut path = buffer(header.filesz as usize)?;
    read(header.offset, &mut path)?;
    if path.last() != Some(&0) {
        return Err(Errno::ENOEXEC);
    }
    let len = path.iter().position(|&byte| byte == 0).unwrap_or(0);
    path.truncate(len);
    Ok(Some(path))
}

fn segments(headers: &[Phdr]) -> Result<Vec<Segment>, Errno> {
    let loads = headers.iter().filter(|header| header.kind == elf::PT_LOAD && header.memsz != 0);
    loads.map(segment).collect::<Result<_, _>>().map_err(|BadSegment| Errno::EINVAL)
}

fn segment(header: &Phdr) -> Result<Segment, BadSegment> {
    let &Phdr { vaddr, memsz, offset, filesz, flags, .. } = header;
    let last_page = |start: u64, len: u64| start.checked_add(len)?.checked_add(PAGE_SIZE as u64);
    let ends = last_page(vaddr, memsz).zip(last_page(offset, filesz));
    let is_good = ends.is_some()
        && vaddr <= USER_TOP.get()
        && memsz <= USER_TOP.get() - vaddr
        && filesz <= memsz
        && vaddr % PAGE_SIZE as u64 == offset % PAGE_SIZE as u64;
    if is_good { Ok(Segment { vaddr, memsz, offset, filesz, flags }) } else { Err(BadSegment) }
}

/// Returns where the program headers are mapped: in the segment that holds that part of the file.
fn headers_in_memory(header: &Ehdr, segments: &[Segment]) -> Option<u64> {
    segments.iter().find_map(|segment| {
        let distance = header.phoff.checked_sub(segment.offset)?;
        (distance < segment.filesz).then(|| segment.vaddr + distance)
    })
}

/// Returns the largest alignment of a segment. Linux too ignores those that are no powers of two.
fn alignment(headers: &[Phdr]) -> u64 {
    headers
        .iter()
        .filter(|header| header.kind == elf::PT_LOAD && header.align.is_power_of_two())
        .map(|header| header.align)
        .fold(PAGE_SIZE as u64, u64::max)
}
