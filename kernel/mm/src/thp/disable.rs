// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file lets a process do without large folios: prctl(PR_SET_THP_DISABLE).

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use hal::Machine;

use crate::mm::Mm;

/// How far a process has switched large folios off.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(u8)]
pub enum ThpDisable {
    /// Not at all.
    #[default]
    No,
    /// In areas that do not say that they want them.
    ExceptAdvised,
    /// Everywhere.
    All,
}

/// What one address space has chosen.
#[derive(Default)]
pub(crate) struct DisableCell(AtomicU8);

impl<M: Machine> Mm<M> {
    /// Returns how far large folios are switched off here.
    #[inline]
    pub fn thp_disable(&self) -> ThpDisable {
        match self.thp_disable_cell().0.load(Relaxed) {
            0 => ThpDisable::No,
            1 => ThpDisable::ExceptAdvised,
            _ => ThpDisable::All,
        }
    }

    /// Switches large folios off or on. Folios that are there stay.
    pub fn set_thp_disable(&self, to: ThpDisable) {
        self.thp_disable_cell().0.store(to as u8, Relaxed);
    }
}
