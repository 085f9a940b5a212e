// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests threads and futexes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use user_tests::memory::{Mapping, PAGE, RW};
use user_tests::process::{self, Ended};
use user_tests::sys::{self, Errno};

user_tests::tests!(
    hundred_threads_have_their_own_stack_and_tls,
    threads_have_their_own_tid_and_one_pid,
    a_thousand_threads_come_and_go,
    mutex_excludes,
    condition_wakes_all,
    channel_passes_in_order,
    spinning_thread_is_preempted,
    threads_fault_on_the_same_pages,
    threads_map_and_unmap_at_once,
    futex_of_another_value_is_not_waited_for,
    futex_times_out,
    futex_refuses_bad_arguments,
    futex_wakes_as_many_as_asked_for,
    futex_requeues,
    futex_in_shared_memory_wakes_another_process,
    robust_mutex_of_a_dead_thread_is_marked,
    stack_overflow_of_a_thread_ends_the_process,
    fork_in_a_thread_copies_one_thread,
);

fn futex(word: &AtomicU32, operation: i32, rest: [usize; 4]) -> Result<usize, Errno> {
    let at = word.as_ptr().expose_provenance();
    let [value, timeout, second, third] = rest;
    sys::call(libc::SYS_futex, [at, operation as usize, value, timeout, second, third])
}

fn hundred_threads_have_their_own_stack_and_tls() {
    thread_local! {
        static NUMBER: AtomicU64 = const { AtomicU64::new(0) };
    }
    let barrier = Barrier::new(100);
    thread::scope(|scope| {
        for number in 1..=100 {
            let barrier = &barrier;
            scope.spawn(move || {
                let local = [number; 500];
                NUMBER.with(|it| it.store(number, Ordering::Relaxed));
                barrier.wait();
                assert_eq!(NUMBER.with(|it| it.load(Ordering::Relaxed)), number);
                assert_eq!(std::hint::black_box(local), [number; 500]);
            });
        }
    });
    assert_eq!(NUMBER.with(|it| it.load(Ordering::Relaxed)), 0);
}

fn threads_have_their_own_tid_and_one_pid() {
    let pid = std::process::id();
    let barrier = Barrier::new(20);
    let tids: BTreeSet<usize> = thread::scope(|scope| {
        let tid = || {
            assert_eq!(std::process::id(), pid);
            barrier.wait();
            sys::call(libc::SYS_gettid, []).expect("gettid")
        };
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(tid)).collect();
        threads.into_iter().map(|thread| thread.join().expect("join")).collect()
    });
    assert_eq!(tids.len(), 20);
    assert!(!tids.contains(&(pid as usize)));
}

fn a_thousand_threads_come_and_go() {
    for number in 0..1000 {
        assert_eq!(thread::spawn(move || number).join().expect("join"), number);
    }
}

fn mutex_excludes() {
    let counter = Mutex::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..5000 {
                    *counter.lock().expect("lock") += 1;
                }
            });
        }
    });
    assert_eq!(*counter.lock().expect("lock"), 40_000);
}

fn condition_wakes_all() {
    let pair = (Mutex::new(0), Condvar::new());
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let mut count = pair.0.lock().expect("lock");
                *count += 1;
                pair.1.notify_all();
                while *count < 20 {
                    count = pair.1.wait(count).expect("wait");
                }
            });
        }
    });
    assert_eq!(*pair.0.lock().expect("lock"), 20);
}

fn channel_passes_in_order() {
    let (sender, receiver) = mpsc::sync_channel(3);
    let producer = thread::spawn(move || (0..2000).try_for_each(|number| sender.send(number)));
    assert!(receiver.into_iter().eq(0..2000));
    producer.join().expect("join").expect("send");
}

fn spinning_thread_is_preempted() {
    let turn = Arc::new(AtomicU32::new(0));
    let other = turn.clone();
    // Each waits for the other without giving up its CPU: on one CPU a timer has to.
    let spin = |turn: &AtomicU32, own: u32| {
        for _ in 0..10 {
            while turn.load(Ordering::Acquire) % 2 != own {
                std::hint::spin_loop();
            }
            turn.fetch_add(1, Ordering::Release);
        }
    };
    let thread = thread::spawn(move || spin(&other, 1));
    spin(&turn, 0);
    thread.join().expect("join");
    assert_eq!(turn.load(Ordering::Relaxed), 20);
}

fn threads_fault_on_the_same_pages() {
    const NR_PAGES: usize = 64;
    for _ in 0..10 {
        let mapping = Mapping::anonymous(NR_PAGES * PAGE);
        let words: Vec<&AtomicU64> = mapping.pages().map(user_tests::memory::atomic).collect();
        let barrier = Barrier::new(4);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    for word in &words {
                        word.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 4));
    }
}

fn threads_map_and_unmap_at_once() {
    thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || {
                for round in 0..200 {
                    let mapping = Mapping::anonymous(4 * PAGE);
                    let seed = seed * 1000 + round;
                    user_tests::memory::store_pattern(mapping.page(2), seed);
                    assert_eq!(user_tests::memory::load(mapping.page(1)), 0);
                    let difference = user_tests::memory::first_difference(mapping.page(2), seed);
                    assert_eq!(difference, None);
                }
            });
        }
    });
}

fn futex_of_another_value_is_not_waited_for() {
    let word = AtomicU32::new(1);
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    assert_eq!(futex(&word, operation, [0, 0, 0, 0]), Err(libc::EAGAIN));
}

fn futex_times_out() {
    let word = AtomicU32::new(0);
    let time = libc::timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    let at = (&raw const time).expose_provenance();
    let start = Instant::now();
    let result = futex(&word, libc::FUTEX_WAIT, [0, at, 0, 0]);
    assert_eq!(result, Err(libc::ETIMEDOUT));
    assert!(start.elapsed() >= Duration::from_millis(20));
}

fn futex_refuses_bad_arguments() {
    let word = AtomicU32::new(0);
    let at = word.as_ptr().expose_provenance();
    let call = |at: usize, operation: i32, timeout: usize| {
        sys::call(libc::SYS_futex, [at, operation as usize, 0, timeout, 0, 0])
    };
    assert_eq!(call(at + 1, libc::FUTEX_WAIT, 0), Err(libc::EINVAL));
    assert_eq!(call(8, libc::FUTEX_WAIT, 0), Err(libc::EFAULT));
    assert_eq!(call(at, libc::FUTEX_WAIT, 8), Err(libc::EFAULT));
    assert_eq!(call(at, 99, 0), Err(libc::ENOSYS));
    assert_eq!(call(at + 2, libc::FUTEX_WAKE, 0), Err(libc::EINVAL));
    let time = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000_000 };
    let time = (&raw const time).expose_provenance();
    assert_eq!(call(at, libc::FUTEX_WAIT, time), Err(libc::EINVAL));
    assert_eq!(futex(&word, libc::FUTEX_WAKE, [1, 0, 0, 0]), Ok(0), "nobody waits");
}

/// Starts threads that wait for `word` to be no longer 0, and returns when all do.
fn waiters<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    word: &'scope AtomicU32,
    nr_woken: &'scope AtomicU32,
    count: usize,
) {
    for _ in 0..count {
        scope.spawn(move || {
            let result = futex(word, libc::FUTEX_WAIT, [0, 0, 0, 0]);
            assert_eq!(result, Ok(0));
            nr_woken.fetch_add(1, Ordering::SeqCst);
        });
    }
    // A requeue onto the word itself counts who waits and wakes nobody.
    let at = word.as_ptr().expose_provenance();
    while futex(word, libc::FUTEX_REQUEUE, [0, usize::MAX >> 33, at, 0]) != Ok(count) {
        thread::yield_now();
    }
}

fn until_equal(word: &AtomicU32, value: u32) {
    while word.load(Ordering::SeqCst) != value {
        thread::yield_now();
    }
}

fn futex_wakes_as_many_as_asked_for() {
    let (word, nr_woken) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        waiters(scope, &word, &nr_woken, 5);
        assert_eq!(futex(&word, libc::FUTEX_WAKE, [2, 0, 0, 0]), Ok(2));
        until_equal(&nr_woken, 2);
        assert_eq!(futex(&word, libc::FUTEX_WAKE, [100, 0, 0, 0]), Ok(3));
    });
    assert_eq!(nr_woken.load(Ordering::SeqCst), 5);
}

fn futex_requeues() {
    let (word, other, nr_woken) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    let at = other.as_ptr().expose_provenance();
    thread::scope(|scope| {
        waiters(scope, &word, &nr_woken, 5);
        let wrong = futex(&word, libc::FUTEX_CMP_REQUEUE, [1, 100, at, 7]);
        assert_eq!(wrong, Err(libc::EAGAIN));
        // One woken and three moved; Linux counts both.
        let result = futex(&word, libc::FUTEX_CMP_REQUEUE, [1, 3, at, 0]);
        assert_eq!(result, Ok(4));
        until_equal(&nr_woken, 1);
        assert_eq!(futex(&word, libc::FUTEX_WAKE, [100, 0, 0, 0]), Ok(1));
        assert_eq!(futex(&other, libc::FUTEX_WAKE, [100, 0, 0, 0]), Ok(3));
    });
    assert_eq!(nr_woken.load(Ordering::SeqCst), 5);
}

fn futex_in_shared_memory_wakes_another_process() {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let mapping = Mapping::new(PAGE, RW, flags).expect("mmap");
    let word = user_tests::memory::atomic_u32(mapping.start());
    let child = process::fork(|| {
        while word.load(Ordering::SeqCst) == 0 {
            let result = futex(word, libc::FUTEX_WAIT, [0, 0, 0, 0]);
            assert!(matches!(result, Ok(0) | Err(libc::EAGAIN)), "{result:?}");
        }
        0
    });
    // Until it waits.
    while futex(word, libc::FUTEX_REQUEUE, [0, 1, mapping.start(), 0]) != Ok(1) {
        thread::yield_now();
    }
    word.store(1, Ordering::SeqCst);
    assert_eq!(futex(word, libc::FUTEX_WAKE, [1, 0, 0, 0]), Ok(1));
    assert_eq!(child.wait(), Ended::Exited(0));
}

fn robust_mutex_of_a_dead_thread_is_marked() {
    const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let mapping = Mapping::new(PAGE, RW, flags).expect("mmap");
    let word = user_tests::memory::atomic_u32(mapping.start() + 64);
    process::in_child(|| {
        let tid = sys::call(libc::SYS_gettid, []).expect("gettid") as u32;
        word.store(tid, Ordering::SeqCst);
        // struct robust_list_head at 0: list, offset of the futex, pending; an entry at 32.
        let (head, entry) = (mapping.start(), mapping.start() + 32);
        user_tests::memory::store(head, entry as u64);
        user_tests::memory::store(head + 8, 32);
        user_tests::memory::store(head + 16, 0);
        user_tests::memory::store(entry, head as u64);
        sys::call(libc::SYS_set_robust_list, [head, 24]).expect("set_robust_list");
    });
    let value = word.load(Ordering::SeqCst);
    assert_eq!(value & FUTEX_OWNER_DIED, FUTEX_OWNER_DIED, "{value:#x}");
    assert_eq!(sys::call(libc::SYS_set_robust_list, [0, 23]), Err(libc::EINVAL));
}

fn stack_overflow_of_a_thread_ends_the_process() {
    fn descend(depth: u64) -> u64 {
        let page = std::hint::black_box([depth; PAGE / 8]);
        if depth == u64::MAX { 0 } else { descend(depth + 1) + page[7] }
    }
    let child = process::fork(|| {
        process::no_handlers();
        let thread = thread::spawn(|| descend(0));
        i32::from(thread.join().is_ok())
    });
    assert_eq!(child.wait(), Ended::Killed(libc::SIGSEGV));
}

fn fork_in_a_thread_copies_one_thread() {
    let stop = AtomicBool::new(false);
    let ticks = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                ticks.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            while ticks.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
            process::in_child(|| {
                // The thread that ticks is not there. One CPU gives the parent's a whole slice for
                // each of these turns.
                let before = ticks.load(Ordering::Relaxed);
                (0..20).for_each(|_| thread::yield_now());
                assert_eq!(ticks.load(Ordering::Relaxed), before);
            });
            stop.store(true, Ordering::Relaxed);
        });
    });
}
