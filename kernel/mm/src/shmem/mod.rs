// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder keeps shared-memory objects: the content of tmpfs files and of shared anonymous
//! memory.
//!
//! An object is a map from page number to a folio, a swap slot, or nothing (a hole, which reads as
//! zeroes). Its pages are reclaimed like anonymous ones; the map then names the slot.
//!
//! # Who may change what
//!
//! - A map entry changes under the map's lock *and*, if it names a folio, under that folio's lock.
//!   So who has a folio locked and finds it still in its place knows it stays there.
//! - The map holds one reference to each folio in it, and counts one in each slot.
//! - Bytes are written with the folio locked: reclaim cannot write it out meanwhile.

mod object;
mod page;
mod reclaim;
mod registry;
mod size;

pub(crate) use object::ShmemPlace;
pub use object::{PagePool, Shmem, ShmemError};
pub(crate) use registry::ShmemRegistry;
