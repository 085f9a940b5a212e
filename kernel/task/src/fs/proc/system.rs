// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the texts about the whole machine.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use abi::Errno;
use base::PAGE_SIZE;
use hal::Machine;

use super::root::SourceCell;
use super::source::ProcSource;
use super::{Text, put, sysctl};
use crate::fs::env::Env;
use crate::fs::synthetic::Spec;

const PAGE_KIB: u64 = PAGE_SIZE as u64 / 1024;

type Shown = Result<Vec<u8>, Errno>;
type Dyn<M> = &'static dyn ProcSource<M>;

/// Ticks of /proc/stat in a second.
const USER_HZ: u64 = 100;

/// Returns what is in the root of procfs beside processes.
pub(super) fn entries<M: Machine>(
    env: &Arc<Env<M>>,
    source: &SourceCell<M>,
) -> Vec<(&'static str, Spec)> {
    let text = |show: fn(&Env<M>) -> Shown| {
        let env = Arc::clone(env);
        Spec::Text(Box::new(move || show(&env)))
    };
    let of_source = |show: fn(Dyn<M>) -> Shown| {
        let source = Arc::clone(source);
        Spec::Text(Box::new(move || show(*source.get().ok_or(Errno::ESRCH)?)))
    };
    let cpu_source = Arc::clone(source);
    let cpu_env = Arc::clone(env);
    let stat = Spec::Text(Box::new(move || stat(&cpu_env, *cpu_source.get().ok_or(Errno::ESRCH)?)));
    let trigger_source = Arc::clone(source);
    let trigger = Spec::Trigger(Box::new(move |bytes| {
        let source = *trigger_source.get().ok_or(Errno::ESRCH)?;
        // The first byte is the key, the rest means nothing (drivers/tty/sysrq.c).
        bytes.first().into_iter().for_each(|key| source.sysrq(*key));
        Ok(())
    }));
    vec![
        ("cmdline", of_source(cmdline)),
        ("cpuinfo", text(cpuinfo)),
        ("filesystems", text(filesystems)),
        ("loadavg", of_source(loadavg)),
        ("meminfo", text(meminfo)),
        ("mounts", Spec::Link("self/mounts")),
        ("stat", stat),
        ("swaps", text(swaps)),
        ("sys", Spec::Dir(sysctl::settings(env, source))),
        ("sysrq-trigger", trigger),
        ("uptime", text(uptime)),
        ("version", of_source(version)),
        ("vmstat", of_source(vmstat)),
    ]
}

fn cpuinfo<M: Machine>(env: &Env<M>) -> Shown {
    let mut text = Text::default();
    for cpu in 0..env.machine().nr_cpus() {
        let tags = if env.machine().has_tags() { " mte" } else { "" };
        put!(text, "processor\t: {cpu}\nBogoMIPS\t: 125.00\nFeatures\t: fp asimd{tags}\n");
        put!(text, "CPU implementer\t: 0x00\nCPU architecture: 8\nCPU variant\t: 0x0\n");
        put!(text, "CPU part\t: 0x051\nCPU revision\t: 0\n\n");
    }
    Ok(text.0)
}

fn filesystems<M: Machine>(_env: &Env<M>) -> Shown {
    let names = ["sysfs", "tmpfs", "proc", "devtmpfs"];
    Ok(names.iter().flat_map(|name| [b"nodev\t", name.as_bytes(), b"\n"].concat()).collect())
}

fn loadavg<M: Machine>(source: Dyn<M>) -> Shown {
    let pids = source.pids();
    let nr_threads: usize = pids.iter().map(|pid| source.tids(*pid).len()).sum();
    let mut text = Text::default();
    put!(text, "0.00 0.00 0.00 1/{nr_threads} {}\n", source.nr_forks());
    Ok(text.0)
}

fn meminfo<M: Machine>(env: &Env<M>) -> Shown {
    let info = env.system().meminfo();
    let inactive_anon = info.inactive;
    let kernel = (info.folio_bytes + info.frame_word_bytes) / PAGE_SIZE as u64;
    let lines = [
        ("MemTotal:", info.total),
        ("MemFree:", info.free),
        ("MemAvailable:", info.available),
        ("Buffers:", 0),
        ("Cached:", info.shmem),
        ("SwapCached:", 0),
        ("Active:", info.active),
        ("Inactive:", info.inactive),
        ("Active(anon):", info.active),
        ("Inactive(anon):", inactive_anon),
        ("Active(file):", 0),
        ("Inactive(file):", 0),
        ("Unevictable:", 0),
        ("Mlocked:", 0),
        ("SwapTotal:", info.swap_total),
        ("SwapFree:", info.swap_free),
        ("Dirty:", 0),
        ("Writeback:", 0),
        ("AnonPages:", info.anon),
        ("Mapped:", info.mapped),
        ("Shmem:", info.shmem),
        ("KReclaimable:", 0),
        ("Slab:", kernel),
        ("SReclaimable:", 0),
        ("SUnreclaim:", kernel),
        ("PageTables:", info.tables),
        ("CommitLimit:", info.total / 2 + info.swap_total),
        ("Committed_AS:", info.anon + info.shmem),
        ("AnonHugePages:", info.block_mapped),
        ("ShmemHugePages:", 0),
        ("ShmemPmdMapped:", 0),
        ("FileHugePages:", 0),
        ("FilePmdMapped:", 0),
        ("SwapMetadata:", info.swap_metadata),
    ];
    let mut text = Text::default();
    for (name, pages) in lines {
        put!(text, "{name:<16}{:8} kB\n", pages * PAGE_KIB);
    }
    // Huge pages are counted in pages, their size in KiB.
    for name in ["HugePages_Total:", "HugePages_Free:", "HugePages_Rsvd:", "HugePages_Surp:"] {
        put!(text, "{name:<16}{:8}\n", 0);
    }
    put!(text, "{:<16}{:8} kB\n", "Hugepagesize:", 2048);
    put!(text, "{:<16}{:8} kB\n", "Hugetlb:", 0);
    Ok(text.0)
}

/// Shows what is mounted.
pub(super) fn mounts<M: Machine>(source: Dyn<M>) -> Shown {
    let mut text = Text::default();
    for mount in source.vfs().mounts() {
        let kind = mount.fs_type;
        put!(text, "{kind} {} {kind} rw,relatime 0 0\n", mount.path);
    }
    Ok(text.0)
}

fn stat<M: Machine>(env: &Env<M>, source: Dyn<M>) -> Shown {
    let mut text = Text::default();
    let ticks = env.machine().now_ns() / (1_000_000_000 / USER_HZ);
    let nr_cpus = env.machine().nr_cpus() as u64;
    // Time is not accounted: all of it is shown as idle.
    put!(text, "cpu  0 0 0 {} 0 0 0 0 0 0\n", ticks * nr_cpus);
    for cpu in 0..nr_cpus {
        put!(text, "cpu{cpu} 0 0 0 {ticks} 0 0 0 0 0 0\n");
    }
    let boot = env.now().seconds - (env.machine().now_ns() / 1_000_000_000) as i64;
    put!(text, "intr 0\nctxt 0\nbtime {boot}\nprocesses {}\n", source.nr_forks());
    put!(text, "procs_running 1\nprocs_blocked 0\nsoftirq 0\n");
    Ok(text.0)
}

fn swaps<M: Machine>(env: &Env<M>) -> Shown {
    let mut text = Text::default();
    put!(text, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
    for area in env.system().swap_areas() {
        let mut name = String::from("/dev/vd");
        name.push(char::from(b'a' + area.disk.0));
        let tab = |kib: u64| if kib < 10_000_000 { "\t" } else { "" };
        let (size, used) = (area.nr_slots * PAGE_KIB, area.nr_used * PAGE_KIB);
        put!(text, "{name:<40}partition\t{size}\t{}", tab(size));
        put!(text, "{used}\t{}{}\n", tab(used), area.priority);
    }
    Ok(text.0)
}

fn uptime<M: Machine>(env: &Env<M>) -> Shown {
    let mut text = Text::default();
    let hundredths = env.machine().now_ns() / 10_000_000;
    let idle = hundredths * env.machine().nr_cpus() as u64;
    put!(text, "{}.{:02} {}.{:02}\n", hundredths / 100, hundredths % 100, idle / 100, idle % 100);
    Ok(text.0)
}

fn cmdline<M: Machine>(source: Dyn<M>) -> Shown {
    let mut text = Text::default();
    put!(text, "{}\n", source.command_line());
    Ok(text.0)
}

fn version<M: Machine>(source: Dyn<M>) -> Shown {
    let (release, version) = source.release();
    let mut text = Text::default();
    put!(text, "Linux version {release} (granule) {version}\n");
    Ok(text.0)
}

/// Counters of Linux's large folios for what does not happen here: no page cache, no
/// accounting groups, no migration between nodes.
const NEVER_COUNTED: [&str; 16] = [
    "nr_shmem_hugepages",
    "nr_shmem_pmdmapped",
    "nr_file_hugepages",
    "nr_file_pmdmapped",
    "thp_migration_success",
    "thp_migration_fail",
    "thp_migration_split",
    "thp_fault_fallback_charge",
    "thp_file_alloc",
    "thp_file_fallback",
    "thp_file_fallback_charge",
    "thp_file_mapped",
    "thp_underused_split_page",
    "thp_scan_exceed_none_pte",
    "thp_scan_exceed_swap_pte",
    "thp_scan_exceed_share_pte",
];

fn vmstat<M: Machine>(source: Dyn<M>) -> Shown {
    let mut text = Text::default();
    source.for_each_counter(&mut |name, value| put!(text, "{name} {value}\n"));
    NEVER_COUNTED.iter().for_each(|name| put!(text, "{name} 0\n"));
    Ok(text.0)
}
