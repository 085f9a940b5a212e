// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is /proc/PID/maps: a line for each area (Linux fs/proc/task_mmu.c, show_map_vma()).

use alloc::vec::Vec;

use abi::Errno;
use abi::stat::{major, minor};
use base::{PAGE_SIZE, Vpn};
use hal::Machine;
use mm::{AreaFlags, AreaView, Mm};

use super::root::ProcFs;
use super::{Text, put};

/// Column at which names start.
const NAME_COLUMN: usize = 73;

/// Iterates over the areas, looking for the next one each time: an address space may have more of
/// them than there is room for a list.
pub(super) fn areas<M: Machine>(mm: &Mm<M>) -> impl Iterator<Item = AreaView<M>> + use<'_, M> {
    let mut page = Vpn::new(0);
    core::iter::from_fn(move || {
        let area = mm.next_area_view(page)?;
        page = area.pages.end;
        Some(area)
    })
}

/// Appends the line of an area.
pub(super) fn put_line<M: Machine>(
    text: &mut Text,
    _mm: &Mm<M>,
    area: &AreaView<M>,
    proc: &ProcFs<M>,
) -> Result<(), Errno> {
    let line_start = text.0.len();
    let backing = Backing::of(area, proc)?;
    let has = |flag, yes: char| if area.flags.contains(flag) { yes } else { '-' };
    let shared = if area.flags.contains(AreaFlags::SHARED) { 's' } else { 'p' };
    put!(
        text,
        "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {} ",
        area.pages.start.base().get(),
        area.pages.end.base().get(),
        has(AreaFlags::READ, 'r'),
        has(AreaFlags::WRITE, 'w'),
        has(AreaFlags::EXEC, 'x'),
        shared,
        backing.offset,
        major(backing.dev),
        minor(backing.dev),
        backing.ino,
    );
    if !backing.name.is_empty() {
        while text.0.len() < line_start + NAME_COLUMN {
            text.0.push(b' ');
        }
        text.bytes(&backing.name);
    }
    text.0.push(b'\n');
    Ok(())
}

/// What is behind an area, as a line tells it.
struct Backing {
    offset: u64,
    dev: u64,
    ino: u64,
    name: Vec<u8>,
}

impl Backing {
    fn of<M: Machine>(area: &AreaView<M>, proc: &ProcFs<M>) -> Result<Self, Errno> {
        let named = |name: &[u8]| Self { offset: 0, dev: 0, ino: 0, name: Vec::from(name) };
        if area.flags.contains(AreaFlags::SPECIAL) {
            return Ok(named(b"[vdso]"));
        }
        let Some((object, first)) = &area.object else {
            return Ok(named(if area.flags.contains(AreaFlags::HEAP) {
                b"[heap]"
            } else if area.flags.contains(AreaFlags::STACK) {
                b"[stack]"
            } else {
                b""
            }));
        };
        let offset = first * PAGE_SIZE as u64;
        let found = proc.fs().env().objects().find(object.id());
        Ok(match found {
            Some(inode) => {
                let id = inode.id();
                let name = proc.source()?.vfs().shown_path(&inode);
                Self { offset, dev: id.dev, ino: id.ino, name }
            }
            // Shared anonymous memory, or a file that nobody has open and that has no name.
            None => {
                let ino = u64::from(object.id());
                Self { offset, dev: 1, ino, name: Vec::from(b"/dev/zero (deleted)") }
            }
        })
    }
}
