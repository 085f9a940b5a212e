// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program gives system calls what they cannot take.

use std::os::fd::AsRawFd;

use user_tests::memory::{self, Mapping, PAGE};
use user_tests::process::{self, Ended};
use user_tests::sys;

user_tests::tests!(
    bad_pointers_are_efault,
    every_call_survives_every_bad_argument,
    unknown_calls_are_enosys,
);

/// Addresses that no process can use: next to 0, the end of user space, between the halves, the
/// kernel's, the last ones.
const BAD: [usize; 7] = [
    8,
    (1 << 48) - 8,
    1 << 48,
    0x00ff_0000_0000_0000,
    0xffff_0000_4000_0000,
    0xffff_8000_0000_0000,
    usize::MAX - 15,
];

/// Where the bad pointer goes among the arguments.
const P: usize = 0xbad;

fn bad_pointers_are_efault() {
    let (reader, writer) = std::io::pipe().expect("pipe");
    std::io::Write::write_all(&mut (&writer), &[0; 64]).expect("write");
    let (from, to) = (reader.as_raw_fd() as usize, writer.as_raw_fd() as usize);
    let directory = std::fs::File::open("/").expect("/");
    let directory = directory.as_raw_fd() as usize;
    let cwd = libc::AT_FDCWD as usize;
    let path = c"/tmp".as_ptr().expose_provenance();
    let usr1 = libc::SIGUSR1 as usize;
    let monotonic = libc::CLOCK_MONOTONIC as usize;
    let calls: &[(i64, [usize; 5])] = &[
        (libc::SYS_read, [from, P, 16, 0, 0]),
        (libc::SYS_write, [to, P, 16, 0, 0]),
        (libc::SYS_readv, [from, P, 1, 0, 0]),
        (libc::SYS_writev, [to, P, 1, 0, 0]),
        (libc::SYS_openat, [cwd, P, 0, 0, 0]),
        (libc::SYS_mkdirat, [cwd, P, 0o777, 0, 0]),
        (libc::SYS_unlinkat, [cwd, P, 0, 0, 0]),
        (libc::SYS_faccessat, [cwd, P, 0, 0, 0]),
        (libc::SYS_chdir, [P, 0, 0, 0, 0]),
        (libc::SYS_newfstatat, [cwd, P, P, 0, 0]),
        (libc::SYS_newfstatat, [cwd, path, P, 0, 0]),
        (libc::SYS_fstat, [from, P, 0, 0, 0]),
        (libc::SYS_readlinkat, [cwd, P, P, 16, 0]),
        (libc::SYS_getcwd, [P, 4096, 0, 0, 0]),
        (libc::SYS_getdents64, [directory, P, 4096, 0, 0]),
        (libc::SYS_pipe2, [P, 0, 0, 0, 0]),
        (libc::SYS_ppoll, [P, 1, 0, 0, 0]),
        (libc::SYS_uname, [P, 0, 0, 0, 0]),
        (libc::SYS_sysinfo, [P, 0, 0, 0, 0]),
        (libc::SYS_clock_gettime, [monotonic, P, 0, 0, 0]),
        (libc::SYS_clock_getres, [monotonic, P, 0, 0, 0]),
        (libc::SYS_nanosleep, [P, 0, 0, 0, 0]),
        (libc::SYS_clock_nanosleep, [monotonic, 0, P, 0, 0]),
        (libc::SYS_getrandom, [P, 16, 0, 0, 0]),
        (libc::SYS_rt_sigaction, [usr1, P, 0, 8, 0]),
        (libc::SYS_rt_sigaction, [usr1, 0, P, 8, 0]),
        (libc::SYS_rt_sigprocmask, [0, P, 0, 8, 0]),
        (libc::SYS_rt_sigprocmask, [0, 0, P, 8, 0]),
        (libc::SYS_rt_sigpending, [P, 8, 0, 0, 0]),
        (libc::SYS_sigaltstack, [P, 0, 0, 0, 0]),
        (libc::SYS_sigaltstack, [0, P, 0, 0, 0]),
        (libc::SYS_prlimit64, [0, libc::RLIMIT_NOFILE as usize, 0, P, 0]),
        (libc::SYS_sched_getaffinity, [0, 128, P, 0, 0]),
        (libc::SYS_execve, [P, 0, 0, 0, 0]),
        (libc::SYS_statfs, [path, P, 0, 0, 0]),
        (libc::SYS_swapon, [P, 0, 0, 0, 0]),
    ];
    for (number, arguments) in calls {
        for bad in BAD {
            let arguments = arguments.map(|argument| if argument == P { bad } else { argument });
            let result = sys::call(*number, arguments);
            assert_eq!(result, Err(libc::EFAULT), "call {number} with {bad:#x}");
        }
    }
}

/// Calls that do what they are asked to: end processes or the machine, or wait for ever.
const NOT_CALLED: [i64; 13] = [
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_reboot,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigreturn,
    libc::SYS_swapoff,
    libc::SYS_vhangup,
];

fn every_call_survives_every_bad_argument() {
    let witness = Mapping::anonymous(16 * PAGE);
    witness.pages().for_each(|page| memory::store_pattern(page, page as u64));
    let values: Vec<usize> = BAD.into_iter().chain([0, 1, 3, usize::MAX, 1 << 63]).collect();
    for number in (0..470).filter(|number| !NOT_CALLED.contains(number)) {
        // In a child, as munmap, close or clone may succeed; a call that waits is ended.
        let child = process::fork(|| {
            process::alarm(1);
            for value in &values {
                sys::call(number, [*value; 6]).ok();
                sys::call(number, [0, *value, *value, *value, *value, *value]).ok();
            }
            // Not `exit` of the library: the child may have lost its memory.
            sys::call(libc::SYS_exit_group, [0]).ok();
            1
        });
        let ended = child.wait();
        assert!(matches!(ended, Ended::Exited(_) | Ended::Killed(_)), "call {number}: {ended:?}");
        for page in witness.pages() {
            assert_eq!(memory::first_difference(page, page as u64), None, "call {number}");
        }
    }
}

fn unknown_calls_are_enosys() {
    for number in [600, 1000, 4096, i64::from(i32::MAX), i64::MAX, -1] {
        assert_eq!(sys::call(number, [0; 6]), Err(libc::ENOSYS), "{number}");
    }
}
