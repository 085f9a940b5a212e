// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests swap and the tags of swapped pages on the real machine: MMU, tags, disk.

use base::{PAGE_SIZE, PageRange};
use hal::{BlockDevs, DiskId};
use mm::{Advice, MmEvent};

use super::mm_fault::tagged;
use super::program::{Program, RW, Stop, TAGGED, count, fail, leaves_nothing, with_tag};
use super::{Failure, Outcome, Test, TestCtx, expect_eq, expect_that, skip};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("mm_swap::s000_r01_all_tags_and_bytes_survive", |ctx| tagged(ctx, all_tags)),
    ("mm_swap::s000_r03_zero_page_with_tags_survives_without_io", |ctx| tagged(ctx, zero_page)),
    ("mm_swap::s000_r04_untagged_page_stores_and_restores_no_tags", untagged),
    ("mm_swap::s000_r10_tag_change_after_swap_in_is_swapped_out", |ctx| tagged(ctx, tag_only)),
    ("mm_swap::s000_r11_cycles_do_not_grow_tag_storage", |ctx| tagged(ctx, cycles)),
    ("mm_swap::s000_r12_tag_storage_goes_with_munmap_and_swapoff", |ctx| tagged(ctx, storage)),
    ("mm_swap::s000_r13_fork_with_swapped_tagged_pages", |ctx| tagged(ctx, forked)),
    ("mm_swap::s000_r17_wrong_tag_faults_after_restore", |ctx| tagged(ctx, wrong_tag)),
];

const PAGE: u64 = PAGE_SIZE as u64;
const DISK: DiskId = DiskId(0);

/// Runs `body` with the first disk in service, and takes it out again.
fn with_swap(ctx: &TestCtx, body: fn(&TestCtx) -> Outcome) -> Outcome {
    if ctx.machine.nr_disks() == 0 {
        return skip("no disk");
    }
    leaves_nothing(ctx, |system| {
        system.swap_on(DISK, None).map_err(fail)?;
        let outcome = body(ctx);
        system.swap_off(DISK, || false).map_err(fail)?;
        outcome
    })
}

fn page_out(program: &Program<'_>, pages: PageRange) -> Result<(), Failure> {
    program.advise(pages, Advice::PageOut)?;
    for page in pages.pages() {
        expect_that!(program.is_swapped(page), "{page:?} is paged out");
    }
    Ok(())
}

/// A tag for each granule, different from its neighbours' and from page to page.
fn tag_of(page: u64, granule: u64) -> u8 {
    ((granule * 7 + granule / 16 + page * 3) & 0xf) as u8
}

fn set_tags(program: &Program<'_>, at: u64, page: u64) -> Outcome {
    for granule in 0..256 {
        let place = at + page * PAGE + granule * 16;
        expect_eq!(program.store_tag(place, tag_of(page, granule)), Ok(()));
    }
    Ok(())
}

fn expect_tags(program: &Program<'_>, at: u64, page: u64) -> Outcome {
    for granule in 0..256 {
        let place = at + page * PAGE + granule * 16;
        expect_eq!(program.load_tag(place), Ok(tag_of(page, granule)), "{page}: {granule}");
    }
    Ok(())
}

fn all_tags(ctx: &TestCtx) -> Outcome {
    with_swap(ctx, |ctx| {
        let program = Program::new(ctx)?;
        let pages = program.map(4, TAGGED)?;
        let at = pages.start.base().get();
        for page in 0..4 {
            set_tags(&program, at, page)?;
            for word in 0..512 {
                let place = at + page * PAGE + word * 8;
                let pointer = with_tag(place, tag_of(page, word / 2));
                expect_eq!(program.store(pointer, page << 32 | word), Ok(()));
            }
        }
        page_out(&program, pages)?;
        for page in 0..4 {
            expect_tags(&program, at, page)?;
            for word in 0..512 {
                let place = at + page * PAGE + word * 8;
                let pointer = with_tag(place, tag_of(page, word / 2));
                expect_eq!(program.load(pointer), Ok(page << 32 | word));
            }
        }
        Ok(())
    })
}

fn zero_page(ctx: &TestCtx) -> Outcome {
    with_swap(ctx, |ctx| {
        let program = Program::new(ctx)?;
        let pages = program.map(1, TAGGED)?;
        let at = pages.start.base().get();
        set_tags(&program, at, 0)?;
        let requests = count(ctx.system, MmEvent::SwapRequest);
        page_out(&program, pages)?;
        expect_tags(&program, at, 0)?;
        expect_eq!(program.load(with_tag(at, tag_of(0, 0))), Ok(0));
        expect_eq!(count(ctx.system, MmEvent::SwapRequest), requests, "no I/O for zeroes");
        Ok(())
    })
}

fn untagged(ctx: &TestCtx) -> Outcome {
    with_swap(ctx, |ctx| {
        let program = Program::new(ctx)?;
        let pages = program.map(2, RW)?;
        let at = pages.start.base().get();
        expect_eq!(program.store(at, 1), Ok(()));
        expect_eq!(program.store(at + PAGE, 2), Ok(()));
        let tags = |event| count(ctx.system, event);
        let before = [MmEvent::MteTagsSaved, MmEvent::MteTagsRestored].map(tags);
        page_out(&program, pages)?;
        expect_eq!(ctx.system.tag_bytes_stored(), 0);
        expect_eq!(program.load(at), Ok(1));
        expect_eq!(program.load(at + PAGE), Ok(2));
        expect_eq!([MmEvent::MteTagsSaved, MmEvent::MteTagsRestored].map(tags), before);
        Ok(())
    })
}

fn tag_only(ctx: &TestCtx) -> Outcome {
    with_swap(ctx, |ctx| {
        let program = Program::new(ctx)?;
        let pages = program.map(1, TAGGED)?;
        let at = pages.start.base().get();
        expect_eq!(program.store(at, 1), Ok(()));
        page_out(&program, pages)?;
        expect_eq!(program.load(at), Ok(1));
        expect_eq!(program.store_tag(at + 32, 11), Ok(()));
        page_out(&program, pages)?;
        expect_eq!(program.load_tag(at + 32), Ok(11));
        expect_eq!(program.load(at), Ok(1));
        Ok(())
    })
}

fn cycles(ctx: &TestCtx) -> Outcome {
    with_swap(ctx, |ctx| {
        let program = Program::new(ctx)?;
        let pages = program.map(1, TAGGED)?;
        let at = pages.start.base().get();
        set_tags(&program, at, 0)?;
        page_out(&program, pages)?;
        let stored = ctx.system.tag_bytes_stored();
        for cycle in 0..200 {
            let tag = tag_of(0, 255) ^ 1 ^ (cycle & 1) as u8;
            expect_eq!(program.store_tag(at + 255 * 16, tag), Ok(()));
            page_out(&program, pages)?;
            expect_eq!(ctx.system.tag_bytes_stored(), stored, "cycle {cycle}");
            expect_eq!(program.load_tag(at + 255 * 16), Ok(tag), "cycle {cycle}");
        }
        Ok(())
    })
}

fn storage(ctx: &TestCtx) -> Outcome {
    with_swap(ctx, |ctx| {
        let program = Program::new(ctx)?;
        let pages = program.map(2, TAGGED)?;
        let at = pages.start.base().get();
        for page in 0..2 {
            set_tags(&program, at, page)?;
        }
        page_out(&program, pages)?;
        let both = ctx.system.tag_bytes_stored();
        program.mm.unmap(PageRange::of_len(pages.start, 1)).map_err(fail)?;
        expect_eq!(ctx.system.tag_bytes_stored() * 2, both);
        ctx.system.swap_off(DISK, || false).map_err(fail)?;
        expect_eq!(ctx.system.tag_bytes_stored(), 0, "swapoff brought the other back");
        expect_tags(&program, at, 1)?;
        ctx.system.swap_on(DISK, None).map_err(fail)
    })
}

fn forked(ctx: &TestCtx) -> Outcome {
    with_swap(ctx, |ctx| {
        let parent = Program::new(ctx)?;
        let pages = parent.map(2, TAGGED)?;
        let at = pages.start.base().get();
        for page in 0..2 {
            set_tags(&parent, at, page)?;
        }
        page_out(&parent, pages)?;
        let child = parent.fork()?;
        expect_eq!(child.store(with_tag(at + 16, tag_of(0, 1)), 5), Ok(()));
        for page in 0..2 {
            expect_tags(&child, at, page)?;
            expect_tags(&parent, at, page)?;
        }
        expect_eq!(parent.load(with_tag(at + 16, tag_of(0, 1))), Ok(0));
        expect_eq!(child.load(with_tag(at + 16, tag_of(0, 1))), Ok(5));
        Ok(())
    })
}

fn wrong_tag(ctx: &TestCtx) -> Outcome {
    with_swap(ctx, |ctx| {
        let program = Program::new(ctx)?;
        let pages = program.map(1, TAGGED)?;
        let at = pages.start.base().get();
        expect_eq!(program.store(at + 64, 3), Ok(()));
        expect_eq!(program.store_tag(at + 64, 12), Ok(()));
        page_out(&program, pages)?;
        expect_eq!(program.load(at + 64), Err(Stop::TagCheck));
        expect_eq!(program.store(with_tag(at + 64, 13), 4), Err(Stop::TagCheck));
        expect_eq!(program.load(with_tag(at + 64, 12)), Ok(3));
        Ok(())
    })
}
