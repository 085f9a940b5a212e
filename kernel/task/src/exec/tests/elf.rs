// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests that good headers are understood and bad ones refused.

use abi::Errno;
use abi::elf::{PF_X, PT_GNU_STACK, PT_INTERP, Phdr};
use std::vec::Vec;

use super::{File, reader};
use crate::exec::elf::{Image, Kind, Segment};
use crate::exec::place::Offsets;

fn parse(file: &File) -> Result<Image, Errno> {
    Image::parse(&mut reader(&file.bytes()))
}

#[test]
fn a_program_is_its_segments_entry_and_headers() {
    let image = parse(&File::exec()).unwrap();
    assert_eq!(image.kind, Kind::Fixed);
    assert_eq!(image.entry, 0x40_0200);
    assert_eq!((image.headers, image.nr_headers), (Some(0x40_0040), 2));
    assert_eq!(image.align, 0x1_0000);
    assert_eq!((image.interpreter.as_ref(), image.has_exec_stack), (None, false));
    let data = Segment { vaddr: 0x41_1234, memsz: 0x3000, offset: 0x1234, filesz: 0x100, flags: 6 };
    assert_eq!(image.segments[1], data);
    assert_eq!(image.span(), (0x40_0000, 0x41_4234));
    assert_eq!(parse(&File::pie()).unwrap().kind, Kind::Relocatable);
}

#[test]
fn what_is_no_program_of_this_machine_is_enoexec() {
    let cases: [fn(&mut File); 11] = [
        |file| file.header.ident[0] = 0x7e,
        |file| file.header.ident[4] = 1,
        |file| file.header.ident[5] = 2,
        |file| file.header.machine = 62,
        |file| file.header.kind = 1,
        |file| file.header.kind = 4,
        |file| file.header.phentsize = 32,
        |file| file.header.phnum = 0,
        |file| file.header.phnum = 1171,
        |file| file.headers.iter_mut().for_each(|header| header.kind = 0),
        |file| file.headers.iter_mut().for_each(|header| header.memsz = 0),
    ];
    for (index, case) in cases.iter().enumerate() {
        let mut file = File::exec();
        case(&mut file);
        assert_eq!(parse(&file).map(drop), Err(Errno::ENOEXEC), "case {index}");
    }
    let whole = File::exec().bytes();
    for len in [0, 3, 63, 64, 64 + 111] {
        let cut = Image::parse(&mut reader(&whole[..len])).map(drop);
        assert_eq!(cut, Err(Errno::ENOEXEC), "{len} bytes");
    }
}

#[test]
fn segments_that_no_address_space_can_hold_are_einval() {
    let cases: [fn(&mut Phdr); 7] = [
        |data| data.memsz = data.filesz - 1,
        |data| data.vaddr = 1 << 48,
        |data| data.vaddr = (1 << 48) - 0x1000 + 0x234,
        |data| data.vaddr = 0xffff_0000_0000_0234,
        |data| data.memsz = u64::MAX - data.vaddr,
        |data| data.vaddr += 1,
        |data| data.offset = 0xffff_ffff_ffff_f234,
    ];
    for (index, case) in cases.iter().enumerate() {
        let mut file = File::exec();
        case(&mut file.headers[1]);
        assert_eq!(parse(&file).map(drop), Err(Errno::EINVAL), "case {index}");
    }
}

#[test]
fn the_path_of_the_dynamic_linker_must_end_with_a_zero() {
    let with = |path: &[u8], filesz: u64| {
        let mut file = File::pie();
        let header = Phdr { kind: PT_INTERP, offset: 0x1000, filesz, ..Default::default() };
        file.headers.push(header);
        file.header.phnum = 3;
        file.content[0x1000..0x1000 + path.len()].copy_from_slice(path);
        parse(&file).map(|image| image.interpreter)
    };
    assert_eq!(with(b"/lib/ld.so\0", 11), Ok(Some(b"/lib/ld.so".to_vec())));
    assert_eq!(with(b"/lib/ld.so", 10), Err(Errno::ENOEXEC));
    assert_eq!(with(b"\0", 1), Err(Errno::ENOEXEC));
    assert_eq!(with(b"/\0", 4097), Err(Errno::ENOEXEC));
    assert_eq!(with(b"/\0", 4096), Err(Errno::EIO), "the file ends before");
}

#[test]
fn the_stack_is_executable_on_request_only() {
    let mut file = File::exec();
    file.headers.push(Phdr { kind: PT_GNU_STACK, flags: 6, ..Default::default() });
    file.header.phnum = 3;
    assert!(!parse(&file).unwrap().has_exec_stack);
    file.headers[2].flags |= PF_X;
    assert!(parse(&file).unwrap().has_exec_stack);
}

/// A generator of test data (Marsaglia's xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % below
    }
}

#[test]
fn damaged_headers_never_panic_and_what_passes_can_be_placed() {
    let (mut refused, mut accepted) = (0, 0);
    for seed in 1..20_000 {
        let mut dice = Dice(seed);
        let file = if dice.roll(2) == 0 { File::exec() } else { File::pie() };
        let mut bytes: Vec<u8> = file.bytes();
        for _ in 0..1 + dice.roll(4) {
            bytes[dice.roll(176) as usize] ^= 1 << dice.roll(8);
        }
        let offsets = Offsets::draw(|buf| buf.fill_with(|| dice.roll(256) as u8));
        let image = match Image::parse(&mut reader(&bytes)) {
            Ok(image) => image,
            Err(_) => {
                refused += 1;
                continue;
            }
        };
        accepted += 1;
        let (low, high) = image.span();
        assert!(low < high && high <= 1 << 48, "seed {seed}");
        if let Some(bias) = offsets.image_bias(&image) {
            let (low, high) = (low.wrapping_add(bias), high.wrapping_add(bias));
            assert!(low < high && high <= 1 << 48, "seed {seed}: {image:?}");
            assert_eq!(bias % 4096, 0, "seed {seed}");
        }
    }
    assert!(refused > 5000 && accepted > 5000, "{refused} refused, {accepted} accepted");
}
