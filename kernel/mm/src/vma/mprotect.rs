// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file changes rights: mprotect.

use base::{PageRange, Vpn};
use hal::Machine;
use pgtable::{Entry, Level, MemType, Prot, Pte};

use super::area::{Area, AreaFlags};
use super::mmap::{HEAP_BYTES, MAX_AREAS};
use crate::frame::OutOfMemory;
use crate::mm::{Mm, PageTableLock};
use crate::tlb::TlbGather;

/// Why rights were not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProtectError {
    /// Part of the range is not mapped. What lies before the hole has been changed, as on Linux.
    NotMapped,
    /// The object behind the mapping was not opened for writing.
    Denied,
    /// The memory cannot be tagged.
    CannotTag,
    /// Too many areas, or no memory for the structures.
    NoRoom,
}

impl From<OutOfMemory> for ProtectError {
    fn from(_: OutOfMemory) -> Self {
        ProtectError::NoRoom
    }
}

impl<M: Machine> Mm<M> {
    /// Gives the pages in `pages` the rights `prot`, and makes them tagged if `tag`. Tagged memory
    /// stays tagged. When this returns, no CPU can use a right that was taken away.
    ///
    /// # Errors
    ///
    /// [`ProtectError`].
    pub fn protect(&self, pages: PageRange, prot: Prot, tag: bool) -> Result<(), ProtectError> {
        self.system().reserve_kernel_heap(HEAP_BYTES)?;
        let mut areas = self.write_areas();
        if areas.nr_areas() + 2 > MAX_AREAS {
            return Err(ProtectError::NoRoom);
        }
        let mapped = mapped_prefix(areas.overlapping(pages), pages);
        let allowed = areas.overlapping(mapped).try_fold(mapped.start, |_, area| {
            check(area, prot, tag)
                .map(|()| area.pages().end)
                .map_err(|why| (area.pages().start, why))
        });
        let (changed, result) = match allowed {
            Err((at, why)) => (PageRange::new(mapped.start, at.max(mapped.start)), Err(why)),
            Ok(_) if mapped.end < pages.end => (mapped, Err(ProtectError::NotMapped)),
            Ok(_) => (mapped, Ok(())),
        };
        let mut gather = TlbGather::complete_at_finish(self);
        for mut area in areas.take(changed) {
            set_rights(&mut area, prot, tag);
            self.protect_entries(&area, &mut gather);
            areas.insert(area);
        }
        gather.finish();
        result
    }

    /// Brings the entries of an area in line with its rights.
    fn protect_entries(&self, area: &Area<M>, gather: &mut TlbGather<'_, M>) {
        let mut page = area.pages().start;
        while page < area.pages().end {
            match self.leaf_table_or_skip(page) {
                Ok(table) => {
                    let end = Level::L2.next_entry(page).min(area.pages().end);
                    let mut lock = self.lock_leaf_table(table);
                    for page in PageRange::new(page, end).pages() {
                        self.protect_entry(&mut lock, area, page, gather);
                    }
                    gather.unlock(lock);
                    page = end;
                    self.machine().cond_resched();
                }
                Err(next) => page = next,
            }
        }
    }

    fn protect_entry(
        &self,
        lock: &mut PageTableLock<'_, M>,
        area: &Area<M>,
        page: Vpn,
        gather: &mut TlbGather<'_, M>,
    ) {
        let Entry::Present(pte) = lock.entry(page) else { return };
        let mem = area.flags.mem_type();
        if pte.mem_type() != mem {
            // Only ever Normal to Tagged: the tags must mean something before they are checked.
            self.system().make_page_tagged(pte.pfn());
            let change = |raw| with_rights(Pte::from_raw(raw), area, mem).raw();
            self.replace_mapping(lock, page, change);
            return;
        }
        if with_rights(pte, area, mem) == pte {
            return;
        }
        if !pte.is_special() {
            let folio = self.system().folio(self.system().words().folio(pte.pfn()));
            self.system().sync_code(folio, with_rights(pte, area, mem));
        }
        let (old, new) = lock.update(page, |raw| with_rights(Pte::from_raw(raw), area, mem).raw());
        gather.note(page, old, new);
    }
}

/// Returns the part of `pages` before the first page that is in no area.
fn mapped_prefix<'a, M: Machine>(
    overlapping: impl Iterator<Item = &'a Area<M>>,
    pages: PageRange,
) -> PageRange {
    let mut reached = pages.start;
    for area in overlapping {
        if area.pages().start > reached {
            break;
        }
        reached = area.pages().end;
    }
    PageRange::new(pages.start, reached.min(pages.end))
}

fn check<M: Machine>(area: &Area<M>, prot: Prot, tag: bool) -> Result<(), ProtectError> {
    if area.flags.contains(AreaFlags::SPECIAL) {
        return Err(ProtectError::Denied);
    }
    if prot.contains(Prot::WRITE) && area.flags.contains(AreaFlags::NO_MAY_WRITE) {
        return Err(ProtectError::Denied);
    }
    if tag && !area.flags.contains(AreaFlags::MAY_TAG) {
        return Err(ProtectError::CannotTag);
    }
    Ok(())
}

fn set_rights<M: Machine>(area: &mut Area<M>, prot: Prot, tag: bool) {
    area.flags.set(AreaFlags::READ, prot.contains(Prot::READ));
    area.flags.set(AreaFlags::WRITE, prot.contains(Prot::WRITE));
    area.flags.set(AreaFlags::EXEC, prot.contains(Prot::EXEC));
    if tag {
        area.flags.insert(AreaFlags::TAGGED);
    }
}

/// Returns the entry with the rights of its area. A private page that may be shared with another
/// address space stays read-only: the next store decides (copy or reuse). So does a page that no
/// folio owns. A writable entry stays writable.
fn with_rights<M: Machine>(pte: Pte, area: &Area<M>, mem: MemType) -> Pte {
    let mut prot = area.flags.prot();
    let was_writable = pte.is_writable();
    if area.is_private() && !was_writable || pte.is_special() {
        prot.remove(Prot::WRITE);
    }
    pte.with_prot(prot).with_mem_type(mem)
}
