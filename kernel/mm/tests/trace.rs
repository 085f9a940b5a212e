// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file checks what the memory manager says of itself in a trace: kinds, numbers, what is
//! within what.

mod world;

use hal::TraceKind;
use hal::sim::Adversary;
use hal::trace::TraceEvent;
use mm::{Advice, MmEvent};
use world::device::for_orders_on;
use world::folios::{roomy, with_tags_on_device};
use world::process::{RW, TAGGED};
use world::{CPU0, World, config};

/// Tells whether `inner` happened while `outer` went on.
fn is_within(inner: &TraceEvent, outer: &TraceEvent) -> bool {
    outer.start_ns <= inner.start_ns
        && inner.start_ns + inner.duration_ns <= outer.start_ns + outer.duration_ns
}

/// Returns the one event of a kind.
fn only(events: &[TraceEvent], kind: TraceKind) -> TraceEvent {
    let mut found = events.iter().filter(|event| event.kind == kind);
    let event = *found.next().unwrap_or_else(|| panic!("no {kind:?} in {events:?}"));
    assert_eq!(found.next(), None, "more than one {kind:?}");
    event
}

#[test]
fn swap_out_and_refault_of_a_tagged_page_are_told_with_their_slot() {
    let world = World::new(config(1));
    let mut p = world.process(CPU0);
    p.check_tags(hal::TagCheckMode::Sync);
    let pages = p.map(1, TAGGED);
    p.write(pages.start, 0, 0x1234);
    p.retag(pages.start, 0, 7);
    assert_eq!(world.machine.take_trace(), [], "nothing is kept before somebody wants it");
    world.machine.start_trace();

    p.advise(pages, Advice::PageOut);
    assert!(p.is_swapped(pages.start));
    let out = world.machine.take_trace();
    let (swap_out, saved) = (only(&out, TraceKind::SwapOut), only(&out, TraceKind::TagsSave));
    let slot = swap_out.args[0];
    assert_eq!((swap_out.args[1], saved.args), (1, [slot, 1]));
    assert!(is_within(&saved, &swap_out), "tags are saved before the write is started");
    let wait = only(&out, TraceKind::TlbWait);
    assert!(wait.start_ns + wait.duration_ns <= swap_out.start_ns, "no CPU reaches the page then");

    p.verify_all();
    let back = world.machine.take_trace();
    let major = back.iter().find(|e| e.kind == TraceKind::Fault && e.args[1] == 2);
    let major = *major.expect("a fault that waited for I/O");
    assert_eq!(major.args[0], pages.start.base().get());
    let (swap_in, restored) = (only(&back, TraceKind::SwapIn), only(&back, TraceKind::TagsRestore));
    assert_eq!((swap_in.args, restored.args[0]), ([slot, 1], slot));
    assert!(is_within(&restored, &swap_in) && is_within(&swap_in, &major));
    p.exit();
    world.audit();
}

#[test]
fn tags_on_the_disk_are_told_by_tag_page_and_by_page() {
    let world = with_tags_on_device(World::new(roomy(3)));
    world.allow_order(6);
    let mut p = world.tagged_process();
    let pages = p.new_folios(6, 1, TAGGED);
    pages.pages().for_each(|page| p.set_all_tags(page, page.get()));
    world.machine.start_trace();
    p.page_out(pages);
    pages.pages().for_each(|page| p.assert_all_tags(page, page.get()));
    let events = world.machine.take_trace();
    let of = |kind| events.iter().filter(move |event| event.kind == kind);
    let slot = only(&events, TraceKind::SwapOut).args[0];
    // 64 pages: 32 have their tags on one page of the disk, 32 on the next.
    let saved: Vec<_> = of(TraceKind::TagsSave).map(|event| event.args).collect();
    assert_eq!(saved, [[slot, 32], [slot + 32, 32]]);
    let restored = of(TraceKind::TagsRestore).map(|event| event.args[0]);
    assert!(restored.eq(slot..slot + 64));
    p.exit();
}

#[test]
fn a_migration_is_told_step_by_step_and_the_way_home_within_its_fault() {
    for_orders_on(Adversary::CALM, &[4], |world, order| {
        let mut p = world.process(CPU0);
        let pages = p.new_folios(order, 1, RW);
        world.machine.start_trace();
        p.all_to_device(pages);
        let events = world.machine.take_trace();
        let steps = [
            (TraceKind::MigrateCollect, 16),
            (TraceKind::MigrateUnmap, 1),
            (TraceKind::MigrateCopy, 16),
            (TraceKind::MigrateFinalize, 1),
        ];
        let told = steps.map(|(kind, _)| only(&events, kind));
        let at = pages.start.base().get();
        assert_eq!(told.map(|event| event.args), steps.map(|(_, number)| [at, number]));
        assert!(told.is_sorted_by(|one, next| one.start_ns + one.duration_ns <= next.start_ns));

        p.write(pages.start, 0, 1);
        let events = world.machine.take_trace();
        let (fault, home) = (only(&events, TraceKind::Fault), only(&events, TraceKind::BringHome));
        assert!(is_within(&home, &fault));
        assert_eq!(home.args[1], 16);
        p.exit();
    });
}

#[test]
fn as_many_invalidations_and_waits_are_told_as_are_counted() {
    let world = World::new(config(2));
    let mut p = world.process(CPU0);
    p.check_tags(hal::TagCheckMode::Sync);
    let counts = || {
        let tlbis = [MmEvent::TlbiPage, MmEvent::TlbiRange, MmEvent::TlbiAsid];
        [tlbis.into_iter().map(|event| world.count(event)).sum(), world.count(MmEvent::TlbDsb)]
    };
    let before = counts();
    world.machine.start_trace();
    let pages = p.map(40, TAGGED);
    pages.pages().for_each(|page| p.write(page, 0, 1));
    p.advise(pages, Advice::PageOut);
    p.verify_all();
    p.unmap(pages);
    let events = world.machine.take_trace();
    let counted: Vec<u64> =
        counts().into_iter().zip(before).map(|(now, then)| now - then).collect();
    let issued = events.iter().filter(|event| event.kind == TraceKind::TlbIssue);
    let starts_there = |event: &&TraceEvent| event.args[0] == pages.start.base().get();
    assert!(issued.clone().any(|event| starts_there(&event)), "nothing is said of {pages:?}");
    let nr_issued: u64 = issued.map(|event| event.args[1]).sum();
    assert_eq!(nr_issued, counted[0]);
    let is_wait = |event: &&TraceEvent| event.kind == TraceKind::TlbWait;
    let nr_waits = events.iter().filter(is_wait).count() as u64;
    assert_eq!(nr_waits, counted[1]);
    assert!(nr_issued > 0 && nr_waits > 0);
    p.exit();
}
