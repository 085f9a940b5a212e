// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file finds frames at the destination and has the engine copy to them.

use alloc::vec::Vec;

use base::{Order, Pfn};
use hal::{DeviceId, FrameCopy, Machine, TraceKind};
use pgtable::MemType;

use super::source::{Kind, Source, dst_folio, dst_frame};
use super::{MigrateWord, Migration};
use crate::events::MmEvent;
use crate::folio::{FolioFlags, FolioLock, FolioRef};
use crate::frame::{AllocMode, MteState, OutOfMemory};
use crate::system::System;

/// Where a page is to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Goal {
    Device(DeviceId),
    Ram,
}

impl<'m, M: Machine> Migration<'m, M> {
    /// Finds room on a device for what word `index` speaks of: a folio of the same order, or single
    /// frames.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`]: it stays, and is split when it is back if it is large.
    pub fn alloc_on_device(&mut self, index: usize, to: DeviceId) -> Result<(), OutOfMemory> {
        self.alloc(index, Goal::Device(to), true)
    }

    /// Finds room in RAM for what word `index` speaks of.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`]: it stays.
    pub fn alloc_in_ram(&mut self, index: usize) -> Result<(), OutOfMemory> {
        self.alloc(index, Goal::Ram, true)
    }

    /// Finds single frames on a device for the pages of the large folio that word `index` speaks of, as
    /// if there was no run. A single page stays.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`], as above.
    pub fn alloc_pages_on_device(&mut self, index: usize, to: DeviceId) -> Result<(), OutOfMemory> {
        match self.order_at(index) {
            Order::PAGE => Err(OutOfMemory),
            _ => self.alloc(index, Goal::Device(to), false),
        }
    }

    /// Returns the order of the folio that word `index` speaks of.
    pub fn order_at(&self, index: usize) -> Order {
        self.source_at(index).map_or(Order::PAGE, |at| self.sources[at].order())
    }

    /// Returns where the source is that word `index` speaks of. They are in the order of their words.
    fn source_at(&self, index: usize) -> Option<usize> {
        self.sources.binary_search_by_key(&index, |source| source.index).ok()
    }

    /// Returns how many pages of the range are moving: they have somewhere to go.
    pub fn nr_moving(&self) -> u64 {
        let moving = self.sources.iter().filter(|source| !source.dst.is_empty());
        let in_range = |source: &Source<'_, M>| {
            let left = self.request.pages.nr_pages() - source.index as u64;
            left.min(source.order().nr_pages().into())
        };
        moving.map(in_range).sum()
    }

    fn alloc(&mut self, index: usize, goal: Goal, whole: bool) -> Result<(), OutOfMemory> {
        let system = self.mm.system();
        let at = self.source_at(index).ok_or(OutOfMemory)?;
        let source = &mut self.sources[at];
        match system.alloc_dst(source.order(), goal, whole) {
            Ok(dst) => {
                let compound = match dst.as_slice() {
                    [whole] if whole.is_large() => MigrateWord::COMPOUND,
                    _ => MigrateWord::NONE,
                };
                self.dst[index] = MigrateWord::of(dst[0].head()).with(compound);
                source.dst = dst;
                Ok(())
            }
            Err(why) => {
                source.is_to_be_split = source.order() > Order::PAGE;
                Err(why)
            }
        }
    }

    /// Copies everything that has somewhere to go. What cannot be copied stays.
    pub fn copy(&mut self) {
        let moving = || [self.first_address(), self.nr_moving()];
        let _span = self.mm.machine().span(TraceKind::MigrateCopy, moving);
        let tags = self.area().flags.mem_type() == MemType::Tagged;
        let system = self.mm.system();
        self.sources.iter_mut().for_each(|source| system.start_copies(source, tags));
        for source in &mut self.sources {
            if system.finish_copies(source).is_err() {
                self.dst[source.index] = MigrateWord::NONE;
            }
        }
    }
}

impl<M: Machine> System<M> {
    /// Allocates a locked folio of `order` for a page that comes, or one for each page where there is
    /// no run (or none is asked for).
    pub(super) fn alloc_dst(
        &self,
        order: Order,
        goal: Goal,
        whole: bool,
    ) -> Result<Vec<FolioLock<'_, M>>, OutOfMemory> {
        let mut dst = Vec::new();
        if (whole || order == Order::PAGE)
            && let Ok(folio) = self.alloc_one(order, goal)
        {
            dst.try_reserve_exact(1).map_err(|_| OutOfMemory)?;
            dst.push(FolioLock::of_new(folio));
            return Ok(dst);
        }
        if order == Order::PAGE {
            return Err(OutOfMemory);
        }
        dst.try_reserve_exact(order.nr_pages() as usize).map_err(|_| OutOfMemory)?;
        for _ in 0..order.nr_pages() {
            dst.push(FolioLock::of_new(self.alloc_one(Order::PAGE, goal)?));
        }
        Ok(dst)
    }

    fn alloc_one(&self, order: Order, goal: Goal) -> Result<FolioRef<'_, M>, OutOfMemory> {
        match goal {
            Goal::Device(device) => self.alloc_device_folio(device, order),
            Goal::Ram => {
                let mode = match order {
                    Order::PAGE => AllocMode::MayReclaim,
                    _ => AllocMode::NoReclaim,
                };
                let flags = FolioFlags::UPTODATE | FolioFlags::DIRTY;
                let folio = self.alloc_folio(order, flags, MteState::Untagged, mode)?;
                self.count(MmEvent::PgAlloc, order.nr_pages().into());
                Ok(folio)
            }
        }
    }

    /// Starts copying a source to its destination, if it has one. `tagged`: the area is.
    pub(super) fn start_copies(&self, source: &mut Source<'_, M>, tagged: bool) {
        if source.dst.is_empty() {
            return;
        }
        let is_tagged = |folio: &FolioLock<'_, M>| {
            let state = |pfn: Pfn| self.tag_state(folio, pfn);
            folio.frames().any(|pfn| state(pfn) == MteState::Tagged)
        };
        let with_tags = self.machine().has_tags() && source.folio().map_or(tagged, is_tagged);
        let from = source.folio().map(|folio| folio.head());
        let nr_frames = source.order().nr_pages() / source.dst.len() as u32;
        let copy = |n: usize| FrameCopy {
            to: source.dst[n].head(),
            from: from.map(|from| from.add(n as u32)),
            nr_frames,
            with_tags,
        };
        // As many as there are frames at most; a vector that cannot grow waits for each instead.
        let nr = source.dst.len();
        if source.tickets.try_reserve_exact(nr).is_err() {
            source.dst.clear();
            return;
        }
        let copies = (0..nr).map(copy).map(|copy| self.machine().start_copy(copy));
        source.tickets.extend(copies);
    }

    /// Waits for the copies of a source, and hands its tag states on.
    ///
    /// # Errors
    ///
    /// [`hal::CopyError`] when one of them failed, or none was made: it has no destination any more.
    pub(super) fn finish_copies(&self, source: &mut Source<'_, M>) -> Result<(), hal::CopyError> {
        let mut result = if source.dst.is_empty() { Err(hal::CopyError) } else { Ok(()) };
        for ticket in source.tickets.drain(..) {
            result = result.and(self.machine().finish_copy(ticket));
        }
        if result.is_err() {
            source.dst.clear();
            return result;
        }
        let Some(folio) = source.folio() else { return Ok(()) };
        for (n, pfn) in (0..).zip(folio.frames()) {
            if self.tag_state(folio, pfn) == MteState::Tagged {
                let (to, _) = dst_folio(&source.dst, n);
                self.set_tagged(to, dst_frame(&source.dst, n));
                self.count(MmEvent::MteTagsCopied, 1);
            }
        }
        self.count_moved(source);
        Ok(())
    }

    fn count_moved(&self, source: &Source<'_, M>) {
        let event = match source.kind {
            Kind::Hole | Kind::Ram(..) => MmEvent::DeviceIn,
            Kind::Device(_) => MmEvent::DeviceOut,
        };
        self.count(event, source.order().nr_pages().into());
    }
}
