// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file lends frames that block devices read to and write from.

use base::Pfn;
use hal::Machine;

use super::word::FrameKind;
use super::{AllocMode, OutOfMemory};
use crate::system::System;

/// A frame that belongs to whoever holds this.
pub struct BounceFrame<'s, M: Machine> {
    system: &'s System<M>,
    pfn: Pfn,
}

impl<M: Machine> System<M> {
    /// Lends a frame, content undefined.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`].
    pub fn bounce_frame(&self) -> Result<BounceFrame<'_, M>, OutOfMemory> {
        let pfn = self.alloc_frame_as(FrameKind::SwapTable, AllocMode::MayReclaim)?;
        Ok(BounceFrame { system: self, pfn })
    }
}

impl<M: Machine> BounceFrame<'_, M> {
    /// Returns the frame.
    pub fn pfn(&self) -> Pfn {
        self.pfn
    }

    /// Keeps the frame: whoever has its number frees it.
    pub(crate) fn keep(self) -> Pfn {
        let pfn = self.pfn;
        core::mem::forget(self);
        pfn
    }
}

impl<M: Machine> Drop for BounceFrame<'_, M> {
    fn drop(&mut self) {
        self.system.free_frame(self.pfn);
    }
}
