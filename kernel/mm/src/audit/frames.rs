// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file accounts for every frame: none is lost, none is in two hands.

use base::Order;
use hal::Machine;

use super::observed::Observed;
use crate::folio::FolioFlags;
use crate::frame::word::FrameKind;
use crate::system::System;

pub(super) fn audit<M: Machine>(system: &System<M>, seen: &Observed, swap_frames: u64) {
    let mut folio_pages = 0;
    let mut free = 0;
    let mut tables = 0;
    let mut swap = 0;
    let mut zeroes = 0;
    for range in system.machine().managed_frames() {
        for raw in range.start.get()..range.end.get() {
            let pfn = base::Pfn::new(raw);
            match system.words().kind(pfn) {
                FrameKind::Free => free += 1,
                FrameKind::Folio => folio_pages += 1,
                FrameKind::Table => {
                    assert!(seen.tables.contains(&pfn), "table page {pfn:?} is in no tree");
                    tables += 1;
                }
                FrameKind::SwapTable | FrameKind::TagStore => swap += 1,
                FrameKind::Zero => zeroes += 1,
                FrameKind::Heap => {}
            }
        }
    }
    let nr_pages = |is_device: bool| -> u64 {
        let folios = system.folios().live().map(|id| system.folio(id));
        let of_kind = folios.filter(|folio| folio.has(FolioFlags::DEVICE) == is_device);
        of_kind.map(|folio| u64::from(folio.order().nr_pages())).sum()
    };
    let in_folios = nr_pages(false);
    assert_eq!(folio_pages, in_folios, "frames of folios: by word, by descriptor");
    assert_eq!(tables, seen.tables.len(), "table pages: by word, by tree");
    assert_eq!(swap, swap_frames, "frames of swap tables and tags: by word, by area");
    let huge = system.thp().huge_zero.first().map_or(0, |_| Order::BLOCK.nr_pages());
    assert_eq!(
        zeroes,
        1 + huge,
        "pages of zeroes: the small one, and the huge one if there is one"
    );
    let kept = system.front().nr_free() + system.front().nr_cached();
    assert_eq!(kept, free, "free frames: by allocator, by word");
    let devices = (0..system.nr_devices() as u8).map(hal::DeviceId);
    let in_use = devices.map(|device| system.device_frames(device)).map(|(free, all)| all - free);
    assert_eq!(
        in_use.sum::<u64>(),
        nr_pages(true),
        "frames of devices: by allocator, by descriptor"
    );
}
