// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests the memory manager on the real MMU: first touch, copy-on-write, rights, tags.

use base::{PAGE_SIZE, PageRange, VirtAddr};
use hal::TagMem;
use mm::{Advice, FaultError, MmEvent, Prot};

use super::program::{Program, RW, Stop, TAGGED, count, fail, leaves_nothing, with_tag};
use super::{Outcome, Test, TestCtx, expect_eq, expect_that, skip};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("mm_fault::untouched_memory_reads_zero_and_a_store_stays", first_touch),
    ("mm_fault::fork_shares_until_a_store", fork),
    ("mm_fault::last_user_of_a_page_gets_it_without_a_copy", reuse),
    ("mm_fault::rights_taken_away_are_gone_at_once", rights),
    ("mm_fault::unmapped_memory_is_gone_at_once", unmapped),
    ("mm_fault::moved_memory_keeps_its_bytes", moved),
    ("mm_fault::kernel_addresses_are_not_mapped", kernel_addresses),
    ("mm_fault::copy_on_write_copies_tags", |ctx| tagged(ctx, copied_tags)),
    ("mm_fault::s000_r17_wrong_tag_faults_and_right_tag_does_not", |ctx| tagged(ctx, wrong_tag)),
    ("mm_fault::s000_r18_mprotect_adds_tags_and_takes_none_away", |ctx| tagged(ctx, added_tags)),
    ("mm_fault::s000_r19_discarded_pages_read_zero_bytes_and_tags", |ctx| tagged(ctx, discarded)),
];

const PAGE: u64 = PAGE_SIZE as u64;

/// Runs a test where granules have tags of their own.
pub fn tagged(ctx: &TestCtx, test: fn(&TestCtx) -> Outcome) -> Outcome {
    match (ctx.machine.has_tags(), ctx.machine.features.coarse_tags) {
        (false, _) => skip("no allocation tags"),
        (true, true) => skip("the emulator keeps two tags per page"),
        (true, false) => test(ctx),
    }
}

fn first_touch(ctx: &TestCtx) -> Outcome {
    leaves_nothing(ctx, |system| {
        let program = Program::new(ctx)?;
        let at = program.map(3, RW)?.start.base().get();
        let free = system.meminfo().free;
        expect_eq!(program.load(at + 8), Ok(0));
        expect_eq!(system.meminfo().free, free - 3, "three table pages, and the zero page serves");
        expect_eq!(program.store(at + 8, 7), Ok(()));
        expect_eq!(program.store(at + PAGE, 8), Ok(()));
        expect_eq!(program.load(at + 8), Ok(7));
        expect_eq!(program.load(at), Ok(0));
        expect_eq!(program.load(at + PAGE), Ok(8));
        expect_eq!(program.load(at + 3 * PAGE), Err(Stop::Fault(FaultError::NotMapped)));
        Ok(())
    })
}

fn fork(ctx: &TestCtx) -> Outcome {
    leaves_nothing(ctx, |system| {
        let parent = Program::new(ctx)?;
        let at = parent.map(2, RW)?.start.base().get();
        expect_eq!(parent.store(at, 1), Ok(()));
        let child = parent.fork()?;
        let copies = count(system, MmEvent::CowCopy);
        expect_eq!(child.load(at), Ok(1));
        expect_eq!(child.store(at, 2), Ok(()));
        expect_eq!(parent.load(at), Ok(1));
        expect_eq!(parent.store(at, 3), Ok(()));
        expect_eq!(child.load(at), Ok(2));
        expect_eq!(count(system, MmEvent::CowCopy), copies + 1, "the parent's is its own again");
        expect_eq!(child.load(at + PAGE), Ok(0));
        Ok(())
    })
}

fn reuse(ctx: &TestCtx) -> Outcome {
    leaves_nothing(ctx, |system| {
        let parent = Program::new(ctx)?;
        let at = parent.map(1, RW)?.start.base().get();
        expect_eq!(parent.store(at, 1), Ok(()));
        drop(parent.fork()?);
        let copies = count(system, MmEvent::CowCopy);
        expect_eq!(parent.store(at, 2), Ok(()));
        expect_eq!(parent.load(at), Ok(2));
        expect_eq!(count(system, MmEvent::CowCopy), copies);
        Ok(())
    })
}

fn rights(ctx: &TestCtx) -> Outcome {
    leaves_nothing(ctx, |_| {
        let program = Program::new(ctx)?;
        let pages = program.map(2, RW)?;
        let at = pages.start.base().get();
        let denied = Err(Stop::Fault(FaultError::Denied));
        expect_eq!(program.store(at, 5), Ok(()));
        program.mm.protect(pages, Prot::READ, false).map_err(fail)?;
        expect_eq!(program.store(at, 6), denied);
        expect_eq!(program.load(at), Ok(5));
        program.mm.protect(pages, Prot::empty(), false).map_err(fail)?;
        expect_eq!(program.load(at).map(drop), denied);
        program.mm.protect(pages, Prot::READ | Prot::WRITE, false).map_err(fail)?;
        expect_eq!(program.store(at + PAGE, 6), Ok(()));
        expect_eq!(program.load(at), Ok(5));
        Ok(())
    })
}

fn unmapped(ctx: &TestCtx) -> Outcome {
    leaves_nothing(ctx, |_| {
        let program = Program::new(ctx)?;
        let pages = program.map(3, RW)?;
        let at = pages.start.base().get();
        for page in 0..3 {
            expect_eq!(program.store(at + page * PAGE, page), Ok(()));
        }
        program.mm.unmap(PageRange::of_len(pages.start.add(1), 1)).map_err(fail)?;
        expect_eq!(program.load(at + PAGE), Err(Stop::Fault(FaultError::NotMapped)));
        expect_eq!(program.load(at), Ok(0));
        expect_eq!(program.load(at + 2 * PAGE), Ok(2));
        Ok(())
    })
}

fn moved(ctx: &TestCtx) -> Outcome {
    leaves_nothing(ctx, |_| {
        let program = Program::new(ctx)?;
        let old = program.map(2, RW)?;
        expect_eq!(program.store(old.start.base().get(), 9), Ok(()));
        let fixed = Some(VirtAddr::new(0x5000_0000_0000).page());
        let request = mm::RemapRequest { old, new_nr_pages: 2, may_move: true, fixed };
        let to = program.mm.remap(request).map_err(fail)?;
        expect_eq!(Some(to), fixed);
        expect_eq!(program.load(to.base().get()), Ok(9));
        let gone = Err(Stop::Fault(FaultError::NotMapped));
        expect_eq!(program.load(old.start.base().get()), gone);
        Ok(())
    })
}

fn kernel_addresses(ctx: &TestCtx) -> Outcome {
    leaves_nothing(ctx, |_| {
        let program = Program::new(ctx)?;
        for at in [1 << 48, 0xffff_0000_0000_0000, u64::MAX - 7, 0] {
            let gone = Err(Stop::Fault(FaultError::NotMapped));
            expect_eq!(program.load(at), gone, "{at:#x}");
        }
        Ok(())
    })
}

fn copied_tags(ctx: &TestCtx) -> Outcome {
    leaves_nothing(ctx, |_| {
        let parent = Program::new(ctx)?;
        let at = parent.map(1, TAGGED)?.start.base().get();
        for granule in 0..256 {
            expect_eq!(parent.store_tag(at + granule * 16, ((granule * 7) & 0xf) as u8), Ok(()));
        }
        let child = parent.fork()?;
        expect_eq!(child.store_tag(at, 9), Ok(()), "a tag is a store: the child gets a copy");
        expect_eq!(parent.load_tag(at), Ok(0));
        for granule in 1..256 {
            let expected = Ok(((granule * 7) & 0xf) as u8);
            expect_eq!(child.load_tag(at + granule * 16), expected, "child, {granule}");
            expect_eq!(parent.load_tag(at + granule * 16), expected, "parent, {granule}");
        }
        Ok(())
    })
}

fn wrong_tag(ctx: &TestCtx) -> Outcome {
    leaves_nothing(ctx, |_| {
        let program = Program::new(ctx)?;
        let at = program.map(1, TAGGED)?.start.base().get();
        expect_eq!(program.store_tag(at, 6), Ok(()));
        expect_eq!(program.store(with_tag(at, 6), 1), Ok(()));
        for wrong in [0, 5, 7, 15] {
            expect_eq!(program.store(with_tag(at, wrong), 2), Err(Stop::TagCheck));
            expect_eq!(program.load(with_tag(at, wrong)), Err(Stop::TagCheck));
        }
        expect_eq!(program.load(with_tag(at, 6)), Ok(1));
        Ok(())
    })
}

fn added_tags(ctx: &TestCtx) -> Outcome {
    leaves_nothing(ctx, |_| {
        let program = Program::new(ctx)?;
        let pages = program.map(1, RW)?;
        let at = pages.start.base().get();
        expect_eq!(program.store(with_tag(at, 3), 4), Ok(()), "untagged memory is not checked");
        program.mm.protect(pages, Prot::READ | Prot::WRITE, true).map_err(fail)?;
        expect_eq!(program.load_tag(at), Ok(0), "a page in use gets zero tags");
        expect_eq!(program.load(at), Ok(4));
        expect_eq!(program.load(with_tag(at, 3)), Err(Stop::TagCheck));
        program.mm.protect(pages, Prot::READ | Prot::WRITE, false).map_err(fail)?;
        expect_eq!(program.load(with_tag(at, 3)), Err(Stop::TagCheck), "tagging stays");
        Ok(())
    })
}

fn discarded(ctx: &TestCtx) -> Outcome {
    leaves_nothing(ctx, |_| {
        let program = Program::new(ctx)?;
        let pages = program.map(1, TAGGED)?;
        let at = pages.start.base().get();
        expect_eq!(program.store(at, 1), Ok(()));
        expect_eq!(program.store_tag(at + 16, 8), Ok(()));
        program.advise(pages, Advice::DontNeed)?;
        expect_eq!(program.load_tag(at + 16), Ok(0));
        expect_eq!(program.load(at), Ok(0));
        expect_eq!(program.store(at + 16, 2), Ok(()));
        expect_eq!(program.load_tag(at + 16), Ok(0));
        program.forget_all();
        expect_that!(program.load(at + 16) == Ok(2));
        Ok(())
    })
}
