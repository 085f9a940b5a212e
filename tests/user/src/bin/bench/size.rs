// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file chooses the size of the folios that memory gets.

use user_tests::thp::{self, Setting};

/// A size of folios.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// Single pages.
    Page,
    /// What the contiguous bit spans.
    Cont,
    /// What one level-2 entry maps.
    Block,
}

impl Size {
    /// All, in the order of the table.
    pub const ALL: [Self; 3] = [Self::Page, Self::Cont, Self::Block];

    /// Returns its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Page => "4K",
            Self::Cont => "64K",
            Self::Block => "2M",
        }
    }

    /// Returns it in KiB.
    pub fn kib(self) -> usize {
        match self {
            Self::Page => 4,
            Self::Cont => 64,
            Self::Block => 2048,
        }
    }

    /// Has all memory get folios of this size from now on, until the result is dropped. `None`: not
    /// on this kernel.
    pub fn choose(self) -> Option<Vec<Setting>> {
        match thp::only(self.kib(), "always") {
            Ok(settings) => Some(settings),
            // A kernel that has no other size.
            Err(_) if self == Self::Page => Some(Vec::new()),
            Err(_) => None,
        }
    }
}
