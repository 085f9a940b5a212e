// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests disks with a real device behind them. The last mebibytes of the first disk are
//! the tests' own.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use base::counter::Event;
use base::{PAGE_SIZE, Pfn};
use drivers::BlockEvent;
use hal::block_dev::SECTORS_PER_PAGE;
use hal::{
    BlockDevs, BlockOp, Cpus, DiskId, Interrupt, IoError, PageTags, PhysMem, Segment, TagMem,
    Threads, Wait, WaitChannel,
};

use super::{Failure, Outcome, Test, TestCtx, expect_eq, expect_that, next_interrupt, skip};
use crate::machine::Granule;
use crate::smp;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("disk::written_page_reads_back", read_back),
    ("disk::segments_are_gathered_and_scattered_in_order", scatter_gather),
    ("disk::many_requests_are_in_flight_at_once", many_in_flight),
    ("disk::full_queue_lets_the_submitter_sleep", full_queue),
    ("disk::tickets_are_waited_for_in_any_order", any_order),
    ("disk::completion_is_an_interrupt", interrupt),
    ("disk::flush_succeeds", flush),
    ("disk::discard_leaves_other_pages_alone", discard),
    ("disk::request_past_the_end_is_refused", past_the_end),
    ("disk::request_of_too_many_segments_is_refused", too_many_segments),
    ("disk::read_leaves_allocation_tags_alone", tags),
    ("disk::events_are_counted_exactly", counters),
    ("disk::every_cpu_gets_its_own_data", every_cpu),
];

const DISK: DiskId = DiskId(0);
/// Pages at the end of the disk that tests write to.
const NR_PAGES: u64 = 1024;

/// Returns the first sector of one of the tests' pages.
fn sector(machine: &Granule, page: u64) -> u64 {
    machine.nr_sectors(DISK) - (NR_PAGES - page) * SECTORS_PER_PAGE
}

fn needs_disk(ctx: &TestCtx) -> Outcome {
    let is_enough = ctx.machine.nr_sectors(DISK) >= 2 * NR_PAGES * SECTORS_PER_PAGE;
    if is_enough { Ok(()) } else { skip("needs a disk") }
}

/// Fills a frame with words that tell frames of different seeds apart, and words of one frame.
fn fill(machine: &Granule, pfn: Pfn, seed: u64) {
    for index in 0..PAGE_SIZE / 8 {
        machine.store_word(pfn, index, word(seed, index));
    }
}

fn word(seed: u64, index: usize) -> u64 {
    (seed << 16 | index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn is_filled(machine: &Granule, pfn: Pfn, seed: u64) -> bool {
    (0..PAGE_SIZE / 8).all(|index| machine.load_word(pfn, index) == word(seed, index))
}

/// Takes adjacent frames.
fn frames(ctx: &TestCtx, nr_frames: u32) -> Segment {
    let first = ctx.frame();
    (1..nr_frames).for_each(|n| assert_eq!(ctx.frame(), first.add(n), "tests get them in a row"));
    Segment { first, nr_frames }
}

fn io<T>(what: &str, done: Result<T, IoError>) -> Result<T, Failure> {
    done.map_err(|error| Failure::Failed(alloc::format!("{what}: {error:?}")))
}

fn transfer(ctx: &TestCtx, op: BlockOp, page: u64, segments: &[Segment]) -> Outcome {
    let machine = ctx.machine;
    io("transfer", machine.transfer(DISK, op, sector(machine, page), segments))
}

fn read_back(ctx: &TestCtx) -> Outcome {
    needs_disk(ctx)?;
    let (out, back) = (ctx.frame(), ctx.frame());
    for seed in 1..4 {
        fill(ctx.machine, out, seed);
        transfer(ctx, BlockOp::Write, 0, &[Segment::one(out)])?;
        transfer(ctx, BlockOp::Read, 0, &[Segment::one(back)])?;
        expect_that!(is_filled(ctx.machine, back, seed), "contents {seed}");
    }
    Ok(())
}

fn scatter_gather(ctx: &TestCtx) -> Outcome {
    needs_disk(ctx)?;
    let machine = ctx.machine;
    // Three runs of frames with gaps between them, handed over out of order.
    let (a, _gap, b) = (frames(ctx, 2), ctx.frame(), frames(ctx, 1));
    let (_gap, c) = (ctx.frame(), frames(ctx, 3));
    let order = [c, a, b];
    let in_order = || order.iter().flat_map(|s| (0..s.nr_frames).map(|n| s.first.add(n))).zip(0..);
    in_order().for_each(|(pfn, seed)| fill(machine, pfn, seed));
    transfer(ctx, BlockOp::Write, 8, &order)?;
    let back = frames(ctx, 6);
    transfer(ctx, BlockOp::Read, 8, &[back])?;
    for seed in 0..6 {
        expect_that!(is_filled(machine, back.first.add(seed), seed.into()), "gathered {seed}");
    }
    in_order().for_each(|(pfn, _)| machine.zero_frame(pfn));
    transfer(ctx, BlockOp::Read, 8, &order)?;
    for (pfn, seed) in in_order() {
        expect_that!(is_filled(machine, pfn, seed), "scattered {seed}");
    }
    Ok(())
}

/// Starts a write of each frame to a page of its own, then waits for all of them, then reads all
/// back the same way.
fn there_and_back(ctx: &TestCtx, nr: u64) -> Outcome {
    let machine = ctx.machine;
    let run = frames(ctx, nr as u32);
    let pages = || (0..nr).map(|page| (page, run.first.add(page as u32)));
    let all = |op| {
        let start =
            |(page, pfn)| machine.submit(DISK, op, sector(machine, page), &[Segment::one(pfn)]);
        let tickets: Result<Vec<_>, IoError> = pages().map(start).collect();
        tickets?.into_iter().try_for_each(|ticket| machine.wait(ticket))
    };
    pages().for_each(|(page, pfn)| fill(machine, pfn, 100 + page));
    io("writes", all(BlockOp::Write))?;
    pages().for_each(|(_, pfn)| machine.zero_frame(pfn));
    io("reads", all(BlockOp::Read))?;
    for (page, pfn) in pages() {
        expect_that!(is_filled(machine, pfn, 100 + page), "page {page}");
    }
    Ok(())
}

fn many_in_flight(ctx: &TestCtx) -> Outcome {
    needs_disk(ctx)?;
    there_and_back(ctx, 128)?;
    // Completions are taken off the queue by this CPU, which did not look before the last submit.
    expect_that!(ctx.machine.disks.most_in_flight(DISK) >= 128);
    Ok(())
}

fn full_queue(ctx: &TestCtx) -> Outcome {
    needs_disk(ctx)?;
    there_and_back(ctx, 400)?;
    let machine = ctx.machine;
    // Three descriptors a request.
    expect_eq!(machine.disks.most_in_flight(DISK), machine.disks.queue_size(DISK) / 3);
    Ok(())
}

fn any_order(ctx: &TestCtx) -> Outcome {
    needs_disk(ctx)?;
    let machine = ctx.machine;
    let run = frames(ctx, 32);
    let start = |n: u32| {
        let segment = Segment::one(run.first.add(n));
        fill(machine, segment.first, n.into());
        machine.submit(DISK, BlockOp::Write, sector(machine, n.into()), &[segment])
    };
    let tickets: Result<Vec<_>, IoError> = (0..32).map(start).collect();
    for ticket in io("writes", tickets)?.into_iter().rev() {
        io("write", machine.wait(ticket))?;
    }
    transfer(ctx, BlockOp::Read, 0, &[run])?;
    for n in 0..32 {
        expect_that!(is_filled(machine, run.first.add(n), n.into()), "page {n}");
    }
    Ok(())
}

fn interrupt(ctx: &TestCtx) -> Outcome {
    needs_disk(ctx)?;
    let machine = ctx.machine;
    let frame = Segment::one(ctx.frame());
    while machine.take_interrupt().is_some() {}
    let ticket = machine.submit(DISK, BlockOp::Read, sector(machine, 0), &[frame]);
    let ticket = io("read", ticket)?;
    expect_eq!(next_interrupt(machine), Interrupt::Disk(DISK));
    io("read", machine.wait(ticket))?;
    expect_eq!(machine.take_interrupt(), None, "the interrupt is down");
    Ok(())
}

fn flush(ctx: &TestCtx) -> Outcome {
    needs_disk(ctx)?;
    let machine = ctx.machine;
    io("flush", machine.transfer(DISK, BlockOp::Flush, 0, &[]))
}

fn discard(ctx: &TestCtx) -> Outcome {
    needs_disk(ctx)?;
    let machine = ctx.machine;
    let (run, back) = (frames(ctx, 4), frames(ctx, 4));
    (0..4).for_each(|n| fill(machine, run.first.add(n), n.into()));
    transfer(ctx, BlockOp::Write, 0, &[run])?;
    let middle = BlockOp::Discard { nr_sectors: 2 * SECTORS_PER_PAGE as u32 };
    io("discard", machine.transfer(DISK, middle, sector(machine, 1), &[]))?;
    transfer(ctx, BlockOp::Read, 0, &[back])?;
    // What was given up may read as anything; what was not, as it was written.
    for n in [0, 3] {
        expect_that!(is_filled(machine, back.first.add(n), n.into()), "page {n}");
    }
    let past_the_end = machine.transfer(DISK, middle, sector(machine, NR_PAGES - 1), &[]);
    expect_eq!(past_the_end, Err(IoError::OutOfRange));
    Ok(())
}

fn past_the_end(ctx: &TestCtx) -> Outcome {
    needs_disk(ctx)?;
    let machine = ctx.machine;
    let (one, two) = (Segment::one(ctx.frame()), frames(ctx, 2));
    let end = machine.nr_sectors(DISK);
    let read = |disk, at, segment| machine.transfer(disk, BlockOp::Read, at, &[segment]);
    expect_eq!(read(DISK, end - SECTORS_PER_PAGE, one), Ok(()), "the last page");
    for (at, segment) in [
        (end - SECTORS_PER_PAGE, two),
        (end - SECTORS_PER_PAGE + 1, one),
        (end, one),
        (u64::MAX - 7, one),
        (u64::MAX, one),
    ] {
        expect_eq!(read(DISK, at, segment), Err(IoError::OutOfRange), "from sector {at}");
    }
    let no_disk = DiskId(machine.nr_disks() as u8);
    expect_eq!(read(no_disk, 0, one), Err(IoError::OutOfRange), "no such disk");
    expect_eq!(machine.nr_sectors(no_disk), 0);
    Ok(())
}

fn too_many_segments(ctx: &TestCtx) -> Outcome {
    needs_disk(ctx)?;
    let segments: Vec<_> = (0..33).map(|_| Segment::one(ctx.frame())).collect();
    transfer(ctx, BlockOp::Write, 0, &segments[..32])?;
    let refused = ctx.machine.transfer(DISK, BlockOp::Write, sector(ctx.machine, 0), &segments);
    expect_eq!(refused, Err(IoError::Unsupported));
    Ok(())
}

fn tags(ctx: &TestCtx) -> Outcome {
    needs_disk(ctx)?;
    let machine = ctx.machine;
    if !machine.has_tags() {
        return skip("needs allocation tags");
    }
    let frame = ctx.frame();
    // One tag for the page: some emulators cannot do better (`coarse_tags`).
    let tags = PageTags::uniform(0xb);
    machine.write_tags(frame, &tags);
    fill(machine, frame, 7);
    transfer(ctx, BlockOp::Write, 0, &[Segment::one(frame)])?;
    machine.zero_frame(frame);
    transfer(ctx, BlockOp::Read, 0, &[Segment::one(frame)])?;
    expect_that!(is_filled(machine, frame, 7));
    expect_that!(machine.read_tags(frame) == tags, "the device knows no tags");
    Ok(())
}

fn counters(ctx: &TestCtx) -> Outcome {
    needs_disk(ctx)?;
    let counters = &ctx.machine.disks.counters;
    let before: Vec<_> = counters.totals().map(|(_, total)| total).collect();
    let since = |event: BlockEvent| counters.total(event) - before[event.index()];
    let run = frames(ctx, 4);
    transfer(ctx, BlockOp::Write, 0, &[run])?;
    transfer(ctx, BlockOp::Read, 0, &[run])?;
    transfer(ctx, BlockOp::Read, 0, &[Segment::one(run.first)])?;
    flush(ctx)?;
    let past_the_end = ctx.machine.nr_sectors(DISK);
    let refused = ctx.machine.transfer(DISK, BlockOp::Write, past_the_end, &[run]);
    expect_eq!(refused, Err(IoError::OutOfRange));
    expect_eq!(since(BlockEvent::Write), 1);
    expect_eq!(since(BlockEvent::SectorsWritten), 32);
    expect_eq!(since(BlockEvent::Read), 2);
    expect_eq!(since(BlockEvent::SectorsRead), 40);
    expect_eq!(since(BlockEvent::Flush), 1);
    expect_eq!(since(BlockEvent::Failed), 0);
    expect_that!(since(BlockEvent::Interrupt) >= 1);
    Ok(())
}

/// What each CPU does: writes pages, reads them back, several in flight. Returns whether all were
/// as written.
fn work(machine: &Granule, first_page: u64, run: Segment) -> bool {
    let half = run.nr_frames / 2;
    (0..8).all(|round| {
        let pages = || (0..half).map(|n| (first_page + u64::from(n), run.first.add(n)));
        let write = |(page, pfn)| {
            fill(machine, pfn, round << 32 | page);
            machine.submit(DISK, BlockOp::Write, sector(machine, page), &[Segment::one(pfn)])
        };
        let written: Result<Vec<_>, _> = pages().map(write).collect();
        let read = |(page, pfn): (u64, Pfn)| {
            let to = Segment::one(pfn.add(half));
            machine.submit(DISK, BlockOp::Read, sector(machine, page), &[to])
        };
        let all_waited = |tickets: Result<Vec<_>, _>| {
            tickets.is_ok_and(|all| all.into_iter().all(|ticket| machine.wait(ticket).is_ok()))
        };
        all_waited(written)
            && all_waited(pages().map(read).collect())
            && pages().all(|(page, pfn)| is_filled(machine, pfn.add(half), round << 32 | page))
    })
}

fn every_cpu(ctx: &TestCtx) -> Outcome {
    needs_disk(ctx)?;
    ctx.other_cpu()?;
    let machine = ctx.machine;
    const FAILED: u64 = 1 << 32;
    let done = Arc::new(AtomicU64::new(0));
    let channel = WaitChannel::of(&*done);
    let own = machine.cpu();
    let mut nr_others = 0;
    for cpu in smp::online().filter(|cpu| *cpu != own) {
        let run = frames(ctx, 64);
        let first_page = 32 * cpu.get() as u64;
        let done = done.clone();
        nr_others += 1;
        smp::run_on(
            cpu,
            Box::new(move || {
                let outcome = if work(machine, first_page, run) { 1 } else { FAILED };
                done.fetch_add(outcome, Ordering::Release);
                machine.wake_all(channel);
            }),
        );
    }
    expect_that!(work(machine, 32 * own.get() as u64, frames(ctx, 64)), "this CPU");
    let finished = |value: u64| (value >> 32) + (value & (FAILED - 1)) == nr_others;
    // This CPU gets the disk's interrupts, and takes them while it waits.
    machine.sleep_until(channel, &mut || finished(done.load(Ordering::Acquire)));
    expect_eq!(done.load(Ordering::Acquire), nr_others, "CPUs that found what they wrote");
    Ok(())
}
