// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file lets the kernel's heap be low while there is free memory, under seeded schedules.

mod world;

use base::percpu::CpuId;
use hal::sim::{Bank, SimConfig, explore};
use mm::{FaultError, MmEvent, Shmem};
use world::process::{AccessError, Process, RW};
use world::{CPU0, CPU1, World, config};

const CPU2: CpuId = CpuId::new(2);
const CPU3: CpuId = CpuId::new(3);
const NR_SEEDS: u64 = if cfg!(shuttle) { 300 } else { 50 };

/// Builds four CPUs with three blocks of RAM, of which the heap may have `nr_heap_blocks`.
fn world(seed: u64, nr_heap_blocks: u32) -> World {
    let config = config(seed);
    let bank = Bank { nr_blocks: 3, ..config.banks[0] };
    World::new(SimConfig { nr_cpus: 4, banks: vec![bank], nr_heap_blocks, ..config })
}

/// Returns four processes that share a page, mapped by the first two: the others need room in the
/// heap.
fn four_sharers(world: &World) -> [Process; 4] {
    let object = world.on(CPU0, || Shmem::new(&world.system, 4096, None)).unwrap();
    let mut first = world.process(CPU0);
    let page = first.map_object(&object, &Default::default(), RW).start;
    world.on(CPU0, || drop(object));
    let others = [CPU1, CPU2, CPU3].map(|cpu| first.fork(cpu));
    first.store(page.base(), 7).unwrap();
    others[0].load(page.base()).unwrap();
    let [second, third, fourth] = others;
    [first, second, third, fourth]
}

fn load(p: &Process) -> Result<u64, AccessError> {
    let pages = p.oracle.pages.keys().next().expect("one page is mapped");
    p.load(pages.base())
}

#[test]
fn two_faults_that_find_the_heap_low_both_go_through() {
    explore(0..NR_SEEDS, |seed| {
        let world = world(seed, 1);
        let [first, second, third, fourth] = four_sharers(&world);
        world.machine.set_kernel_heap_room(0);
        let other = world.machine.spawn_on(CPU3, move || (load(&fourth), fourth));
        // Whoever comes second finds the heap grown: that is as good as having grown it.
        assert_eq!(load(&third), Ok(7));
        let (loaded, fourth) = other.join().unwrap();
        assert_eq!(loaded, Ok(7));
        assert_eq!(world.count(MmEvent::HeapGrow), 1);
        world.audit();
        [first, second, third, fourth].into_iter().for_each(Process::exit);
        world.audit();
    });
}

#[test]
fn a_fault_goes_through_when_others_let_the_heap_grow() {
    // The first question refuses the entry. Whoever asks second finds that it is not low any more.
    explore(1..4, |nr_questions| {
        let world = world(0, 1);
        let [first, second, third, fourth] = four_sharers(&world);
        world.machine.hide_kernel_heap(nr_questions as usize);
        assert_eq!(load(&third), Ok(7), "after {nr_questions} questions");
        let nr_blocks = (nr_questions > 2) as u64;
        assert_eq!(world.count(MmEvent::HeapGrow), nr_blocks, "after {nr_questions} questions");
        world.audit();
        [first, second, third, fourth].into_iter().for_each(Process::exit);
        world.audit();
    });
}

#[test]
fn a_fault_is_refused_when_the_heap_cannot_grow() {
    explore(0..10, |seed| {
        let world = world(seed, 0);
        let [first, second, third, fourth] = four_sharers(&world);
        world.machine.set_kernel_heap_room(0);
        assert_eq!(load(&third), Err(AccessError::Fault(FaultError::OutOfMemory)));
        assert_eq!(load(&first), Ok(7), "who maps it already needs nothing");
        world.machine.set_kernel_heap_room(1 << 20);
        assert_eq!(load(&third), Ok(7));
        world.audit();
        [first, second, third, fourth].into_iter().for_each(Process::exit);
        world.audit();
    });
}
