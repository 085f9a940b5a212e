// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file maps a program into an empty address space: segments, heap, stack.
//!
//! Segments are private mappings of the file, so processes share what none of them has written to,
//! and `mm` makes instructions coherent when it maps a page executable.

use alloc::sync::Arc;
use core::ops::Range;

use abi::elf::{PF_R, PF_W, PF_X};
use base::addr::USER_TOP;
use base::{PAGE_SHIFT, PAGE_SIZE, VirtAddr, Vpn};
use hal::Machine;
use mm::{AreaFlags, FaultError, MapError, MapRequest, Mm, Placement, RemoteError, Shmem};

use super::elf::{Image, Kind, Segment};
use super::place::{Offsets, page_down, page_up};
use super::start_stack::{self, AuxValues, Strings};

/// Bytes of stack that are there from the beginning, besides the strings.
const FIRST_STACK_BYTES: u64 = 128 << 10;

/// A program file.
pub struct Program<'a, M: Machine> {
    /// Its content.
    pub file: &'a Arc<Shmem<M>>,
    /// What it consists of.
    pub image: &'a Image,
}

/// What a program starts with.
pub struct Request<'a, M: Machine> {
    /// The program.
    pub program: Program<'a, M>,
    /// Its dynamic linker, if it names one.
    pub interpreter: Option<Program<'a, M>>,
    /// Arguments, environment, path; [prepared](Strings::prepare).
    pub strings: &'a Strings,
    /// Where things go.
    pub offsets: Offsets,
    /// RLIMIT_STACK.
    pub stack_limit: u64,
    /// AT_HWCAP and AT_HWCAP2.
    pub hwcaps: (u64, u64),
    /// AT_UID, AT_EUID, AT_GID, AT_EGID.
    pub ids: [u32; 4],
    /// 16 random bytes for the program.
    pub random: [u8; 16],
    /// The code that signal handlers return to.
    pub trampoline: Option<&'a Arc<Shmem<M>>>,
}

/// A program that is ready to start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// The first instruction.
    pub pc: u64,
    /// The stack pointer.
    pub sp: u64,
    /// Addresses of argument strings, for /proc.
    pub args: Range<u64>,
    /// Addresses of environment strings, for /proc.
    pub env: Range<u64>,
    /// Where the code is that signal handlers return to; 0 if there is none.
    pub trampoline: u64,
}

/// Why a program cannot be mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadError {
    /// It does not fit where it must go.
    NoRoom,
    /// There is no memory.
    OutOfMemory,
    /// Bytes that it says are in the file are not, or cannot be read.
    NoContent,
}

impl From<MapError> for LoadError {
    fn from(_: MapError) -> Self {
        LoadError::NoRoom
    }
}

impl From<RemoteError> for LoadError {
    fn from(error: RemoteError) -> Self {
        match error.why {
            FaultError::OutOfMemory => LoadError::OutOfMemory,
            FaultError::NotMapped | FaultError::Denied | FaultError::NoContent => {
                LoadError::NoContent
            }
        }
    }
}

/// Maps a program into an address space that is empty, and builds its stack.
///
/// # Errors
///
/// [`LoadError`]; the address space is then fit for teardown only.
pub fn load<M: Machine>(mm: &Mm<M>, request: &Request<'_, M>) -> Result<Loaded, LoadError> {
    let Request { program, offsets, .. } = request;
    let stack_limit = request.stack_limit.min(USER_TOP.get());
    mm.set_layout(offsets.mmap_top(stack_limit), stack_limit >> PAGE_SHIFT);

    let image = program.image;
    let bias = offsets.image_bias(image).ok_or(LoadError::NoRoom)?;
    map_image(mm, program, bias)?;
    let (_, end) = image.span();
    let heap = offsets.heap_start(end.wrapping_add(bias)).min(USER_TOP.get());
    mm.set_break_start(VirtAddr::new(heap));

    let interpreter = request.interpreter.as_ref();
    let linker = interpreter.map(|linker| map_interpreter(mm, linker)).transpose()?;
    let entry = image.entry.wrapping_add(bias);
    let aux = AuxValues {
        hwcaps: request.hwcaps,
        ids: request.ids,
        headers: image.headers.map_or(0, |at| at.wrapping_add(bias)),
        nr_headers: image.nr_headers,
        interpreter_base: linker.as_ref().map_or(0, |linker| linker.base),
        entry,
        random: request.random,
    };
    let pc = linker.map_or(entry, |linker| linker.entry);
    if pc >= USER_TOP.get() {
        return Err(LoadError::NoRoom);
    }
    let stack = map_stack(mm, request, &aux)?;
    let trampoline = request.trampoline.map(|page| map_trampoline(mm, page)).transpose()?;
    Ok(Loaded {
        pc,
        sp: stack.sp,
        args: stack.args,
        env: stack.env,
        trampoline: trampoline.unwrap_or(0),
    })
}

/// Maps the page that signal handlers return to, and returns where it is.
fn map_trampoline<M: Machine>(mm: &Mm<M>, page: &Arc<Shmem<M>>) -> Result<u64, LoadError> {
    let flags = AreaFlags::READ | AreaFlags::EXEC | AreaFlags::SPECIAL;
    let request = MapRequest::shmem(Placement::Hint(None), 1, flags, Arc::clone(page), 0);
    Ok(mm.map(request)?.base().get())
}

/// Where the dynamic linker is.
struct Linker {
    base: u64,
    entry: u64,
}

/// Maps the dynamic linker where mappings go.
fn map_interpreter<M: Machine>(mm: &Mm<M>, linker: &Program<'_, M>) -> Result<Linker, LoadError> {
    let image = linker.image;
    let (low, high) = image.span();
    let nr_pages = (page_up(high) - page_down(low)) >> PAGE_SHIFT;
    let base = match image.kind {
        Kind::Fixed => 0,
        // Finds a gap for all of it; the segments replace the reservation.
        Kind::Relocatable => {
            let anywhere = Placement::Hint(None);
            let gap = mm.map(MapRequest::anon(anywhere, nr_pages, AreaFlags::empty()))?;
            mm.unmap(base::PageRange::of_len(gap, nr_pages)).map_err(|_| LoadError::NoRoom)?;
            gap.base().get().wrapping_sub(page_down(low))
        }
    };
    map_image(mm, linker, base)?;
    Ok(Linker { base, entry: image.entry.wrapping_add(base) })
}

fn map_image<M: Machine>(mm: &Mm<M>, program: &Program<'_, M>, bias: u64) -> Result<(), LoadError> {
    program.image.segments.iter().try_for_each(|segment| {
        let moved = Segment { vaddr: segment.vaddr.wrapping_add(bias), ..*segment };
        map_segment(mm, program.file, &moved)
    })
}

fn map_segment<M: Machine>(
    mm: &Mm<M>,
    file: &Arc<Shmem<M>>,
    segment: &Segment,
) -> Result<(), LoadError> {
    let flags = area_flags(segment.flags);
    let start = page_down(segment.vaddr);
    let file_end = segment.vaddr + segment.filesz;
    let end = segment.vaddr + segment.memsz;
    let place = |start: u64, end: u64| {
        let nr_pages = (page_up(end) - start) >> PAGE_SHIFT;
        (Placement::Fixed(Vpn::new(start >> PAGE_SHIFT)), nr_pages)
    };
    let mut zeroes_from = start;
    if segment.filesz != 0 {
        let (placement, nr_pages) = place(start, file_end);
        let first = segment.offset >> PAGE_SHIFT;
        mm.map(MapRequest::shmem(placement, nr_pages, flags, Arc::clone(file), first))?;
        zeroes_from = page_up(file_end);
        // The rest of the last page is the file's next bytes, unless it is memory of the program.
        if end > file_end && flags.contains(AreaFlags::WRITE) && zeroes_from > file_end {
            let zeroes = [0; PAGE_SIZE];
            let tail = (zeroes_from - file_end) as usize;
            mm.write_remote(VirtAddr::new(file_end), &zeroes[..tail])?;
        }
    }
    if end > zeroes_from {
        let (placement, nr_pages) = place(zeroes_from, end);
        let flags = flags | AreaFlags::READ | AreaFlags::WRITE;
        mm.map(MapRequest::anon(placement, nr_pages, flags))?;
    }
    Ok(())
}

fn area_flags(segment_flags: u32) -> AreaFlags {
    let mut flags = AreaFlags::MAY_TAG;
    flags.set(AreaFlags::READ, segment_flags & PF_R != 0);
    flags.set(AreaFlags::WRITE, segment_flags & PF_W != 0);
    flags.set(AreaFlags::EXEC, segment_flags & PF_X != 0);
    flags
}

fn map_stack<M: Machine>(
    mm: &Mm<M>,
    request: &Request<'_, M>,
    aux: &AuxValues,
) -> Result<start_stack::StartStack, LoadError> {
    let top = request.offsets.stack_top();
    let gap_bytes = request.offsets.sp_bytes();
    let stack = start_stack::build(request.strings, aux, top.base().get(), gap_bytes)
        .map_err(|_| LoadError::OutOfMemory)?;
    let mut flags = AreaFlags::READ | AreaFlags::WRITE | AreaFlags::MAY_TAG;
    flags |= AreaFlags::GROWS_DOWN | AreaFlags::STACK;
    flags.set(AreaFlags::EXEC, request.program.image.has_exec_stack);
    let nr_pages = (page_up(stack.bytes.len() as u64) + FIRST_STACK_BYTES) >> PAGE_SHIFT;
    mm.map(MapRequest::anon(Placement::Fixed(top.sub(nr_pages)), nr_pages, flags))?;
    mm.write_remote(VirtAddr::new(stack.sp), &stack.bytes)?;
    Ok(stack)
}
