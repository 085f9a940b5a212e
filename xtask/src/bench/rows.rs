// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file lists the rows of the benchmark: their names, what they are, and what they are to cost.

/// What a row's numbers are given for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Per {
    /// One number a kernel.
    Once,
    /// One for each size of folios, with tags and without.
    Page,
    /// The same, for points of a series.
    Series(&'static [&'static str]),
    /// One for each point of a series.
    Points(&'static [&'static str]),
}

/// A row, or a group of rows that differ in one number.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name in the guest's report.
    pub name: &'static str,
    /// What is measured.
    pub title: &'static str,
    /// What its numbers are given for.
    pub per: Per,
    /// What it is to cost, with folios of 4 KiB, 64 KiB and 2 MiB, or in the first place.
    pub aim: Option<[u32; 3]>,
    /// The same with PROT_MTE.
    pub aim_tagged: Option<[u32; 3]>,
}

/// Rows that need a machine of their own, or belong to one table.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Its name, an argument of the guest's program.
    pub name: &'static str,
    /// The heading of its table.
    pub title: &'static str,
    /// Whether it is measured when nothing is asked for.
    pub is_default: bool,
    /// The number of CPUs that it needs, if not the machine's.
    pub cpus: Option<u32>,
    /// The memory in MiB that it needs, if not the machine's.
    pub memory_mib: Option<u64>,
    /// A kernel option that it needs.
    pub kernel_arg: Option<&'static str>,
    /// Its rows.
    pub rows: &'static [Row],
}

/// The sizes of folios, as the guest's report names them.
pub const SIZES: [&str; 3] = ["4K", "64K", "2M"];

const LENS: &[&str] = &["16M", "64M", "256M", "1024M", "4096M"];
const FRAMES: &[&str] = &["100", "1000", "10000", "100000", "1000000"];
const FULL: &[&str] = &["0%", "50%", "90%", "99%"];

const fn row(name: &'static str, title: &'static str, per: Per) -> Row {
    Row { name, title, per, aim: None, aim_tagged: None }
}

const fn page(name: &'static str, title: &'static str) -> Row {
    row(name, title, Per::Page)
}

impl Row {
    const fn aims(self, aim: [u32; 3]) -> Self {
        Self { aim: Some(aim), ..self }
    }

    const fn tagged(self, aim: [u32; 3]) -> Self {
        Self { aim_tagged: Some(aim), ..self }
    }

    const fn aim(self, aim: u32) -> Self {
        Self { aim: Some([aim; 3]), ..self }
    }
}

const fn section(name: &'static str, title: &'static str, rows: &'static [Row]) -> Section {
    Section { name, title, is_default: true, cpus: None, memory_mib: None, kernel_arg: None, rows }
}

/// All sections, in the order of the tables.
pub const SECTIONS: [Section; 9] = [
    section(
        "calls",
        "Calls, threads and signals: instructions each",
        &[
            row("null_call", "null system call (getppid)", Per::Once).aim(120),
            row("thread_create_join", "thread: create, end, join", Per::Once),
            row("thread_switch", "thread: switch (sched_yield)", Per::Once),
            row("futex_wake_nobody", "futex: wake, nobody waits", Per::Once),
            row("futex_round_trip", "futex: wake another thread and be woken by it", Per::Once),
            row("signal_to_self", "signal: tgkill, handler, sigreturn", Per::Once),
            row("access_fault_handled", "SIGSEGV of an access, handler, sigreturn", Per::Once),
            row("tag_fault_handled", "SIGSEGV of a wrong tag, handler, sigreturn", Per::Once),
        ],
    ),
    section(
        "pages",
        "Memory: instructions per page of 4 KiB, over 64 MiB",
        &[
            page("fault", "anonymous fault").aims([500, 60, 20]).tagged([520, 80, 40]),
            page("fork_exit", "fork and exit").aims([90, 20, 1]),
            page("copy_on_write", "copy-on-write").aim(900),
            page("mprotect", "mprotect").aims([40, 8, 1]),
            page("mremap", "mremap to another address"),
            page("munmap", "munmap").aims([250, 40, 10]).tagged([260, 45, 12]),
            page("pageout", "MADV_PAGEOUT").aims([1300, 200, 120]).tagged([1400, 300, 220]),
            page("pageout_zeroes", "MADV_PAGEOUT of zeroes"),
            page("refault_cache", "refault from the swap cache")
                .aims([500, 60, 20])
                .tagged([520, 100, 60]),
            page("refault_disk", "refault from the disk"),
            page("munmap_swapped", "munmap of swapped pages"),
            page("swapoff", "swapoff"),
            page("disk_write", "the disk itself: pwrite, O_DIRECT, of a folio's size"),
            page("disk_read", "the disk itself: pread, O_DIRECT, of a folio's size"),
        ],
    ),
    Section {
        cpus: Some(4),
        is_default: false,
        ..section(
            "cpus",
            "Four threads on four CPUs: instructions per page, of all CPUs together",
            &[
                page("fault_at_once", "anonymous fault"),
                page("copy_on_write_at_once", "copy-on-write"),
                page("mprotect_at_once", "mprotect to read-only"),
                page("mremap_at_once", "mremap to another address"),
                page("munmap_at_once", "munmap"),
                page("pageout_at_once", "MADV_PAGEOUT"),
                page("refault_disk_at_once", "refault from the disk"),
                page("fork_exit_smp", "fork and exit, one thread"),
                page("swapoff_smp", "swapoff, one thread"),
                row("thread_create_join_smp", "each thread: create, end, join", Per::Once),
                row(
                    "futex_round_trip_smp",
                    "each futex: wake another thread and be woken",
                    Per::Once,
                ),
                row("signal_to_self_smp", "each signal: tgkill, handler, sigreturn", Per::Once),
            ],
        )
    },
    Section {
        memory_mib: Some(8 << 10),
        is_default: false,
        ..section(
            "growth",
            "Growth: instructions per page, by the length of the region",
            &[
                row("growth_fault", "anonymous fault", Per::Series(LENS)),
                row("growth_fork_exit", "fork and exit", Per::Series(LENS)),
                row("growth_munmap", "munmap", Per::Series(LENS)),
            ],
        )
    },
    Section {
        memory_mib: Some(8 << 10),
        is_default: false,
        ..section(
            "flat",
            "Flat: a page is touched and given back, by frames in use",
            &[row("flat", "fault and free of a page", Per::Points(FRAMES))],
        )
    },
    section(
        "slots",
        "Swap slots: a page of zeroes goes out and is dropped, by slots in use",
        &[
            row("slots", "store, page-out and drop of a page of zeroes", Per::Points(FULL)),
            row("bytes_per_slot_in_use", "bytes of memory per slot in use", Per::Once),
        ],
    ),
    Section {
        // 64 MiB for a device, as much for the other, and 6 MiB for their tags.
        kernel_arg: Some("device_mem=134M"),
        is_default: false,
        ..section(
            "migration",
            "Migration to a device: instructions per page, without those that copy",
            &[
                page("migrate_there", "to the device, on request"),
                page("migrate_back", "to RAM, on request"),
                page("migrate_back_by_fault", "to RAM, by a load"),
            ],
        )
    },
    section(
        "metadata",
        "Metadata: bytes",
        &[
            row("bytes_per_mib_frames", "frame words, bytes per MiB of RAM", Per::Once),
            row(
                "bytes_per_mib_folios",
                "folio descriptors and reverse map, bytes per MiB mapped",
                Per::Page,
            ),
            row("bytes_per_mib_page_tables", "page tables, bytes per MiB mapped", Per::Page),
            row(
                "bytes_per_tagged_swapped_page",
                "tags of a swapped page, objects of 64 bytes",
                Per::Once,
            )
            .aim(8),
        ],
    ),
    section(
        "boot",
        "Boot",
        &[row("boot", "reset to first user instruction, ns of virtual time", Per::Once)
            .aim(20_000_000)],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_names_of_their_own() {
        let rows = SECTIONS.iter().flat_map(|section| section.rows);
        let mut names: Vec<_> = rows.map(|row| row.name).collect();
        let nr_rows = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), nr_rows);
    }
}
