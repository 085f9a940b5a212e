// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests allocation tags: zero at first, copied, checked, never lost.

use user_tests::memory::{self, Mapping, PAGE};
use user_tests::process;
use user_tests::tags::{self, GRANULE};
use user_tests::trial::Skip;

user_tests::tests!(new_pages_have_zero_tags, fork_copies_tags);

fn new_pages_have_zero_tags() -> Result<(), Skip> {
    tags::needed()?;
    let memory = Mapping::tagged(4 * PAGE);
    assert!(memory.pages().all(|page| tags::page_is(page, 0)));
    Ok(())
}

fn fork_copies_tags() -> Result<(), Skip> {
    tags::needed_per_granule()?;
    let page = Mapping::tagged(PAGE);
    tags::fill_page(page.start(), 1);
    process::in_child(|| {
        assert_eq!(tags::first_difference(page.start(), 1), None);
        tags::store(tags::with_tag(page.start(), 0));
        assert_eq!(tags::load(page.start()), 0);
        memory::store(
            tags::with_tag(page.start() + GRANULE, tags::load(page.start() + GRANULE)),
            1,
        );
    });
    assert_eq!(tags::first_difference(page.start(), 1), None);
    Ok(())
}
