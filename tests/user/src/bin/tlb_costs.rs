// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program counts what it takes to make the TLBs forget 2 MiB: instructions of each kind, and how
//! often somebody waits (docs/experiments/004-migrate-device.md).
//!
//! Where there are several CPUs, two have run it, so that invalidations are broadcast.

use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use user_tests::dmirror::{Command, Dmirror};
use user_tests::memory::{self, Mapping, PAGE, RW};
use user_tests::pageout::{self, Place};
use user_tests::trial::Skip;
use user_tests::vmstat::Counters;
use user_tests::{fault, pmu, thp};

/// Sizes of folios, in KiB.
const SIZES: [(&str, usize); 3] = [("4K", 4), ("64K", 64), ("2M", 2048)];

/// What is counted, and what /proc/vmstat calls it.
const COUNTED: [(&str, &[&str]); 6] = [
    ("pages", &["tlbi_page"]),
    ("ranges", &["tlbi_range"]),
    ("wholes", &["tlbi_asid", "tlbi_all"]),
    ("local", &["tlbi_local"]),
    ("covered", &["tlbi_page", "tlbi_range_pages"]),
    ("dsbs", &["tlb_dsb"]),
];

/// Does something to all of a range; it has what it needs already.
type Work = fn(Range<usize>, &mut Tools);

const OPERATIONS: [(&str, Work); 5] = [
    ("munmap", |range, _| memory::munmap(range.start, range.len()).expect("munmap")),
    ("mprotect", |range, _| {
        memory::mprotect(range.start, range.len(), libc::PROT_READ).expect("mprotect");
    }),
    ("discard", |range, _| advise(range, libc::MADV_DONTNEED)),
    ("pageout", |range, _| advise(range, libc::MADV_PAGEOUT)),
    ("migrate", |range, tools| tools.migrate(range)),
];

/// What is made before anything is counted, so that nothing else changes meanwhile.
struct Tools {
    device: Option<Dmirror>,
    seen: Vec<u8>,
    counters: [Vec<u8>; 2],
    has_pmu: bool,
}

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Skip(why)) => {
            println!("tlb: {why}");
            ExitCode::from(user_tests::SKIP)
        }
    }
}

fn measure() -> Result<(), Skip> {
    pageout::needed()?;
    run_on_another_cpu();
    let mut tools = Tools {
        device: None,
        seen: touched(thp::BLOCK),
        counters: [touched(4 * PAGE), touched(4 * PAGE)],
        has_pmu: fault::catch(|| _ = pmu::instructions()).is_none(),
    };
    for (name, work) in OPERATIONS {
        for (size, kib) in SIZES {
            let _settings = thp::only(kib, "always")?;
            tools.device = if name == "migrate" { Some(Dmirror::open(0)?) } else { None };
            tools.count(&format!("{name}/{size}"), work);
        }
    }
    Ok(())
}

/// Lets a second CPU run this program once, where there is one; this thread goes on with its own.
fn run_on_another_cpu() {
    static HAS_RUN: AtomicBool = AtomicBool::new(false);
    if thread::available_parallelism().map_or(1, |nr_cpus| nr_cpus.get()) == 1 {
        return;
    }
    thread::spawn(|| {
        HAS_RUN.store(true, Ordering::Relaxed);
        loop {
            thread::park();
        }
    });
    // Without a sleep: this thread is where it was.
    while !HAS_RUN.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}

/// Returns so many bytes, all in memory.
fn touched(len_bytes: usize) -> Vec<u8> {
    vec![1; len_bytes]
}

fn advise(range: Range<usize>, advice: i32) {
    memory::madvise(range.start, range.len(), advice).expect("madvise");
}

impl Tools {
    /// Moves a range to the device, which reads it then.
    fn migrate(&mut self, range: Range<usize>) {
        const MIGRATE_TO_DEV: usize = 2;
        let npages = (range.len() / PAGE) as u64;
        let (addr, ptr) = (range.start as u64, self.seen.as_mut_ptr().addr() as u64);
        let mut command = Command { addr, ptr, npages, ..Command::default() };
        let device = self.device.as_ref().expect("a device");
        device.ioctl(MIGRATE_TO_DEV, &mut command).expect("room");
        assert_eq!(command.cpages, npages, "all of it moved");
    }

    /// Does `work` to 2 MiB that are in memory, and prints what it took.
    fn count(&mut self, name: &str, work: Work) {
        let mapping = Mapping::aligned(thp::BLOCK, thp::BLOCK, RW).expect("mmap");
        mapping.pages().for_each(|page| memory::store_pattern(page, page as u64));
        let has_pmu = self.has_pmu;
        let now = || if has_pmu { pmu::instructions() } else { 0 };
        let before = self.read_counters(0);
        let start = now();
        work(mapping.range(), self);
        let taken = now() - start;
        let after = self.read_counters(1);
        if name.starts_with("pageout") {
            let places = pageout::places(mapping.range());
            assert!(places.iter().all(|place| *place == Place::Swap), "all of it is out");
        }
        let [before, after] = [(0, before), (1, after)].map(|(which, len)| {
            Counters::parse(std::str::from_utf8(&self.counters[which][..len]).expect("text"))
        });
        print!("tlb: {name}");
        for (what, names) in COUNTED {
            print!(" {what}={}", after.sum_since(&before, names).unwrap_or(0));
        }
        println!(" instructions={taken}");
    }

    /// Reads /proc/vmstat to where there is room for it already. Returns how long it is.
    fn read_counters(&mut self, which: usize) -> usize {
        use std::io::Read;
        let buffer = &mut self.counters[which];
        let mut file = std::fs::File::open("/proc/vmstat").expect("/proc/vmstat");
        let mut len = 0;
        loop {
            assert!(len < buffer.len(), "/proc/vmstat is longer");
            match file.read(&mut buffer[len..]).expect("text") {
                0 => return len,
                more => len += more,
            }
        }
    }
}
