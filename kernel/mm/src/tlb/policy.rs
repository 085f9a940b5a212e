// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file says how much is invalidated and waited for at a time.

/// How invalidations are put together. The rules are the same for all; a boot option chooses, so that
/// their costs can be compared (docs/adr/0008-tlb-generations.md).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(u8)]
pub enum TlbPolicy {
    /// One invalidation for each page, and one barrier after each.
    Page,
    /// One invalidation for neighbours, one barrier for an operation or for what it frees at a time.
    #[default]
    Batch,
    /// The same, but what is freed waits at its CPU until somebody there has waited anyway.
    Generation,
}

impl TlbPolicy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Page, Self::Batch, Self::Generation];

    pub(super) const fn from_raw(raw: u8) -> Self {
        Self::ALL[raw as usize]
    }
}
