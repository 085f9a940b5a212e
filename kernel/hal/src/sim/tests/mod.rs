// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the tests of the simulated machine: each sin is caught, each right way passes.

mod barriers;
mod break_before_make;
mod dirty;
mod disks;
mod memory;
mod mte;
mod reclaim;
mod reuse;
mod rig;
mod runs;
mod schedule;
mod stale;
mod tables;
mod threads;
mod user;
