// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is a simulated process: an address space, the CPU it runs on, and its oracle. Each
//! verb does the same to both.

use std::sync::Arc;

use base::percpu::CpuId;
use base::{PageRange, VirtAddr, Vpn};
use hal::sim::SimMachine;
use hal::{FaultCause, MemFault, TagCheckMode, TagControl};
use mm::{
    Advice, AreaFlags, FaultError, MapRequest, Mm, PageView, Placement, Prot, RemapRequest, Shmem,
};

use super::World;
use super::oracle::{CELLS, Content, GRANULES, Home, Object, Oracle, Page, UNTOUCHED, granule_of};

/// A process.
pub struct Process {
    pub world: World,
    pub mm: Arc<Mm<SimMachine>>,
    pub cpu: CpuId,
    pub oracle: Oracle,
}

pub const RW: AreaFlags = AreaFlags::READ.union(AreaFlags::WRITE).union(AreaFlags::MAY_TAG);
pub const TAGGED: AreaFlags = RW.union(AreaFlags::TAGGED);

impl Process {
    pub fn new(world: World, cpu: CpuId) -> Self {
        let mm = world.on(cpu, || Mm::new(&world.system)).expect("an address space");
        Self { world, mm, cpu, oracle: Oracle::default() }
    }

    /// Runs `f` as a system call of this process.
    pub fn call<R>(&self, f: impl FnOnce(&Arc<Mm<SimMachine>>) -> R) -> R {
        self.world.on(self.cpu, || f(&self.mm))
    }

    /// Does an access until it goes through or its fault cannot be resolved.
    pub fn access<R>(
        &self,
        mut access: impl FnMut(&SimMachine) -> Result<R, MemFault>,
    ) -> Result<R, AccessError> {
        self.world.on(self.cpu, || {
            for _ in 0..1000 {
                self.mm.activate();
                match access(&self.world.machine) {
                    Ok(value) => return Ok(value),
                    Err(fault) if fault.cause == FaultCause::TagCheck => {
                        return Err(AccessError::TagCheck);
                    }
                    Err(fault) => match self.mm.fault(&fault) {
                        Err(FaultError::OutOfMemory | FaultError::NoContent)
                            if self.world.is_patient => {}
                        resolved => resolved.map_err(AccessError::Fault)?,
                    },
                }
            }
            panic!("an access faults for ever")
        })
    }

    pub fn load(&self, at: VirtAddr) -> Result<u64, AccessError> {
        self.access(|machine| machine.load(self.cpu, at))
    }

    pub fn store(&self, at: VirtAddr, value: u64) -> Result<(), AccessError> {
        self.access(|machine| machine.store(self.cpu, at, value))
    }

    pub fn load_tag(&self, at: VirtAddr) -> Result<u8, AccessError> {
        self.access(|machine| machine.load_tag(self.cpu, at))
    }

    pub fn store_tag(&self, at: VirtAddr, tag: u8) -> Result<(), AccessError> {
        self.access(|machine| machine.store_tag(self.cpu, at, tag))
    }

    /// Checks tags of this process's accesses from now on.
    pub fn check_tags(&self, mode: TagCheckMode) {
        self.world.machine.set_tag_control(self.cpu, TagControl { mode, include: 0 });
    }

    // ---- verbs ----

    pub fn map(&mut self, nr_pages: u64, flags: AreaFlags) -> PageRange {
        self.map_at(Placement::Hint(None), nr_pages, flags)
    }

    pub fn map_at(&mut self, placement: Placement, nr_pages: u64, flags: AreaFlags) -> PageRange {
        let request = MapRequest::anon(placement, nr_pages, flags);
        let start = self.call(|mm| mm.map(request)).expect("room for a mapping");
        let pages = PageRange::of_len(start, nr_pages);
        for page in pages.pages() {
            let home = Home::Private(Content::default());
            self.oracle.pages.insert(page, new_page(home, flags));
        }
        pages
    }

    /// Maps all pages of an object, shared.
    pub fn map_object(
        &mut self,
        object: &Arc<Shmem<SimMachine>>,
        model: &Object,
        flags: AreaFlags,
    ) -> PageRange {
        let nr_pages = object.len_bytes() / 4096;
        let flags = flags | AreaFlags::SHARED;
        let request =
            MapRequest::shmem(Placement::Hint(None), nr_pages, flags, Arc::clone(object), 0);
        let start = self.call(|mm| mm.map(request)).expect("room for a mapping");
        let pages = PageRange::of_len(start, nr_pages);
        for (index, page) in pages.pages().enumerate() {
            let home = Home::Shared(Arc::clone(model), index as u64);
            self.oracle.pages.insert(page, new_page(home, flags));
        }
        pages
    }

    pub fn unmap(&mut self, pages: PageRange) {
        self.call(|mm| mm.unmap(pages)).expect("unmap");
        pages.pages().for_each(|page| drop(self.oracle.pages.remove(&page)));
    }

    pub fn protect(&mut self, pages: PageRange, prot: Prot, tag: bool) {
        self.call(|mm| mm.protect(pages, prot, tag)).expect("protect");
        for page in pages.pages() {
            let page = self.oracle.pages.get_mut(&page).expect("mapped");
            page.prot = prot;
            page.is_tagged |= tag;
        }
    }

    pub fn advise(&mut self, pages: PageRange, advice: Advice) {
        self.call(|mm| mm.advise(pages, advice)).expect("advice");
        for page in pages.pages() {
            let page = self.oracle.pages.get_mut(&page).expect("mapped");
            match advice {
                Advice::DontNeed if matches!(page.home, Home::Private(_)) => {
                    page.home = Home::Private(Content::default());
                    page.may_be_zero = false;
                }
                Advice::Free => page.may_be_zero = true,
                _ => {}
            }
        }
    }

    /// Moves `old` elsewhere and returns where it is now.
    pub fn remap(&mut self, old: PageRange, fixed: Option<Vpn>) -> PageRange {
        let request = RemapRequest { old, new_nr_pages: old.nr_pages(), may_move: true, fixed };
        let start = self.call(|mm| mm.remap(request)).expect("remap");
        let moved: Vec<_> =
            old.pages().map(|page| self.oracle.pages.remove(&page).expect("mapped")).collect();
        for (n, page) in moved.into_iter().enumerate() {
            self.oracle.pages.insert(start.add(n as u64), page);
        }
        PageRange::of_len(start, old.nr_pages())
    }

    pub fn fork(&self, cpu: CpuId) -> Process {
        let mm = self.call(|mm| mm.fork()).expect("fork");
        Process { world: self.world.clone(), mm, cpu, oracle: self.oracle.fork() }
    }

    /// Ends the process: its address space is torn down.
    pub fn exit(self) {
        self.world.on(self.cpu, || {
            self.world.system.deactivate();
            self.mm.put_user();
        });
    }

    // ---- reads and writes that keep the oracle up to date ----

    /// Stores to a cell of a page, with the right tag.
    pub fn write(&mut self, page: Vpn, cell: usize, value: u64) {
        self.settle(page);
        let stored = self.try_write(page, cell, value);
        stored.unwrap_or_else(|why| panic!("{page:?}: {why:?}"));
    }

    /// Like [`Process::write`], where memory or the disk may fail.
    pub fn try_write(&mut self, page: Vpn, cell: usize, value: u64) -> Result<(), AccessError> {
        self.store(self.pointer(page, cell), value)?;
        let model = self.oracle.pages.get_mut(&page).expect("mapped");
        model.may_be_zero = false;
        model.change(|content| content.cells[cell] = value);
        Ok(())
    }

    /// Stores a tag.
    pub fn retag(&mut self, page: Vpn, granule: usize, tag: u8) {
        self.settle(page);
        let at = page.base().wrapping_add(GRANULES[granule] * 16);
        self.store_tag(at, tag).unwrap_or_else(|why| panic!("{page:?}: {why:?}"));
        let model = self.oracle.pages.get_mut(&page).expect("mapped");
        if model.is_tagged {
            model.may_be_zero = false;
            model.change(|content| content.tags[granule] = tag);
        }
    }

    /// Compares a page with the oracle: cells, a word nobody wrote, tags, and that a wrong tag
    /// faults.
    pub fn verify(&mut self, page: Vpn) {
        self.settle(page);
        let model = self.oracle.pages[&page].clone();
        if model.prot.is_empty() {
            let denied = self.load(page.base());
            assert_eq!(denied, Err(AccessError::Fault(FaultError::Denied)), "{page:?}");
            return;
        }
        let content = model.content();
        for (cell, offset) in CELLS.iter().enumerate() {
            let found = self.load(self.pointer(page, cell));
            assert_eq!(found, Ok(content.cells[cell]), "{page:?}+{offset:#x}, pid {}", self.pid());
        }
        let untouched = page.base().wrapping_add(UNTOUCHED);
        if !model.is_tagged {
            assert_eq!(self.load(untouched), Ok(0), "{page:?}: a word nobody wrote");
            return;
        }
        for (index, granule) in GRANULES.iter().enumerate() {
            let found = self.load_tag(page.base().wrapping_add(granule * 16));
            assert_eq!(found, Ok(content.tags[index]), "{page:?} granule {granule}");
        }
        let wrong = with_tag(page.base(), content.tags[0] ^ 5);
        assert_eq!(self.load(wrong), Err(AccessError::TagCheck), "{page:?}: wrong tag");
    }

    /// Compares all pages with the oracle.
    pub fn verify_all(&mut self) {
        for page in self.oracle.mapped() {
            self.verify(page);
        }
    }

    /// Finds out whether a page that MADV_FREE gave up still has its content.
    fn settle(&mut self, page: Vpn) {
        let model = &self.oracle.pages[&page];
        if !model.may_be_zero || model.prot.is_empty() {
            return;
        }
        let is_tagged = model.is_tagged;
        let expected = model.content();
        let found = self.look(page, is_tagged);
        let kept = Content { tags: if is_tagged { expected.tags } else { [0; 4] }, ..expected };
        if found != kept {
            assert_eq!(found, Content::default(), "{page:?} is neither kept nor zero");
            let model = self.oracle.pages.get_mut(&page).expect("mapped");
            model.home = Home::Private(Content::default());
            model.may_be_zero = false;
        }
    }

    /// Reads what a page has, whatever it should have.
    fn look(&self, page: Vpn, is_tagged: bool) -> Content {
        let mut content = Content::default();
        for (index, granule) in GRANULES.iter().enumerate() {
            let at = page.base().wrapping_add(granule * 16);
            let tag = if is_tagged { self.load_tag(at) } else { Ok(0) };
            content.tags[index] = tag.expect("a mapped page");
        }
        for (cell, offset) in CELLS.iter().enumerate() {
            let at = with_tag(page.base().wrapping_add(*offset), content.tags[granule_of(cell)]);
            content.cells[cell] = self.load(at).expect("a mapped page");
        }
        content
    }

    /// Returns the address of a cell with the tag of its granule.
    fn pointer(&self, page: Vpn, cell: usize) -> VirtAddr {
        let model = &self.oracle.pages[&page];
        let at = page.base().wrapping_add(CELLS[cell]);
        match model.is_tagged {
            true => with_tag(at, model.content().tags[granule_of(cell)]),
            false => at,
        }
    }

    pub fn pid(&self) -> u16 {
        self.mm.id().get()
    }

    /// Returns what /proc/self/pagemap would say of a page.
    pub fn page_view(&self, page: Vpn) -> PageView {
        self.call(|mm| mm.page_views(PageRange::of_len(page, 1)))[0]
    }

    pub fn is_swapped(&self, page: Vpn) -> bool {
        matches!(self.page_view(page), PageView::Swapped(_))
    }
}

/// Why an access did not go through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessError {
    Fault(FaultError),
    TagCheck,
}

pub fn with_tag(at: VirtAddr, tag: u8) -> VirtAddr {
    VirtAddr::new(at.get() | (tag as u64) << 56)
}

fn new_page(home: Home, flags: AreaFlags) -> Page {
    let is_tagged = flags.contains(AreaFlags::TAGGED);
    Page { home, prot: flags.prot(), is_tagged, may_be_zero: false }
}
