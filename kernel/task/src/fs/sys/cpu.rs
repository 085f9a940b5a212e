// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is /sys/devices/system/cpu: which CPUs there are, and how each likes to check tags.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use abi::Errno;
use base::percpu::{CpuId, MAX_CPUS};
use hal::Machine;

use super::fixed;
use super::setting;
use crate::fs::env::Env;
use crate::fs::synthetic::Spec;
use crate::sched::TagChecks;

const NAMES: [&str; MAX_CPUS] = ["cpu0", "cpu1", "cpu2", "cpu3", "cpu4", "cpu5", "cpu6", "cpu7"];

/// The words of `mte_tcf_preferred`.
const WAYS: [(&str, TagChecks); 3] =
    [("async", TagChecks::ASYNC), ("sync", TagChecks::SYNC), ("asymm", TagChecks::ASYMMETRIC)];

pub(super) fn entries<M: Machine>(env: &Arc<Env<M>>) -> Vec<(&'static str, Spec)> {
    let texts = ["online", "possible", "present"];
    let mut entries: Vec<_> = texts.into_iter().map(|name| (name, fixed(range(env)))).collect();
    for (cpu, name) in NAMES.into_iter().enumerate().take(env.machine().nr_cpus()) {
        let settings = match env.machine().has_tags() {
            true => vec![("mte_tcf_preferred", tag_preference(env, CpuId::new(cpu)))],
            false => Vec::new(),
        };
        entries.push((name, Spec::Dir(settings)));
    }
    entries
}

/// Returns the numbers of all CPUs as a range.
pub(super) fn range<M: Machine>(env: &Env<M>) -> String {
    match env.machine().nr_cpus() {
        1 => String::from("0\n"),
        nr_cpus => format!("0-{}\n", nr_cpus - 1),
    }
}

/// The way of checking tags that a CPU prefers (Linux arch/arm64/kernel/mte.c). The asymmetric one
/// is refused where CPUs lack it.
fn tag_preference<M: Machine>(env: &Arc<Env<M>>, cpu: CpuId) -> Spec {
    let preferences = env.tag_preferences();
    let show = move || {
        let preferred = preferences.of(cpu);
        let way = WAYS.into_iter().find(|(_, way)| *way == preferred);
        Ok(format!("{}\n", way.map_or("???", |(word, _)| word)).into_bytes())
    };
    let store = move |bytes: &[u8]| {
        let way = WAYS.into_iter().find(|(word, _)| setting::is_word(bytes, word));
        let (_, way) = way.ok_or(Errno::EINVAL)?;
        if !preferences.available().contains(way) {
            return Err(Errno::EINVAL);
        }
        preferences.set(cpu, way);
        Ok(())
    };
    Spec::Setting(Box::new(show), Box::new(store))
}
