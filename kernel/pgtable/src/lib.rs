// SPDX-License-Identifier: MIT OR Apache-2.0
//! This crate knows VMSAv8-64 translation tables: 4 KiB granule, 48-bit addresses, four levels.
//!
//! It says what an entry's bits mean and where an address's entries are. It takes no lock and
//! frees no memory; `mm` decides who may change an entry when.
//!
//! | what | file |
//! |---|---|
//! | levels, indices, spans | `level.rs` |
//! | present entries: permissions, access and dirty state, memory type | `pte.rs` |
//! | entries that are not present: swap, migration, device-private, poison | `swap_pte.rs` |
//! | from a root and a page to an entry | `walk.rs` |
//! | which change of an entry needs which sequence | `break_before_make.rs` |

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod break_before_make;
pub mod level;
pub mod pte;
pub mod swap_pte;
pub mod walk;

pub use break_before_make::{Change, change_of};
pub use level::{ENTRIES_PER_TABLE, Level};
pub use pte::{MemType, Prot, Pte, Rights, TablePte};
pub use swap_pte::{AreaId, Entry, NEXT_SLOT, NonPresent, SwapEntry};
pub use walk::{Found, find, index_of};
