// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file names what a debugger finds as numbers in memory: debug information has types, not the
//! names of bits and counters.

use base::counter::Event;
use bitflags::{Flag, Flags};

use crate::events::MmEvent;
use crate::folio::FolioFlags;
use crate::thp::ThpStat;
use crate::vma::AreaFlags;

/// Names of bits and counters, read from outside (`qemu/gdb/granule/roots.py`).
#[expect(dead_code, reason = "read by a debugger")]
pub struct Legend {
    /// The first word of a folio's descriptor, below its order.
    folio_flags: &'static [Flag<FolioFlags>],
    /// An area's flags.
    area_flags: &'static [Flag<AreaFlags>],
    /// The counters, in the order of their cells.
    events: &'static [&'static str],
    /// What is counted for each order of folios, likewise.
    thp_stats: &'static [&'static str],
}

impl Legend {
    /// All names.
    pub const ALL: Self = Self {
        folio_flags: FolioFlags::FLAGS,
        area_flags: AreaFlags::FLAGS,
        events: MmEvent::NAMES,
        thp_stats: ThpStat::NAMES,
    };
}
