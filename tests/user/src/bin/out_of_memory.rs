// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests that memory used up costs one process and nobody else a byte.
//!
//! Its machine has no swap. On Linux: a machine without swap, or a memory cgroup.

use std::io::{PipeWriter, Read, Write};

use user_tests::memory::{self, Mapping, PAGE};
use user_tests::process::{self, Child, Ended};
use user_tests::vmstat::Counters;
use user_tests::{meminfo, sys};

user_tests::tests!(
    largest_process_is_killed_and_others_keep_their_bytes,
    memory_of_a_killed_process_can_be_used_again,
    who_is_offered_goes_before_the_largest,
    who_is_exempt_stays_though_it_is_the_largest,
    forking_without_end_leaves_others_alone,
);

/// More than the machine has.
const TOO_MUCH: usize = 1 << 30;

/// What a bystander has.
const BYSTANDER_PAGES: usize = 1024;

/// Writes to more memory than there is.
fn eat() -> i32 {
    process::no_handlers();
    let Ok(mapping) = Mapping::new(TOO_MUCH, memory::RW, memory::ANON | libc::MAP_NORESERVE) else {
        return 1;
    };
    mapping.pages().for_each(|page| memory::store(page, 1));
    0
}

fn largest_process_is_killed_and_others_keep_their_bytes() {
    let own = Mapping::anonymous(BYSTANDER_PAGES * PAGE);
    own.pages().for_each(|page| memory::store_pattern(page, page as u64));
    // A bystander with pages of its own, who looks at them when it is told to.
    let (mut told, mut tell) = std::io::pipe().expect("pipe");
    let bystander = process::fork(|| {
        own.pages().for_each(|page| memory::store_pattern(page, !page as u64));
        let _ = told.read(&mut [0]);
        let is_kept = |page: usize| memory::first_difference(page, !page as u64).is_none();
        i32::from(!own.pages().all(is_kept))
    });
    let before = Counters::read();
    let eater = process::fork(eat);
    assert_eq!(eater.wait(), Ended::Killed(libc::SIGKILL));
    assert_eq!(Counters::read().since(&before, "oom_kill"), Some(1));
    tell.write_all(b"!").expect("a bystander who reads");
    assert_eq!(bystander.wait(), Ended::Exited(0), "the bystander has its bytes");
    for page in own.pages() {
        assert_eq!(memory::first_difference(page, page as u64), None);
    }
}

fn memory_of_a_killed_process_can_be_used_again() {
    for _ in 0..3 {
        assert_eq!(process::fork(eat).wait(), Ended::Killed(libc::SIGKILL));
        process::in_child(|| {
            let mapping = Mapping::anonymous(16 << 20);
            mapping.pages().for_each(|page| memory::store(page, page as u64));
            assert!(mapping.pages().all(|page| memory::load(page) == page as u64));
        });
    }
}

/// Runs a process with so many pages and so much added to its points, which ends when it is told to.
fn sitter(nr_pages: usize, adjustment: &str) -> (Child, PipeWriter) {
    let (mut ready, mut say) = std::io::pipe().expect("pipe");
    let (mut told, tell) = std::io::pipe().expect("pipe");
    let child = process::fork(|| {
        std::fs::write("/proc/self/oom_score_adj", adjustment).expect("oom_score_adj");
        let own = Mapping::anonymous(nr_pages * PAGE);
        own.pages().for_each(|page| memory::store_pattern(page, page as u64));
        say.write_all(b"!").expect("a parent who reads");
        let _ = told.read(&mut [0]);
        i32::from(!own.pages().all(|page| memory::first_difference(page, page as u64).is_none()))
    });
    ready.read_exact(&mut [0]).expect("a child that is ready");
    (child, tell)
}

fn who_is_offered_goes_before_the_largest() {
    let before = Counters::read();
    let (offered, _tell) = sitter(16, "1000");
    let eater = process::fork(eat);
    assert_eq!(offered.wait(), Ended::Killed(libc::SIGKILL));
    assert_eq!(eater.wait(), Ended::Killed(libc::SIGKILL), "what that gave was not enough");
    assert_eq!(Counters::read().since(&before, "oom_kill"), Some(2));
}

fn who_is_exempt_stays_though_it_is_the_largest() {
    let most = meminfo::read("MemTotal").expect("MemTotal") as usize / PAGE * 5 / 8;
    let (exempt, mut tell) = sitter(most, "-1000");
    let eater = process::fork(eat);
    assert_eq!(eater.wait(), Ended::Killed(libc::SIGKILL));
    tell.write_all(b"!").expect("a process that reads");
    assert_eq!(exempt.wait(), Ended::Exited(0), "it has its bytes");
}

/// Forks for ever, and so do the children.
fn bomb() -> i32 {
    process::no_handlers();
    sys::call(libc::SYS_setpgid, [0, 0]).expect("setpgid");
    loop {
        // A child that cannot be made is no reason to stop.
        let _ = process::try_fork(|| 0);
        let _ = process::try_fork(bomb_on);
    }
}

fn bomb_on() -> i32 {
    loop {
        let _ = process::try_fork(bomb_on);
    }
}

fn forking_without_end_leaves_others_alone() {
    let own = Mapping::anonymous(64 * PAGE);
    own.pages().for_each(|page| memory::store_pattern(page, 7));
    let (mut ends, held) = std::io::pipe().expect("pipe");
    let bomb = process::fork(bomb);
    // Who is left of them holds the pipe open.
    drop(held);
    std::thread::sleep(std::time::Duration::from_millis(100));
    // One signal reaches all there ever are: a fork that it interrupts makes no child. That the
    // first of them may have been killed by the kernel does not end the group.
    let group = -bomb.pid();
    sys::call(libc::SYS_kill, [group as usize, libc::SIGKILL as usize]).expect("kill");
    assert_eq!(ends.read(&mut [0]).expect("the end of all"), 0);
    assert_eq!(bomb.wait(), Ended::Killed(libc::SIGKILL));
    for page in own.pages() {
        assert_eq!(memory::first_difference(page, 7), None);
    }
    process::in_child(|| own.pages().for_each(|page| memory::store_pattern(page, 8)));
}
