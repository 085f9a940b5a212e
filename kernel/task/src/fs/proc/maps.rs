// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is /proc/PID/maps: a line for each area (Linux fs/proc/task_mmu.c, show_map_vma()).

use alloc::vec::Vec;

use abi::Errno;
use abi::stat::{major, minor};
use base::PAGE_SIZE;
use hal::Machine;
use mm::{AreaFlags, AreaView};

use super::root::ProcFs;
use super::source::ProcessView;
use super::{Text, put};

/// Column at which names start.
const NAME_COLUMN: usize = 73;

/// Shows the areas.
pub(super) fn show<M: Machine>(view: &ProcessView<M>, proc: &ProcFs<M>) -> Result<Vec<u8>, Errno> {
    let mut text = Text::default();
    let Some(mm) = &view.mm else { return Ok(text.0) };
    for area in mm.area_views() {
        put_line(&mut text, &area, proc)?;
    }
    Ok(text.0)
}

/// Appends the line of an area.
pub(super) fn put_line<M: Machine>(
    text: &mut Text,
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
