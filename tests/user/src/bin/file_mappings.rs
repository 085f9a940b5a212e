// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests files that are mapped: who sees which bytes, and where a mapping ends.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use user_tests::files::{Scratch, pattern};
use user_tests::memory::{self, Mapping, PAGE, RW};
use user_tests::{fault, process, sys};

user_tests::tests!(
    a_shared_mapping_shows_writes_both_ways,
    a_private_mapping_keeps_its_writes,
    a_mapping_ends_with_its_file,
    a_mapped_file_survives_page_out,
    a_memfd_has_a_size_and_no_name,
);

fn a_shared_mapping_shows_writes_both_ways() {
    let dir = Scratch::new();
    let file = dir.file("f", &pattern(2 * PAGE));
    let mapping = Mapping::of_file(2 * PAGE, RW, libc::MAP_SHARED, file.as_raw_fd()).unwrap();
    assert_eq!(memory::load_byte(mapping.start() + 100), pattern(101)[100]);
    file.write_all_at(b"from write", PAGE as u64).unwrap();
    assert_eq!(memory::load_byte(mapping.page(1)), b'f');
    memory::store_byte(mapping.page(1), b'F');
    process::in_child(|| memory::store_byte(mapping.page(1) + 5, b'W'));
    let mut bytes = [0; 10];
    file.read_exact_at(&mut bytes, PAGE as u64).unwrap();
    assert_eq!(&bytes, b"From Write");
}

fn a_private_mapping_keeps_its_writes() {
    let dir = Scratch::new();
    let file = dir.file("f", b"original");
    let mapping = Mapping::of_file(PAGE, RW, libc::MAP_PRIVATE, file.as_raw_fd()).unwrap();
    memory::store_byte(mapping.start(), b'O');
    assert_eq!(fs::read(dir.path("f")).unwrap(), b"original");
    file.write_all_at(b"x", 1).unwrap();
    assert_eq!(memory::load_byte(mapping.start()), b'O');
    let reader = File::open(dir.path("f")).unwrap();
    let shared = Mapping::of_file(PAGE, RW, libc::MAP_SHARED, reader.as_raw_fd());
    assert_eq!(shared.err(), Some(libc::EACCES));
    let writer = OpenOptions::new().write(true).open(dir.path("f")).unwrap();
    let readable = libc::PROT_READ;
    let unreadable = Mapping::of_file(PAGE, readable, libc::MAP_PRIVATE, writer.as_raw_fd());
    assert_eq!(unreadable.err(), Some(libc::EACCES));
    let dir = File::open(dir.root()).unwrap();
    let of_dir = Mapping::of_file(PAGE, readable, libc::MAP_PRIVATE, dir.as_raw_fd());
    assert_eq!(of_dir.err(), Some(libc::ENODEV));
}

fn a_mapping_ends_with_its_file() {
    let dir = Scratch::new();
    let file = dir.file("f", b"short");
    let mapping = Mapping::of_file(2 * PAGE, RW, libc::MAP_SHARED, file.as_raw_fd()).unwrap();
    assert_eq!(memory::load_byte(mapping.start() + 5), 0);
    let fault = fault::catch(|| {
        memory::load_byte(mapping.page(1));
    });
    assert_eq!(fault.map(|fault| fault.signal), Some(libc::SIGBUS));
    file.set_len(2 * PAGE as u64).unwrap();
    assert_eq!(memory::load_byte(mapping.page(1)), 0);
    memory::store_byte(mapping.page(1), 1);
    file.set_len(10).unwrap();
    let fault = fault::catch(|| {
        memory::load_byte(mapping.page(1));
    });
    assert_eq!(fault.map(|fault| fault.signal), Some(libc::SIGBUS));
}

fn a_mapped_file_survives_page_out() {
    let dir = Scratch::new();
    let bytes = pattern(8 * PAGE);
    let file = dir.file("f", &bytes);
    let mapping = Mapping::of_file(8 * PAGE, RW, libc::MAP_SHARED, file.as_raw_fd()).unwrap();
    for (index, page) in mapping.pages().enumerate() {
        assert_eq!(memory::load_byte(page), bytes[index * PAGE]);
    }
    memory::madvise(mapping.start(), mapping.len_bytes(), libc::MADV_PAGEOUT).unwrap();
    assert_eq!(fs::read(dir.path("f")).unwrap(), bytes);
    memory::madvise(mapping.start(), mapping.len_bytes(), libc::MADV_PAGEOUT).unwrap();
    for (at, address) in mapping.range().enumerate() {
        assert_eq!(memory::load_byte(address), bytes[at], "byte {at}");
    }
}

fn a_memfd_has_a_size_and_no_name() {
    let fd = sys::call(libc::SYS_memfd_create, [c"seg".as_ptr() as usize, 0]).unwrap();
    assert_eq!(sys::call(libc::SYS_ftruncate, [fd, PAGE]), Ok(0));
    let mapping = Mapping::of_file(PAGE, RW, libc::MAP_SHARED, fd as i32).unwrap();
    memory::store_byte(mapping.start() + 9, 5);
    let bytes = [0u8; 2];
    let at = bytes.as_ptr() as usize;
    assert_eq!(sys::call(libc::SYS_pread64, [fd, at, 2, 9]), Ok(2));
    assert_eq!(memory::load_byte(at), 5);
    let link = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
    assert_eq!(link.to_str(), Some("/memfd:seg (deleted)"));
    let name = c"seg".as_ptr() as usize;
    assert_eq!(sys::call(libc::SYS_memfd_create, [name, 0x4000]), Err(libc::EINVAL));
}
