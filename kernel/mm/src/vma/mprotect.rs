// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file changes rights: mprotect.

use base::{PageRange, Vpn};
use hal::{Machine, PteSlot};
use pgtable::{Level, MemType, Prot, Pte, Rights};

use super::area::{Area, AreaFlags};
use super::mmap::{HEAP_BYTES, MAX_AREAS};
use crate::frame::OutOfMemory;
use crate::mm::{Mapped, Mm, PageTableLock};
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
        let rights = AreaRights::of(area);
        let mut left = area.pages();
        while let Some((part, mapped)) = self.next_mapped(left) {
            match mapped {
                Mapped::Table(table) => {
                    let mut lock = self.lock_leaf_table(table);
                    self.unfold_edges(&mut lock, part);
                    self.protect_table(&mut lock, &rights, part, gather);
                    gather.unlock(lock);
                }
                Mapped::Block(slot) => {
                    if !self.protect_block(slot, &rights, part, gather) {
                        self.split_block(slot, part.start);
                        continue;
                    }
                }
            }
            left.start = part.end;
            self.machine().cond_resched();
        }
    }

    /// Brings a whole block in line with `rights`; `false` if it cannot stay one.
    fn protect_block(
        &self,
        slot: PteSlot,
        rights: &AreaRights,
        part: PageRange,
        gather: &mut TlbGather<'_, M>,
    ) -> bool {
        let Some(mut block) = self.lock_block(slot) else { return false };
        let pte = block.pte();
        if part.nr_pages() != Level::L2.span_pages() {
            return false;
        }
        let run = self.run_of_block(part.start, pte);
        if pte.mem_type() != rights.mem {
            if run.is_none() {
                // The tags of zeroes are zero already.
                block.replace(part.start, rights.apply(pte));
                return true;
            }
            return false;
        }
        if let Some(run) = run {
            self.system().sync_code(run.folio, rights.apply(pte));
        }
        let (old, new) = block.update(|pte| rights.apply(pte));
        gather.note_block(part, old, new);
        gather.unlock_block(block);
        true
    }

    fn protect_table(
        &self,
        lock: &mut PageTableLock<'_, M>,
        rights: &AreaRights,
        pages: PageRange,
        gather: &mut TlbGather<'_, M>,
    ) {
        let mut page = pages.start;
        while page < pages.end {
            let most = (pages.end.get() - page.get()) as u32;
            let nr = match lock.present(page) {
                Some(pte) => self.protect_run(lock, rights, page, most, pte, gather),
                None => 1,
            };
            page = page.add(nr.into());
        }
    }

    /// Brings the run that begins with `pte` at `page` in line with `rights`, and returns how many
    /// pages were dealt with.
    #[inline(always)]
    fn protect_run(
        &self,
        lock: &mut PageTableLock<'_, M>,
        rights: &AreaRights,
        page: Vpn,
        most: u32,
        pte: Pte,
        gather: &mut TlbGather<'_, M>,
    ) -> u32 {
        let pte = if pte.is_valid() { pte } else { self.take_back(lock, page, pte) };
        if pte.mem_type() != rights.mem {
            return self.tag_run(lock, rights, page, most, pte);
        }
        let wanted = rights.apply(pte);
        if wanted == pte {
            return 1;
        }
        let mut most = most;
        if wanted.is_executable() && !pte.is_special() {
            most = lock.run_len(page, pte, most);
            self.sync_code_of_run(wanted, most);
        }
        // Nothing is counted by folio: it does not matter whose pages they are.
        let (nr, old) = lock.update_alike(page, pte, most, |pte| rights.apply(pte));
        gather.note_run(PageRange::of_len(page, nr.into()), old.raw(), rights.apply(old).raw());
        nr
    }

    /// Makes the run that begins with `pte` at `page` tagged. Only ever from Normal: the tags must
    /// mean something before they are checked.
    fn tag_run(
        &self,
        lock: &mut PageTableLock<'_, M>,
        rights: &AreaRights,
        page: Vpn,
        most: u32,
        pte: Pte,
    ) -> u32 {
        let nr = self.run_at(lock, page, pte, most).map_or(1, |run| run.nr);
        // What is on a device gets tags when it comes home.
        if !pte.is_on_device() {
            (0..nr).for_each(|n| self.system().make_page_tagged(pte.pfn().add(n)));
        }
        self.replace_run_mapping(lock, page, nr, |old| rights.apply(old));
        nr
    }

    fn sync_code_of_run(&self, pte: Pte, nr: u32) {
        for pfn in (0..nr).map(|n| pte.pfn().add(n)) {
            let folio = self.system().folio(self.system().words().folio(pfn));
            self.system().sync_code(folio, pte);
        }
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

/// What an area's entries are to permit.
struct AreaRights {
    rights: Rights,
    mem: MemType,
    is_private: bool,
}

impl AreaRights {
    fn of<M: Machine>(area: &Area<M>) -> Self {
        let (prot, mem) = (area.flags.prot(), area.flags.mem_type());
        Self { rights: Rights::new(prot, mem), mem, is_private: area.is_private() }
    }

    /// Returns the entry with these rights. A private page that may be shared with another address
    /// space stays read-only: the next store decides (copy or reuse). So does a page that no folio
    /// owns. A writable entry stays writable.
    #[inline(always)]
    fn apply(&self, pte: Pte) -> Pte {
        let may_write = (pte.is_writable() || !self.is_private) && !pte.is_special();
        self.rights.apply(pte, may_write)
    }
}
