// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file compares what devices know of an address space with its entries.

use alloc::sync::Arc;

use base::Vpn;
use hal::Machine;
use pgtable::{Pte, index_of};

use crate::mm::{Mapped, Mm};

pub(super) fn audit<M: Machine>(mm: &Arc<Mm<M>>) {
    for mirror in mm.mirrors().all() {
        for (page, pfn, may_write, is_exclusive) in mirror.all_known() {
            let pte = present_at(mm, page);
            let pte = pte.unwrap_or_else(|| panic!("a device knows {page:?}: nothing is there"));
            assert_eq!(pte.pfn(), pfn, "a device knows another frame at {page:?}");
            assert!(pte.is_writable() || !may_write, "a device may write {page:?}: {pte:?}");
            assert_eq!(
                pte.is_device_exclusive(),
                is_exclusive,
                "a device has {page:?} for itself: the entry says so, the device does"
            );
            let is_there = pte.is_valid() || pte.is_known_to_device_only();
            assert!(is_there, "a device knows {page:?}: {pte:?}");
        }
    }
}

fn present_at<M: Machine>(mm: &Mm<M>, page: Vpn) -> Option<Pte> {
    match mm.mapped_at(page)? {
        Mapped::Table(table) => mm.lock_leaf_table(table).present(page),
        Mapped::Block(slot) => Some(mm.lock_block(slot)?.pte().advanced(index_of(page) as u32)),
    }
}
