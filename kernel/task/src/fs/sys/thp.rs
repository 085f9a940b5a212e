// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is /sys/kernel/mm/transparent_hugepage: settings and statistics of large folios (Linux
//! mm/huge_memory.c; Documentation/admin-guide/mm/transhuge.rst).
//!
//! Programs find out what sizes there are by which `hugepages-<N>kB` exist. Shared memory has single
//! pages: its settings say so and take only what keeps it so, as on a Linux machine without huge
//! pages.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use abi::Errno;
use base::Order;
use base::counter::Event;
use hal::Machine;
use mm::{Defrag, Enabled, SizeEnabled, ThpStat};

use super::setting::{choice, kept_choice, number};
use super::{fixed, khugepaged};
use crate::fs::env::Env;
use crate::fs::synthetic::Spec;

/// The orders that anonymous folios can have, and their directories.
const SIZES: [(Order, &str); 8] = [
    (Order::new(2), "hugepages-16kB"),
    (Order::new(3), "hugepages-32kB"),
    (Order::new(4), "hugepages-64kB"),
    (Order::new(5), "hugepages-128kB"),
    (Order::new(6), "hugepages-256kB"),
    (Order::new(7), "hugepages-512kB"),
    (Order::new(8), "hugepages-1024kB"),
    (Order::new(9), "hugepages-2048kB"),
];

// Words in the order of the enums' `ALL`, which is the order in which they are shown.
const ENABLED: &[&str; Enabled::ALL.len()] = &["always", "madvise", "never"];
const SIZE_ENABLED: &[&str; SizeEnabled::ALL.len()] = &["always", "inherit", "madvise", "never"];
const DEFRAG: &[&str; Defrag::ALL.len()] =
    &["always", "defer", "defer+madvise", "madvise", "never"];
const SHMEM: &[&str] = &["always", "within_size", "advise", "never", "deny", "force"];
const SIZE_SHMEM: &[&str] = &["always", "inherit", "within_size", "advise", "never"];

/// Returns what is in the directory.
pub(super) fn entries<M: Machine>(env: &Arc<Env<M>>) -> Vec<(&'static str, Spec)> {
    let mut entries = vec![
        ("defrag", defrag(env)),
        ("enabled", enabled(env)),
        ("hpage_pmd_size", fixed(format!("{}\n", Order::BLOCK.bytes()))),
        ("khugepaged", Spec::Dir(khugepaged::entries())),
        ("shmem_enabled", kept_choice(SHMEM, &["never", "deny"], "never")),
        ("use_zero_page", use_zero_page(env)),
    ];
    entries.extend(SIZES.map(|(order, name)| (name, Spec::Dir(size(env, order)))));
    entries
}

fn enabled<M: Machine>(env: &Arc<Env<M>>) -> Spec {
    let (shown, written) = (Arc::clone(env), Arc::clone(env));
    let set = move |index: usize| {
        written.system().thp().settings().set_enabled(Enabled::ALL[index]);
        Ok(())
    };
    choice(ENABLED, move || shown.system().thp().settings().enabled() as usize, set)
}

fn defrag<M: Machine>(env: &Arc<Env<M>>) -> Spec {
    let (shown, written) = (Arc::clone(env), Arc::clone(env));
    let set = move |index: usize| {
        written.system().thp().settings().set_defrag(Defrag::ALL[index]);
        Ok(())
    };
    choice(DEFRAG, move || shown.system().thp().settings().defrag() as usize, set)
}

fn use_zero_page<M: Machine>(env: &Arc<Env<M>>) -> Spec {
    let (shown, written) = (Arc::clone(env), Arc::clone(env));
    let set = move |wish| {
        if wish > 1 {
            return Err(Errno::EINVAL);
        }
        written.system().thp().settings().set_use_zero_page(wish == 1);
        Ok(())
    };
    number(move || shown.system().thp().settings().use_zero_page().into(), set)
}

/// Returns what is in the directory of one size.
fn size<M: Machine>(env: &Arc<Env<M>>, order: Order) -> Vec<(&'static str, Spec)> {
    let shmem = if order == Order::BLOCK { "inherit" } else { "never" };
    vec![
        ("enabled", size_enabled(env, order)),
        ("shmem_enabled", kept_choice(SIZE_SHMEM, &["inherit", "never"], shmem)),
        ("stats", Spec::Dir(stats(env, order))),
    ]
}

fn size_enabled<M: Machine>(env: &Arc<Env<M>>, order: Order) -> Spec {
    let (shown, written) = (Arc::clone(env), Arc::clone(env));
    let set = move |index: usize| {
        written.system().thp().settings().set_size(order, SizeEnabled::ALL[index]);
        Ok(())
    };
    let get = move || shown.system().thp().settings().sizes().get(order) as usize;
    choice(SIZE_ENABLED, get, set)
}

fn stats<M: Machine>(env: &Arc<Env<M>>, order: Order) -> Vec<(&'static str, Spec)> {
    let file = |stat: &ThpStat| {
        let stat = *stat;
        let env = Arc::clone(env);
        let show = move || {
            let count = env.system().thp().stats().total(stat, order);
            Ok(format!("{count}\n").into_bytes())
        };
        (ThpStat::NAMES[stat.index()], Spec::Text(Box::new(show)))
    };
    ThpStat::ALL.iter().map(file).collect()
}
