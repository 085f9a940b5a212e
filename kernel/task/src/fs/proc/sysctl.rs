// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the settings below /proc/sys.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use abi::Errno;
use base::sync::atomic::{AtomicI64, Ordering};
use hal::Machine;

use super::root::SourceCell;
use super::{Text, put};
use crate::fs::env::Env;
use crate::fs::synthetic::Spec;

/// Returns what is below /proc/sys.
pub(super) fn settings<M: Machine>(
    env: &Arc<Env<M>>,
    source: &SourceCell<M>,
) -> Vec<(&'static str, Spec)> {
    let release = |pick: fn((&'static str, &'static str)) -> &'static str| {
        let source = Arc::clone(source);
        Spec::Text(Box::new(move || {
            Ok([pick(source.get().ok_or(Errno::ESRCH)?.release()).as_bytes(), b"\n"].concat())
        }))
    };
    let kernel = vec![
        ("cap_last_cap", fixed("40")),
        ("core_pattern", fixed("core")),
        ("hostname", fixed("granule")),
        ("ngroups_max", fixed("65536")),
        ("osrelease", release(|(release, _)| release)),
        ("ostype", fixed("Linux")),
        ("overflowuid", fixed("65534")),
        ("pid_max", fixed("32768")),
        ("randomize_va_space", number(2, 0..=2)),
        ("tainted", fixed("0")),
        ("threads-max", fixed("4096")),
        ("version", release(|(_, version)| version)),
    ];
    let vm = vec![
        // There is no cache of files to drop: what tmpfs has is the only copy.
        ("drop_caches", number(0, 1..=4)),
        ("max_map_count", number(65_530, 0..=i64::from(i32::MAX))),
        ("min_free_kbytes", number(4096, 0..=i64::from(i32::MAX))),
        ("mmap_min_addr", fixed("65536")),
        ("nr_hugepages", number(0, 0..=0)),
        ("overcommit_memory", number(0, 0..=2)),
        ("overcommit_ratio", number(50, 0..=i64::from(i32::MAX))),
        ("page-cluster", page_cluster(env)),
        ("swappiness", number(60, 0..=200)),
        ("vfs_cache_pressure", number(100, 0..=i64::from(i32::MAX))),
    ];
    let fs = vec![("file-max", fixed("65536")), ("nr_open", fixed("1024"))];
    let abi = vec![("tagged_addr_disabled", number(0, 0..=0))];
    vec![
        ("abi", Spec::Dir(abi)),
        ("fs", Spec::Dir(fs)),
        ("kernel", Spec::Dir(kernel)),
        ("vm", Spec::Dir(vm)),
    ]
}

fn fixed(value: &'static str) -> Spec {
    Spec::Text(Box::new(move || Ok([value.as_bytes(), b"\n"].concat())))
}

/// A number that is shown as it was last written. What it stands for is decided at boot; programs
/// write back what they found.
fn number(start: i64, range: core::ops::RangeInclusive<i64>) -> Spec {
    let value = Arc::new(AtomicI64::new(start));
    let written = Arc::clone(&value);
    let store = move |wish: i64| {
        if !range.contains(&wish) {
            return Err(Errno::EINVAL);
        }
        written.store(wish, Ordering::Relaxed);
        Ok(())
    };
    setting(move || value.load(Ordering::Relaxed), store)
}

/// How many pages a fault reads from swap at most, as a power of two. More than there can be is as
/// many as there can be.
fn page_cluster<M: Machine>(env: &Arc<Env<M>>) -> Spec {
    let (shown, written) = (Arc::clone(env), Arc::clone(env));
    let store = move |wish: i64| match u32::try_from(wish) {
        Ok(order @ 0..=31) => {
            written.system().set_page_cluster(order);
            Ok(())
        }
        _ => Err(Errno::EINVAL),
    };
    setting(move || shown.system().page_cluster().into(), store)
}

fn setting(
    value: impl Fn() -> i64 + Send + Sync + 'static,
    store: impl Fn(i64) -> Result<(), Errno> + Send + Sync + 'static,
) -> Spec {
    let show = move || {
        let mut text = Text::default();
        put!(text, "{}\n", value());
        Ok(text.0)
    };
    let store = move |bytes: &[u8]| {
        let text = core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
        store(text.trim().parse().map_err(|_| Errno::EINVAL)?)
    };
    Spec::Setting(Box::new(show), Box::new(store))
}
