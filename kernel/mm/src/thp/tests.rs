// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unit tests of settings, policy and statistics of large folios.

use std::vec::Vec;

use base::percpu::CpuId;
use base::{Order, PageRange, Vpn};

use super::*;
use crate::frame::AllocMode;
use crate::vma::AreaFlags;

const PLAIN: AreaFlags = AreaFlags::READ.union(AreaFlags::WRITE);
const WANTED: AreaFlags = PLAIN.union(AreaFlags::HUGE);

fn orders(set: OrderSet) -> Vec<u8> {
    set.iter().map(Order::get).collect()
}

fn set_of(orders: &[u8]) -> OrderSet {
    let one = |order: &u8| OrderSet::of(Order::new(*order));
    orders.iter().map(one).fold(OrderSet::EMPTY, OrderSet::union)
}

fn allowed(settings: &Settings, area: AreaFlags) -> Vec<u8> {
    orders(settings.allowed_orders(area, ThpDisable::No))
}

#[test]
fn order_set_goes_from_the_highest_order_down() {
    assert_eq!(orders(OrderSet::LARGE), [9, 8, 7, 6, 5, 4, 3, 2]);
    assert_eq!(orders(OrderSet::EMPTY), [0; 0]);
    let set = set_of(&[9, 4, 2]);
    assert_eq!(set.highest(), Some(Order::BLOCK));
    assert_eq!(set.next_lower(Order::BLOCK), Some(Order::CONT));
    assert_eq!(set.next_lower(Order::CONT), Some(Order::new(2)), "the order itself is left out");
    assert_eq!(set.next_lower(Order::new(3)), Some(Order::new(2)), "it need not be in the set");
    assert_eq!(set.next_lower(Order::new(2)), None);
    assert_eq!(set.next_lower(Order::PAGE), None);
}

#[test]
fn a_machine_boots_with_two_mebibytes_for_who_wants_them() {
    let settings = Settings::default();
    assert_eq!(allowed(&settings, PLAIN), [0; 0]);
    assert_eq!(allowed(&settings, WANTED), [9]);
    assert_eq!(settings.defrag(), Defrag::Madvise);
    assert!(settings.use_zero_page());
}

#[test]
fn each_setting_of_a_size_and_of_all_sizes_decides_for_each_kind_of_area() {
    use Enabled as All;
    use SizeEnabled as One;
    //          size           all sizes      plain  wanted
    let rows = [
        (One::Always, All::Always, true, true),
        (One::Always, All::Madvise, true, true),
        (One::Always, All::Never, true, true),
        (One::Inherit, All::Always, true, true),
        (One::Inherit, All::Madvise, false, true),
        (One::Inherit, All::Never, false, false),
        (One::Madvise, All::Always, false, true),
        (One::Madvise, All::Madvise, false, true),
        (One::Madvise, All::Never, false, true),
        (One::Never, All::Always, false, false),
        (One::Never, All::Madvise, false, false),
        (One::Never, All::Never, false, false),
    ];
    for order in OrderSet::LARGE.iter() {
        for (one, all, plain, wanted) in rows {
            let settings = Settings::default();
            settings.set_sizes(SizeSettings::NEVER);
            settings.set_size(order, one);
            settings.set_enabled(all);
            let expected = |is: bool| if is { OrderSet::of(order) } else { OrderSet::EMPTY };
            let found = |area| settings.allowed_orders(area, ThpDisable::No);
            assert_eq!(found(PLAIN), expected(plain), "{order:?} {one:?} {all:?}");
            assert_eq!(found(WANTED), expected(wanted), "{order:?} {one:?} {all:?}, wanted");
        }
    }
}

#[test]
fn areas_of_other_kinds_and_unwilling_ones_have_single_pages() {
    let settings = Settings::default();
    settings.set_enabled(Enabled::Always);
    assert_eq!(allowed(&settings, PLAIN), [9]);
    for flag in [
        AreaFlags::NO_HUGE,
        AreaFlags::SHARED,
        AreaFlags::SPECIAL,
        AreaFlags::STACK,
        AreaFlags::GROWS_DOWN,
    ] {
        assert_eq!(allowed(&settings, WANTED | flag), [0; 0], "{flag:?}");
    }
    assert_eq!(allowed(&settings, PLAIN | AreaFlags::HEAP | AreaFlags::TAGGED), [9]);
}

#[test]
fn a_process_opts_out_everywhere_or_where_nothing_is_wanted() {
    let settings = Settings::default();
    settings.set_size(Order::CONT, SizeEnabled::Always);
    let found = |area, process| orders(settings.allowed_orders(area, process));
    assert_eq!(found(PLAIN, ThpDisable::No), [4]);
    assert_eq!(found(PLAIN, ThpDisable::ExceptAdvised), [0; 0]);
    assert_eq!(found(WANTED, ThpDisable::ExceptAdvised), [9, 4]);
    assert_eq!(found(WANTED, ThpDisable::All), [0; 0]);
}

#[test]
fn a_size_has_one_setting_at_a_time() {
    let settings = Settings::default();
    for to in SizeEnabled::ALL {
        settings.set_size(Order::CONT, to);
        assert_eq!(settings.sizes().get(Order::CONT), to);
        assert_eq!(settings.sizes().get(Order::BLOCK), SizeEnabled::Inherit, "left alone");
    }
    settings.set_size(Order::new(1), SizeEnabled::Always);
    assert_eq!(settings.sizes().get(Order::new(1)), SizeEnabled::Never, "too small to be large");
}

#[test]
fn an_order_fits_when_its_aligned_range_around_the_page_is_in_the_area() {
    //  area: pages 0x1f4 .. 0x402; 2 MiB from 0x200 to 0x400
    let area = PageRange::new(Vpn::new(0x1f4), Vpn::new(0x402));
    let fitting = |page| orders(OrderSet::LARGE.fitting(Vpn::new(page), area));
    assert_eq!(fitting(0x200), [9, 8, 7, 6, 5, 4, 3, 2]);
    assert_eq!(fitting(0x3ff), [9, 8, 7, 6, 5, 4, 3, 2]);
    assert_eq!(fitting(0x1f4), [2], "0x1f0..0x1f8 sticks out");
    assert_eq!(fitting(0x1f8), [3, 2], "0x1f0..0x200 sticks out");
    assert_eq!(fitting(0x401), [0; 0], "0x400..0x404 sticks out");
    let some = set_of(&[9, 3]);
    assert_eq!(orders(some.fitting(Vpn::new(0x1f8), area)), [3]);
    assert_eq!(orders(some.fitting(Vpn::new(0x1f4), area)), [0; 0]);
}

#[test]
fn defrag_says_who_reclaims_for_which_areas() {
    use AllocMode::{InBackground, MayReclaim, NoReclaim};
    let rows = [
        (Defrag::Always, MayReclaim, MayReclaim),
        (Defrag::Defer, InBackground, InBackground),
        (Defrag::DeferOrMadvise, InBackground, MayReclaim),
        (Defrag::Madvise, NoReclaim, MayReclaim),
        (Defrag::Never, NoReclaim, NoReclaim),
    ];
    let settings = Settings::default();
    for (defrag, plain, wanted) in rows {
        settings.set_defrag(defrag);
        assert_eq!(settings.defrag(), defrag);
        assert_eq!(settings.alloc_mode(PLAIN), plain, "{defrag:?}");
        assert_eq!(settings.alloc_mode(WANTED), wanted, "{defrag:?}, wanted");
    }
}

#[test]
fn statistics_keep_orders_apart_and_leave_small_folios_out() {
    let stats = ThpStats::new(2);
    let (first, second) = (CpuId::new(0), CpuId::new(1));
    stats.add(first, ThpStat::NrAnon, Order::BLOCK, 1);
    stats.add(first, ThpStat::NrAnon, Order::CONT, 3);
    stats.add(second, ThpStat::NrAnon, Order::CONT, -2);
    stats.add(second, ThpStat::Split, Order::PAGE, 1);
    assert_eq!(stats.total(ThpStat::NrAnon, Order::BLOCK), 1);
    assert_eq!(stats.total(ThpStat::NrAnon, Order::CONT), 1, "made here, freed there");
    assert_eq!(stats.total(ThpStat::Split, Order::PAGE), 0);
    stats.add(second, ThpStat::NrAnon, Order::CONT, -2);
    assert_eq!(stats.total(ThpStat::NrAnon, Order::CONT), 0, "a gauge that is ahead of itself");
}
