// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file says how the page of a swap entry comes back in an experiment: the interfaces that
//! linux-mm discussed in November 2023 for restoring tags ("arm64: mm: swap: save and restore mte
//! tags for large folios"), under their conditions of that time.
//!
//! What each does is in `swap/swap_restore.rs`; what it costs in
//! docs/experiments/000-mte-large-folios.md.

use hal::Machine;

use crate::system::System;

/// When the tags of a folio's pages are restored, and how many at a time.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Restore {
    /// All, when the content is read; a fault restores nothing. This kernel's way.
    #[default]
    AtRead,
    /// P1, `arch_swap_restore(entry, page)`: a fault restores those of the page that it maps.
    Page,
    /// P2, `arch_swap_restore(first_entry, folio)`: a fault restores those of all pages. Merged for
    /// v6.10.
    Folio,
    /// P3, `arch_swap_restore(entry, folio)`: like P1, with the page worked out from the entry.
    PageOfEntry,
    /// P4, P5: like P2, and the folio remembers it.
    FolioOnce,
}

impl Restore {
    /// All of them, this kernel's first.
    pub const ALL: [Self; 5] =
        [Self::AtRead, Self::Page, Self::Folio, Self::PageOfEntry, Self::FolioOnce];
}

/// How a refault goes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Refault {
    /// When tags are restored.
    pub restore: Restore,
    /// A fault maps one page, as all did in 2023, and not all that still belong there.
    pub maps_one_page: bool,
    /// A folio that was written stays in the swap cache, as if somebody held it.
    pub stays_cached: bool,
}

/// A [`Refault`] that can be changed, and what was done.
#[cfg(feature = "lab")]
#[derive(Default)]
pub(super) struct Setting {
    packed: core::sync::atomic::AtomicU32,
    lookups: core::sync::atomic::AtomicU64,
}

#[cfg(feature = "lab")]
mod on {
    use core::sync::atomic::Ordering::Relaxed;

    use super::{Machine, Refault, Restore, System};

    const ONE_PAGE: u32 = 1 << 8;
    const STAYS: u32 = 1 << 9;

    impl<M: Machine> System<M> {
        /// Sets how refaults go from now on.
        pub fn set_refault(&self, refault: Refault) {
            let Refault { restore, maps_one_page, stays_cached } = refault;
            let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
            let packed = restore as u32 | flag(maps_one_page, ONE_PAGE) | flag(stays_cached, STAYS);
            self.lab().refault.packed.store(packed, Relaxed);
        }

        /// Returns how refaults go.
        pub(crate) fn refault(&self) -> Refault {
            let packed = self.lab().refault.packed.load(Relaxed);
            let is_set = |flag: u32| packed & flag != 0;
            Refault {
                restore: Restore::ALL[(packed & 0xff) as usize],
                maps_one_page: is_set(ONE_PAGE),
                stays_cached: is_set(STAYS),
            }
        }

        /// Counts a page whose tags were to be restored, whether it had any saved or not.
        pub(crate) fn count_tag_lookup(&self) {
            self.lab().refault.lookups.fetch_add(1, Relaxed);
        }

        /// Returns for how many pages tags were to be restored, whether they had any saved or not.
        pub fn tag_lookups(&self) -> u64 {
            self.lab().refault.lookups.load(Relaxed)
        }
    }
}

#[cfg(not(feature = "lab"))]
impl<M: Machine> System<M> {
    /// Returns how refaults go: always the same way.
    #[inline(always)]
    pub(crate) fn refault(&self) -> Refault {
        Refault::default()
    }

    #[inline(always)]
    pub(crate) fn count_tag_lookup(&self) {}
}
