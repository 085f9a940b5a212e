// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file compares how fast swap moves pages with how fast the disk does: the same bytes, from and to
//! the same memory.
//!
//! The disk alone is asked through the driver, with no copy in between, by one request for each folio: 32 of
//! them in flight on the way out, one on the way in. Swap writes up to 32 neighbours by one request, and reads
//! up to 64 pages by one or two. Times depend on what else the host does, so each is the least of a few rounds, and a
//! ratio is printed, not judged. What is judged is that nothing was moved twice.

use alloc::vec::Vec;

use arch::cpu;
use base::{Order, PageRange};
use hal::block_dev::SECTORS_PER_PAGE;
use hal::{BlockDevs, BlockOp, Clock, DiskId, IoTicket, Segment};
use mm::{Advice, MmEvent, SizeEnabled};

use super::program::{Program, RW, count, fail, leaves_nothing};
use super::{Failure, Outcome, Test, TestCtx, expect_eq, skip};
use crate::println;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("swap_speed::single_pages_beside_the_disk", |ctx| speed(ctx, Order::PAGE)),
    ("swap_speed::folios_of_64_kib_beside_the_disk", |ctx| speed(ctx, Order::new(4))),
    ("swap_speed::folios_of_2_mib_beside_the_disk", |ctx| speed(ctx, Order::BLOCK)),
];

const DISK: DiskId = DiskId(0);
/// Pages that are moved; the last pages of the disk, as many, are the tests' own.
const NR_PAGES: u64 = 1024;
const NR_ROUNDS: usize = 5;
/// Requests that page-out has in flight (`mm::reclaim`).
const BATCH: usize = 32;

/// Nanoseconds, the least so far.
struct Times {
    disk_write: u64,
    disk_read: u64,
    swap_out: u64,
    swap_in: u64,
}

fn speed(ctx: &TestCtx, order: Order) -> Outcome {
    if ctx.machine.nr_sectors(DISK) < 2 * NR_PAGES * SECTORS_PER_PAGE {
        return skip("no disk, or a small one");
    }
    let settings = ctx.system.thp().settings();
    let before = settings.sizes();
    let most = u64::MAX;
    let mut best = Times { disk_write: most, disk_read: most, swap_out: most, swap_in: most };
    leaves_nothing(ctx, |_| {
        if order != Order::PAGE {
            settings.set_size(order, SizeEnabled::Always);
        }
        let result = (0..NR_ROUNDS).try_for_each(|_| round(ctx, order, &mut best));
        settings.set_sizes(before);
        result
    })?;
    let kib = order.nr_pages() * 4;
    print(&alloc::format!("{kib} KiB out"), best.disk_write, best.swap_out);
    print(&alloc::format!("{kib} KiB in"), best.disk_read, best.swap_in);
    Ok(())
}

/// Prints MB/s, and what part of the disk's swap reaches.
fn print(what: &str, disk_ns: u64, swap_ns: u64) {
    let rate = |ns: u64| NR_PAGES * 4096 * 1000 / ns.max(1);
    let (disk, swap) = (rate(disk_ns), rate(swap_ns));
    println!("# swap_speed {what}: {swap} of {disk} MB/s, {}/100", disk_ns * 100 / swap_ns.max(1));
}

fn round(ctx: &TestCtx, order: Order, best: &mut Times) -> Outcome {
    let program = Program::new(ctx)?;
    let pages = filled(&program, order)?;
    let folios = folios(&program, pages, order)?;
    let of_disk = |op, depth| time(ctx, || transfer_all(ctx, op, &folios, depth));
    best.disk_write = best.disk_write.min(of_disk(BlockOp::Write, BATCH)?);
    best.disk_read = best.disk_read.min(of_disk(BlockOp::Read, 1)?);

    ctx.system.swap_on(DISK, None).map_err(fail)?;
    let moved = || count(ctx.system, MmEvent::SwapRequest) + count(ctx.system, MmEvent::SwapMerged);
    let (before, nr_folios) = (moved(), folios.len() as u64);
    let out = time(ctx, || program.advise(pages, Advice::PageOut))?;
    best.swap_out = best.swap_out.min(out);
    expect_eq!(moved() - before, nr_folios, "folios that went out");
    for page in pages.pages() {
        expect_eq!(program.is_swapped(page), true, "{page:?} is paged out");
    }
    let back = time(ctx, || {
        let firsts = pages.pages().step_by(order.nr_pages() as usize);
        firsts.map(|page| page.base().get()).try_for_each(|at| check(&program, pages, at))
    })?;
    best.swap_in = best.swap_in.min(back);
    expect_eq!(moved() - before, 2 * nr_folios, "no folio is read twice");
    pages.pages().try_for_each(|page| check(&program, pages, page.base().get()))?;
    ctx.system.swap_off(DISK, || false).map_err(fail)
}

fn time(ctx: &TestCtx, work: impl FnOnce() -> Outcome) -> Result<u64, Failure> {
    let start = ctx.machine.now_ns();
    work()?;
    Ok(ctx.machine.now_ns() - start)
}

/// Maps memory in folios of `order`, each page with its number in the first word.
fn filled(program: &Program<'_>, order: Order) -> Result<PageRange, Failure> {
    let align = u64::from(order.nr_pages());
    let room = program.map(NR_PAGES + align, RW)?;
    let start = room.start.add(align - 1).align_down(align);
    let pages = PageRange::of_len(start, NR_PAGES);
    for (number, page) in (1..).zip(pages.pages()) {
        expect_eq!(program.store(page.base().get(), number), Ok(()));
    }
    Ok(pages)
}

fn check(program: &Program<'_>, pages: PageRange, at: u64) -> Outcome {
    let number = 1 + (at - pages.start.base().get()) / 4096;
    expect_eq!(program.load(at), Ok(number));
    Ok(())
}

/// Returns the memory of each folio.
fn folios(program: &Program<'_>, pages: PageRange, order: Order) -> Result<Vec<Segment>, Failure> {
    let nr_frames = order.nr_pages();
    let firsts = pages.pages().step_by(nr_frames as usize);
    firsts
        .map(|page| {
            let at = page.base().get();
            check(program, pages, at)?;
            let frame = cpu::translate(at as usize).ok_or_else(|| fail("nothing is mapped"))?;
            Ok(Segment { first: frame.pfn(), nr_frames })
        })
        .collect()
}

/// Moves folios to or from the disk, a request each, up to `depth` at a time.
fn transfer_all(ctx: &TestCtx, op: BlockOp, folios: &[Segment], depth: usize) -> Outcome {
    let machine = ctx.machine;
    let mut sector = machine.nr_sectors(DISK) - NR_PAGES * SECTORS_PER_PAGE;
    for batch in folios.chunks(depth) {
        let mut tickets = Vec::<IoTicket>::new();
        for folio in batch {
            tickets.push(machine.submit(DISK, op, sector, &[*folio]).map_err(fail)?);
            sector += u64::from(folio.nr_frames) * SECTORS_PER_PAGE;
        }
        tickets.into_iter().try_for_each(|ticket| machine.wait(ticket).map_err(fail))?;
    }
    Ok(())
}
