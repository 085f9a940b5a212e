// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file translates madvise.

use abi::Errno;
use abi::mman::{
    MADV_COLD, MADV_COLLAPSE, MADV_DODUMP, MADV_DOFORK, MADV_DONTDUMP, MADV_DONTFORK,
    MADV_DONTNEED, MADV_DONTNEED_LOCKED, MADV_FREE, MADV_HUGEPAGE, MADV_KEEPONFORK,
    MADV_NOHUGEPAGE, MADV_NORMAL, MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
    MADV_RANDOM, MADV_REMOVE, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_WIPEONFORK,
};
use base::{PageRange, VirtAddr};
use hal::{Access, Platform};
use mm::{Advice, AdviceError, AreaFlags, CollapseError, FaultError};

use super::{Call, Outcome, pages, require_mapped, untagged};

/// What to do about a piece of advice.
enum Meaning {
    Advise(Advice),
    Populate(Access),
    Collapse,
    PunchHole,
    /// Known, and without effect here.
    Nothing,
}

fn meaning(advice: u64) -> Result<Meaning, Errno> {
    Ok(match advice {
        MADV_NORMAL | MADV_RANDOM | MADV_SEQUENTIAL | MADV_WILLNEED | MADV_DONTDUMP
        | MADV_DODUMP => Meaning::Nothing,
        MADV_DONTNEED | MADV_DONTNEED_LOCKED => Meaning::Advise(Advice::DontNeed),
        MADV_FREE => Meaning::Advise(Advice::Free),
        MADV_COLD => Meaning::Advise(Advice::Cold),
        MADV_PAGEOUT => Meaning::Advise(Advice::PageOut),
        MADV_DONTFORK => Meaning::Advise(Advice::DontFork(true)),
        MADV_DOFORK => Meaning::Advise(Advice::DontFork(false)),
        MADV_WIPEONFORK => Meaning::Advise(Advice::WipeOnFork(true)),
        MADV_KEEPONFORK => Meaning::Advise(Advice::WipeOnFork(false)),
        MADV_HUGEPAGE => Meaning::Advise(Advice::Huge(true)),
        MADV_NOHUGEPAGE => Meaning::Advise(Advice::Huge(false)),
        MADV_POPULATE_READ => Meaning::Populate(Access::Read),
        MADV_POPULATE_WRITE => Meaning::Populate(Access::Write),
        MADV_COLLAPSE => Meaning::Collapse,
        MADV_REMOVE => Meaning::PunchHole,
        _ => return Err(Errno::EINVAL),
    })
}

pub(super) fn madvise<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let meaning = meaning(u64::from(call.arg_u32(2)))?;
    let start = untagged(call.arg(0));
    if !VirtAddr::new(start).is_page_aligned() || start.checked_add(call.arg(1)).is_none() {
        return Err(Errno::EINVAL);
    }
    if call.arg(1) == 0 {
        return Ok(0);
    }
    let pages = pages(start, call.arg(1), Errno::ENOMEM)?;
    let mm = call.thread.process().mm();
    match meaning {
        Meaning::Nothing => require_mapped(call, pages),
        Meaning::Advise(advice) => mm.advise(pages, advice).map(|()| 0).map_err(|why| match why {
            AdviceError::NotMapped => Errno::ENOMEM,
            AdviceError::Unfit => Errno::EINVAL,
            AdviceError::NoRoom => Errno::EAGAIN,
        }),
        Meaning::Populate(access) => {
            mm.populate(pages, access).map(|()| 0).map_err(|(_, why)| match why {
                FaultError::NotMapped | FaultError::OutOfMemory => Errno::ENOMEM,
                FaultError::Denied => Errno::EINVAL,
                FaultError::NoContent => Errno::EFAULT,
            })
        }
        Meaning::Collapse => mm.collapse(pages).map(|()| 0).map_err(|why| match why {
            CollapseError::NotMapped | CollapseError::OutOfMemory => Errno::ENOMEM,
            CollapseError::Unfit => Errno::EINVAL,
            CollapseError::Busy => Errno::EAGAIN,
        }),
        Meaning::PunchHole => punch_hole(call, pages),
    }
}

/// Frees pages of the shared objects that are mapped in the range.
fn punch_hole<P: Platform>(call: &Call<'_, P>, pages: PageRange) -> Outcome {
    let mm = call.thread.process().mm();
    require_mapped(call, pages)?;
    for view in mm.area_views() {
        let part = view.pages.intersect(pages);
        if part.is_empty() {
            continue;
        }
        let (object, first) = view.object.ok_or(Errno::EINVAL)?;
        if !view.flags.contains(AreaFlags::SHARED | AreaFlags::WRITE) {
            return Err(Errno::EACCES);
        }
        let first = first + (part.start.get() - view.pages.start.get());
        object.punch(first, first + part.nr_pages());
    }
    Ok(0)
}
