// SPDX-License-Identifier: MIT OR Apache-2.0
//! This crate builds Granule, boots it under QEMU and runs all its tests.
//!
//! | verb | file | |
//! |---|---|---|
//! | `setup` | `setup.rs` | installs what is missing, through `need.rs` and `package_manager.rs` |
//! | `build` | `build.rs` | the kernel ELF, flattened by `image.rs`, and the EL0 programs |
//! | `run` | `run.rs` | boots a guest and shows what it prints, `terminal_picture.rs` draws it |
//! | `bench` | `bench/` | instructions counted, on Linux too, which `linux_kernel.rs` fetches |
//! | `counters` | `counters.rs` | what the kernel counted in a run; docs/COUNTERS.md |
//! | `trace` | `trace.rs` | events of a run, for viewers |
//! | `record`, `replay` | `record.rs`, `replay.rs` | a run that repeats, kept by `recording.rs` |
//! | `gdb` | `gdb.rs` | a stopped guest and a debugger |
//! | `test` | `test.rs` | every check and every test, counted |
//! | `check` | `check.rs` | the rules that no compiler checks |
//!
//! A guest is made in `guest.rs`: a machine profile (`profile.rs`, `qemu/*.toml`), disks
//! (`swap_image.rs`), an initramfs (`initramfs.rs`), and a command line that `qemu.rs`, the only file
//! that knows QEMU's flags, writes. `watchdog.rs` runs it, `symbolize.rs` reads its backtraces.
//! The test harnesses in `tests/` use the same parts.

#![forbid(unsafe_code)]

pub mod bench;
pub mod build;
pub mod check;
pub mod choices;
pub mod counters;
pub mod debian;
pub mod error;
pub mod gdb;
pub mod guest;
pub mod image;
pub mod initramfs;
pub mod libtest;
pub mod lines;
pub mod linux_kernel;
pub mod linux_modules;
pub mod marked;
pub mod need;
pub mod newer_qemu;
pub mod options;
pub mod overlay;
pub mod package_manager;
pub mod profile;
pub mod qemu;
pub mod record;
pub mod recording;
pub mod replay;
pub mod report;
pub mod run;
pub mod scratch;
pub mod setup;
pub mod size;
pub mod swap_image;
pub mod symbolize;
pub mod terminal_picture;
pub mod test;
pub mod trace;
pub mod watchdog;
pub mod workspace;
