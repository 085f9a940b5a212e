// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program does to parts of folios of 64 KiB and of 2 MiB what can be done to memory, and moves
//! them.

use std::ops::Range;

use user_tests::fault::{self, SEGV_ACCERR, SEGV_MAPERR};
use user_tests::folios::{self, Folios, for_sizes};
use user_tests::memory::{self, PAGE, PROT_MTE, RET, RW};
use user_tests::pageout::{Place, frames, place};
use user_tests::tags;
use user_tests::trial::Skip;

user_tests::tests!(
    parts_are_unmapped,
    parts_are_protected_and_opened_again,
    a_part_becomes_tagged,
    parts_are_discarded_and_read_as_zero,
    folios_move_whole,
    folios_move_to_a_place_with_another_alignment,
    a_part_moves_away,
    code_in_a_large_folio_executes,
);

fn assert_faults(address: usize, code: i32, is_store: bool) {
    let access = || match is_store {
        true => memory::store(address, 1),
        false => drop(memory::load(address)),
    };
    let fault = fault::catch(access).map(|fault| (fault.signal, fault.code, fault.address));
    assert_eq!(fault, Some((libc::SIGSEGV, code, address)));
}

fn parts_are_unmapped() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let folios = Folios::filled(size_kib, 4)?;
        let nr = folios.nr_pages;
        let holes = [
            folios.part(0, 1..2),
            folios.part(0, nr - 2..nr - 1),
            folios.page(1, nr / 2)..folios.page(2, nr / 2),
            folios.part(3, 1..nr),
        ];
        for (index, hole) in holes.iter().enumerate() {
            memory::munmap(hole.start, hole.len()).expect("munmap");
            folios.check_except(&holes[..=index]);
            for page in hole.clone().step_by(PAGE).take(3) {
                assert_faults(page, SEGV_MAPERR, false);
                assert_faults(page, SEGV_MAPERR, true);
            }
        }
        Ok(())
    })
}

fn parts_are_protected_and_opened_again() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let folios = Folios::filled(size_kib, 2)?;
        let nr = folios.nr_pages;
        let before = frames(folios.mapping.range());
        let read_only = folios.part(0, 1..3);
        let closed = folios.page(0, nr - 1)..folios.page(1, 2);
        let protect = |range: &Range<usize>, protection| {
            let protection = folios.protection(protection);
            memory::mprotect(range.start, range.len(), protection).expect("mprotect");
        };
        protect(&read_only, libc::PROT_READ);
        protect(&closed, libc::PROT_NONE);
        for page in read_only.clone().step_by(PAGE) {
            assert_faults(page, SEGV_ACCERR, true);
        }
        for page in closed.clone().step_by(PAGE) {
            assert_faults(page, SEGV_ACCERR, false);
            assert_faults(page, SEGV_ACCERR, true);
        }
        folios.check_except(std::slice::from_ref(&closed));
        protect(&closed, libc::PROT_READ);
        folios.check();
        protect(&folios.mapping.range(), RW);
        folios.fill();
        folios.check();
        assert_eq!(frames(folios.mapping.range()), before);
        Ok(())
    })
}

fn a_part_becomes_tagged() -> Result<(), Skip> {
    tags::needed_per_granule()?;
    for_sizes(|size_kib| {
        let folios = Folios::untagged(size_kib, 1)?;
        folios.fill();
        let before = frames(folios.mapping.range());
        let tagged = folios.part(0, 1..4);
        memory::mprotect(tagged.start, tagged.len(), RW | PROT_MTE).expect("mprotect");
        for page in tagged.clone().step_by(PAGE) {
            assert!(tags::page_is(page, 0));
            tags::fill_page(page, 5);
        }
        folios.check();
        tagged.step_by(PAGE).for_each(|page| assert_eq!(tags::first_difference(page, 5), None));
        assert_eq!(frames(folios.mapping.range()), before, "the folio stays where it is");
        Ok(())
    })
}

fn parts_are_discarded_and_read_as_zero() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let folios = Folios::filled(size_kib, 2)?;
        let nr = folios.nr_pages;
        let parts = [folios.part(0, 1..3), folios.page(0, nr - 1)..folios.page(1, 1)];
        for part in &parts {
            memory::madvise(part.start, part.len(), libc::MADV_DONTNEED).expect("MADV_DONTNEED");
            part.clone().step_by(PAGE).for_each(|page| assert_eq!(place(page), Place::Nowhere));
        }
        folios.check_except(&parts);
        for part in &parts {
            part.clone().step_by(PAGE).for_each(|page| folios.check_zero(page));
            part.clone().step_by(PAGE).for_each(|page| folios.fill_page(page, 9));
            part.clone().step_by(PAGE).for_each(|page| folios.check_page(page, 9));
        }
        folios.check_except(&parts);
        Ok(())
    })
}

fn move_to(range: &Range<usize>, to: usize) {
    memory::remap(range.start, range.len(), to).expect("mremap");
}

/// Moves all folios by `skew` bytes beyond an aligned place and back, and checks what is there.
fn move_there_and_back(size_kib: usize, skew: usize) -> Result<(), Skip> {
    let folios = Folios::filled(size_kib, 3)?;
    let len_bytes = folios.mapping.len_bytes();
    let before = frames(folios.mapping.range());
    let away = folios::place_for(len_bytes + skew) + skew;
    move_to(&folios.mapping.range(), away);
    assert_eq!(place(folios.mapping.start()), Place::Nowhere);
    assert_eq!(frames(away..away + len_bytes), before, "the frames come along");
    for (index, page) in (away..away + len_bytes).step_by(PAGE).enumerate() {
        folios.check_page(page, index as u64);
    }
    for (index, page) in (away..away + len_bytes).step_by(PAGE).enumerate() {
        folios.fill_page(page, index as u64);
    }
    move_to(&(away..away + len_bytes), folios.mapping.start());
    folios.check();
    assert_eq!(frames(folios.mapping.range()), before);
    Ok(())
}

fn folios_move_whole() -> Result<(), Skip> {
    for_sizes(|size_kib| move_there_and_back(size_kib, 0))
}

fn folios_move_to_a_place_with_another_alignment() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        [PAGE, 5 * PAGE, 16 * PAGE]
            .into_iter()
            .try_for_each(|skew| move_there_and_back(size_kib, skew))
    })
}

fn a_part_moves_away() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let folios = Folios::filled(size_kib, 2)?;
        let nr = folios.nr_pages;
        let part = folios.page(0, nr - 2)..folios.page(1, 3);
        let to = folios::place_for(part.len());
        let before = frames(part.clone());
        move_to(&part, to);
        assert_eq!(frames(to..to + part.len()), before);
        for index in 0..5 {
            folios.check_page(to + index * PAGE, (nr - 2 + index) as u64);
            folios.fill_page(to + index * PAGE, 77);
            folios.check_page(to + index * PAGE, 77);
        }
        folios.check_except(std::slice::from_ref(&part));
        assert_faults(part.start, SEGV_MAPERR, false);
        memory::munmap(to, part.len()).expect("munmap");
        folios.check_except(&[part]);
        Ok(())
    })
}

fn code_in_a_large_folio_executes() -> Result<(), Skip> {
    for_sizes(|size_kib| {
        let folios = Folios::untagged(size_kib, 1)?;
        let pages = [0, 5, folios.nr_pages - 1].map(|index| folios.page(0, index));
        for (value, page) in (40u32..).zip(pages) {
            // MOVZ X0, #value.
            memory::write_code(page, &[0xd280_0000 | value << 5, RET]);
        }
        let executable = libc::PROT_READ | libc::PROT_EXEC;
        memory::mprotect(pages[1], PAGE, executable).expect("mprotect");
        assert_eq!(memory::call_code(pages[1]), 41);
        assert!(fault::catch_call(pages[0]).is_some(), "its neighbours stay data");
        memory::mprotect(folios.mapping.start(), size_kib << 10, executable).expect("mprotect");
        for (value, page) in (40..).zip(pages) {
            assert_eq!(memory::call_code(page), value);
        }
        Ok(())
    })
}
