// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests allocation tags: moving them in bulk, and checking them in each mode.

use base::addr::GRANULES_PER_PAGE;
use base::{PAGE_SIZE, Pfn, VirtAddr};
use hal::{
    Access, FaultCause, MemFault, PageTags, PhysMem, RunUser, TagCheckMode, TagControl, TagMem,
    Trap, UserMem,
};

use super::space::{self, DATA, READ_WRITE, READ_WRITE_TAGGED, Space};
use super::{Failure, Outcome, Test, TestCtx, expect_eq, expect_that};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("mte::tags_written_are_read_back_and_bytes_stay", |ctx| tagged(ctx, round_trip)),
    ("mte::tags_lie_in_the_order_of_the_port", |ctx| tagged(ctx, order)),
    ("mte::el0_sees_the_tags_of_the_port", |ctx| tagged(ctx, seen_by_el0)),
    ("mte::zeroing_clears_what_it_says", |ctx| tagged(ctx, zeroing)),
    ("mte::copy_of_bytes_leaves_tags_alone", |ctx| tagged(ctx, copy)),
    ("mte::sync_mode_faults_on_load_and_store", |ctx| tagged(ctx, sync_mode)),
    ("mte::async_mode_records_the_fault_once", |ctx| tagged(ctx, async_mode)),
    ("mte::asymmetric_mode_faults_on_loads_only", |ctx| tagged(ctx, asymmetric_mode)),
    ("mte::unchecked_mode_and_tco_let_all_pass", |ctx| tagged(ctx, unchecked)),
    ("mte::untagged_memory_is_not_checked", |ctx| tagged(ctx, untagged_memory)),
    ("mte::random_tags_come_from_the_mask", |ctx| tagged(ctx, random_tags)),
    ("mte::user_copies_are_checked_like_el0", |ctx| tagged(ctx, user_copies)),
    ("mte::user_copy_stops_at_the_granule", |ctx| tagged(ctx, stops_at_granule)),
    ("mte::asynchronous_user_copies_are_recorded", |ctx| tagged(ctx, async_user_copies)),
];

/// Runs a test on a machine that has tags, and puts tag checking off afterwards.
fn tagged(ctx: &TestCtx, test: fn(&TestCtx) -> Outcome) -> Outcome {
    if !ctx.machine.has_tags() {
        return super::skip("no allocation tags");
    }
    if ctx.machine.features.coarse_tags {
        return super::skip("the emulator keeps two tags per page");
    }
    let outcome = test(ctx);
    ctx.machine.load_tag_control(TagControl::default());
    ctx.machine.take_async_tag_fault();
    outcome
}

fn set_mode(ctx: &TestCtx, mode: TagCheckMode) {
    ctx.machine.load_tag_control(TagControl { mode, include: 0 });
}

/// Tags that differ from granule to granule and within each word.
fn pattern() -> PageTags {
    let mut tags = PageTags::ZERO;
    for granule in 0..GRANULES_PER_PAGE {
        tags.set(granule, (granule * 7 + granule / 16) as u8 & 0xf);
    }
    tags
}

/// Returns the address of a byte of the data page, with a tag.
fn with_tag(offset: usize, tag: u64) -> u64 {
    (DATA + offset as u64) | tag << 56
}

fn round_trip(ctx: &TestCtx) -> Outcome {
    let [below, frame, above] = [ctx.frame(), ctx.frame(), ctx.frame()];
    ctx.machine.write_bytes(frame.base(), &[0x77; PAGE_SIZE]);
    ctx.machine.write_tags(frame, &pattern());
    expect_eq!(ctx.machine.read_tags(frame), pattern());
    for neighbour in [below, above] {
        expect_eq!(ctx.machine.read_tags(neighbour), PageTags::ZERO);
    }
    let mut bytes = [0; PAGE_SIZE];
    ctx.machine.read_bytes(frame.base(), &mut bytes);
    expect_that!(bytes.iter().all(|byte| *byte == 0x77), "writing tags changed bytes");
    Ok(())
}

fn order(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    let frame = space.map_data(READ_WRITE_TAGGED);
    let mut expected = PageTags::ZERO;
    for granule in [0, 1, 15, 16, 17, 100, 255] {
        let tag = (granule as u64 & 0xf) ^ 5;
        let (trap, _) = space.run(space::store_tag(), 0, with_tag(granule * 16, tag));
        expect_eq!(trap, Trap::Syscall);
        expected.set(granule, tag as u8);
        expect_eq!(ctx.machine.read_tags(frame), expected, "granule {granule}");
    }
    Ok(())
}

fn seen_by_el0(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    let frame = space.map_data(READ_WRITE_TAGGED);
    ctx.machine.write_tags(frame, &pattern());
    for granule in 0..GRANULES_PER_PAGE {
        let (trap, regs) = space.run(space::load_tag(), 0, DATA + granule as u64 * 16);
        expect_eq!(trap, Trap::Syscall);
        expect_eq!(VirtAddr::new(regs.x[0]).logical_tag(), pattern().get(granule), "{granule}");
    }
    Ok(())
}

fn zeroing(ctx: &TestCtx) -> Outcome {
    let [below, frame, above] = [ctx.frame(), ctx.frame(), ctx.frame()];
    let fill = |frame: Pfn| {
        ctx.machine.write_bytes(frame.base(), &[0x77; PAGE_SIZE]);
        ctx.machine.write_tags(frame, &pattern());
    };
    [below, frame, above].into_iter().for_each(fill);
    ctx.machine.zero_tags(frame);
    expect_eq!(ctx.machine.read_tags(frame), PageTags::ZERO);
    expect_that!(!ctx.machine.is_zero_frame(frame), "zero_tags leaves bytes alone");
    fill(frame);
    ctx.machine.zero_frame(frame);
    expect_eq!(ctx.machine.read_tags(frame), pattern(), "zero_frame leaves tags alone");
    fill(frame);
    ctx.machine.zero_frame_and_tags(frame);
    expect_eq!(ctx.machine.read_tags(frame), PageTags::ZERO);
    expect_that!(ctx.machine.is_zero_frame(frame));
    for neighbour in [below, above] {
        expect_eq!(ctx.machine.read_tags(neighbour), pattern());
        expect_that!(!ctx.machine.is_zero_frame(neighbour));
    }
    // Two at once.
    fill(frame);
    ctx.machine.zero_frames_and_tags(below, 2);
    for zeroed in [below, frame] {
        expect_eq!(ctx.machine.read_tags(zeroed), PageTags::ZERO);
        expect_that!(ctx.machine.is_zero_frame(zeroed));
    }
    expect_eq!(ctx.machine.read_tags(above), pattern());
    expect_that!(!ctx.machine.is_zero_frame(above));
    Ok(())
}

fn copy(ctx: &TestCtx) -> Outcome {
    let [source, target] = [ctx.frame(), ctx.frame()];
    ctx.machine.write_bytes(source.base(), &[0x77; PAGE_SIZE]);
    ctx.machine.write_tags(source, &pattern());
    ctx.machine.write_tags(target, &PageTags::uniform(9));
    ctx.machine.copy_frame(target, source);
    expect_eq!(ctx.machine.read_tags(target), PageTags::uniform(9));
    expect_eq!(ctx.machine.read_tags(source), pattern());
    Ok(())
}

/// An address space with a page of tag 3 at [`DATA`].
fn page_of_tag_3(ctx: &TestCtx) -> (Space<'_>, Pfn) {
    let space = Space::new(ctx);
    let frame = space.map_data(READ_WRITE_TAGGED);
    ctx.machine.write_tags(frame, &PageTags::uniform(3));
    (space, frame)
}

fn tag_fault(trap: Trap) -> Result<MemFault, Failure> {
    match trap {
        Trap::Fault(fault) if fault.cause == FaultCause::TagCheck => Ok(fault),
        other => Err(super::failed(file!(), line!(), format_args!("no tag fault: {other:x?}"))),
    }
}

fn sync_mode(ctx: &TestCtx) -> Outcome {
    let (space, frame) = page_of_tag_3(ctx);
    set_mode(ctx, TagCheckMode::Sync);
    expect_eq!(space.run(space::load(), 0, with_tag(64, 3)).0, Trap::Syscall);
    expect_eq!(space.run(space::store(), 0x55, with_tag(64, 3)).0, Trap::Syscall);
    let fault = tag_fault(space.run(space::load(), 0, with_tag(64, 4)).0)?;
    expect_eq!((fault.access, fault.addr.untagged().get()), (Access::Read, DATA + 64));
    let fault = tag_fault(space.run(space::store(), 0x66, with_tag(64, 0)).0)?;
    expect_eq!((fault.access, fault.addr.untagged().get()), (Access::Write, DATA + 64));
    let mut byte = [0];
    ctx.machine.read_bytes(frame.at(64), &mut byte);
    expect_eq!(byte[0], 0x55, "a store that faults stores nothing");
    expect_that!(!ctx.machine.take_async_tag_fault(), "nothing is recorded");
    Ok(())
}

fn async_mode(ctx: &TestCtx) -> Outcome {
    let (space, frame) = page_of_tag_3(ctx);
    set_mode(ctx, TagCheckMode::Async);
    expect_eq!(space.run(space::load(), 0, with_tag(0, 3)).0, Trap::Syscall);
    expect_that!(!ctx.machine.take_async_tag_fault(), "right tag");
    for entry in [space::load(), space::store()] {
        expect_eq!(space.run(entry, 0x55, with_tag(0, 4)).0, Trap::Syscall);
        expect_that!(ctx.machine.take_async_tag_fault(), "recorded");
        expect_that!(!ctx.machine.take_async_tag_fault(), "taken once");
    }
    let mut byte = [0];
    ctx.machine.read_bytes(frame.base(), &mut byte);
    expect_eq!(byte[0], 0x55, "the store went through");
    Ok(())
}

fn asymmetric_mode(ctx: &TestCtx) -> Outcome {
    if ctx.machine.features.mte < arch::features::Mte::Asymmetric {
        return super::skip("no FEAT_MTE3");
    }
    let (space, _) = page_of_tag_3(ctx);
    set_mode(ctx, TagCheckMode::Asymmetric);
    let fault = tag_fault(space.run(space::load(), 0, with_tag(0, 4)).0)?;
    expect_eq!(fault.access, Access::Read);
    expect_that!(!ctx.machine.take_async_tag_fault(), "a load is not recorded");
    expect_eq!(space.run(space::store(), 1, with_tag(0, 4)).0, Trap::Syscall);
    expect_that!(ctx.machine.take_async_tag_fault(), "a store is");
    Ok(())
}

fn unchecked(ctx: &TestCtx) -> Outcome {
    let (space, _) = page_of_tag_3(ctx);
    set_mode(ctx, TagCheckMode::None);
    expect_eq!(space.run(space::load(), 0, with_tag(0, 4)).0, Trap::Syscall);
    expect_eq!(space.run(space::store(), 0, with_tag(0, 4)).0, Trap::Syscall);
    set_mode(ctx, TagCheckMode::Sync);
    expect_eq!(space.run(space::store_unchecked(), 0, with_tag(0, 4)).0, Trap::Syscall);
    expect_that!(!ctx.machine.take_async_tag_fault());
    Ok(())
}

fn untagged_memory(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    let frame = space.map_data(READ_WRITE);
    ctx.machine.write_tags(frame, &PageTags::uniform(3));
    set_mode(ctx, TagCheckMode::Sync);
    expect_eq!(space.run(space::store(), 0, with_tag(0, 4)).0, Trap::Syscall);
    expect_eq!(space.run(space::store_tag(), 0, with_tag(0, 4)).0, Trap::Syscall);
    expect_eq!(ctx.machine.read_tags(frame), PageTags::uniform(3), "STG stores nothing");
    Ok(())
}

fn random_tags(ctx: &TestCtx) -> Outcome {
    let space = Space::new(ctx);
    for include in [0, 1 << 5, 0xffff, 0b1010_0000_0000_0110] {
        ctx.machine.load_tag_control(TagControl { mode: TagCheckMode::None, include });
        let mut seen = 0_u16;
        for _ in 0..300 {
            let (_, regs) = space.run(space::random_tag(), 0, DATA);
            seen |= 1 << VirtAddr::new(regs.x[0]).logical_tag();
        }
        // All excluded: IRG gives tag 0 (Arm ARM D10.5).
        let expected = if include == 0 { 1 } else { include };
        expect_eq!(seen, expected, "mask {include:#x}");
    }
    Ok(())
}

fn user_copies(ctx: &TestCtx) -> Outcome {
    let (_space, _) = page_of_tag_3(ctx);
    let machine = ctx.machine;
    let at = |tag| VirtAddr::new(with_tag(32, tag));
    set_mode(ctx, TagCheckMode::Sync);
    expect_eq!(machine.read_user(at(3), &mut [0; 100]), Ok(()));
    expect_eq!(machine.write_user(at(3), &[0; 100]), Ok(()));
    let refused = |access| Err((0, access, FaultCause::TagCheck));
    let cause = |error: hal::UserFault| (error.done, error.fault.access, error.fault.cause);
    let read = machine.read_user(at(4), &mut [0; 100]);
    expect_eq!(read.map_err(cause), refused(Access::Read));
    expect_eq!(machine.write_user(at(4), &[0; 100]).map_err(cause), refused(Access::Write));
    expect_eq!(machine.zero_user(at(4), 100).map_err(cause), refused(Access::Write));
    expect_eq!(machine.load_user_u32(at(4)).map_err(cause).err(), refused(Access::Read).err());
    set_mode(ctx, TagCheckMode::None);
    expect_eq!(machine.read_user(at(4), &mut [0; 100]), Ok(()));
    Ok(())
}

fn stops_at_granule(ctx: &TestCtx) -> Outcome {
    let (_space, frame) = page_of_tag_3(ctx);
    set_mode(ctx, TagCheckMode::Sync);
    for (start, granule) in [(0, 1), (5, 2), (8, 7), (13, 9), (64, 12), (1, 200)] {
        let mut tags = PageTags::uniform(3);
        tags.set(granule, 6);
        ctx.machine.write_tags(frame, &tags);
        let room = granule * 16 - start;
        let read = ctx.machine.read_user(VirtAddr::new(with_tag(start, 3)), &mut [0; 4000]);
        let Err(error) = read else {
            return Err(super::failed(file!(), line!(), format_args!("no fault from {start}")));
        };
        expect_eq!((error.done, error.fault.cause), (room, FaultCause::TagCheck));
        let written = ctx.machine.write_user(VirtAddr::new(with_tag(start, 3)), &[1; 4000]);
        expect_eq!(written.map_err(|error| error.done), Err(room));
    }
    Ok(())
}

fn async_user_copies(ctx: &TestCtx) -> Outcome {
    let (_space, _) = page_of_tag_3(ctx);
    set_mode(ctx, TagCheckMode::Async);
    let at = VirtAddr::new(with_tag(0, 4));
    expect_eq!(ctx.machine.write_user(at, &[1; 50]), Ok(()));
    expect_that!(ctx.machine.take_async_tag_fault(), "write");
    expect_eq!(ctx.machine.read_user(at, &mut [1; 50]), Ok(()));
    expect_that!(ctx.machine.take_async_tag_fault(), "read");
    Ok(())
}
