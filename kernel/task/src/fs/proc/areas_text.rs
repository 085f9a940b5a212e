// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file makes a text area by area, as it is read: an address space may have more areas than
//! there is memory for the whole text.

use abi::Errno;
use base::Vpn;
use hal::Machine;
use hal::sleep_lock::SleepLock;
use mm::{AreaView, Mm};

use super::Text;
use super::root::ProcFs;
use super::source::ProcessView;
use crate::fs::io::{Sink, or_partial, put_counted};

/// Appends what is shown of one area.
pub(super) type PutArea<M> = fn(&mut Text, &Mm<M>, &AreaView<M>, &ProcFs<M>) -> Result<(), Errno>;

/// How far the reads of one open file have come.
pub(super) struct AreaText {
    /// Offset in the text of what comes next.
    at: u64,
    /// Where the next area is looked for.
    page: Vpn,
    /// What is left of the area before it.
    text: Text,
}

impl Default for AreaText {
    fn default() -> Self {
        Self { at: 0, page: Vpn::new(0), text: Text::default() }
    }
}

impl AreaText {
    /// Makes the text of the next area if none is left of the one before. Returns `false` at the
    /// end.
    fn fill<M: Machine>(
        &mut self,
        put: PutArea<M>,
        mm: &Mm<M>,
        proc: &ProcFs<M>,
    ) -> Result<bool, Errno> {
        if self.text.0.is_empty() {
            let Some(area) = mm.next_area_view(self.page) else { return Ok(false) };
            self.page = area.pages.end;
            put(&mut self.text, mm, &area, proc)?;
        }
        Ok(true)
    }

    fn advance(&mut self, len: usize) {
        self.text.0.drain(..len);
        self.at += len as u64;
    }
}

/// Reads from offset `at` on. Who goes back starts from the first area again.
pub(super) fn read<M: Machine>(
    areas: &SleepLock<AreaText>,
    view: &ProcessView<M>,
    proc: &ProcFs<M>,
    put: PutArea<M>,
    at: u64,
    to: &mut dyn Sink,
) -> Result<usize, Errno> {
    let Some(mm) = &view.mm else { return Ok(0) };
    let mut areas = areas.lock(proc.fs().env().machine());
    if at < areas.at {
        *areas = AreaText::default();
    }
    while areas.at < at && areas.fill(put, mm, proc)? {
        let skipped = (areas.text.0.len() as u64).min(at - areas.at);
        areas.advance(skipped as usize);
    }
    let mut done = 0;
    while to.room() > 0 && areas.at == at + done as u64 && areas.fill(put, mm, proc)? {
        let len = areas.text.0.len().min(to.room());
        let moved = put_counted(to, &areas.text.0[..len]);
        let len_moved = *moved.as_ref().unwrap_or(&0);
        areas.advance(len_moved);
        done += len_moved;
        if len_moved < len {
            return or_partial(done, moved.map(|_| ()));
        }
    }
    Ok(done)
}
