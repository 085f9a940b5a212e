// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file stops reclaim in the middle: entries are taken away, and nobody has waited yet.

use base::Vpn;
use hal::Machine;

use crate::mm::{Mapped, Mm};
use crate::reclaim::Eviction;

/// A batch of reclaim whose invalidations are started and not complete.
#[must_use = "its pages go out when this is finished"]
pub struct OpenBatch<'s, M: Machine>(Eviction<'s, M>);

impl<M: Machine> OpenBatch<'_, M> {
    /// Waits, writes, and frees what was taken. Returns the pages freed.
    pub fn finish(self) -> u64 {
        self.0.finish()
    }
}

impl<M: Machine> Mm<M> {
    /// Takes the entry of an anonymous page away, as MADV_PAGEOUT does; `None` if it would not.
    pub fn begin_page_out(&self, page: Vpn) -> Option<OpenBatch<'_, M>> {
        let areas = self.read_areas();
        let me = self.system().mms().get(self.id())?;
        let Mapped::Table(table) = self.mapped_at(page)? else { return None };
        let mut eviction = Eviction::new(self.system());
        let mut lock = self.lock_leaf_table(table);
        let run = self.run_at(&lock, page, lock.present(page)?, 1)?;
        let folio = self.isolate_run(&run).filter(|folio| folio.is_anon())?;
        eviction.take_run(folio, &me, &mut lock, page, 1);
        eviction.issue();
        drop(lock);
        drop(areas);
        Some(OpenBatch(eviction))
    }
}
