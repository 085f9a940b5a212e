// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder gets memory back: which pages (`lru.rs`, `scan.rs`), how (`evict.rs`), and for whom
//! (`kswapd.rs` in the background, `direct.rs` for an allocation, `advise.rs` because a program
//! says so). When nothing can be got back, `oom.rs` says who should go.
//!
//! Reclaim allocates nothing but single frames from the reserve below the lowest watermark (swap
//! tables, tag storage), each of which lets it free dozens. It waits for nothing but its own block
//! requests: folios are locked by trying, page tables by their spin locks, and no mmap lock is
//! taken, so it can run on behalf of a thread that holds one.

mod advise;
mod deferred_split;
mod direct;
mod evict;
mod kswapd;
mod lru;
mod oom;
mod scan;

pub(crate) use deferred_split::DeferredSplits;
#[cfg(feature = "lab")]
pub(crate) use evict::Eviction;
pub(crate) use lru::{ListKind, Lru};
pub use oom::{OomCandidate, pick_oom_victim};

use base::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};

/// State of reclaim.
pub(crate) struct ReclaimState {
    /// The background thread has work to do.
    kswapd_wanted: AtomicBool,
    /// Largest run of frames that it is to reclaim for.
    kswapd_order: AtomicU32,
    /// Shard of the LRU lists that is looked at next.
    next_shard: AtomicUsize,
}

impl ReclaimState {
    pub(crate) fn new() -> Self {
        Self {
            kswapd_wanted: AtomicBool::new(false),
            kswapd_order: AtomicU32::new(0),
            next_shard: AtomicUsize::new(0),
        }
    }
}
