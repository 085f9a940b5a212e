// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests mmap, munmap, mprotect, mremap and brk.

use user_tests::fault::{self, SEGV_ACCERR, SEGV_MAPERR};
use user_tests::memory::{self, ANON, Mapping, PAGE, RW, mmap, mprotect, munmap};
use user_tests::pageout::{Place, place};
use user_tests::process;
use user_tests::sys::{self, Errno};

user_tests::tests!(
    anonymous_memory_is_zero,
    untouched_memory_costs_no_pages,
    unmapped_memory_faults,
    munmap_of_the_middle_leaves_the_ends,
    munmap_refuses_bad_arguments,
    mmap_refuses_bad_arguments,
    mmap_fixed_replaces,
    mmap_noreplace_does_not_replace,
    mmap_takes_a_free_hint,
    mprotect_forbids_and_permits_again,
    mprotect_stops_at_a_hole,
    mprotect_refuses_bad_arguments,
    pages_without_exec_do_not_execute,
    code_that_was_written_executes,
    shared_memory_is_shared_with_a_child,
    private_memory_is_not_shared_with_a_child,
    children_of_children_share_pages_until_written,
    mremap_grows_and_keeps_bytes,
    mremap_shrinks,
    mremap_moves_to_a_fixed_place,
    mremap_refuses_bad_arguments,
    brk_grows_shrinks_and_zeroes,
    a_thousand_mappings_stay_apart,
    pages_a_terabyte_apart_are_apart,
    the_stack_grows,
);

/// The end of user space with 48-bit addresses.
const TASK_SIZE: usize = 1 << 48;

fn fault_code(access: impl FnOnce()) -> Option<(i32, i32, usize)> {
    fault::catch(access).map(|fault| (fault.signal, fault.code, fault.address))
}

fn assert_unmapped(address: usize) {
    let load = || {
        memory::load(address);
    };
    assert_eq!(fault_code(load), Some((libc::SIGSEGV, SEGV_MAPERR, address)));
    let store = || memory::store(address, 1);
    assert_eq!(fault_code(store), Some((libc::SIGSEGV, SEGV_MAPERR, address)));
}

fn anonymous_memory_is_zero() {
    for _ in 0..4 {
        let mapping = Mapping::anonymous(16 * PAGE);
        for address in mapping.range().step_by(8) {
            assert_eq!(memory::load(address), 0);
        }
        mapping.pages().for_each(|page| memory::store_pattern(page, 1));
    }
}

fn untouched_memory_costs_no_pages() {
    let mapping = Mapping::anonymous(16 * PAGE);
    assert!(mapping.pages().all(|page| place(page) == Place::Nowhere));
    memory::store(mapping.page(3), 1);
    for (index, page) in mapping.pages().enumerate() {
        assert_eq!(place(page) == Place::Memory, index == 3, "page {index}");
    }
}

fn unmapped_memory_faults() {
    let mapping = Mapping::anonymous(PAGE);
    let address = mapping.start();
    memory::store(address, 1);
    drop(mapping);
    assert_unmapped(address);
    assert_unmapped(8);
    assert_unmapped(TASK_SIZE - PAGE);
}

fn munmap_of_the_middle_leaves_the_ends() {
    let mapping = Mapping::anonymous(8 * PAGE);
    mapping.pages().for_each(|page| memory::store_pattern(page, 2));
    munmap(mapping.page(3), 2 * PAGE).expect("munmap");
    for (index, page) in mapping.pages().enumerate() {
        if (3..5).contains(&index) {
            assert_unmapped(page);
        } else {
            assert_eq!(memory::first_difference(page, 2), None);
        }
    }
    // Again, with a hole inside, which is no error.
    munmap(mapping.page(2), 4 * PAGE).expect("munmap over a hole");
    assert_unmapped(mapping.page(5));
    assert_eq!(memory::first_difference(mapping.page(6), 2), None);
}

fn munmap_refuses_bad_arguments() {
    let mapping = Mapping::anonymous(PAGE);
    let start = mapping.start();
    let cases = [
        (start + 1, PAGE),
        (start, 0),
        (start, usize::MAX),
        (start, TASK_SIZE),
        (TASK_SIZE, PAGE),
        (0usize.wrapping_sub(PAGE), PAGE),
    ];
    for (address, len_bytes) in cases {
        let result = munmap(address, len_bytes);
        assert_eq!(result, Err(libc::EINVAL), "{address:#x}, {len_bytes:#x}");
    }
    memory::store(start, 1);
    munmap(start, 1).expect("a length is rounded up");
    assert_unmapped(start);
    mmap(start, PAGE, RW, ANON | libc::MAP_FIXED, -1, 0).expect("mmap for the drop");
}

fn mmap_refuses_bad_arguments() {
    const FIXED: i32 = ANON | libc::MAP_FIXED;
    const MAP_SHARED_VALIDATE: i32 = 3;
    let file = std::fs::File::open("/proc/self/exe").expect("/proc/self/exe");
    let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
    let shared = libc::MAP_SHARED;
    let cases: [(usize, usize, i32, i32, usize, Errno); 12] = [
        (0, 0, ANON, -1, 0, libc::EINVAL),
        (0, PAGE, libc::MAP_ANONYMOUS, -1, 0, libc::EINVAL),
        (1, PAGE, FIXED, -1, 0, libc::EINVAL),
        (TASK_SIZE, PAGE, FIXED, -1, 0, libc::ENOMEM),
        (TASK_SIZE - PAGE, 2 * PAGE, FIXED, -1, 0, libc::ENOMEM),
        (0, TASK_SIZE + PAGE, ANON, -1, 0, libc::ENOMEM),
        (0, usize::MAX, ANON, -1, 0, libc::ENOMEM),
        (0, PAGE, libc::MAP_PRIVATE, -1, 0, libc::EBADF),
        (0, PAGE, libc::MAP_PRIVATE, 1000, 0, libc::EBADF),
        (0, PAGE, libc::MAP_PRIVATE, fd, 1, libc::EINVAL),
        (0, PAGE, shared, fd, 0, libc::EACCES),
        (0, PAGE, MAP_SHARED_VALIDATE | 1 << 24, fd, 0, libc::EOPNOTSUPP),
    ];
    for (index, (address, len_bytes, flags, fd, offset, errno)) in cases.into_iter().enumerate() {
        let result = mmap(address, len_bytes, RW, flags, fd, offset);
        assert_eq!(result, Err(errno), "case {index}");
    }
}

fn mmap_fixed_replaces() {
    let mapping = Mapping::anonymous(4 * PAGE);
    mapping.pages().for_each(|page| memory::store_pattern(page, 3));
    let fixed = ANON | libc::MAP_FIXED;
    let result = mmap(mapping.page(1), 2 * PAGE, RW, fixed, -1, 0);
    assert_eq!(result, Ok(mapping.page(1)));
    for (index, page) in mapping.pages().enumerate() {
        if (1..3).contains(&index) {
            assert_eq!(memory::load(page), 0);
        } else {
            assert_eq!(memory::first_difference(page, 3), None);
        }
    }
}

fn mmap_noreplace_does_not_replace() {
    let mapping = Mapping::anonymous(4 * PAGE);
    mapping.pages().for_each(|page| memory::store_pattern(page, 4));
    let flags = ANON | libc::MAP_FIXED_NOREPLACE;
    for (first, nr_pages) in [(0, 4), (3, 2), (1, 1)] {
        let result = mmap(mapping.page(first), nr_pages * PAGE, RW, flags, -1, 0);
        assert_eq!(result, Err(libc::EEXIST));
    }
    assert!(mapping.pages().all(|page| memory::first_difference(page, 4).is_none()));
    munmap(mapping.page(1), PAGE).expect("munmap");
    assert_eq!(mmap(mapping.page(1), PAGE, RW, flags, -1, 0), Ok(mapping.page(1)));
}

fn mmap_takes_a_free_hint() {
    let hint = {
        let mapping = Mapping::anonymous(PAGE);
        mapping.start()
    };
    assert_eq!(mmap(hint, PAGE, RW, ANON, -1, 0), Ok(hint), "free, so taken");
    let other = mmap(hint, PAGE, RW, ANON, -1, 0).expect("mmap");
    assert_ne!(other, hint);
    munmap(hint, PAGE).expect("munmap");
    munmap(other, PAGE).expect("munmap");
}

fn mprotect_forbids_and_permits_again() {
    let mapping = Mapping::anonymous(3 * PAGE);
    mapping.pages().for_each(|page| memory::store_pattern(page, 5));
    let page = mapping.page(1);
    let load = || {
        memory::load(page);
    };
    let store = || memory::store(page, 1);
    let refused = Some((libc::SIGSEGV, SEGV_ACCERR, page));
    mprotect(page, PAGE, libc::PROT_READ).expect("mprotect");
    assert_eq!((fault_code(load), fault_code(store)), (None, refused));
    mprotect(page, PAGE, libc::PROT_NONE).expect("mprotect");
    assert_eq!((fault_code(load), fault_code(store)), (refused, refused));
    mprotect(page, PAGE, RW).expect("mprotect");
    assert!(mapping.pages().all(|page| memory::first_difference(page, 5).is_none()));
    assert_eq!(fault_code(store), None);
    // A page that was never touched is no other.
    let fresh = Mapping::new(PAGE, libc::PROT_READ, ANON).expect("mmap");
    assert_eq!(memory::load(fresh.start()), 0);
    mprotect(fresh.start(), PAGE, RW).expect("mprotect");
    memory::store(fresh.start(), 1);
    assert_eq!(memory::load(fresh.start()), 1);
}

fn mprotect_stops_at_a_hole() {
    let mapping = Mapping::anonymous(4 * PAGE);
    munmap(mapping.page(2), PAGE).expect("munmap");
    let result = mprotect(mapping.start(), 4 * PAGE, libc::PROT_READ);
    assert_eq!(result, Err(libc::ENOMEM));
    let store = |page| fault_code(|| memory::store(page, 1)).map(|fault| fault.1);
    assert_eq!(store(mapping.page(1)), Some(SEGV_ACCERR), "before the hole");
    assert_eq!(store(mapping.page(3)), None, "behind the hole");
}

fn mprotect_refuses_bad_arguments() {
    const PROT_GROWSDOWN: i32 = 0x0100_0000;
    const PROT_GROWSUP: i32 = 0x0200_0000;
    let mapping = Mapping::anonymous(PAGE);
    let start = mapping.start();
    let cases = [
        (start + 1, PAGE, RW, Err(libc::EINVAL)),
        (start, PAGE, 0x100, Err(libc::EINVAL)),
        (start, PAGE, -1, Err(libc::EINVAL)),
        (start, PAGE, RW | PROT_GROWSDOWN | PROT_GROWSUP, Err(libc::EINVAL)),
        (start, usize::MAX, RW, Err(libc::ENOMEM)),
        (TASK_SIZE, PAGE, RW, Err(libc::ENOMEM)),
        (start, 0, RW, Ok(())),
    ];
    for (index, (address, len_bytes, protection, expected)) in cases.into_iter().enumerate() {
        assert_eq!(mprotect(address, len_bytes, protection), expected, "case {index}");
    }
}

fn pages_without_exec_do_not_execute() {
    let mapping = Mapping::anonymous(PAGE);
    let page = mapping.start();
    memory::write_code(page, &[memory::RET]);
    let fault = fault::catch_call(page).expect("a fault");
    assert_eq!((fault.signal, fault.code, fault.address), (libc::SIGSEGV, SEGV_ACCERR, page));
}

fn code_that_was_written_executes() {
    let mapping = Mapping::anonymous(PAGE);
    let page = mapping.start();
    // mov x0, #number
    for number in [7, 4711] {
        mprotect(page, PAGE, RW).expect("mprotect");
        memory::write_code(page, &[0xd280_0000 | number << 5, memory::RET]);
        mprotect(page, PAGE, libc::PROT_READ | libc::PROT_EXEC).expect("mprotect");
        assert_eq!(memory::call_code(page), u64::from(number));
    }
}

fn shared_memory_is_shared_with_a_child() {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let mapping = Mapping::new(4 * PAGE, RW, flags).expect("mmap");
    memory::store(mapping.start(), 1);
    process::in_child(|| {
        assert_eq!(memory::load(mapping.start()), 1);
        mapping.pages().for_each(|page| memory::store_pattern(page, 6));
    });
    assert!(mapping.pages().all(|page| memory::first_difference(page, 6).is_none()));
}

fn private_memory_is_not_shared_with_a_child() {
    let mapping = Mapping::anonymous(4 * PAGE);
    memory::store_pattern(mapping.start(), 7);
    process::in_child(|| {
        assert_eq!(memory::first_difference(mapping.start(), 7), None);
        mapping.pages().for_each(|page| memory::store_pattern(page, 8));
        assert_eq!(memory::first_difference(mapping.start(), 8), None);
    });
    assert_eq!(memory::first_difference(mapping.start(), 7), None);
    assert!(mapping.pages().skip(1).all(|page| memory::load(page) == 0));
}

fn children_of_children_share_pages_until_written() {
    fn generation(mapping: &Mapping, depth: usize) {
        for (index, page) in mapping.pages().enumerate() {
            let seed = if index < depth { index as u64 + 1 } else { 0 };
            assert_eq!(memory::first_difference(page, seed), None);
        }
        if depth < mapping.len_bytes() / PAGE {
            memory::store_pattern(mapping.page(depth), depth as u64 + 1);
            process::in_child(|| generation(mapping, depth + 1));
        }
        // What descendants wrote is not seen here.
        for page in mapping.pages().skip(depth + 1) {
            assert_eq!(memory::first_difference(page, 0), None);
        }
    }
    let mapping = Mapping::anonymous(8 * PAGE);
    mapping.pages().for_each(|page| memory::store_pattern(page, 0));
    generation(&mapping, 0);
}

fn mremap(arguments: [usize; 5]) -> Result<usize, Errno> {
    sys::call(libc::SYS_mremap, arguments)
}

const MAYMOVE: usize = libc::MREMAP_MAYMOVE as usize;
const FIXED: usize = libc::MREMAP_FIXED as usize | MAYMOVE;

fn mremap_grows_and_keeps_bytes() {
    let mapping = Mapping::anonymous(8 * PAGE);
    mapping.pages().for_each(|page| memory::store_pattern(page, 9));
    // In place, after making room.
    munmap(mapping.page(4), 4 * PAGE).expect("munmap");
    let grown = mremap([mapping.start(), 4 * PAGE, 6 * PAGE, 0, 0]);
    assert_eq!(grown, Ok(mapping.start()));
    assert_eq!(memory::first_difference(mapping.page(3), 9), None);
    assert_eq!(memory::load(mapping.page(5)), 0);
    // No room: elsewhere.
    mmap(mapping.page(6), PAGE, RW, ANON | libc::MAP_FIXED, -1, 0).expect("mmap");
    assert_eq!(mremap([mapping.start(), 6 * PAGE, 16 * PAGE, 0, 0]), Err(libc::ENOMEM));
    let moved = mremap([mapping.start(), 6 * PAGE, 16 * PAGE, MAYMOVE, 0]).expect("mremap");
    assert_ne!(moved, mapping.start());
    assert_eq!(memory::first_difference(moved + 3 * PAGE, 9), None);
    assert_eq!(memory::load(moved + 15 * PAGE), 0);
    assert_unmapped(mapping.start());
    munmap(moved, 16 * PAGE).expect("munmap");
}

fn mremap_shrinks() {
    let mapping = Mapping::anonymous(4 * PAGE);
    mapping.pages().for_each(|page| memory::store_pattern(page, 10));
    assert_eq!(mremap([mapping.start(), 4 * PAGE, PAGE, 0, 0]), Ok(mapping.start()));
    assert_eq!(memory::first_difference(mapping.start(), 10), None);
    assert_unmapped(mapping.page(1));
}

fn mremap_moves_to_a_fixed_place() {
    let (from, to) = (Mapping::anonymous(4 * PAGE), Mapping::anonymous(4 * PAGE));
    from.pages().for_each(|page| memory::store_pattern(page, 11));
    to.pages().for_each(|page| memory::store_pattern(page, 12));
    let moved = mremap([from.start(), 4 * PAGE, 4 * PAGE, FIXED, to.start()]);
    assert_eq!(moved, Ok(to.start()));
    assert!(to.pages().all(|page| memory::first_difference(page, 11).is_none()));
    assert_unmapped(from.start());
}

fn mremap_refuses_bad_arguments() {
    let mapping = Mapping::anonymous(4 * PAGE);
    let start = mapping.start();
    let cases = [
        ([start + 1, PAGE, PAGE, 0, 0], libc::EINVAL),
        ([start, PAGE, 0, 0, 0], libc::EINVAL),
        ([start, PAGE, PAGE, 0x100, 0], libc::EINVAL),
        ([start, PAGE, PAGE, libc::MREMAP_FIXED as usize, start + PAGE], libc::EINVAL),
        ([start, 2 * PAGE, 2 * PAGE, FIXED, start + PAGE], libc::EINVAL),
        ([start, PAGE, PAGE, FIXED, start + 1], libc::EINVAL),
        ([start, PAGE, PAGE, FIXED, TASK_SIZE], libc::EINVAL),
        ([start, 0, PAGE, MAYMOVE, 0], libc::EINVAL),
        ([0, PAGE, 2 * PAGE, MAYMOVE, 0], libc::EFAULT),
        ([start, PAGE, usize::MAX, MAYMOVE, 0], libc::EINVAL),
    ];
    for (index, (arguments, errno)) in cases.into_iter().enumerate() {
        assert_eq!(mremap(arguments), Err(errno), "case {index}");
    }
}

fn brk_grows_shrinks_and_zeroes() {
    let brk = |end: usize| sys::call(libc::SYS_brk, [end]).expect("brk returns an address");
    // Nothing allocates from here on, as the allocator has its own idea of the end.
    let end = brk(0).next_multiple_of(PAGE);
    let results = [brk(end), brk(end + 8 * PAGE)];
    let zero = memory::load(end + 7 * PAGE);
    memory::store(end + 7 * PAGE, 1);
    let shrunk = brk(end + PAGE);
    let again = brk(end + 8 * PAGE);
    let zero_again = memory::load(end + 7 * PAGE);
    let too_far = brk(TASK_SIZE - PAGE);
    let too_low = brk(PAGE);
    let back = brk(end);
    assert_eq!(results, [end, end + 8 * PAGE]);
    assert_eq!((zero, zero_again), (0, 0));
    assert_eq!((shrunk, again), (end + PAGE, end + 8 * PAGE));
    assert_eq!((too_far, too_low), (end + 8 * PAGE, end + 8 * PAGE), "refused: the end as it is");
    assert_eq!(back, end);
}

fn a_thousand_mappings_stay_apart() {
    let mapping = Mapping::anonymous(2000 * PAGE);
    for (index, page) in mapping.pages().enumerate() {
        if index % 2 == 0 {
            memory::store(page, index as u64);
            mprotect(page, PAGE, libc::PROT_READ).expect("mprotect");
        }
    }
    for (index, page) in mapping.pages().enumerate() {
        let is_read_only = fault::catch(|| memory::store(page + 8, 1)).is_some();
        assert_eq!(is_read_only, index % 2 == 0, "page {index}");
    }
    let is_kept = |(index, page)| memory::load(page) == index as u64;
    assert!(mapping.pages().enumerate().step_by(2).all(is_kept));
}

fn pages_a_terabyte_apart_are_apart() {
    const TERABYTE: usize = 1 << 40;
    let flags = ANON | libc::MAP_NORESERVE;
    let mapping = Mapping::new(8 * TERABYTE, RW, flags).expect("mmap of address space");
    let addresses: Vec<usize> = mapping.range().step_by(TERABYTE / 8).collect();
    addresses.iter().for_each(|address| memory::store(*address, *address as u64));
    assert!(addresses.iter().all(|address| memory::load(*address) == *address as u64));
    process::in_child(|| {
        assert!(addresses.iter().all(|address| memory::load(*address) == *address as u64));
    });
}

fn the_stack_grows() {
    /// Uses a page of stack a level.
    fn descend(depth: u64) -> u64 {
        let page = std::hint::black_box([depth; PAGE / 8]);
        if depth == 0 { 0 } else { descend(depth - 1) + u64::from(page[PAGE / 8 - 1] == depth) }
    }
    // 4 of the 8 MiB that RLIMIT_STACK permits.
    assert_eq!(descend(1000), 1000);
}
