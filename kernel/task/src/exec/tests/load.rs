// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests a program in an address space of a simulated machine.

use abi::auxv;
use base::VirtAddr;
use base::percpu::CpuId;
use hal::PhysMem;
use hal::sim::{SimConfig, SimMachine};
use mm::{AreaFlags, Mm, Shmem, System};
use std::sync::Arc;
use std::vec::Vec;

use super::{File, reader};
use crate::exec::elf::Image;
use crate::exec::load::{LoadError, Loaded, Program, Request, load};
use crate::exec::place::Offsets;
use crate::exec::start_stack::Strings;

type World = (SimMachine, Arc<System<SimMachine>>);

fn in_world(test: impl FnOnce(&World)) {
    let machine = SimConfig::default().build();
    machine.clone().run_on(CpuId::new(0), || {
        let world = (machine.clone(), System::new(machine));
        test(&world);
    });
}

fn store(world: &World, bytes: &[u8]) -> Arc<Shmem<SimMachine>> {
    let (machine, system) = world;
    let object = Shmem::new(system, bytes.len() as u64, None).unwrap();
    for (index, page) in bytes.chunks(4096).enumerate() {
        let put = |pfn: base::Pfn| machine.write_bytes(pfn.at(0), page);
        object.write_page(index as u64, put).unwrap();
    }
    object
}

/// Loads a program and hands its address space to `check`.
fn with_program(
    world: &World,
    file: &File,
    linker: Option<&File>,
    offsets: Offsets,
    check: impl FnOnce(&Mm<SimMachine>, Result<Loaded, LoadError>),
) {
    let parsed = |file: &File| (store(world, &file.bytes()), image(file));
    let ((object, image), linker) = (parsed(file), linker.map(parsed));
    let strings = Strings {
        args: [b"prog".to_vec(), b"arg".to_vec()].into(),
        env: Vec::new(),
        path: b"/prog".to_vec(),
    };
    let mm = Mm::new(&world.1).unwrap();
    let request = Request {
        program: Program { file: &object, image: &image },
        interpreter: linker.as_ref().map(|(file, image)| Program { file, image }),
        strings: &strings,
        offsets,
        stack_limit: 8 << 20,
        hwcaps: (1, 2),
        ids: [0; 4],
        random: [7; 16],
        trampoline: None,
    };
    check(&mm, load(&mm, &request));
    mm.put_user();
    world.1.audit();
}

fn image(file: &File) -> Image {
    Image::parse(&mut reader(&file.bytes())).unwrap()
}

fn bytes(mm: &Mm<SimMachine>, at: u64, len: usize) -> Vec<u8> {
    let mut buf = std::vec![0; len];
    mm.read_remote(VirtAddr::new(at), &mut buf).unwrap();
    buf
}

/// Rights of the page at an address, as PF_* bits; `None` when nothing is mapped there.
fn rights(mm: &Mm<SimMachine>, at: u64) -> Option<u32> {
    let flags = mm.area_view(VirtAddr::new(at).page())?.flags;
    let bit = |flag, bit| if flags.contains(flag) { bit } else { 0 };
    let read = bit(AreaFlags::READ, 4);
    Some(read | bit(AreaFlags::WRITE, 2) | bit(AreaFlags::EXEC, 1))
}

/// Reads the auxiliary vector from the stack.
fn aux(mm: &Mm<SimMachine>, sp: u64, key: u64) -> Option<u64> {
    let word = |index: u64| u64::from_le_bytes(bytes(mm, sp + 8 * index, 8).try_into().unwrap());
    let nr_args = word(0);
    let first = (nr_args + 2..).find(|&index| word(index) == 0).unwrap() + 1;
    let mut entries = (first..).step_by(2).map(|index| (word(index), word(index + 1)));
    entries.by_ref().take_while(|&(key, _)| key != 0).find(|entry| entry.0 == key).map(|e| e.1)
}

#[test]
fn segments_have_their_bytes_rights_and_zeroes() {
    in_world(|world| {
        let file = File::exec();
        let content = file.bytes();
        with_program(world, &file, None, Offsets::NONE, |mm, loaded| {
            let loaded = loaded.unwrap();
            assert_eq!(loaded.pc, 0x40_0200);
            assert_eq!(bytes(mm, 0x40_0000, 0x1234), content[..0x1234]);
            assert_eq!(rights(mm, 0x40_0000), Some(5));
            assert_eq!(rights(mm, 0x40_1fff), Some(5));
            assert_eq!(rights(mm, 0x40_2000), None);
            // Data; its page begins with the file's bytes before it, zeroes follow it.
            assert_eq!(bytes(mm, 0x41_1000, 0x334), content[0x1000..0x1334]);
            assert_eq!(bytes(mm, 0x41_1334, 0x2f00), std::vec![0; 0x2f00]);
            assert_eq!(rights(mm, 0x41_1334), Some(6));
            assert_eq!(rights(mm, 0x41_4233), Some(6));
            assert_eq!(rights(mm, 0x41_5000), None);
            assert_eq!(aux(mm, loaded.sp, auxv::AT_PHDR), Some(0x40_0040));
            // The heap begins behind.
            assert_eq!(mm.set_break(VirtAddr::new(0)).get(), 0x41_5000);
            assert_eq!(mm.set_break(VirtAddr::new(0x41_6000)).get(), 0x41_6000);
        });
    });
}

#[test]
fn a_store_to_data_does_not_reach_the_file() {
    in_world(|world| {
        let (file, object) = (File::exec(), store(world, &File::exec().bytes()));
        let image = image(&file);
        let strings = Strings { path: b"x".to_vec(), ..Default::default() };
        for _ in 0..2 {
            let request = Request {
                program: Program { file: &object, image: &image },
                interpreter: None,
                strings: &strings,
                offsets: Offsets::NONE,
                stack_limit: 8 << 20,
                hwcaps: (0, 0),
                ids: [0; 4],
                random: [0; 16],
                trampoline: None,
            };
            let mm = Mm::new(&world.1).unwrap();
            load(&mm, &request).unwrap();
            assert_eq!(bytes(&mm, 0x41_1234, 4), file.content[0x1234..0x1238]);
            mm.write_remote(VirtAddr::new(0x41_1234), b"new!").unwrap();
            assert!(mm.write_remote(VirtAddr::new(0x40_0200), b"text").is_err());
            mm.put_user();
        }
        world.1.audit();
    });
}

#[test]
fn the_stack_lies_at_the_top_and_grows_to_its_limit() {
    in_world(|world| {
        with_program(world, &File::exec(), None, Offsets::NONE, |mm, loaded| {
            let loaded = loaded.unwrap();
            assert_eq!(rights(mm, loaded.sp), Some(6));
            assert_eq!(rights(mm, (1 << 48) - 1), Some(6));
            assert_eq!(bytes(mm, loaded.args.start, 9), b"prog\0arg\0");
            let low = (1 << 48) - (8 << 20);
            mm.write_remote(VirtAddr::new(low), b"deep").unwrap();
            assert!(mm.write_remote(VirtAddr::new(low - 1), b"x").is_err());
        });
        let mut file = File::exec();
        file.headers.push(abi::elf::Phdr {
            kind: abi::elf::PT_GNU_STACK,
            flags: 7,
            ..Default::default()
        });
        file.header.phnum = 3;
        with_program(world, &file, None, Offsets::NONE, |mm, loaded| {
            assert_eq!(rights(mm, loaded.unwrap().sp), Some(7));
        });
    });
}

#[test]
fn a_relocatable_program_and_its_linker_find_room() {
    in_world(|world| {
        let draws = [
            Offsets::NONE,
            Offsets::draw(|buf| buf.fill(0xff)),
            Offsets::draw(|buf| buf.fill(0x5a)),
        ];
        for offsets in draws {
            let (file, linker) = (File::pie(), File::pie());
            with_program(world, &file, Some(&linker), offsets, |mm, loaded| {
                let loaded = loaded.unwrap();
                let entry = aux(mm, loaded.sp, auxv::AT_ENTRY).unwrap();
                let headers = aux(mm, loaded.sp, auxv::AT_PHDR).unwrap();
                let base = aux(mm, loaded.sp, auxv::AT_BASE).unwrap();
                assert_eq!(entry - headers, 0x200 - 0x40);
                assert_eq!((headers - 0x40) % 0x1_0000, 0, "aligned as it wishes");
                assert_eq!(loaded.pc, base + 0x200);
                assert_eq!(bytes(mm, base, 0x1234), linker.bytes()[..0x1234]);
                assert_eq!(bytes(mm, headers - 0x40, 0x1234), file.bytes()[..0x1234]);
                let heap = mm.set_break(VirtAddr::new(0)).get();
                assert!(heap > entry && heap < base && base < loaded.sp);
            });
        }
    });
}

#[test]
fn a_later_segment_replaces_the_page_it_shares_with_an_earlier_one() {
    in_world(|world| {
        let mut file = File::exec();
        file.headers[1].vaddr = 0x40_1234;
        let content = file.bytes();
        with_program(world, &file, None, Offsets::NONE, |mm, loaded| {
            loaded.unwrap();
            assert_eq!(rights(mm, 0x40_0000), Some(5));
            assert_eq!(rights(mm, 0x40_1000), Some(6));
            assert_eq!(bytes(mm, 0x40_1000, 0x334), content[0x1000..0x1334]);
        });
    });
}

#[test]
fn what_the_file_lacks_and_where_nothing_may_be_is_an_error() {
    in_world(|world| {
        // The zeroes behind data would have to go to a page that is beyond the end of the file.
        let mut file = File::exec();
        file.headers[1].offset = 0x1_0234;
        with_program(world, &file, None, Offsets::NONE, |_, loaded| {
            assert_eq!(loaded, Err(LoadError::NoContent));
        });
        let mut file = File::exec();
        file.headers[0].vaddr = 0x1000;
        with_program(world, &file, None, Offsets::NONE, |_, loaded| {
            assert_eq!(loaded, Err(LoadError::NoRoom));
        });
        let mut file = File::exec();
        file.header.entry = 0xffff_0000_0000_0000;
        with_program(world, &file, None, Offsets::NONE, |_, loaded| {
            assert_eq!(loaded, Err(LoadError::NoRoom));
        });
        let mut file = File::pie();
        file.headers[1].vaddr = (1 << 47) + 0x234;
        with_program(world, &file, None, Offsets::NONE, |_, loaded| {
            assert_eq!(loaded, Err(LoadError::NoRoom));
        });
    });
}
