// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder owns physical frames: what each one is, and which are free.
//!
//! # The life of a frame
//!
//! 1. At start all managed memory is whole 2 MiB blocks in the buddy allocator (`big.rs`).
//! 2. A block is taken from there when small orders run out, and cut up in `front.rs`: a bit per
//!    frame, blocks on lists by the largest order they can still serve, everything O(1). A block
//!    that becomes wholly free stays there for the next 2 MiB folio.
//! 3. Single frames pass through a cache per CPU (`front.rs`), 32 at a time.
//! 4. An allocated frame's word (`word.rs`) says what it is: part of a folio, a table page, ...
//! 5. Freed frames go back the same way. A frame is freed only when no TLB can reach it any more
//!    (`tlb/`).
//!
//! # Locks
//!
//! `FrameCache` (per CPU) > `FrameBlocks` > `FrameBig`. None is held across a call that can sleep.

mod alloc;
mod big;
mod bounce;
mod front;
mod watermark;
pub mod word;

pub use alloc::{AllocMode, OutOfMemory};
pub(crate) use big::BigBlocks;
pub use bounce::BounceFrame;
pub(crate) use front::FrameFront;
pub use watermark::Watermarks;
pub(crate) use word::{FrameWords, MteState};
