// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the calls on the address space: it translates PROT_*, MAP_* and MADV_* and judges
//! arguments; `mm` does the work.
//!
//! Addresses may carry tags where Linux says so (Documentation/arch/arm64/tagged-address-abi.rst):
//! in munmap, mprotect, madvise and the like, not in mmap, brk and the new address of mremap.

mod advice;
mod map;

use abi::mman::{
    MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE, MS_ASYNC, MS_INVALIDATE, MS_SYNC, PROT_BTI,
    PROT_EXEC, PROT_MTE, PROT_READ, PROT_WRITE,
};
use abi::{Errno, number};
use base::{PAGE_SIZE, PageRange, VirtAddr, Vpn};
use hal::{Access, Platform};
use mm::{FaultError, PageView, Prot, ProtectError, RemapError, RemapRequest};

use super::{Call, Outcome, Row};

/// PROT_SEM (include/uapi/asm-generic/mman-common.h): accepted, without effect.
const PROT_SEM: u64 = 8;

impl<P: Platform> Call<'_, P> {
    pub(super) const MEMORY: &'static [Row<P>] = &[
        (number::MMAP, map::mmap),
        (number::MUNMAP, munmap),
        (number::MPROTECT, mprotect),
        (number::MREMAP, mremap),
        (number::BRK, brk),
        (number::MADVISE, advice::madvise),
        (number::MSYNC, msync),
        (number::MINCORE, mincore),
        (number::MLOCK, mlock),
        (number::MLOCK2, mlock2),
        (number::MUNLOCK, munlock),
        (number::MLOCKALL, accept),
        (number::MUNLOCKALL, accept),
    ];
}

/// Returns the pages from `start`, which is aligned, to `len` bytes further.
///
/// # Errors
///
/// EINVAL when the start is misaligned, `beyond` when the range leaves the user half.
fn pages(start: u64, len: u64, beyond: Errno) -> Result<PageRange, Errno> {
    let start = VirtAddr::new(start);
    if !start.is_page_aligned() {
        return Err(Errno::EINVAL);
    }
    let nr_pages = len.checked_add(PAGE_SIZE as u64 - 1).ok_or(beyond)? / PAGE_SIZE as u64;
    if !start.is_user() || nr_pages > Vpn::END.get() - start.page().get() {
        return Err(beyond);
    }
    Ok(PageRange::of_len(start.page(), nr_pages))
}

fn untagged(addr: u64) -> u64 {
    VirtAddr::new(addr).untagged().get()
}

fn rights(prot: u64) -> Prot {
    let mut rights = Prot::empty();
    rights.set(Prot::READ, prot & PROT_READ != 0);
    rights.set(Prot::WRITE, prot & PROT_WRITE != 0);
    rights.set(Prot::EXEC, prot & PROT_EXEC != 0);
    rights
}

fn munmap<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let pages = pages(untagged(call.arg(0)), call.arg(1), Errno::EINVAL)?;
    if pages.is_empty() {
        return Err(Errno::EINVAL);
    }
    call.thread.process().mm().unmap(pages).map(|()| 0).map_err(|_| Errno::ENOMEM)
}

fn mprotect<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let prot = call.arg(2);
    let of_mte = if call.kernel.machine().has_tags() { PROT_MTE } else { 0 };
    let known = PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM | PROT_BTI | of_mte;
    let start = untagged(call.arg(0));
    if !VirtAddr::new(start).is_page_aligned() {
        return Err(Errno::EINVAL);
    }
    if call.arg(1) == 0 {
        return Ok(0);
    }
    let pages = pages(start, call.arg(1), Errno::ENOMEM)?;
    if prot & !known != 0 {
        return Err(Errno::EINVAL);
    }
    let tag = prot & PROT_MTE != 0;
    let result = call.thread.process().mm().protect(pages, rights(prot), tag);
    result.map(|()| 0).map_err(|why| match why {
        ProtectError::NotMapped | ProtectError::NoRoom => Errno::ENOMEM,
        ProtectError::Denied => Errno::EACCES,
        ProtectError::CannotTag => Errno::EINVAL,
    })
}

fn mremap<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (old, old_len, new_len, flags) =
        (untagged(call.arg(0)), call.arg(1), call.arg(2), call.arg(3));
    let may_move = flags & MREMAP_MAYMOVE != 0;
    let is_fixed = flags & MREMAP_FIXED != 0;
    // MREMAP_DONTUNMAP is known, and not there.
    if flags & !(MREMAP_MAYMOVE | MREMAP_FIXED) != 0 || is_fixed && !may_move {
        let _ = MREMAP_DONTUNMAP;
        return Err(Errno::EINVAL);
    }
    let old = pages(old, old_len, Errno::EFAULT)?;
    // Linux rounds a length up that wraps around to 0.
    if new_len.checked_add(PAGE_SIZE as u64 - 1).is_none() {
        return Err(Errno::EINVAL);
    }
    let new_nr_pages = pages(0, new_len, Errno::ENOMEM)?.nr_pages();
    // An old length of 0 asks for a second mapping of shared memory, which is not there.
    if new_nr_pages == 0 || old.is_empty() {
        return Err(Errno::EINVAL);
    }
    let fixed = match is_fixed {
        true => Some(pages(call.arg(4), new_len, Errno::EINVAL)?.start),
        false => None,
    };
    let request = RemapRequest { old, new_nr_pages, may_move, fixed };
    let start = call.thread.process().mm().remap(request);
    start.map(|start| start.base().get()).map_err(|why| match why {
        RemapError::NotMapped => Errno::EFAULT,
        RemapError::NoRoom => Errno::ENOMEM,
        RemapError::BadPlace => Errno::EINVAL,
    })
}

fn brk<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    Ok(call.thread.process().mm().set_break(VirtAddr::new(call.arg(0))).get())
}

/// Everything is in memory or in swap already: nothing to write back.
fn msync<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let flags = call.arg(2);
    let is_both = flags & (MS_ASYNC | MS_SYNC) == MS_ASYNC | MS_SYNC;
    let start = untagged(call.arg(0));
    if flags & !(MS_ASYNC | MS_INVALIDATE | MS_SYNC) != 0 || is_both {
        return Err(Errno::EINVAL);
    }
    let pages = pages(start, call.arg(1), Errno::ENOMEM)?;
    require_mapped(call, pages)
}

fn require_mapped<P: Platform>(call: &Call<'_, P>, pages: PageRange) -> Outcome {
    let is_mapped = pages.is_empty() || call.thread.process().mm().is_covered(pages);
    if is_mapped { Ok(0) } else { Err(Errno::ENOMEM) }
}

fn mincore<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    /// Pages looked at in one go.
    const STEP: u64 = 256;
    let pages = pages(untagged(call.arg(0)), call.arg(1), Errno::ENOMEM)?;
    let mm = call.thread.process().mm();
    if !pages.is_empty() && !mm.is_covered(pages) {
        return Err(Errno::ENOMEM);
    }
    let mut page = pages.start;
    while page < pages.end {
        let end = page.add(STEP).min(pages.end);
        let views = mm.page_views(PageRange::new(page, end));
        let mut bytes = [0; STEP as usize];
        for (byte, view) in bytes.iter_mut().zip(&views) {
            *byte = u8::from(!matches!(view, PageView::None | PageView::Swapped(_)));
        }
        let done = page.get() - pages.start.get();
        call.write(call.arg(2).wrapping_add(done), &bytes[..views.len()])?;
        page = end;
    }
    Ok(0)
}

fn mlock<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    lock(call, true)
}

fn mlock2<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let flags = call.arg(2);
    if flags & !abi::mman::MLOCK_ONFAULT != 0 {
        return Err(Errno::EINVAL);
    }
    lock(call, flags == 0)
}

/// Faults the pages in. They are not kept from reclaim: that comes with pins.
fn lock<P: Platform>(call: &Call<'_, P>, now: bool) -> Outcome {
    let start = untagged(call.arg(0));
    let offset = start % PAGE_SIZE as u64;
    let len = call.arg(1).checked_add(offset).ok_or(Errno::ENOMEM)?;
    let pages = pages(start - offset, len, Errno::ENOMEM)?;
    require_mapped(call, pages)?;
    if now {
        let populated = call.thread.process().mm().populate(pages, Access::Read);
        populated.map_err(|(_, why)| match why {
            FaultError::OutOfMemory => Errno::EAGAIN,
            _ => Errno::ENOMEM,
        })?;
    }
    Ok(0)
}

fn munlock<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    lock(call, false)
}

fn accept<P: Platform>(_: &mut Call<'_, P>) -> Outcome {
    Ok(0)
}
