// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests procfs: the text, byte for byte where programs parse it.

use abi::Errno;
use abi::open::*;
use base::{PageRange, Vpn};
use hal::Devices;
use hal::sim::SimMachine;
use mm::{AreaFlags, MapRequest, Mm, Placement};
use std::boxed::Box;
use std::format;
use std::string::String;
use std::sync::Arc;
use std::sync::atomic::{AtomicI16, Ordering::Relaxed};
use std::vec;
use std::vec::Vec;

use super::rig::{Rig, list, read_at, write};
use crate::fs::{FileTable, Mapping, MmUser, ProcSource, ProcessView, Vfs};

/// One process with one thread, number 7.
struct OneProcess {
    vfs: Arc<Vfs<SimMachine>>,
    mm: Arc<Mm<SimMachine>>,
    files: Arc<FileTable<SimMachine>>,
    oom_score_adj: AtomicI16,
}

impl ProcSource<SimMachine> for OneProcess {
    fn vfs(&self) -> &Vfs<SimMachine> {
        &self.vfs
    }

    fn pids(&self) -> Vec<u32> {
        vec![7]
    }

    fn tids(&self, pid: u32) -> Vec<u32> {
        if pid == 7 { vec![7] } else { Vec::new() }
    }

    fn view(&self, pid: u32) -> Option<ProcessView<SimMachine>> {
        (pid == 7).then(|| ProcessView {
            pid: 7,
            tgid: 7,
            ppid: 1,
            group: 7,
            session: 1,
            state: b'R',
            name: Vec::from(b"a (b"),
            nr_threads: 1,
            mm: MmUser::new(Arc::clone(&self.mm)),
            exe: Vec::from(b"/bin/prog"),
            args: 0x40_0000..0x40_0008,
            env: 0..0,
            files: Arc::clone(&self.files),
            cwd: self.vfs.root().clone(),
            oom_score_adj: self.oom_score_adj.load(Relaxed),
            ids: [[1, 2, 3, 2], [4, 5, 6, 5]],
            may_be_privileged: true,
            is_privileged: false,
            umask: 0o022,
            signals: [0, 0, 1, 2, 0x8000],
        })
    }

    fn set_oom_score_adj(&self, pid: u32, adj: i16) -> Option<()> {
        (pid == 7).then(|| self.oom_score_adj.store(adj, Relaxed))
    }

    fn current(&self) -> (u32, u32) {
        (7, 7)
    }

    fn for_each_counter(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        visit("pswpin", 3);
        visit("pswpout", 4);
    }

    fn sysrq(&self, key: u8) {
        self.vfs.env().machine().console_write(&[key]);
    }

    fn release(&self) -> (&'static str, &'static str) {
        ("7.0.0", "#1")
    }

    fn command_line(&self) -> &str {
        "swap=vda -- one two"
    }

    fn nr_forks(&self) -> u64 {
        9
    }
}

const FILE_PAGE: u64 = 0x500;

/// Runs a test with a process that maps a heap page with bytes, and two pages of a file.
fn with_process(test: impl FnOnce(&Rig, &Mm<SimMachine>)) {
    Rig::run(|rig| {
        let system = rig.vfs.env().system();
        let mm = Mm::new(system).unwrap();
        let heap = AreaFlags::READ | AreaFlags::WRITE | AreaFlags::HEAP;
        let at = |page| Placement::Fixed(Vpn::new(page));
        mm.map(MapRequest::anon(at(0x400), 3, heap)).unwrap();
        mm.write_remote(Vpn::new(0x400).base(), b"prog\0-x\0").unwrap();
        let file = rig.file("/f");
        write(&file, &[7; 9000]).unwrap();
        let Ok(Mapping::Object(object)) = file.mapping() else { panic!("no object") };
        let flags = AreaFlags::READ | AreaFlags::SHARED;
        mm.map(MapRequest::shmem(at(FILE_PAGE), 2, flags, object, 1)).unwrap();
        let files = Arc::new(FileTable::new());
        files.insert(file, false, 5, 10).unwrap();
        let vfs = Arc::clone(&rig.vfs);
        let oom_score_adj = AtomicI16::new(0);
        let source = OneProcess { vfs, mm: Arc::clone(&mm), files, oom_score_adj };
        rig.proc.set_source(Box::leak(Box::new(source)));
        test(rig, &mm);
        mm.put_user();
    });
}

#[test]
fn maps_has_a_line_for_each_area() {
    with_process(|rig, _| {
        let stat = rig.find("/f").unwrap().stat();
        let file = format!("00500000-00502000 r--s 00001000 00:{:02x} {} ", stat.dev, stat.ino);
        let heap = "00400000-00403000 rw-p 00000000 00:00 0 ";
        assert_eq!(rig.text("/proc/7/maps"), format!("{heap:<73}[heap]\n{file:<73}/f\n"));
        rig.vfs.unlink(rig.root(), b"/f").unwrap();
        assert!(rig.text("/proc/self/maps").ends_with(" /f (deleted)\n"));
    });
}

#[test]
fn pagemap_shows_what_each_page_is() {
    with_process(|rig, mm| {
        let pagemap = rig.open("/proc/self/pagemap", 0).unwrap();
        let entries = |page: u64, n: usize| {
            let bytes = read_at(&pagemap, page * 8, n * 8).unwrap();
            let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
            bytes.chunks(8).map(word).collect::<Vec<_>>()
        };
        let heap = entries(0x3ff, 4);
        assert_eq!((heap[0], heap[2], heap[3]), (0, 0, 0));
        assert_eq!(heap[1] >> 55, 0b1_0000_0010, "present and exclusive");
        assert!(heap[1] & ((1 << 55) - 1) >= 0x4_0000, "a frame of the machine");
        mm.populate(PageRange::of_len(Vpn::new(FILE_PAGE), 1), hal::Access::Read).unwrap();
        assert_eq!(entries(FILE_PAGE, 1)[0] >> 55, 0b1_0100_0010, "present, file, exclusive");
        assert_eq!(read_at(&pagemap, 4, 8), Err(Errno::EINVAL));
        assert_eq!(read_at(&pagemap, 8, 7), Err(Errno::EINVAL));
        assert_eq!(read_at(&pagemap, Vpn::END.get() * 8, 8).unwrap(), b"");
        assert_eq!(entries(Vpn::END.get() - 1, 3), [0]);
    });
}

#[test]
fn smaps_counts_pages_in_the_columns_that_parsers_expect() {
    with_process(|rig, _| {
        let smaps = rig.text("/proc/7/smaps");
        let heap: Vec<&str> = smaps.lines().take(25).collect();
        assert!(heap[0].ends_with("[heap]"));
        assert_eq!(heap[1], "Size:                 12 kB");
        assert_eq!(heap[4], "Rss:                   4 kB");
        let line = |name: &str| heap.iter().find(|line| line.starts_with(name)).unwrap();
        assert_eq!(*line("Private_Dirty:"), "Private_Dirty:         4 kB");
        assert_eq!(*line("Swap:"), "Swap:                  0 kB");
        assert_eq!(*line("THPeligible:"), "THPeligible:           0");
        assert_eq!(*line("VmFlags:"), "VmFlags: rd wr mr mw me ac ");
        assert!(smaps.contains("VmFlags: rd sh mr mw me ms \n"));
        assert!(rig.text("/proc/7/smaps_rollup").contains("\nRss:                   4 kB\n"));
    });
}

#[test]
fn status_and_stat_tell_who_and_how_much() {
    with_process(|rig, _| {
        let status = rig.text("/proc/7/status");
        let has = |line: &str| assert!(status.contains(line), "{line:?} in {status}");
        has("Name:\ta (b\n");
        has("State:\tR (running)\n");
        has("\nPPid:\t1\n");
        has("\nVmRSS:\t       4 kB\n");
        has("\nSigCgt:\t0000000000008000\n");
        let stat = rig.text("/proc/7/stat");
        assert!(stat.starts_with("7 (a (b) R 1 7 1 "), "{stat}");
        assert_eq!(stat.trim_end().rsplit(") ").next().unwrap().split(' ').count(), 50);
        assert_eq!(rig.content("/proc/7/cmdline").unwrap(), b"prog\0-x\0");
        assert_eq!(rig.content("/proc/cmdline").unwrap(), b"swap=vda -- one two\n");
        assert_eq!(rig.text("/proc/7/comm"), "a (b\n");
        assert_eq!(rig.text("/proc/7/statm"), "5 1 0 0 0 3 0\n");
    });
}

#[test]
fn links_lead_to_the_process_and_its_files() {
    with_process(|rig, _| {
        let link = |path: &str| {
            let inode = rig.vfs.find(rig.root(), path.as_bytes(), false).unwrap();
            String::from_utf8(rig.vfs.read_link(&inode).unwrap()).unwrap()
        };
        assert_eq!(link("/proc/self"), "7");
        assert_eq!(link("/proc/thread-self"), "7/task/7");
        assert_eq!(link("/proc/self/exe"), "/bin/prog");
        assert_eq!(link("/proc/self/cwd"), "/");
        assert_eq!(link("/proc/self/fd/5"), "/f");
        // A file that has no name any more can still be opened by its descriptor.
        rig.vfs.unlink(rig.root(), b"/f").unwrap();
        assert_eq!(rig.content("/proc/self/fd/5").unwrap(), [7; 9000]);
        let missing = ["/proc/8", "/proc/07", "/proc/self/fd/4", "/proc/self/fd/x", "/proc/x"];
        for path in missing {
            assert_eq!(rig.find(path).err(), Some(Errno::ENOENT), "{path}");
        }
        assert_eq!(rig.open("/proc/new", O_CREAT | O_RDWR).err(), Some(Errno::EPERM));
        assert_eq!(rig.vfs.unlink(rig.root(), b"/proc/7/maps"), Err(Errno::EPERM));
    });
}

#[test]
fn directories_list_what_can_be_found_in_them() {
    with_process(|rig, _| {
        let dirs =
            ["/proc", "/proc/7", "/proc/7/task", "/proc/7/task/7", "/proc/7/fd", "/proc/sys"];
        for path in dirs.into_iter().chain(["/sys", "/sys/kernel/mm/transparent_hugepage"]) {
            let dir = rig.open(path, O_DIRECTORY).unwrap();
            let names = list(&dir, 120, || {});
            assert!(names.len() > 2, "{path}");
            for name in &names {
                let inode = rig.vfs.find(dir.inode(), name.as_bytes(), false);
                assert!(inode.is_ok(), "{path}/{name}");
            }
        }
        let names = list(&rig.open("/proc", O_DIRECTORY).unwrap(), 120, || {});
        assert_eq!(names.iter().filter(|name| *name == "7").count(), 1);
        assert!(names.contains(&String::from("self")));
        let fd = rig.find("/proc/7/fd/..").unwrap();
        assert_eq!(rig.vfs.shown_path(&fd), b"/proc/7");
        let thread = rig.find("/proc/7/task/7/fd").unwrap();
        assert_eq!(rig.vfs.shown_path(&thread), b"/proc/7/task/7/fd");
    });
}

#[test]
fn the_first_byte_written_to_sysrq_trigger_is_the_key() {
    with_process(|rig, _| {
        let trigger = rig.open("/proc/sysrq-trigger", O_RDWR).unwrap();
        let before = rig.machine.console_output().len();
        assert_eq!(write(&trigger, b"m\n"), Ok(2));
        assert_eq!(write(&trigger, b""), Ok(0));
        assert_eq!(rig.machine.console_output()[before..], *b"m");
        assert_eq!(read_at(&trigger, 0, 1), Err(Errno::EIO));
        assert_eq!(rig.find("/proc/sysrq-trigger").unwrap().stat().mode & 0o7777, 0o200);
    });
}

#[test]
fn texts_about_the_machine_have_linux_columns() {
    with_process(|rig, _| {
        let meminfo = rig.text("/proc/meminfo");
        assert!(meminfo.starts_with("MemTotal:          16384 kB\nMemFree:  "), "{meminfo}");
        assert!(meminfo.contains("\nHugepagesize:       2048 kB\n"));
        let vmstat = rig.text("/proc/vmstat");
        assert!(vmstat.starts_with("pswpin 3\npswpout 4\nnr_shmem_hugepages 0\n"), "{vmstat}");
        assert_eq!(
            rig.text("/proc/mounts").lines().collect::<Vec<_>>(),
            [
                "rootfs / rootfs rw,relatime 0 0",
                "devtmpfs /dev devtmpfs rw,relatime 0 0",
                "tmpfs /dev/shm tmpfs rw,relatime 0 0",
                "proc /proc proc rw,relatime 0 0",
                "sysfs /sys sysfs rw,relatime 0 0",
            ]
        );
        assert_eq!(rig.text("/proc/version"), "Linux version 7.0.0 (granule) #1\n");
        assert_eq!(rig.text("/proc/swaps").lines().count(), 1);
    });
}

#[test]
fn settings_take_what_they_show() {
    with_process(|rig, _| {
        let set = |path: &str, text: &str| {
            write(&rig.open(path, O_WRONLY | O_TRUNC).unwrap(), text.as_bytes())
        };
        let swappiness = "/proc/sys/vm/swappiness";
        assert_eq!(set(swappiness, "10\n"), Ok(3));
        assert_eq!(rig.text(swappiness), "10\n");
        assert_eq!(set(swappiness, "201"), Err(Errno::EINVAL));
        assert_eq!(set(swappiness, "many"), Err(Errno::EINVAL));
        assert_eq!(set("/proc/sys/vm/drop_caches", "3"), Ok(1));
        let cluster = "/proc/sys/vm/page-cluster";
        assert_eq!(rig.text(cluster), "6\n");
        assert_eq!(set(cluster, "3"), Ok(1));
        assert_eq!((rig.text(cluster), rig.vfs.env().system().page_cluster()), ("3\n".into(), 3));
        assert_eq!(set(cluster, "32"), Err(Errno::EINVAL));
        assert_eq!(set("/proc/version", "x"), Err(Errno::EIO));
        assert_eq!(rig.text("/sys/devices/system/cpu/online"), "0-1\n");
    });
}

#[test]
fn an_address_space_that_is_gone_gets_no_user() {
    Rig::run(|rig| {
        let mm = Mm::new(rig.vfs.env().system()).unwrap();
        let user = MmUser::new(Arc::clone(&mm)).unwrap();
        mm.put_user();
        assert!(!mm.is_dead(), "the looker-on is the last user");
        drop(user);
        assert!(mm.is_dead());
        assert!(MmUser::new(mm).is_none());
    });
}

#[test]
fn maps_reads_the_same_in_pieces_of_any_size() {
    with_process(|rig, mm| {
        let flags = AreaFlags::READ | AreaFlags::EXEC;
        for page in 0..50 {
            let at = Placement::Fixed(Vpn::new(0x1000 + 2 * page));
            mm.map(MapRequest::anon(at, 1, flags)).unwrap();
        }
        for path in ["/proc/7/maps", "/proc/7/smaps"] {
            let whole = rig.content(path).unwrap();
            let file = rig.open(path, 0).unwrap();
            for len in [1, 7, 1000, 100_000] {
                let mut all = Vec::new();
                loop {
                    match read_at(&file, all.len() as u64, len).unwrap() {
                        part if part.is_empty() => break,
                        part => all.extend(part),
                    }
                }
                assert!(all == whole, "{path} by {len}");
            }
            // Forward and back again.
            assert_eq!(read_at(&file, 500, 100).unwrap(), whole[500..600]);
            assert_eq!(read_at(&file, 100, 100).unwrap(), whole[100..200]);
            assert_eq!(read_at(&file, whole.len() as u64 + 9, 100).unwrap(), b"");
        }
    });
}

#[test]
fn the_standing_among_victims_is_a_share_of_all_memory() {
    with_process(|rig, mm| {
        assert_eq!(rig.text("/proc/7/oom_score_adj"), "0\n");
        // A score is two thirds of the points in thousandths of all memory, from -1000 on.
        let total = rig.vfs.env().system().nr_managed_frames();
        let score = |adj: u64| {
            let points = mm.badness() + adj * (total / 1000);
            format!("{}\n", (1000 + points * 1000 / total) * 2 / 3)
        };
        assert_eq!(rig.text("/proc/7/oom_score"), score(0));
        let write_to = |name: &str, text: &str| {
            let file = rig.open(&format!("/proc/7/{name}"), O_WRONLY).unwrap();
            write(&file, text.as_bytes())
        };
        assert_eq!(write_to("oom_score_adj", "300\n"), Ok(4));
        assert_eq!(rig.text("/proc/self/oom_score_adj"), "300\n");
        assert_eq!(rig.text("/proc/7/oom_score"), score(300));
        assert_eq!(rig.text("/proc/7/oom_adj"), "5\n");
        assert_eq!(write_to("oom_score_adj", "-1000"), Ok(5));
        assert_eq!(rig.text("/proc/7/oom_score"), "0\n");
        assert_eq!(rig.text("/proc/7/oom_adj"), "-17\n");
        assert_eq!(write_to("oom_adj", "15"), Ok(2));
        assert_eq!(rig.text("/proc/7/oom_score_adj"), "1000\n");
        for wrong in ["1001", "-1001", "", "x", "1 2"] {
            assert_eq!(write_to("oom_score_adj", wrong), Err(Errno::EINVAL), "{wrong}");
        }
        assert_eq!(write_to("oom_adj", "16"), Err(Errno::EINVAL));
        assert_eq!(rig.text("/proc/7/oom_score_adj"), "1000\n");
    });
}
