// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program puts its memory into known states, prints where they are, and stops for a debugger: it
//! makes a call that no kernel has. `tests/gdb.rs` compares what the debugger says with what it printed.

use std::fmt::Write;
use std::os::fd::AsRawFd;

use user_tests::folios::Folios;
use user_tests::memory::{self, ANON, Mapping, PAGE, PROT_MTE, RW};
use user_tests::pageout;
use user_tests::process;
use user_tests::sys;
use user_tests::tags::{self, GRANULE};

/// The call that no kernel has.
const STOP: i64 = 4711;

/// Bytes that a level-3 table maps.
const BLOCK: usize = 2 << 20;

/// A page that goes to swap: its name, and the tag of each granule.
type Swapped = (&'static str, fn(usize) -> u8);

const SWAPPED: [Swapped; 8] = [
    ("uniform", |_| 5),
    ("repeat", |granule| granule as u8 & 0xf),
    ("aligned", |granule| tags::pseudo_random(1, granule / 8)),
    ("headers", |granule| if granule % 8 == 0 { 0 } else { tags::pseudo_random(2, granule / 8) }),
    ("runs", |granule| if granule < 100 { 3 } else { 12 }),
    ("slab", |granule| tags::pseudo_random(3, (granule + 7) / 20)),
    ("mask", |granule| if granule % 9 == 4 { 7 } else { 2 }),
    ("raw", |granule| tags::pseudo_random(4, granule)),
];

fn main() {
    let has_tags = tags::has_mte() && tags::are_per_granule();
    println!("picture: tags {}", if has_tags { "yes" } else { "no" });
    let protection = if has_tags { RW | PROT_MTE } else { RW };

    let shared = Mapping::anonymous(PAGE);
    memory::store(shared.start(), 1);
    let (reader, writer) = std::io::pipe().expect("pipe");
    let writer_fd = writer.as_raw_fd();
    let child = process::fork(|| {
        sys::call(libc::SYS_close, [writer_fd as usize]).expect("close");
        // Until the parent ends.
        let _ = std::io::read_to_string(&reader);
        0
    });
    println!("picture: processes {} {}", std::process::id(), child.pid());
    show_mapped("shared", shared.start());

    let tagged = Mapping::new(PAGE, protection, ANON).expect("mmap");
    memory::store(tagged.start(), 1);
    fill(has_tags, tagged.start(), |granule| tags::pseudo_random(9, granule));
    show_mapped("tagged", tagged.start());
    show_tags("tagged", tagged.start());

    let small = Folios::filled(64, 1).expect("folios of 64 KiB");
    show_mapped("folio", small.page(0, 3));
    let large = Folios::filled(2048, 1).expect("folios of 2 MiB");
    show_mapped("block", large.page(0, 5));

    // A level-3 table that moves whole.
    let [from, moved] = [(); 2].map(|()| Mapping::aligned(BLOCK, BLOCK, RW).expect("mmap"));
    memory::madvise(from.start(), BLOCK, libc::MADV_NOHUGEPAGE).expect("madvise");
    memory::store(from.page(7), 1);
    memory::remap(from.start(), BLOCK, moved.start()).expect("mremap");
    show_mapped("moved", moved.page(7));

    let swapped = Mapping::new(SWAPPED.len() * PAGE, protection, ANON).expect("mmap");
    for (page, (name, tag)) in swapped.pages().zip(SWAPPED) {
        memory::store(page, 1);
        fill(has_tags, page, tag);
        show_tags(name, page);
    }
    let plain = Mapping::anonymous(2 * PAGE);
    memory::store(plain.page(0), 1);
    memory::store(plain.page(1), 0);
    pageout::page_out(swapped.range());
    pageout::page_out(plain.range());
    for (page, (name, _)) in swapped.pages().zip(SWAPPED) {
        show_swapped(name, page);
    }
    show_swapped("untagged", plain.page(0));
    show_swapped("zeroes", plain.page(1));

    let closed = Mapping::anonymous(PAGE);
    memory::store(closed.start(), 1);
    show_mapped("closed", closed.start());
    memory::mprotect(closed.start(), PAGE, libc::PROT_NONE).expect("mprotect");
    let untouched = Mapping::anonymous(PAGE);
    println!("picture: untouched {:#x}", untouched.start());

    println!("picture: done");
    sys::call(STOP, [tags::with_tag(tagged.start(), 6)]).expect_err("no kernel has this call");
    small.check();
    large.check();
    assert!(!has_tags || is_filled(tagged.start(), |granule| tags::pseudo_random(9, granule)));
    for (page, (name, tag)) in swapped.pages().zip(SWAPPED) {
        assert_eq!(memory::load(page), 1, "{name}");
        assert!(!has_tags || is_filled(page, tag), "{name}");
    }
    println!("picture: kept");
    drop(writer);
    child.wait();
}

fn is_filled(page: usize, tag: impl Fn(usize) -> u8) -> bool {
    (0..tags::GRANULES_PER_PAGE).all(|granule| tags::load(page + granule * GRANULE) == tag(granule))
}

fn fill(has_tags: bool, page: usize, tag: impl Fn(usize) -> u8) {
    if has_tags {
        for granule in 0..tags::GRANULES_PER_PAGE {
            tags::store(tags::with_tag(page + granule * GRANULE, tag(granule)));
        }
    }
}

fn show_mapped(name: &str, page: usize) {
    let frame = pageout::frames(page..page + PAGE)[0].expect("a page just stored to is mapped");
    println!("picture: mapped {name} {page:#x} {frame:#x}");
}

fn show_swapped(name: &str, page: usize) {
    let slot = pageout::swap_slot(page).expect("a page just pushed out is in a slot");
    println!("picture: swapped {name} {page:#x} {slot}");
}

/// Prints the tags of a page, a digit for each granule.
fn show_tags(name: &str, page: usize) {
    let mut digits = String::new();
    for granule in 0..tags::GRANULES_PER_PAGE {
        write!(digits, "{:x}", tags::load(page + granule * GRANULE)).expect("a String takes all");
    }
    println!("picture: tags-of {name} {page:#x} {digits}");
}
