// SPDX-License-Identifier: MIT OR Apache-2.0
//! This folder tests files, on the simulated machine.

mod archives;
mod contents;
mod descriptors;
mod devices;
mod disks;
mod names;
mod paths;
mod pipes;
mod procs;
pub mod rig;
mod sysfs;
