// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests what a load from memory that may have blocks of 2 MiB gets: zeroes that all
//! share, or, if `use_zero_page` is 0, a folio.

use user_tests::memory::{self, ANON, Mapping, PAGE, PROT_MTE, RW};
use user_tests::pageout::frames;
use user_tests::process;
use user_tests::tags;
use user_tests::thp::{self, BLOCK, Setting};
use user_tests::trial::Skip;
use user_tests::vmstat::Counters;

user_tests::tests!(
    loads_map_the_same_zeroes,
    zeroes_are_not_resident,
    a_load_gets_a_folio_where_it_may_not_have_zeroes,
    a_store_gets_a_folio_in_their_place,
    tagged_memory_has_zeroes_with_tags_of_zero,
    a_child_and_its_parent_store_for_themselves,
    what_is_left_of_them_is_mapped_by_pages,
    a_part_that_is_protected_takes_them_apart,
    discarded_zeroes_are_mapped_again,
    advice_about_their_use_leaves_them_whole,
    moved_zeroes_are_zero,
    memory_that_does_not_want_blocks_loads_pages,
);

const NR_PAGES: usize = BLOCK / PAGE;

/// Memory of aligned blocks that wants them, and the settings that let it have them.
struct Blocks {
    mapping: Mapping,
    _settings: Vec<Setting>,
}

impl Blocks {
    fn new(nr: usize, protection: i32, use_zero_page: &str) -> Result<Self, Skip> {
        let mut settings = thp::only(2048, "madvise")?;
        settings.push(Setting::open("use_zero_page")?.to(use_zero_page));
        let mapping = Mapping::aligned(nr * BLOCK, BLOCK, protection).unwrap();
        memory::madvise(mapping.start(), nr * BLOCK, libc::MADV_HUGEPAGE).unwrap();
        Ok(Self { mapping, _settings: settings })
    }

    /// Loads a word of each block.
    fn loaded(nr: usize, protection: i32) -> Result<Self, Skip> {
        let blocks = Self::new(nr, protection, "1")?;
        for n in 0..nr {
            assert_eq!(memory::load(blocks.page(n * NR_PAGES + 5)), 0);
            assert!(blocks.is_zero_block(n), "block {n}: no frames for zeroes");
        }
        Ok(blocks)
    }

    fn page(&self, index: usize) -> usize {
        self.mapping.page(index)
    }

    /// Returns the frames of a block's pages.
    fn frames(&self, block: usize) -> Vec<Option<u64>> {
        let start = self.page(block * NR_PAGES);
        frames(start..start + BLOCK)
    }

    /// Tells whether a block is 512 frames that follow each other, and not resident.
    fn is_zero_block(&self, block: usize) -> bool {
        let frames = self.frames(block);
        let follows = |pair: &[Option<u64>]| pair[1] == pair[0].map(|frame| frame + 1);
        frames[0].is_some() && frames.windows(2).all(follows) && self.anon_huge_kib() == 0
    }

    fn anon_huge_kib(&self) -> usize {
        thp::anon_huge_kib(self.mapping.start())
    }

    fn check_zero(&self, pages: std::ops::Range<usize>) {
        pages.for_each(|page| assert_eq!(memory::load(self.page(page) + 8), 0, "page {page}"));
    }
}

fn loads_map_the_same_zeroes() -> Result<(), Skip> {
    let before = Counters::read();
    let blocks = Blocks::loaded(2, RW)?;
    assert_eq!(blocks.frames(0), blocks.frames(1));
    let made = Counters::read();
    // Somebody else may have made them.
    assert!(made.since(&before, "thp_zero_page_alloc") <= Some(1));
    process::in_child(|| {
        let theirs = Blocks::loaded(1, libc::PROT_READ).expect("as the parent");
        assert_eq!(theirs.frames(0), blocks.frames(0));
    });
    let after = Counters::read();
    assert_eq!(after.since(&made, "thp_zero_page_alloc"), Some(0));
    assert_eq!(after.since(&before, "thp_fault_alloc"), Some(0));
    blocks.check_zero(0..2 * NR_PAGES);
    Ok(())
}

fn zeroes_are_not_resident() -> Result<(), Skip> {
    let blocks = Blocks::loaded(2, RW)?;
    for field in ["Rss", "Anonymous", "AnonHugePages", "Referenced"] {
        assert_eq!(thp::smaps_kib(blocks.page(0), field), 0, "{field}");
    }
    Ok(())
}

fn a_load_gets_a_folio_where_it_may_not_have_zeroes() -> Result<(), Skip> {
    for protection in [RW, libc::PROT_READ] {
        let blocks = Blocks::new(1, protection, "0")?;
        let before = Counters::read();
        assert_eq!(memory::load(blocks.page(9)), 0);
        let after = Counters::read();
        assert_eq!(after.since(&before, "thp_fault_alloc"), Some(1));
        assert_eq!(after.since(&before, "thp_zero_page_alloc"), Some(0));
        assert_eq!(blocks.anon_huge_kib(), 2048);
        blocks.check_zero(0..NR_PAGES);
        memory::mprotect(blocks.page(0), BLOCK, RW).unwrap();
        memory::store(blocks.page(9), 1);
        assert_eq!(Counters::read().since(&before, "thp_fault_alloc"), Some(1));
        assert_eq!(blocks.anon_huge_kib(), 2048);
    }
    Ok(())
}

fn a_store_gets_a_folio_in_their_place() -> Result<(), Skip> {
    let blocks = Blocks::loaded(2, RW)?;
    let (zeroes, before) = (blocks.frames(1), Counters::read());
    memory::store(blocks.page(NR_PAGES - 1), 7);
    assert_eq!(blocks.anon_huge_kib(), 2048);
    let after = Counters::read();
    assert_eq!(after.since(&before, "thp_fault_alloc"), Some(1));
    assert_eq!(after.since(&before, "thp_split_pmd"), Some(0));
    assert_ne!(blocks.frames(0), zeroes);
    assert_eq!(blocks.frames(1), zeroes, "the other block is as it was");
    assert_eq!(memory::load(blocks.page(NR_PAGES - 1)), 7);
    blocks.check_zero(0..2 * NR_PAGES);
    Ok(())
}

fn tagged_memory_has_zeroes_with_tags_of_zero() -> Result<(), Skip> {
    tags::needed()?;
    let blocks = Blocks::loaded(1, RW | PROT_MTE)?;
    tags::check_at_once();
    let page = blocks.page(100);
    assert!(tags::page_is(page, 0));
    blocks.check_zero(0..NR_PAGES);
    let pointer = tags::with_tag(page, 3);
    tags::store(pointer);
    assert_eq!(blocks.anon_huge_kib(), 2048, "a tag is stored to a folio");
    assert_eq!(tags::load(page), 3);
    assert_eq!(tags::load(page + 16), 0);
    assert_eq!(memory::load(pointer), 0);
    assert!(tags::page_is(blocks.page(101), 0));
    Ok(())
}

fn a_child_and_its_parent_store_for_themselves() -> Result<(), Skip> {
    let blocks = Blocks::loaded(2, RW)?;
    process::in_child(|| {
        assert!(blocks.is_zero_block(0) && blocks.is_zero_block(1));
        memory::store(blocks.page(3), 1);
        blocks.check_zero(0..2 * NR_PAGES);
    });
    assert!(blocks.is_zero_block(0));
    memory::store(blocks.page(3), 2);
    process::in_child(|| {
        assert_eq!(memory::load(blocks.page(3)), 2);
        blocks.check_zero(0..2 * NR_PAGES);
    });
    Ok(())
}

fn what_is_left_of_them_is_mapped_by_pages() -> Result<(), Skip> {
    let blocks = Blocks::loaded(2, RW)?;
    let before = Counters::read();
    memory::munmap(blocks.page(0), 16 * PAGE).unwrap();
    assert_eq!(Counters::read().since(&before, "thp_split_pmd"), Some(1));
    let frames = blocks.frames(0);
    assert!(frames[..16].iter().all(Option::is_none));
    assert!(frames[16].is_some() && frames[16..].iter().all(|frame| *frame == frames[16]));
    memory::store(blocks.page(20), 1);
    assert_eq!(thp::smaps_kib(blocks.page(16), "Rss"), 4);
    assert_eq!(memory::load(blocks.page(20)), 1);
    blocks.check_zero(16..2 * NR_PAGES);
    Ok(())
}

fn a_part_that_is_protected_takes_them_apart() -> Result<(), Skip> {
    let blocks = Blocks::loaded(2, RW)?;
    let before = Counters::read();
    for protection in [libc::PROT_NONE, libc::PROT_READ, RW] {
        memory::mprotect(blocks.page(0), BLOCK, protection).unwrap();
    }
    assert_eq!(Counters::read().since(&before, "thp_split_pmd"), Some(0));
    memory::mprotect(blocks.page(7), PAGE, libc::PROT_READ).unwrap();
    assert_eq!(Counters::read().since(&before, "thp_split_pmd"), Some(1));
    memory::store(blocks.page(6), 1);
    assert_eq!(thp::smaps_kib(blocks.page(0), "Rss"), 4);
    assert_eq!(thp::smaps_kib(blocks.page(8), "Rss"), 0);
    blocks.check_zero(0..2 * NR_PAGES);
    Ok(())
}

fn discarded_zeroes_are_mapped_again() -> Result<(), Skip> {
    let blocks = Blocks::loaded(1, RW)?;
    memory::madvise(blocks.page(0), BLOCK, libc::MADV_DONTNEED).unwrap();
    assert!(blocks.frames(0).iter().all(Option::is_none));
    blocks.check_zero(3..4);
    assert!(blocks.is_zero_block(0));
    Ok(())
}

fn advice_about_their_use_leaves_them_whole() -> Result<(), Skip> {
    let blocks = Blocks::loaded(1, RW)?;
    for advice in [libc::MADV_FREE, libc::MADV_COLD, libc::MADV_PAGEOUT] {
        memory::madvise(blocks.page(0), BLOCK, advice).unwrap();
        assert!(blocks.is_zero_block(0), "advice {advice}");
    }
    Ok(())
}

fn moved_zeroes_are_zero() -> Result<(), Skip> {
    let blocks = Blocks::loaded(2, RW)?;
    memory::store(blocks.page(NR_PAGES + 1), 4);
    let room = Mapping::new(BLOCK, libc::PROT_NONE, ANON).unwrap();
    memory::remap(blocks.page(0), BLOCK, room.start()).unwrap();
    for page in room.pages() {
        assert_eq!(memory::load(page), 0);
    }
    memory::store(room.page(1), 5);
    assert_eq!(memory::load(room.page(1)), 5);
    assert_eq!(memory::load(room.page(2)), 0);
    assert_eq!(memory::load(blocks.page(NR_PAGES + 1)), 4);
    Ok(())
}

fn memory_that_does_not_want_blocks_loads_pages() -> Result<(), Skip> {
    let blocks = Blocks::new(1, RW, "1")?;
    memory::madvise(blocks.page(0), BLOCK, libc::MADV_NOHUGEPAGE).unwrap();
    assert_eq!(memory::load(blocks.page(5)), 0);
    assert_eq!(blocks.frames(0).iter().flatten().count(), 1);
    Ok(())
}
