// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads the boot options of experiments, which a kernel built with the feature `lab` has.
//!
//! | option | values | meaning |
//! |---|---|---|
//! | `lab.restore` | `AtRead`, `Page`, `Folio`, `PageOfEntry`, `FolioOnce` | [`Restore`] |
//! | `lab.map` | `one` | a fault on a swap entry maps one page |
//! | `lab.keep` | `on` | what is written to swap stays cached |
//! | `lab.fault` | names with commas between | [`Fault`] |
//! | `lab.race` | a name | instead of programs, a race (`race.rs`) |
//! | `lab.tlb` | names with commas between | [`TlbFault`] |

pub mod race;
pub mod stale;
pub mod watched_table;

use core::fmt::Debug;

use alloc::format;
use alloc::vec::Vec;

use mm::System;
use mm::lab::{Fault, Refault, Restore, TlbFault};

use crate::command_line::CommandLine;
use crate::machine::Granule;

/// Sets up what the options ask for, and says so.
///
/// # Panics
///
/// When one is not known: an experiment that is not the one asked for is worse than none.
pub fn set_up(command_line: &CommandLine<'_>, system: &System<Granule>) {
    let managed = &system.machine().managed;
    let first = managed.iter().map(|run| run.start).min().expect("managed memory");
    let end = managed.iter().map(|run| run.end).max().expect("managed memory");
    stale::watch(first, (end.get() - first.get()) as usize);
    let restore = command_line.value("lab.restore");
    let refault = Refault {
        restore: restore.map_or(Restore::AtRead, |word| named(word, &Restore::ALL)),
        maps_one_page: command_line.value("lab.map").is_some_and(|word| is_on(word, "one")),
        stays_cached: command_line.value("lab.keep").is_some_and(|word| is_on(word, "on")),
    };
    system.set_refault(refault);
    let faults = command_line.value("lab.fault").into_iter().flat_map(|words| words.split(','));
    let faults: Vec<Fault> = faults.map(|word| named(word, &Fault::ALL)).collect();
    faults.iter().for_each(|fault| system.commit(*fault));
    let weak = command_line.value("lab.tlb").into_iter().flat_map(|words| words.split(','));
    let weak: Vec<TlbFault> = weak.map(|word| named(word, &TlbFault::ALL)).collect();
    weak.iter().for_each(|fault| system.weaken(*fault));
    log::info!("lab: {refault:?}, faults {faults:?} {weak:?}");
}

fn named<T: Copy + Debug>(word: &str, all: &[T]) -> T {
    let is_meant = |one: &&T| format!("{one:?}") == word;
    *all.iter().find(is_meant).unwrap_or_else(|| panic!("lab: {word:?} is none of {all:?}"))
}

fn is_on(word: &str, on: &str) -> bool {
    assert_eq!(word, on, "lab: a value that is not known");
    true
}
