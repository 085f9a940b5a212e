// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the texts about one process: status, stat, statm, cmdline, comm (Linux
//! fs/proc/array.c, fs/proc/base.c).

use alloc::vec::Vec;
use core::ops::Range;

use abi::Errno;
use base::{PAGE_SIZE, VirtAddr};
use hal::Machine;
use mm::{AreaFlags, MmStats};

use super::root::ProcFs;
use super::source::ProcessView;
use super::{Text, maps, put, system};

const PAGE_KIB: u64 = PAGE_SIZE as u64 / 1024;

/// The 41 capabilities of Linux 7.0.
const ALL_CAPS: u64 = 0x1ff_ffff_ffff;

/// Most bytes of arguments or environment that are shown.
const MAX_STRINGS: u64 = 128 << 10;

type Shown = Result<Vec<u8>, Errno>;

pub(super) fn comm<M: Machine>(view: &ProcessView<M>, _proc: &ProcFs<M>) -> Shown {
    let mut text = view.name.clone();
    text.push(b'\n');
    Ok(text)
}

pub(super) fn cmdline<M: Machine>(view: &ProcessView<M>, proc: &ProcFs<M>) -> Shown {
    read_strings(view, proc, &view.args)
}

pub(super) fn environ<M: Machine>(view: &ProcessView<M>, proc: &ProcFs<M>) -> Shown {
    read_strings(view, proc, &view.env)
}

/// Reads strings from the process's own memory, which it may have changed, or unmapped.
fn read_strings<M: Machine>(view: &ProcessView<M>, proc: &ProcFs<M>, range: &Range<u64>) -> Shown {
    let Some(mm) = &view.mm else { return Ok(Vec::new()) };
    let len = range.end.saturating_sub(range.start).min(MAX_STRINGS) as usize;
    let mut bytes = proc.fs().env().buffer(len)?;
    let done = mm.read_remote(VirtAddr::new(range.start), &mut bytes);
    if let Err(stop) = done {
        bytes.truncate(stop.done);
    }
    Ok(bytes)
}

pub(super) fn wchan<M: Machine>(_view: &ProcessView<M>, _proc: &ProcFs<M>) -> Shown {
    Ok(Vec::from(b"0"))
}

pub(super) fn mounts<M: Machine>(_view: &ProcessView<M>, proc: &ProcFs<M>) -> Shown {
    system::mounts(proc.source()?)
}

/// What an address space has, in pages.
#[derive(Default)]
struct Sizes {
    stats: MmStats,
    data: u64,
    stack: u64,
    code: u64,
    shared: u64,
}

impl Sizes {
    fn of<M: Machine>(view: &ProcessView<M>) -> Self {
        let Some(mm) = &view.mm else { return Self::default() };
        let mut sizes = Self { stats: mm.stats(), ..Self::default() };
        for area in maps::areas(mm) {
            let pages = area.pages.nr_pages();
            let has = |flag| area.flags.contains(flag);
            if has(AreaFlags::STACK) {
                sizes.stack += pages;
            } else if has(AreaFlags::SHARED) {
                sizes.shared += pages;
            } else if has(AreaFlags::WRITE) {
                sizes.data += pages;
            } else if has(AreaFlags::EXEC) {
                sizes.code += pages;
            }
        }
        sizes
    }

    fn rss(&self) -> u64 {
        self.stats.anon + self.stats.shmem
    }
}

fn state_name(state: u8) -> &'static str {
    match state {
        b'R' => "running",
        b'T' => "stopped",
        b'Z' => "zombie",
        _ => "sleeping",
    }
}

pub(super) fn status<M: Machine>(view: &ProcessView<M>, _proc: &ProcFs<M>) -> Shown {
    let mut text = Text::default();
    text.bytes(b"Name:\t").bytes(&view.name).bytes(b"\n");
    put!(text, "Umask:\t{:04o}\n", view.umask);
    put!(text, "State:\t{} ({})\n", char::from(view.state), state_name(view.state));
    put!(text, "Tgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\n", view.tgid, view.pid, view.ppid);
    put!(text, "TracerPid:\t0\n");
    for (name, [real, effective, saved, of_files]) in ["Uid", "Gid"].into_iter().zip(view.ids) {
        put!(text, "{name}:\t{real}\t{effective}\t{saved}\t{of_files}\n");
    }
    put!(text, "FDSize:\t{}\nGroups:\t \n", view.files.capacity());
    put!(text, "NStgid:\t{}\nNSpid:\t{}\n", view.tgid, view.pid);
    put!(text, "NSpgid:\t{}\nNSsid:\t{}\nKthread:\t0\n", view.group, view.session);
    if view.mm.is_some() {
        put_memory(&mut text, &Sizes::of(view));
    }
    put!(text, "Threads:\t{}\nSigQ:\t0/1024\n", view.nr_threads);
    let names = ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"];
    for (name, set) in names.into_iter().zip(view.signals) {
        put!(text, "{name}:\t{set:016x}\n");
    }
    let permitted = if view.may_be_privileged { ALL_CAPS } else { 0 };
    let effective = if view.is_privileged { ALL_CAPS } else { 0 };
    for (name, caps) in
        [("Inh", 0), ("Prm", permitted), ("Eff", effective), ("Bnd", ALL_CAPS), ("Amb", 0)]
    {
        put!(text, "Cap{name}:\t{caps:016x}\n");
    }
    put!(text, "NoNewPrivs:\t0\nSeccomp:\t0\nSeccomp_filters:\t0\n");
    put!(text, "voluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n");
    Ok(text.0)
}

fn put_memory(text: &mut Text, sizes: &Sizes) {
    let stats = &sizes.stats;
    // The highest values so far are not kept: those of the moment stand for them.
    let lines = [
        ("VmPeak", stats.mapped),
        ("VmSize", stats.mapped),
        ("VmLck", 0),
        ("VmPin", 0),
        ("VmHWM", sizes.rss()),
        ("VmRSS", sizes.rss()),
        ("RssAnon", stats.anon),
        ("RssFile", 0),
        ("RssShmem", stats.shmem),
        ("VmData", sizes.data),
        ("VmStk", sizes.stack),
        ("VmExe", sizes.code),
        ("VmLib", 0),
        ("VmPTE", stats.tables),
        ("VmSwap", stats.swap),
        ("HugetlbPages", 0),
    ];
    for (name, pages) in lines {
        put!(text, "{name}:\t{:8} kB\n", pages * PAGE_KIB);
    }
    put!(text, "CoreDumping:\t0\nTHP_enabled:\t0\nuntag_mask:\t0xffffffffffffff\n");
}

pub(super) fn statm<M: Machine>(view: &ProcessView<M>, _proc: &ProcFs<M>) -> Shown {
    let mut text = Text::default();
    let sizes = Sizes::of(view);
    let stats = &sizes.stats;
    put!(
        text,
        "{} {} {} {} 0 {} 0\n",
        stats.mapped,
        sizes.rss(),
        stats.shmem,
        sizes.code,
        sizes.data + sizes.stack
    );
    Ok(text.0)
}

/// Shows the 52 fields of stat; those that are not known are 0.
pub(super) fn stat<M: Machine>(view: &ProcessView<M>, _proc: &ProcFs<M>) -> Shown {
    let sizes = Sizes::of(view);
    let stats = &sizes.stats;
    let mut text = Text::default();
    put!(text, "{} (", view.pid);
    text.bytes(&view.name);
    put!(text, ") {} {} {} {}", char::from(view.state), view.ppid, view.group, view.session);
    // tty_nr is 5:1; the foreground group is not looked up.
    put!(text, " 1281 -1 4194304 {} 0 {} 0", stats.minor_faults, stats.major_faults);
    put!(text, " 0 0 0 0 20 0 {} 0 0", view.nr_threads);
    put!(text, " {} {} 18446744073709551615", stats.mapped * PAGE_SIZE as u64, sizes.rss());
    put!(text, " 0 0 0 0 0");
    let [pending, _, blocked, ignored, caught] = view.signals;
    put!(text, " {pending} {blocked} {ignored} {caught} 0 0 0 17 0 0 0 0 0 0 0 0 0");
    put!(text, " {} {} {} {} 0\n", view.args.start, view.args.end, view.env.start, view.env.end);
    Ok(text.0)
}
