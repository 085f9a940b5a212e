// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is one folio, or hole, on its way: what holds it, and where it goes.

use alloc::vec::Vec;

use base::{Order, Pfn};
use hal::{CopyTicket, Machine};

use crate::folio::{Folio, FolioLock, Frozen};
use crate::frame::MteState;
use crate::system::System;

/// What is moving.
pub(super) enum Kind<'s, M: Machine> {
    /// A page that nothing has been written to yet.
    Hole,
    /// A folio in RAM, off its LRU list, and the ghost that counts its entries.
    Ram(FolioLock<'s, M>, Frozen<'s, M>),
    /// A folio in the memory of a device.
    Device(FolioLock<'s, M>),
}

/// A folio or a hole that moves.
pub(super) struct Source<'s, M: Machine> {
    /// Its first word.
    pub index: usize,
    pub kind: Kind<'s, M>,
    /// Where it goes: one folio of the same order, or a folio for each page. Empty: nowhere yet.
    pub dst: Vec<FolioLock<'s, M>>,
    /// Copies in flight.
    pub tickets: Vec<CopyTicket>,
    /// Found no room as a whole: it is split when it is back.
    pub is_to_be_split: bool,
}

impl<'s, M: Machine> Source<'s, M> {
    pub fn new(index: usize, kind: Kind<'s, M>) -> Self {
        let (dst, tickets) = (Vec::new(), Vec::new());
        Self { index, kind, dst, tickets, is_to_be_split: false }
    }

    /// Returns the folio, if it is one.
    pub fn folio(&self) -> Option<&FolioLock<'s, M>> {
        match &self.kind {
            Kind::Hole => None,
            Kind::Ram(folio, _) | Kind::Device(folio) => Some(folio),
        }
    }

    pub fn order(&self) -> Order {
        self.folio().map_or(Order::PAGE, |folio| folio.order())
    }
}

/// Returns the frame that page `n` goes to.
pub(super) fn dst_frame<M: Machine>(dst: &[FolioLock<'_, M>], n: u32) -> Pfn {
    match dst {
        [whole] => whole.head().add(n),
        pages => pages[n as usize].head(),
    }
}

/// Returns the folio that page `n` goes to, and which of its pages that is.
pub(super) fn dst_folio<'a, 's, M: Machine>(
    dst: &'a [FolioLock<'s, M>],
    n: u32,
) -> (&'a FolioLock<'s, M>, u32) {
    match dst {
        [whole] => (whole, n),
        pages => (&pages[n as usize], 0),
    }
}

impl<M: Machine> System<M> {
    /// Returns the tag state of a page of a folio, in RAM or on a device.
    pub(super) fn tag_state(&self, folio: &Folio, pfn: Pfn) -> MteState {
        self.words_of(folio).mte_state(pfn)
    }

    /// Says that the tags of a page that was just filled are its own.
    pub(super) fn set_tagged(&self, folio: &Folio, pfn: Pfn) {
        self.words_of(folio).make_tagged(pfn, || ());
    }

    fn words_of(&self, folio: &Folio) -> &crate::frame::FrameWords {
        match folio.has(crate::folio::FolioFlags::DEVICE) {
            true => self.device_memory().words(folio.head()),
            false => self.words(),
        }
    }
}
