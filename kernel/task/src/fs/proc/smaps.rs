// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is /proc/PID/smaps: what the pages of each area are (Linux fs/proc/task_mmu.c,
//! show_smap()).

use alloc::vec::Vec;

use abi::Errno;
use base::PAGE_SIZE;
use hal::Machine;
use mm::{AreaFlags, AreaView, Mm, ResidentView};

use super::root::ProcFs;
use super::source::ProcessView;
use super::{Text, maps, put};

const PAGE_KIB: u64 = PAGE_SIZE as u64 / 1024;

/// Appends an area with its numbers.
pub(super) fn put_area<M: Machine>(
    text: &mut Text,
    mm: &Mm<M>,
    area: &AreaView<M>,
    proc: &ProcFs<M>,
) -> Result<(), Errno> {
    maps::put_line(text, mm, area, proc)?;
    put_kib(text, "Size:", area.pages.nr_pages() * PAGE_KIB);
    put_kib(text, "KernelPageSize:", PAGE_KIB);
    put_kib(text, "MMUPageSize:", PAGE_KIB);
    put_counts(text, &mm.resident_view(area.pages));
    put!(text, "THPeligible:    {:8}\n", u8::from(mm.is_thp_eligible(area)));
    put_flags(text, area.flags);
    Ok(())
}

/// Shows the sum over all areas.
pub(super) fn show_rollup<M: Machine>(
    view: &ProcessView<M>,
    _proc: &ProcFs<M>,
) -> Result<Vec<u8>, Errno> {
    let mut text = Text::default();
    let mm = view.mm.as_ref().ok_or(Errno::ESRCH)?;
    let (mut start, mut end) = (None, 0);
    let mut sum = ResidentView::default();
    for area in maps::areas(mm) {
        start.get_or_insert(area.pages.start.base().get());
        end = area.pages.end.base().get();
        add(&mut sum, &mm.resident_view(area.pages));
    }
    let start = start.unwrap_or(0);
    put!(text, "{start:08x}-{end:08x} ---p 00000000 00:00 0 ");
    while text.0.len() < 73 {
        text.0.push(b' ');
    }
    text.bytes(b"[rollup]\n");
    put_counts(&mut text, &sum);
    Ok(text.0)
}

fn add(sum: &mut ResidentView, part: &ResidentView) {
    sum.rss += part.rss;
    sum.pss_bytes += part.pss_bytes;
    sum.private_clean += part.private_clean;
    sum.private_dirty += part.private_dirty;
    sum.shared_clean += part.shared_clean;
    sum.shared_dirty += part.shared_dirty;
    sum.referenced += part.referenced;
    sum.anonymous += part.anonymous;
    sum.lazy_free += part.lazy_free;
    sum.block_mapped += part.block_mapped;
    sum.swap += part.swap;
    sum.swap_pss_bytes += part.swap_pss_bytes;
}

fn put_kib(text: &mut Text, name: &str, kib: u64) {
    put!(text, "{name:<16}{kib:8} kB\n");
}

fn put_counts(text: &mut Text, view: &ResidentView) {
    let counts = [
        ("Rss:", view.rss * PAGE_KIB),
        ("Pss:", view.pss_bytes / 1024),
        ("Pss_Dirty:", (view.private_dirty * PAGE_KIB).min(view.pss_bytes / 1024)),
        ("Shared_Clean:", view.shared_clean * PAGE_KIB),
        ("Shared_Dirty:", view.shared_dirty * PAGE_KIB),
        ("Private_Clean:", view.private_clean * PAGE_KIB),
        ("Private_Dirty:", view.private_dirty * PAGE_KIB),
        ("Referenced:", view.referenced * PAGE_KIB),
        ("Anonymous:", view.anonymous * PAGE_KIB),
        ("KSM:", 0),
        ("LazyFree:", view.lazy_free * PAGE_KIB),
        ("AnonHugePages:", view.block_mapped * PAGE_KIB),
        ("ShmemPmdMapped:", 0),
        ("FilePmdMapped:", 0),
        ("Shared_Hugetlb:", 0),
        ("Private_Hugetlb:", 0),
        ("Swap:", view.swap * PAGE_KIB),
        ("SwapPss:", view.swap_pss_bytes / 1024),
        ("Locked:", 0),
    ];
    for (name, kib) in counts {
        put_kib(text, name, kib);
    }
}

/// Appends the two-letter codes of an area's flags, in the order of Linux's bits.
fn put_flags(text: &mut Text, flags: AreaFlags) {
    let has = |flag| flags.contains(flag);
    let is_shared = has(AreaFlags::SHARED);
    let may_write = !has(AreaFlags::NO_MAY_WRITE);
    let is_accounted = has(AreaFlags::WRITE) && !is_shared && !has(AreaFlags::NO_RESERVE);
    let codes = [
        (has(AreaFlags::READ), "rd"),
        (has(AreaFlags::WRITE), "wr"),
        (has(AreaFlags::EXEC), "ex"),
        (is_shared, "sh"),
        (true, "mr"),
        (may_write, "mw"),
        (true, "me"),
        (is_shared && may_write, "ms"),
        (has(AreaFlags::GROWS_DOWN) || has(AreaFlags::STACK), "gd"),
        (has(AreaFlags::DONT_FORK), "dc"),
        (is_accounted, "ac"),
        (has(AreaFlags::NO_RESERVE), "nr"),
        (has(AreaFlags::WIPE_ON_FORK), "wf"),
        (has(AreaFlags::HUGE), "hg"),
        (has(AreaFlags::NO_HUGE), "nh"),
        (has(AreaFlags::TAGGED), "mt"),
    ];
    text.bytes(b"VmFlags: ");
    for (_, code) in codes.into_iter().filter(|(is_on, _)| *is_on) {
        put!(text, "{code} ");
    }
    text.0.push(b'\n');
}
