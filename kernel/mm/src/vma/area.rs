// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file defines one area.

use alloc::sync::Arc;

use bitflags::bitflags;

use base::{PageRange, Vpn};
use hal::Machine;
use pgtable::{MemType, Prot};

use crate::shmem::Shmem;

bitflags! {
    /// What an area is and permits.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct AreaFlags: u32 {
        /// User code may load.
        const READ = 1 << 0;
        /// User code may store.
        const WRITE = 1 << 1;
        /// User code may fetch instructions.
        const EXEC = 1 << 2;
        /// Stores go to the object that backs the area, not to a private copy.
        const SHARED = 1 << 3;
        /// Memory is tagged: PROT_MTE. Never taken away again.
        const TAGGED = 1 << 4;
        /// Memory may become tagged.
        const MAY_TAG = 1 << 5;
        /// Grows downwards on a fault just below it: the main stack.
        const GROWS_DOWN = 1 << 6;
        /// A shared mapping of a file that was opened for reading only: WRITE may not be added.
        const NO_MAY_WRITE = 1 << 7;
        /// A child does not get it.
        const DONT_FORK = 1 << 8;
        /// A child gets it empty.
        const WIPE_ON_FORK = 1 << 9;
        /// Holds the program break.
        const HEAP = 1 << 10;
        /// Holds the main stack.
        const STACK = 1 << 11;
        /// Holds the signal trampoline; may not be changed by the user program.
        const SPECIAL = 1 << 12;
        /// Large folios are wanted.
        const HUGE = 1 << 13;
        /// Large folios are not wanted.
        const NO_HUGE = 1 << 14;
        /// May be accounted later or never: MAP_NORESERVE.
        const NO_RESERVE = 1 << 15;
    }
}

impl AreaFlags {
    /// Returns the rights as page-table permissions.
    pub fn prot(self) -> Prot {
        let mut prot = Prot::empty();
        prot.set(Prot::READ, self.contains(Self::READ));
        prot.set(Prot::WRITE, self.contains(Self::WRITE));
        prot.set(Prot::EXEC, self.contains(Self::EXEC));
        prot
    }

    /// Returns the memory type of pages mapped here.
    pub fn mem_type(self) -> MemType {
        if self.contains(Self::TAGGED) { MemType::Tagged } else { MemType::Normal }
    }
}

/// Where an area's content comes from.
pub enum Backing<M: Machine> {
    /// Zeroes; private to the address space and, copy-on-write, its children.
    Anon,
    /// A shared-memory object: a file of tmpfs, or shared anonymous memory.
    Shmem {
        /// The object.
        object: Arc<Shmem<M>>,
        /// Page of the object at the start of the area.
        first: u64,
    },
}

impl<M: Machine> Clone for Backing<M> {
    fn clone(&self) -> Self {
        match self {
            Backing::Anon => Backing::Anon,
            Backing::Shmem { object, first } => {
                Backing::Shmem { object: Arc::clone(object), first: *first }
            }
        }
    }
}

impl<M: Machine> Backing<M> {
    /// Returns the backing of the part that starts `pages` further up.
    pub(super) fn advanced(&self, pages: u64) -> Self {
        match self {
            Backing::Anon => Backing::Anon,
            Backing::Shmem { object, first } => {
                Backing::Shmem { object: Arc::clone(object), first: first + pages }
            }
        }
    }

    /// Tells whether `next`, `pages` further up, continues this one.
    fn continues_as(&self, next: &Self, pages: u64) -> bool {
        match (self, next) {
            (Backing::Anon, Backing::Anon) => true,
            (
                Backing::Shmem { object, first },
                Backing::Shmem { object: next_object, first: next_first },
            ) => Arc::ptr_eq(object, next_object) && first + pages == *next_first,
            _ => false,
        }
    }
}

/// A range of an address space with one backing and one set of rights.
pub struct Area<M: Machine> {
    pages: PageRange,
    /// Rights and kind.
    pub flags: AreaFlags,
    /// Content.
    pub backing: Backing<M>,
}

impl<M: Machine> Clone for Area<M> {
    fn clone(&self) -> Self {
        Self { pages: self.pages, flags: self.flags, backing: self.backing.clone() }
    }
}

impl<M: Machine> Area<M> {
    /// Builds an area over `pages`, which is not empty.
    pub fn new(pages: PageRange, flags: AreaFlags, backing: Backing<M>) -> Self {
        debug_assert!(!pages.is_empty());
        Self { pages, flags, backing }
    }

    /// Returns the pages of the area.
    pub fn pages(&self) -> PageRange {
        self.pages
    }

    /// Tells whether stores go to a private copy.
    pub fn is_private(&self) -> bool {
        !self.flags.contains(AreaFlags::SHARED)
    }

    /// Returns the object's page number at `page`, and the object, if there is one.
    pub(crate) fn object_page(&self, page: Vpn) -> Option<(&Arc<Shmem<M>>, u64)> {
        match &self.backing {
            Backing::Anon => None,
            Backing::Shmem { object, first } => {
                Some((object, first + (page.get() - self.pages.start.get())))
            }
        }
    }

    /// Returns the part of the area within `pages`, which it meets.
    pub(super) fn cut(&self, pages: PageRange) -> Self {
        let part = self.pages.intersect(pages);
        let skipped = part.start.get() - self.pages.start.get();
        Self { pages: part, flags: self.flags, backing: self.backing.advanced(skipped) }
    }

    /// Moves the upper or lower end; the backing keeps its place at the old start.
    pub(super) fn resize(&mut self, pages: PageRange) {
        debug_assert!(pages.start == self.pages.start || matches!(self.backing, Backing::Anon));
        self.pages = pages;
    }

    /// Returns the same area at another place.
    pub(super) fn moved_to(&self, start: Vpn, nr_pages: u64) -> Self {
        Self { pages: PageRange::of_len(start, nr_pages), ..self.clone() }
    }

    /// Tells whether `next` begins where this area ends and is its seamless continuation.
    pub(super) fn can_merge_with(&self, next: &Self) -> bool {
        self.pages.end == next.pages.start
            && self.flags == next.flags
            && self.backing.continues_as(&next.backing, self.pages.nr_pages())
    }
}
