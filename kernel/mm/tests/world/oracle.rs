// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the naive model of what a process must see: bytes, tags, rights, page by page.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base::Vpn;
use mm::Prot;

/// Offsets of the words of a page that tests look at. The rest must be zero.
pub const CELLS: [u64; 4] = [0, 8, 2040, 4088];
/// Granules whose tags tests look at; the granules of the cells are among them.
pub const GRANULES: [u64; 4] = [0, 1, 127, 255];
/// A word nobody writes.
pub const UNTOUCHED: u64 = 1024;

/// Returns the index in [`GRANULES`] of the granule that holds a cell.
pub fn granule_of(cell: usize) -> usize {
    [0, 0, 2, 3][cell]
}

/// Content of a page.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Content {
    pub cells: [u64; CELLS.len()],
    pub tags: [u8; GRANULES.len()],
}

/// A shared object's content, common to all who map it.
pub type Object = Arc<Mutex<BTreeMap<u64, Content>>>;

/// Where a page's content is.
#[derive(Clone, Debug)]
pub enum Home {
    Private(Content),
    Shared(Object, u64),
}

/// A page of a process.
#[derive(Clone, Debug)]
pub struct Page {
    pub home: Home,
    pub prot: Prot,
    pub is_tagged: bool,
    /// Given up by MADV_FREE and not written since: it reads as it was, or as zero.
    pub may_be_zero: bool,
}

impl Page {
    pub fn content(&self) -> Content {
        match &self.home {
            Home::Private(content) => *content,
            Home::Shared(object, index) => {
                object.lock().unwrap().get(index).copied().unwrap_or_default()
            }
        }
    }

    pub fn change(&mut self, change: impl FnOnce(&mut Content)) {
        match &mut self.home {
            Home::Private(content) => change(content),
            Home::Shared(object, index) => {
                change(object.lock().unwrap().entry(*index).or_default());
            }
        }
    }
}

/// What a process must see.
#[derive(Clone, Default, Debug)]
pub struct Oracle {
    pub pages: BTreeMap<Vpn, Page>,
}

impl Oracle {
    /// Returns the oracle of a child: private pages are copies, shared ones are shared.
    pub fn fork(&self) -> Self {
        self.clone()
    }

    pub fn mapped(&self) -> Vec<Vpn> {
        self.pages.keys().copied().collect()
    }
}
