// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder is about areas: ranges of an address space with one backing and one set of rights.
//!
//! An area is Linux's `vma`. A file per verb: `mmap`, `munmap`, `mprotect`, `mremap`, `madvise`,
//! `brk`, `fork`; what they share is `area.rs` (one area) and `areas.rs` (all of them, sorted).
//! Every verb holds the mmap lock, alone if it changes areas, shared if it does not.

mod area;
mod areas;
mod bring_back;
mod brk;
mod fork;
mod madvise;
mod mmap;
mod mprotect;
mod mremap;
mod munmap;
mod query;
mod zap;

pub use area::{Area, AreaFlags, Backing};
pub use areas::Areas;
pub use madvise::{Advice, AdviceError};
pub use mmap::{MapError, MapRequest, Placement};
pub use mprotect::ProtectError;
pub use mremap::{RemapError, RemapRequest};
pub use query::{AreaView, PageView, ResidentView};
