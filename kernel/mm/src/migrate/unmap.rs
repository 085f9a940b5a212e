// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file takes collected folios away from all other address spaces, and judges who else holds them.
//! Linux's `migrate_device_unmap()`.

use base::sync::stop_point;
use hal::{Machine, TraceKind};

use super::finalize::restore;
use super::source::{Kind, Source};
use super::{MigrateWord, Migration};
use crate::tlb::TlbBatch;

impl<'m, M: Machine> Migration<'m, M> {
    pub(super) fn unmap(&mut self) {
        let folios = || [self.first_address(), self.sources.len() as u64];
        let _span = self.mm.machine().span(TraceKind::MigrateUnmap, folios);
        stop_point("collected");
        let mut tlbs = TlbBatch::new(self.mm.system());
        let mut is_frozen = |source: &Source<'m, M>| match &source.kind {
            Kind::Hole => true,
            Kind::Ram(folio, frozen) => frozen.freeze_all(folio, &mut tlbs).is_ok(),
            Kind::Device(folio) => {
                self.mm.system().hide_from_mirrors(folio);
                true
            }
        };
        let frozen: alloc::vec::Vec<bool> = self.sources.iter().map(&mut is_frozen).collect();
        tlbs.complete();
        let mut at = 0;
        let mut frozen = frozen.into_iter();
        while at < self.sources.len() {
            if frozen.next() == Some(true) && may_leave(&self.sources[at]) {
                at += 1;
            } else {
                let source = self.sources.remove(at);
                self.src[source.index] = MigrateWord::NONE;
                restore(source);
            }
        }
    }
}

/// Tells whether nobody else can reach a folio whose entries are all frozen. Its swap slots go, if no
/// entry refers to them: a device has no swap.
fn may_leave<M: Machine>(source: &Source<'_, M>) -> bool {
    let Kind::Ram(folio, _) = &source.kind else { return true };
    !folio.is_pinned()
        && folio.has_no_other_reference(1)
        && folio.system().try_free_swap(folio)
        && folio.has_no_other_reference(1)
}
