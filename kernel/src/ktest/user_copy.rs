// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests copies to and from user memory: at every alignment, across pages, and up to the
//! first byte that faults.

use alloc::vec;
use alloc::vec::Vec;

use base::{PAGE_SIZE, Pfn, VirtAddr};
use hal::{Access, FaultCause, PhysMem, UserFault, UserMem};

use super::space::{DATA, READ, READ_WRITE, Space};
use super::{Outcome, Test, TestCtx, expect_eq, expect_that};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("user_copy::reads_are_exact_at_every_alignment", reads),
    ("user_copy::writes_are_exact_at_every_alignment", writes),
    ("user_copy::zeroing_is_exact_at_every_alignment", zeroes),
    ("user_copy::fault_in_the_second_page_tells_bytes_done", partial),
    ("user_copy::bad_addresses_fault_at_once", bad_addresses),
    ("user_copy::end_of_the_user_half_is_the_end", end_of_user_half),
    ("user_copy::top_byte_is_ignored", top_byte),
    ("user_copy::read_only_pages_refuse_writes", read_only),
    ("user_copy::kernel_page_in_the_user_half_is_refused", kernel_only),
    ("user_copy::frames_are_sources_and_targets", frames),
    ("user_copy::words_load_and_exchange_atomically", words),
    ("user_copy::misaligned_words_are_refused", misaligned_words),
];

/// Two pages side by side at [`DATA`], filled with bytes that tell their place.
struct TwoPages<'a> {
    ctx: &'a TestCtx,
    _space: Space<'a>,
    frames: [Pfn; 2],
    bytes: Vec<u8>,
}

impl<'a> TwoPages<'a> {
    fn new(ctx: &'a TestCtx) -> Self {
        let space = Space::new(ctx);
        let frames = [ctx.frame(), ctx.frame()];
        let bytes: Vec<u8> =
            (0..2 * PAGE_SIZE).map(|at| (at as u8).wrapping_mul(7) ^ (at >> 8) as u8 | 1).collect();
        let pages = Self { ctx, _space: space, frames, bytes };
        for (page, frame) in frames.into_iter().enumerate() {
            pages._space.map(DATA + (page * PAGE_SIZE) as u64, frame, READ_WRITE);
        }
        pages.refill();
        pages
    }

    fn refill(&self) {
        for (frame, bytes) in self.frames.iter().zip(self.bytes.chunks(PAGE_SIZE)) {
            self.ctx.machine.write_bytes(frame.base(), bytes);
        }
    }

    fn contents(&self) -> Vec<u8> {
        let mut bytes = vec![0; 2 * PAGE_SIZE];
        for (frame, bytes) in self.frames.iter().zip(bytes.chunks_mut(PAGE_SIZE)) {
            self.ctx.machine.read_bytes(frame.base(), bytes);
        }
        bytes
    }
}

fn user(offset: usize) -> VirtAddr {
    VirtAddr::new(DATA + offset as u64)
}

/// Ranges of every alignment and of lengths around each unit of the copy, within the first page and
/// across the page boundary.
fn ranges() -> impl Iterator<Item = (usize, usize)> {
    let starts = (0..16).chain(PAGE_SIZE - 96..PAGE_SIZE + 2);
    starts.flat_map(|start| (0..20).chain(60..76).chain(124..140).map(move |len| (start, len)))
}

fn reads(ctx: &TestCtx) -> Outcome {
    let pages = TwoPages::new(ctx);
    for (start, len) in ranges() {
        for skew in [0, 1, 8] {
            let mut buf = [0; 160];
            let read = ctx.machine.read_user(user(start), &mut buf[skew..skew + len]);
            expect_eq!(read, Ok(()), "{len} bytes from {start}");
            let is_same = buf[skew..skew + len] == pages.bytes[start..start + len];
            expect_that!(is_same, "{len} bytes from {start} to {skew}");
            let is_clean = buf[..skew].iter().chain(&buf[skew + len..]).all(|byte| *byte == 0);
            expect_that!(is_clean, "around {len} bytes from {start} to {skew}");
        }
    }
    Ok(())
}

fn writes(ctx: &TestCtx) -> Outcome {
    let pages = TwoPages::new(ctx);
    let source: Vec<u8> = (0..160).map(|at| at as u8 ^ 0xa5).collect();
    for (start, len) in ranges() {
        let skew = start % 9;
        let written = ctx.machine.write_user(user(start), &source[skew..skew + len]);
        expect_eq!(written, Ok(()), "{len} bytes to {start}");
        let mut expected = pages.bytes.clone();
        expected[start..start + len].copy_from_slice(&source[skew..skew + len]);
        expect_that!(pages.contents() == expected, "{len} bytes to {start}");
        pages.refill();
    }
    Ok(())
}

fn zeroes(ctx: &TestCtx) -> Outcome {
    let pages = TwoPages::new(ctx);
    for (start, len) in ranges() {
        expect_eq!(ctx.machine.zero_user(user(start), len), Ok(()), "{len} bytes at {start}");
        let mut expected = pages.bytes.clone();
        expected[start..start + len].fill(0);
        expect_that!(pages.contents() == expected, "{len} bytes at {start}");
        pages.refill();
    }
    Ok(())
}

/// Expects a copy that was stopped after `done` bytes by an unmapped byte.
fn expect_unmapped(
    result: Result<(), UserFault>,
    done: usize,
    at: VirtAddr,
    access: Access,
) -> Outcome {
    let Err(error) = result else {
        return Err(super::failed(file!(), line!(), format_args!("no fault at {at:?}")));
    };
    expect_eq!(error.done, done, "bytes done before {at:?}");
    let found = (error.fault.addr, error.fault.access, error.fault.cause);
    expect_eq!(found, (at, access, FaultCause::Translation));
    Ok(())
}

fn partial(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    let frame = space.map_data(READ_WRITE);
    let end = user(PAGE_SIZE);
    let source: Vec<u8> = (1..=200).collect();
    for room in (0..140).rev() {
        let at = PAGE_SIZE - room;
        let mut buf = [0; 200];
        expect_unmapped(ctx.machine.read_user(user(at), &mut buf), room, end, Access::Read)?;
        let written = ctx.machine.write_user(user(at), &source);
        expect_unmapped(written, room, end, Access::Write)?;
        expect_eq!(ctx.machine.read_user(user(at), &mut buf[..room]), Ok(()));
        expect_that!(buf[..room] == source[..room], "what {room} bytes done means");
        expect_unmapped(ctx.machine.zero_user(user(at), 200), room, end, Access::Write)?;
        expect_that!(ctx.machine.is_zero_frame(frame), "zeroed again");
    }
    Ok(())
}

fn bad_addresses(ctx: &TestCtx) -> Outcome {
    let _space = Space::new(ctx);
    let kernel = arch::image::start() as u64;
    let last = u64::MAX;
    for addr in [0, 1, DATA, 1 << 48, 1 << 55, 0xffff_0000_4000_0000, kernel, last, last - 4095] {
        let at = VirtAddr::new(addr);
        for len in [1, 8, 64, 4096] {
            let mut buf = vec![0; len];
            expect_unmapped(ctx.machine.read_user(at, &mut buf), 0, at, Access::Read)?;
            expect_unmapped(ctx.machine.write_user(at, &buf), 0, at, Access::Write)?;
            expect_unmapped(ctx.machine.zero_user(at, len), 0, at, Access::Write)?;
        }
        expect_eq!(ctx.machine.read_user(at, &mut []), Ok(()), "nothing from {addr:#x}");
    }
    Ok(())
}

fn end_of_user_half(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    let end = VirtAddr::new(1 << 48);
    space.map(end.get() - 4096, ctx.frame(), READ_WRITE);
    for room in [0, 1, 7, 8, 100] {
        let at = VirtAddr::new(end.get() - room as u64);
        let read = ctx.machine.read_user(at, &mut [0; 128]);
        expect_unmapped(read, room, end, Access::Read)?;
    }
    // The tag is no part of the address.
    let tagged = VirtAddr::new(0x0a00_ffff_ffff_fff0);
    let read = ctx.machine.read_user(tagged, &mut [0; 128]);
    expect_unmapped(read, 16, tagged.wrapping_add(16), Access::Read)
}

fn top_byte(ctx: &TestCtx) -> Outcome {
    let pages = TwoPages::new(ctx);
    let mut buf = [0; 100];
    let tagged = VirtAddr::new(DATA | 0xab00_0000_0000_0000);
    expect_eq!(ctx.machine.read_user(tagged, &mut buf), Ok(()));
    expect_that!(buf[..] == pages.bytes[..100]);
    Ok(())
}

fn read_only(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    space.map_data(READ);
    for offset in [0, 3, 64] {
        let cause = |fault: UserFault| (fault.done, fault.fault.access, fault.fault.cause);
        let refused = (0, Access::Write, FaultCause::Permission);
        let written = ctx.machine.write_user(user(offset), &[1; 80]);
        expect_eq!(written.map_err(cause), Err(refused));
        expect_eq!(ctx.machine.zero_user(user(offset), 80).map_err(cause), Err(refused));
        expect_eq!(ctx.machine.read_user(user(offset), &mut [0; 80]), Ok(()));
    }
    let exchanged = ctx.machine.compare_exchange_user_u32(user(0), 0, 1);
    expect_eq!(exchanged.map_err(|error| error.fault.cause), Err(FaultCause::Permission));
    expect_that!(arch::cpu::pstate().user_access_denied, "PAN is back after a refused exchange");
    expect_eq!(ctx.machine.load_user_u32(user(0)), Ok(0));
    Ok(())
}

fn kernel_only(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    space.map_data(READ_WRITE & !arch::descriptor::USER);
    let cause = |error: UserFault| error.fault.cause;
    let read = ctx.machine.read_user(user(0), &mut [0; 8]);
    expect_eq!(read.map_err(cause), Err(FaultCause::Permission));
    let written = ctx.machine.write_user(user(0), &[0; 8]);
    expect_eq!(written.map_err(cause), Err(FaultCause::Permission));
    let exchanged = ctx.machine.compare_exchange_user_u32(user(0), 0, 1);
    expect_eq!(exchanged.map_err(cause), Err(FaultCause::Permission));
    Ok(())
}

fn frames(ctx: &TestCtx) -> Outcome {
    let pages = TwoPages::new(ctx);
    let frame = ctx.frame();
    let machine = ctx.machine;
    let across = PAGE_SIZE - 33;
    expect_eq!(machine.read_user_to_frame(user(across), frame.at(5), 100), Ok(()));
    let mut found = [0; 110];
    machine.read_bytes(frame.base(), &mut found);
    expect_that!(found[5..105] == pages.bytes[across..across + 100]);
    expect_that!(found[..5] == [0; 5] && found[105..] == [0; 5]);
    expect_eq!(machine.write_user_from_frame(user(9), frame.at(5), 100), Ok(()));
    expect_that!(pages.contents()[9..109] == pages.bytes[across..across + 100]);
    let past = 2 * PAGE_SIZE;
    let copied = machine.read_user_to_frame(user(past - 50), frame.base(), 100);
    expect_unmapped(copied, 50, user(past), Access::Read)?;
    let copied = machine.write_user_from_frame(user(past - 50), frame.base(), 100);
    expect_unmapped(copied, 50, user(past), Access::Write)
}

fn words(ctx: &TestCtx) -> Outcome {
    let pages = TwoPages::new(ctx);
    let machine = ctx.machine;
    let word =
        |at: usize| u32::from_le_bytes(pages.bytes[at..at + 4].try_into().unwrap_or_default());
    expect_eq!(machine.load_user_u32(user(12)), Ok(word(12)));
    let wrong = word(12) ^ 1;
    expect_eq!(machine.compare_exchange_user_u32(user(12), wrong, 5), Ok(word(12)));
    expect_eq!(machine.load_user_u32(user(12)), Ok(word(12)), "a failed exchange");
    expect_eq!(machine.compare_exchange_user_u32(user(12), word(12), 5), Ok(word(12)));
    expect_eq!(machine.load_user_u32(user(12)), Ok(5));
    let mut expected = pages.bytes.clone();
    expected[12..16].copy_from_slice(&5_u32.to_le_bytes());
    expect_that!(pages.contents() == expected, "neighbours");
    expect_that!(arch::cpu::pstate().user_access_denied, "PAN is back");
    let past = user(2 * PAGE_SIZE);
    let error = machine.compare_exchange_user_u32(past, 0, 1).err();
    let fault = error.map(|error| (error.fault.addr, error.fault.access, error.fault.cause));
    expect_eq!(fault, Some((past, Access::Write, FaultCause::Translation)));
    Ok(())
}

fn misaligned_words(ctx: &TestCtx) -> Outcome {
    let _pages = TwoPages::new(ctx);
    for offset in [1, 2, 3, PAGE_SIZE - 2] {
        let cause = |error: UserFault| (error.done, error.fault.addr, error.fault.cause);
        let refused = (0, user(offset), FaultCause::Alignment);
        expect_eq!(ctx.machine.load_user_u32(user(offset)).map_err(cause), Err(refused));
        let exchanged = ctx.machine.compare_exchange_user_u32(user(offset), 0, 0);
        expect_eq!(exchanged.map_err(cause), Err(refused));
    }
    Ok(())
}
