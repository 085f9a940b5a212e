// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file gets pages out to swap: asked for, under pressure, or until swap is full.

use base::PageRange;
use hal::TagCheckMode;
use mm::{Advice, AreaFlags};

use super::process::{Process, RW, TAGGED};
use super::{CPU1, World};

/// Gives each page a word and a tag of its own.
pub fn fill(p: &mut Process, pages: PageRange) {
    for page in pages.pages() {
        p.retag(page, 1, (page.get() % 15 + 1) as u8);
        p.write(page, 0, page.get());
    }
}

/// Pages out pages that nobody else has.
pub fn page_out(p: &mut Process, pages: PageRange) {
    p.advise(pages, Advice::PageOut);
    pages.pages().for_each(|page| assert!(p.is_swapped(page), "{page:?} was paged out"));
}

/// Has others want memory until `is_over`. Some of it is in active use, by two of them, so that what
/// is not used counts for less.
pub fn press(world: &World, is_over: impl Fn() -> bool) {
    let mut parent = world.process(CPU1);
    let used = parent.map(300, RW);
    used.pages().for_each(|page| parent.write(page, 0, 1));
    let child = parent.fork(CPU1);
    used.pages().for_each(|page| assert_eq!(child.load(page.base()), Ok(1)));
    let more = parent.map(1200, RW);
    let enough = more.pages().any(|page| {
        parent.write(page, 0, 1);
        is_over()
    });
    assert!(enough, "pressure takes what is not used");
    child.exit();
    parent.exit();
}

/// Has another process page out as many tagged pages as there are slots, 16 at most. Returns how many
/// went.
pub fn fill_swap(world: &World) -> (Process, usize) {
    let mut other = world.process(CPU1);
    other.check_tags(TagCheckMode::Sync);
    let pages = other.map(16, TAGGED | AreaFlags::NO_HUGE);
    fill(&mut other, pages);
    other.advise(pages, Advice::PageOut);
    let nr_out = pages.pages().filter(|page| other.is_swapped(*page)).count();
    (other, nr_out)
}
