// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests /proc and /sys: that programs which parse Linux's text find what is true.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;

use user_tests::memory::{self, ANON, Mapping, PAGE, RW};
use user_tests::process::{self, Ended};

user_tests::tests!(
    maps_has_a_line_for_a_mapping,
    maps_names_heap_stack_and_files,
    smaps_counts_touched_pages,
    pagemap_tells_present_from_absent,
    status_tells_names_and_numbers,
    stat_can_be_parsed_behind_the_name,
    links_lead_to_program_directory_and_files,
    arguments_and_environment_are_shown,
    a_child_is_listed_until_it_is_waited_for,
    processes_that_end_while_they_are_read_harm_nobody,
    threads_are_listed,
    meminfo_and_vmstat_have_their_lines,
    mounts_names_proc,
    files_of_proc_cannot_be_made_or_removed,
);

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the line of maps for the area that starts at `start`.
fn line_of(start: usize) -> Option<String> {
    let prefix = format!("{start:08x}-");
    text("/proc/self/maps").lines().find(|line| line.starts_with(&prefix)).map(String::from)
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line[name.len()..].trim().trim_end_matches(" kB").into())
}

fn maps_has_a_line_for_a_mapping() {
    // Kept from merging with its neighbours by rights that they do not have.
    let rights = libc::PROT_READ | libc::PROT_EXEC;
    let mapping = Mapping::new(3 * PAGE, rights, ANON).unwrap();
    let (start, end) = (mapping.start(), mapping.end());
    let line = format!("{start:08x}-{end:08x} r-xp 00000000 00:00 0 ");
    assert_eq!(line_of(start), Some(line));
    drop(mapping);
    assert_eq!(line_of(start), None);
}

fn maps_names_heap_stack_and_files() {
    let on_stack = 0u8;
    let address = (&raw const on_stack) as usize;
    let maps = text("/proc/self/maps");
    let holds = |line: &&str| {
        let (start, rest) = line.split_once('-').unwrap();
        let end = rest.split(' ').next().unwrap();
        let number = |digits| usize::from_str_radix(digits, 16).unwrap();
        (number(start)..number(end)).contains(&address)
    };
    assert!(maps.lines().find(holds).unwrap().ends_with(" [stack]"));
    let program = fs::read_link("/proc/self/exe").unwrap();
    assert!(maps.lines().next().unwrap().ends_with(program.to_str().unwrap()));
    let path = format!("/dev/shm/maps-{}", process::pid());
    fs::write(&path, [1; 2 * PAGE]).unwrap();
    let file = File::open(&path).unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
    let mapping = Mapping::of_file(2 * PAGE, libc::PROT_READ, libc::MAP_SHARED, fd).unwrap();
    let line = line_of(mapping.start()).unwrap();
    assert!(line.contains(" r--s 00000000 "), "{line}");
    assert_eq!(line.find(&path), Some(73), "{line}");
    fs::remove_file(&path).unwrap();
    assert!(line_of(mapping.start()).unwrap().ends_with(&format!("{path} (deleted)")));
}

fn smaps_counts_touched_pages() {
    let mapping = Mapping::new(8 * PAGE, RW | libc::PROT_EXEC, ANON).unwrap();
    memory::store(mapping.page(0), 1);
    memory::store(mapping.page(5), 1);
    let smaps = text("/proc/self/smaps");
    let start = smaps.find(&format!("{:08x}-", mapping.start())).unwrap();
    let area = &smaps[start..];
    let kib = |name: &str| field(area, name);
    assert_eq!(kib("Size:"), Some(String::from("32")));
    assert_eq!(kib("Rss:"), Some(String::from("8")));
    assert_eq!(kib("Anonymous:"), Some(String::from("8")));
    assert_eq!(kib("Private_Dirty:"), Some(String::from("8")));
    assert_eq!(kib("Swap:"), Some(String::from("0")));
    let swap = area.lines().find(|line| line.starts_with("Swap:")).unwrap();
    assert_eq!(swap, format!("Swap:{:>19} kB", 0));
    let flags = field(area, "VmFlags:").unwrap();
    assert!(flags.starts_with("rd wr ex mr mw me"), "{flags}");
}

fn pagemap_tells_present_from_absent() {
    let mapping = Mapping::anonymous(4 * PAGE);
    memory::store(mapping.page(1), 1);
    let pagemap = File::open("/proc/self/pagemap").unwrap();
    let mut bytes = [0; 4 * 8];
    pagemap.read_exact_at(&mut bytes, (mapping.start() / PAGE * 8) as u64).unwrap();
    let present = bytes.chunks(8).map(|entry| entry[7] >> 7 == 1).collect::<Vec<_>>();
    assert_eq!(present, [false, true, false, false]);
    assert_eq!(bytes[15] & 1, 1, "nobody else maps it");
    let unaligned = pagemap.read_at(&mut bytes, 4).unwrap_err();
    assert_eq!(unaligned.raw_os_error(), Some(libc::EINVAL));
}

fn status_tells_names_and_numbers() {
    let status = text("/proc/self/status");
    let has = |name: &str, value: &str| {
        assert_eq!(field(&status, name).as_deref(), Some(value), "{name}");
    };
    has("Name:", "procfs");
    has("Pid:", &process::pid().to_string());
    has("Tgid:", &process::pid().to_string());
    has("State:", "R (running)");
    has("Threads:", "1");
    assert!(field(&status, "VmRSS:").unwrap().parse::<u64>().unwrap() > 0);
    assert!(field(&status, "SigBlk:").unwrap().len() == 16);
    fs::write("/proc/self/comm", "other").ok();
}

fn stat_can_be_parsed_behind_the_name() {
    let stat = text("/proc/self/stat");
    let (start, rest) = stat.trim_end().split_once(" (procfs) ").unwrap();
    assert_eq!(start, process::pid().to_string());
    let fields: Vec<&str> = rest.split(' ').collect();
    assert_eq!((fields.len(), fields[0]), (50, "R"));
    let pages: u64 = fields[21].parse().unwrap();
    assert!(pages > 0, "resident pages");
}

fn links_lead_to_program_directory_and_files() {
    let link = |path: &str| fs::read_link(path).unwrap().into_os_string().into_string().unwrap();
    assert_eq!(link("/proc/self"), process::pid().to_string());
    assert!(link("/proc/self/exe").ends_with("procfs"));
    assert_eq!(link("/proc/self/root"), "/");
    process::in_child(|| {
        std::env::set_current_dir("/dev").unwrap();
        assert_eq!(link("/proc/self/cwd"), "/dev");
    });
    assert_eq!(fs::read("/proc/self/exe").unwrap()[..4], *b"\x7fELF");
    let file = File::open("/dev/null").unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
    assert_eq!(link(&format!("/proc/self/fd/{fd}")), "/dev/null");
    drop(file);
    assert!(fs::read_link(format!("/proc/self/fd/{fd}")).is_err());
}

fn arguments_and_environment_are_shown() {
    let cmdline = fs::read("/proc/self/cmdline").unwrap();
    let args: Vec<u8> = std::env::args().flat_map(|arg| [arg.as_bytes(), b"\0"].concat()).collect();
    assert_eq!(cmdline, args);
    let environ = fs::read("/proc/self/environ").unwrap();
    let entries = environ.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
    assert_eq!(entries.count(), std::env::vars_os().count());
}

fn listed(path: &str) -> Vec<String> {
    let names = fs::read_dir(path).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn a_child_is_listed_until_it_is_waited_for() {
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let child = process::fork(|| {
        let mut byte = [0];
        std::io::Read::read(&mut reader, &mut byte).unwrap();
        0
    });
    let pid = child.pid().to_string();
    assert!(listed("/proc").contains(&pid));
    let status = format!("/proc/{pid}/status");
    assert_eq!(field(&text(&status), "PPid:"), Some(process::pid().to_string()));
    writer.write_all(b"x").unwrap();
    while !text(&status).contains("State:\tZ (zombie)") {
        std::thread::yield_now();
    }
    assert_eq!(text(&format!("/proc/{pid}/maps")), "");
    child.wait();
    assert!(!listed("/proc").contains(&pid));
    assert!(fs::metadata(format!("/proc/{pid}")).is_err());
}

fn processes_that_end_while_they_are_read_harm_nobody() {
    // Three readers look at everything about everybody while children come and go.
    let readers: Vec<_> = (0..3)
        .map(|_| {
            process::fork(|| {
                loop {
                    for pid in listed("/proc").iter().filter(|name| name.parse::<u32>().is_ok()) {
                        for file in ["maps", "smaps", "status", "stat", "cmdline"] {
                            let _ = fs::read(format!("/proc/{pid}/{file}"));
                        }
                        let _ = fs::read_link(format!("/proc/{pid}/exe"));
                        if let Ok(pagemap) = File::open(format!("/proc/{pid}/pagemap")) {
                            let _ = pagemap.read_at(&mut [0; 512], 0x400 * 8);
                        }
                        if let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) {
                            fds.for_each(|fd| drop(fd.map(|fd| fs::read_link(fd.path()))));
                        }
                    }
                }
            })
        })
        .collect();
    for round in 0..100 {
        let child = process::fork(|| {
            // Memory whose end takes a while, in which it is looked at.
            let mapping = Mapping::anonymous(1000 * PAGE);
            mapping.pages().for_each(|page| memory::store(page, 1));
            std::mem::forget(mapping);
            round % 7
        });
        assert_eq!(child.wait(), Ended::Exited(round % 7));
    }
    for reader in readers {
        reader.kill(libc::SIGKILL);
        assert_eq!(reader.wait(), Ended::Killed(libc::SIGKILL));
    }
}

fn threads_are_listed() {
    let barrier = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            barrier.wait();
            barrier.wait();
        });
        barrier.wait();
        assert_eq!(listed("/proc/self/task").len(), 2);
        assert_eq!(field(&text("/proc/self/status"), "Threads:").as_deref(), Some("2"));
        barrier.wait();
    });
}

fn meminfo_and_vmstat_have_their_lines() {
    let meminfo = text("/proc/meminfo");
    let kib = |name: &str| field(&meminfo, name).unwrap().parse::<u64>().unwrap();
    assert!(kib("MemTotal:") >= kib("MemAvailable:"));
    assert!(kib("MemFree:") > 0);
    assert!(kib("SwapTotal:") >= kib("SwapFree:"));
    let faults = || field(&text("/proc/vmstat"), "pgfault ").unwrap().parse::<u64>().unwrap();
    let before = faults();
    let mapping = Mapping::anonymous(16 * PAGE);
    mapping.pages().for_each(|page| memory::store(page, 1));
    assert!(faults() >= before + 16);
}

fn mounts_names_proc() {
    let mounts = text("/proc/mounts");
    let of_proc = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/proc")).unwrap();
    assert_eq!(of_proc.split(' ').nth(2), Some("proc"));
    assert!(text("/proc/filesystems").contains("nodev\ttmpfs\n"));
    assert!(text("/proc/uptime").trim().split(' ').all(|time| time.parse::<f64>().is_ok()));
    assert_eq!(text("/proc/sys/kernel/ostype"), "Linux\n");
}

fn files_of_proc_cannot_be_made_or_removed() {
    assert!(File::create("/proc/new").is_err());
    assert!(fs::remove_file("/proc/meminfo").is_err());
    assert!(fs::create_dir("/proc/self/new").is_err());
    assert!(fs::metadata("/proc/999999").is_err());
    assert!(fs::metadata("/proc/self/fd/999").is_err());
}
