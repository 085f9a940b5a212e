// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder is procfs, in the text that Linux writes: programs parse it.
//!
//! | file | where |
//! |---|---|
//! | meminfo, vmstat, stat, swaps, mounts | `system.rs` |
//! | sys/... | `sysctl.rs` |
//! | PID, self, thread-self | `root.rs`, `pid.rs` |
//! | PID/maps, smaps | `maps.rs`, `smaps.rs`, as they are read `areas_text.rs` |
//! | PID/pagemap | `pagemap.rs` |
//! | PID/status, stat, statm, cmdline | `status.rs` |
//! | PID/oom_score, oom_score_adj, oom_adj | `oom.rs` |
//! | what is asked of the process layer | `source.rs` |
//!
//! A process that is looked at may end meanwhile: what is left is shown, and then ESRCH is
//! returned. Its address space is kept from being torn down by a user of it ([`MmUser`]).

mod areas_text;
mod maps;
mod oom;
mod pagemap;
mod pid;
mod root;
mod smaps;
mod source;
mod status;
mod sysctl;
mod system;

pub use root::{ProcFs, new_proc_fs};
pub use source::{MmUser, ProcSource, ProcessView};

use alloc::vec::Vec;
use core::fmt;

/// A text under construction, in bytes: names need not be UTF-8.
#[derive(Default)]
struct Text(Vec<u8>);

impl Text {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Appends formatted text, which cannot fail.
macro_rules! put {
    ($text:expr, $($arg:tt)*) => {{
        use core::fmt::Write;
        let _ = write!($text, $($arg)*);
    }};
}
use put;
