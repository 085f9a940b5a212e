// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is /proc/PID/pagemap: eight bytes for each page (Linux
//! Documentation/admin-guide/mm/pagemap.rst).

use abi::Errno;
use base::{PageRange, Vpn};
use hal::Machine;
use mm::PageView;

use super::source::ProcessView;
use crate::fs::io::{Sink, put_counted};

const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const FILE_OR_SHARED: u64 = 1 << 61;
const EXCLUSIVE: u64 = 1 << 56;

/// Bits of a swapped page's area number, below its slot number.
const AREA_BITS: u32 = 5;

/// Pages looked at in one go.
const CHUNK: u64 = 512;

/// Reads from offset `at` on.
pub(super) fn read<M: Machine>(
    view: &ProcessView<M>,
    at: u64,
    to: &mut dyn Sink,
) -> Result<usize, Errno> {
    if !at.is_multiple_of(8) || !to.room().is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    let Some(mm) = &view.mm else { return Ok(0) };
    let mut done = 0;
    loop {
        let page = at / 8 + done as u64 / 8;
        let left = Vpn::END.get().saturating_sub(page);
        let nr_pages = (to.room() as u64 / 8).min(CHUNK).min(left);
        if nr_pages == 0 {
            return Ok(done);
        }
        let views = mm.page_views(PageRange::of_len(Vpn::new(page), nr_pages));
        let mut words = [0; CHUNK as usize * 8];
        for (word, view) in words.as_chunks_mut::<8>().0.iter_mut().zip(&views) {
            *word = entry(view).to_le_bytes();
        }
        let len = nr_pages as usize * 8;
        match put_counted(to, &words[..len]) {
            Ok(put) if put == len => done += len,
            Ok(put) => return Ok(done + put),
            Err(why) => return if done > 0 { Ok(done) } else { Err(why) },
        }
    }
}

fn entry(view: &PageView) -> u64 {
    match *view {
        PageView::None => 0,
        PageView::Present { pfn, is_file, is_exclusive } => {
            let mut entry = PRESENT | u64::from(pfn.get());
            entry |= if is_file { FILE_OR_SHARED } else { 0 };
            entry | if is_exclusive { EXCLUSIVE } else { 0 }
        }
        // As Linux has it: not present, and not nothing.
        PageView::OnDevice(_) | PageView::DeviceExclusive(_) => SWAPPED,
        PageView::Swapped(entry) => {
            SWAPPED | entry.area.get() as u64 | u64::from(entry.slot) << AREA_BITS
        }
    }
}
