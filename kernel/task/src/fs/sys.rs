// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is sysfs, as far as programs about memory read it.
//!
//! There are no transparent huge pages yet: their settings show `never`, take every word that Linux
//! takes, and show `never` again. Programs find out what sizes there are by which
//! `hugepages-<N>kB` exist, so none does.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use abi::Errno;
use abi::stat::SYSFS_MAGIC;
use base::sync::atomic::{AtomicU64, Ordering};
use hal::Machine;

use super::env::Env;
use super::inode::InodeRef;
use super::synthetic::{Spec, Synthetic};

/// Makes sysfs.
pub fn new_sys_fs<M: Machine>(env: &Arc<Env<M>>) -> InodeRef<M> {
    let fs = Synthetic::new(env, SYSFS_MAGIC);
    let kernel = vec![("mm", Spec::Dir(vec![("transparent_hugepage", Spec::Dir(thp()))]))];
    let devices = vec![(
        "system",
        Spec::Dir(vec![("cpu", Spec::Dir(cpus(env))), ("node", Spec::Dir(nodes(env)))]),
    )];
    fs.build(vec![("devices", Spec::Dir(devices)), ("kernel", Spec::Dir(kernel))])
}

/// A setting with one of several words, shown as `a [b] c`. It stays what it is: `chosen`.
fn choice(words: &'static [&'static str], chosen: &'static str) -> Spec {
    let show = move || {
        let shown = words.iter().map(|word| match *word == chosen {
            true => format!("[{word}]"),
            false => String::from(*word),
        });
        let mut text = shown.collect::<Vec<_>>().join(" ");
        text.push('\n');
        Ok(text.into_bytes())
    };
    let store = move |bytes: &[u8]| {
        let word = core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?.trim();
        if words.contains(&word) { Ok(()) } else { Err(Errno::EINVAL) }
    };
    Spec::Setting(Box::new(show), Box::new(store))
}

/// A number up to `max` that is shown as it was written.
fn number(start: u64, max: u64) -> Spec {
    let value = Arc::new(AtomicU64::new(start));
    let written = Arc::clone(&value);
    let show = move || Ok(format!("{}\n", value.load(Ordering::Relaxed)).into_bytes());
    let store = move |bytes: &[u8]| {
        let text = core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
        let wish: u64 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
        if wish > max {
            return Err(Errno::EINVAL);
        }
        written.store(wish, Ordering::Relaxed);
        Ok(())
    };
    Spec::Setting(Box::new(show), Box::new(store))
}

fn fixed(text: String) -> Spec {
    Spec::Text(Box::new(move || Ok(text.clone().into_bytes())))
}

fn thp() -> Vec<(&'static str, Spec)> {
    const DEFRAG: &[&str] = &["always", "defer", "defer+madvise", "madvise", "never"];
    const SHMEM: &[&str] = &["always", "within_size", "advise", "never", "deny", "force"];
    let max = u64::from(u32::MAX);
    let khugepaged = vec![
        ("alloc_sleep_millisecs", number(60_000, max)),
        ("defrag", number(1, 1)),
        ("full_scans", fixed(String::from("0\n"))),
        ("max_ptes_none", number(511, 511)),
        ("max_ptes_shared", number(256, 511)),
        ("max_ptes_swap", number(64, 511)),
        ("pages_collapsed", fixed(String::from("0\n"))),
        ("pages_to_scan", number(4096, max)),
        ("scan_sleep_millisecs", number(10_000, max)),
    ];
    vec![
        ("defrag", choice(DEFRAG, "madvise")),
        ("enabled", choice(&["always", "madvise", "never"], "never")),
        ("hpage_pmd_size", fixed(String::from("2097152\n"))),
        ("khugepaged", Spec::Dir(khugepaged)),
        ("shmem_enabled", choice(SHMEM, "never")),
        ("use_zero_page", number(1, 1)),
    ]
}

fn cpus<M: Machine>(env: &Arc<Env<M>>) -> Vec<(&'static str, Spec)> {
    let range = cpu_range(env);
    let names = ["online", "possible", "present"];
    names.into_iter().map(|name| (name, fixed(range.clone()))).collect()
}

fn cpu_range<M: Machine>(env: &Env<M>) -> String {
    match env.machine().nr_cpus() {
        1 => String::from("0\n"),
        nr_cpus => format!("0-{}\n", nr_cpus - 1),
    }
}

fn nodes<M: Machine>(env: &Arc<Env<M>>) -> Vec<(&'static str, Spec)> {
    let names = ["has_cpu", "has_memory", "has_normal_memory", "online", "possible"];
    let mut entries: Vec<_> =
        names.into_iter().map(|name| (name, fixed(String::from("0\n")))).collect();
    entries.push(("node0", Spec::Dir(vec![("cpulist", fixed(cpu_range(env)))])));
    entries
}
