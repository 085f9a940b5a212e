// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file runs EL0 code in an address space of the memory manager, for tests of it.

use alloc::sync::Arc;

use base::{PageRange, VirtAddr, Vpn};
use hal::{FaultCause, Invalidate, Reach, RunUser, TagCheckMode, TagControl, Threads, Tlb, Trap};
use mm::{Advice, AreaFlags, FaultError, MapRequest, Mm, MmEvent, PageView, Placement, System};

use super::space::{self, CODE};
use super::{Failure, TestCtx, failed};
use crate::machine::Granule;

/// Readable and writable memory.
pub const RW: AreaFlags = AreaFlags::READ.union(AreaFlags::WRITE).union(AreaFlags::MAY_TAG);
/// The same with PROT_MTE.
pub const TAGGED: AreaFlags = RW.union(AreaFlags::TAGGED);

/// Why user code stopped where it should not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// A fault that cannot be resolved.
    Fault(FaultError),
    /// The wrong tag.
    TagCheck,
    /// Something else.
    Other,
}

/// An address space with the EL0 code of `user_code.S` in it, gone when dropped.
pub struct Program<'a> {
    ctx: &'a TestCtx,
    /// The address space.
    pub mm: Arc<Mm<Granule>>,
}

impl<'a> Program<'a> {
    /// Makes one that checks tags synchronously, if there are any.
    pub fn new(ctx: &'a TestCtx) -> Result<Self, Failure> {
        let mm = Mm::new(ctx.system).map_err(fail)?;
        let code = MapRequest::anon(
            Placement::Fixed(VirtAddr::new(CODE).page()),
            1,
            AreaFlags::READ | AreaFlags::WRITE | AreaFlags::EXEC,
        );
        mm.map(code).map_err(fail)?;
        mm.write_remote(VirtAddr::new(CODE), space::user_code()).map_err(fail)?;
        let mode =
            if ctx.machine.features.has_tags() { TagCheckMode::Sync } else { TagCheckMode::None };
        ctx.machine.load_tag_control(TagControl { mode, include: 0 });
        Ok(Self { ctx, mm })
    }

    /// Forks it.
    pub fn fork(&self) -> Result<Self, Failure> {
        Ok(Self { ctx: self.ctx, mm: self.mm.fork().map_err(fail)? })
    }

    /// Maps fresh memory.
    pub fn map(&self, nr_pages: u64, flags: AreaFlags) -> Result<PageRange, Failure> {
        let request = MapRequest::anon(Placement::Hint(None), nr_pages, flags);
        Ok(PageRange::of_len(self.mm.map(request).map_err(fail)?, nr_pages))
    }

    /// Loads a word at EL0.
    pub fn load(&self, at: u64) -> Result<u64, Stop> {
        self.run(space::load(), 0, at)
    }

    /// Stores a word at EL0.
    pub fn store(&self, at: u64, value: u64) -> Result<(), Stop> {
        self.run(space::store(), value, at).map(drop)
    }

    /// Reads the tag of a granule at EL0.
    pub fn load_tag(&self, at: u64) -> Result<u8, Stop> {
        self.run(space::load_tag(), 0, at).map(|x0| VirtAddr::new(x0).logical_tag())
    }

    /// Sets the tag of a granule at EL0.
    pub fn store_tag(&self, at: u64, tag: u8) -> Result<(), Stop> {
        self.run(space::store_tag(), 0, with_tag(at, tag)).map(drop)
    }

    /// Runs user code until its system call; returns x0.
    fn run(&self, entry: &'static u8, x0: u64, x1: u64) -> Result<u64, Stop> {
        let mut regs = space::regs_at(entry);
        (regs.x[0], regs.x[1]) = (x0, x1);
        self.mm.activate();
        loop {
            match self.ctx.machine.run_user(&mut regs) {
                Trap::Syscall => return Ok(regs.x[0]),
                Trap::Fault(fault) if fault.cause == FaultCause::TagCheck => {
                    return Err(Stop::TagCheck);
                }
                Trap::Fault(fault) => self.mm.fault(&fault).map_err(Stop::Fault)?,
                Trap::Interrupt => drop(self.ctx.machine.take_interrupt()),
                _ => return Err(Stop::Other),
            }
        }
    }

    /// Gives advice about pages.
    pub fn advise(&self, pages: PageRange, advice: Advice) -> Result<(), Failure> {
        self.mm.advise(pages, advice).map_err(fail)
    }

    /// Tells whether a page is out on a swap area.
    pub fn is_swapped(&self, page: Vpn) -> bool {
        matches!(self.mm.page_views(PageRange::of_len(page, 1))[..], [PageView::Swapped(_)])
    }

    /// Makes all CPUs forget every translation of it, as they may at any time.
    pub fn forget_all(&self) {
        let machine = self.ctx.machine;
        let Some(asid) = self.mm.asid() else { return };
        machine.before();
        machine.invalidate(Invalidate::Asid(asid), Reach::Broadcast);
        machine.complete(Reach::Broadcast);
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        self.ctx.system.deactivate();
        self.ctx.machine.load_tag_control(TagControl::default());
        self.mm.put_user();
    }
}

/// Runs `body`, then recomputes every count and compares what is free with before.
pub fn leaves_nothing(
    ctx: &TestCtx,
    body: impl FnOnce(&System<Granule>) -> super::Outcome,
) -> super::Outcome {
    let used = || {
        // Kept for the next load, and nobody's.
        ctx.system.shrink_huge_zero_page();
        (ctx.system.meminfo().free, ctx.system.tag_bytes_stored())
    };
    let before = used();
    body(ctx.system)?;
    ctx.system.audit();
    super::expect_eq!(used(), before, "free frames, bytes of stored tags");
    Ok(())
}

/// Returns how often something was counted.
pub fn count(system: &System<Granule>, event: MmEvent) -> u64 {
    system.counters().total(event)
}

/// Returns an address with a logical tag.
pub fn with_tag(at: u64, tag: u8) -> u64 {
    at & !(0xff << 56) | u64::from(tag) << 56
}

/// Makes a failure of an error.
pub fn fail(why: impl core::fmt::Debug) -> Failure {
    failed(file!(), line!(), format_args!("{why:?}"))
}
