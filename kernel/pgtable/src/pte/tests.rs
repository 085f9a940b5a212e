// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests the transitions of a present entry.

use super::*;

const PFN: Pfn = Pfn::new(0x40123);

fn rw() -> Pte {
    Pte::new(PFN, Prot::READ | Prot::WRITE, MemType::Normal)
}

#[test]
fn new_entry_is_clean_young_and_keeps_its_frame() {
    let pte = rw();
    assert_eq!(pte.pfn(), PFN);
    assert!(pte.is_valid() && pte.is_young() && pte.is_writable() && !pte.is_dirty());
    assert!(!pte.is_executable());
    assert_eq!(pte.mem_type(), MemType::Normal);
    // nG, AF, ISH, AP[2:1]=11, page, valid; PXN, UXN, DBM (Arm ARM D8.3.1.2).
    assert_eq!(pte.raw(), 0x0068_0000_4012_3fc3);
}

#[test]
fn write_protect_moves_hardware_dirty_to_software() {
    // Hardware clears AP[2] of a writable clean entry when it is stored to.
    let stored = Pte::from_raw(rw().raw() & !(1 << 7));
    assert!(stored.is_dirty());
    let protected = stored.write_protected();
    assert!(protected.is_dirty() && !protected.is_writable());
    assert!(!protected.permits(true, false, true, true));
    assert!(protected.writable().is_dirty(), "dirty survives the round trip");
}

#[test]
fn clean_makes_the_next_store_visible_again() {
    let clean = rw().dirty().clean();
    assert!(!clean.is_dirty() && clean.is_writable());
    assert!(clean.permits(true, false, true, true), "hardware marks it");
    assert!(!clean.permits(true, false, true, false), "software must mark it");
}

#[test]
fn no_permission_keeps_the_page_present_but_invalid() {
    let none = rw().dirty().with_prot(Prot::empty());
    assert!(Pte::is_present(none.raw()) && !none.is_valid());
    assert!(none.is_dirty(), "dirty state survives PROT_NONE");
    assert_eq!(none.pfn(), PFN);
    let back = none.with_prot(Prot::READ | Prot::WRITE);
    assert_eq!(back, rw().dirty());
}

#[test]
fn tagged_type_is_attribute_index_one() {
    let pte = rw().with_mem_type(MemType::Tagged);
    assert_eq!((pte.raw() >> 2) & 7, 1);
    assert_eq!(pte.with_mem_type(MemType::Normal), rw());
}

#[test]
fn table_entry_round_trips() {
    let raw = TablePte::new(PFN).raw();
    assert_eq!(raw & 0xfff, 0b11);
    assert_eq!(TablePte::decode(raw).unwrap().table(), PFN);
    assert!(TablePte::decode(raw & !2).is_none(), "a block is not a table");
    assert!(TablePte::decode(0).is_none());
}

#[test]
fn rights_are_what_with_prot_and_with_mem_type_give() {
    let stored = Pte::from_raw(rw().raw() & !(1 << 7));
    let entries = [rw(), rw().dirty(), rw().clean().old(), stored, stored.write_protected()];
    for prot in (0..8).map(Prot::from_bits_truncate) {
        for mem in [MemType::Normal, MemType::Tagged] {
            let rights = Rights::new(prot, mem);
            for pte in entries.into_iter().chain(entries.map(|pte| pte.with_prot(Prot::EXEC))) {
                assert_eq!(rights.apply(pte, true), pte.with_prot(prot).with_mem_type(mem));
                let read_only = rights.apply(pte, false);
                assert!(!read_only.is_writable() && read_only.is_dirty() == pte.is_dirty());
                assert_eq!(read_only.is_valid(), !prot.is_empty());
                assert_eq!(read_only.is_young(), pte.is_young());
            }
        }
    }
}

#[test]
fn frozen_entry_is_invalid_and_thaws_to_what_it_was() {
    for prot in [Prot::empty(), Prot::READ, Prot::READ | Prot::WRITE, Prot::EXEC] {
        for pte in
            [Pte::new(PFN, prot, MemType::Tagged), Pte::new(PFN, prot, MemType::Normal).dirty()]
        {
            let frozen = pte.contiguous().frozen();
            assert!(!frozen.is_valid() && frozen.is_frozen() && Pte::is_present(frozen.raw()));
            assert_eq!(frozen.thawed(), pte);
        }
    }
}

#[test]
fn rights_of_a_frozen_entry_change_and_it_stays_frozen() {
    let frozen = rw().dirty().frozen();
    let read_only = Rights::new(Prot::READ, MemType::Normal).apply(frozen, true);
    assert!(read_only.is_frozen() && !read_only.is_valid());
    assert_eq!(read_only.thawed(), rw().dirty().write_protected());
}

#[test]
fn block_entry_reads_back_and_is_no_table() {
    let pte = Pte::new(Pfn::new(0x40200), Prot::READ | Prot::WRITE, MemType::Tagged);
    assert_eq!(Pte::of_block(pte.block()), Some(pte));
    let none = Pte::new(Pfn::new(0x40200), Prot::empty(), MemType::Tagged);
    assert_eq!(Pte::of_block(none.block()), Some(none));
    assert_eq!(Pte::of_block(TablePte::new(PFN).raw()), None);
    assert_eq!(Pte::of_block(0), None);
}

#[test]
fn entries_alike_but_for_their_use_are_a_run() {
    let first = rw();
    let next = first.advanced(1);
    assert_eq!(next.pfn(), PFN.add(1));
    assert!(first.advanced(1).is_like(next.dirty().old()));
    assert!(!first.advanced(1).is_like(next.write_protected()));
    assert!(!first.advanced(1).is_like(first));
    assert!(first.old().used_like(next.dirty()).is_dirty());
}

#[test]
fn use_gathered_by_bits_is_use_gathered_one_by_one() {
    let states = [rw(), rw().old(), rw().dirty(), Pte::from_raw(rw().raw() & !(1 << 7))];
    let read_only = states.map(Pte::write_protected);
    for states in [states, read_only] {
        for (a, b) in states.iter().flat_map(|a| states.iter().map(move |b| (*a, *b))) {
            let gathered = a.used_as(a.raw() | b.raw(), a.raw() & b.raw());
            assert_eq!(gathered.is_young(), a.is_young() || b.is_young(), "{a:?} {b:?}");
            assert_eq!(gathered.is_dirty(), a.is_dirty() || b.is_dirty(), "{a:?} {b:?}");
            assert!(gathered.is_like(a));
        }
    }
}

#[test]
fn an_entry_is_a_devices_alone_and_is_taken_back_with_all_it_says() {
    for prot in [Prot::READ | Prot::WRITE, Prot::READ | Prot::WRITE | Prot::EXEC] {
        for pte in [Pte::new(PFN, prot, MemType::Tagged), Pte::new(PFN, prot, MemType::Normal)] {
            for pte in [pte, pte.dirty(), pte.old(), pte.dirty().write_protected()] {
                let alone = pte.contiguous().device_exclusive();
                assert!(alone.is_device_exclusive() && alone.is_known_to_device_only());
                assert!(!alone.is_valid() && !alone.is_frozen() && Pte::is_present(alone.raw()));
                assert_eq!(alone.taken_back(), pte);
                assert_eq!(alone.frozen().thawed(), pte, "a split takes it back");
                assert!(!alone.frozen().is_device_exclusive());
            }
        }
    }
    let inaccessible = Pte::new(PFN, Prot::empty(), MemType::Normal);
    for other in [rw(), rw().frozen(), rw().on_device(PFN), inaccessible] {
        assert!(!other.is_device_exclusive(), "{other:?}");
    }
}

#[test]
fn an_entry_goes_to_a_device_and_comes_home_with_all_it_permits() {
    for prot in [Prot::empty(), Prot::READ, Prot::READ | Prot::WRITE, Prot::READ | Prot::EXEC] {
        for mem in [MemType::Normal, MemType::Tagged] {
            for pte in [Pte::new(Pfn::new(7), prot, mem), Pte::new(Pfn::new(7), prot, mem).dirty()]
            {
                let away = pte.on_device(Pfn::new(0x0800_1234));
                assert!(away.is_on_device() && away.is_frozen() && !away.is_valid());
                assert!(Pte::is_present(away.raw()));
                assert_eq!(away.pfn(), Pfn::new(0x0800_1234));
                assert_eq!(away.is_dirty(), pte.is_dirty());
                assert_eq!(away.is_writable(), pte.is_writable());
                assert_eq!(away.thawed_at(Pfn::new(7)), pte, "{prot:?} {mem:?}");
            }
        }
    }
}
