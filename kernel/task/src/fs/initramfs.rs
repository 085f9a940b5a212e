// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file unpacks an initramfs: a cpio archive in the "newc" format, as Linux takes it
//! (Linux Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Linux unpacks what it can and goes on without a word. Here an archive that is not whole is an
//! error that says where: a boot that lacks a file is harder to understand later.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use abi::Errno;
use abi::stat::{FileTime, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG};
use hal::Machine;

use super::inode::{AttrChange, InodeRef, New, OpenMode, is_dir};
use super::io::{SliceSource, Source};
use super::ops::WriteAt;
use super::path::Last;
use super::vfs::Vfs;

/// What is wrong with an archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArchiveFault {
    /// It ends before the entry does, or before the entry that ends it.
    Cut,
    /// There is no header where one should be; maybe it is compressed.
    NoHeader,
    /// A field is not a hexadecimal number.
    BadField,
    /// The name does not end in a zero byte.
    BadName,
    /// The file could not be made.
    Refused(Errno),
}

/// An archive that was not unpacked to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InitramfsError {
    /// Byte of the archive at which the entry starts.
    pub offset: usize,
    /// Name of the entry, as far as it is known.
    pub name: String,
    /// What is wrong.
    pub fault: ArchiveFault,
}

impl fmt::Display for InitramfsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {:#x}", self.offset)?;
        if !self.name.is_empty() {
            write!(f, ", \"{}\"", self.name)?;
        }
        match self.fault {
            ArchiveFault::Cut => f.write_str(": the archive is cut off"),
            ArchiveFault::NoHeader => {
                f.write_str(": no newc header (compressed archives are not read)")
            }
            ArchiveFault::BadField => f.write_str(": a header field is not a number"),
            ArchiveFault::BadName => f.write_str(": the name does not end in a zero byte"),
            ArchiveFault::Refused(error) => write!(f, ": cannot be made: {error}"),
        }
    }
}

impl core::error::Error for InitramfsError {}

/// What was unpacked.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Unpacked {
    /// Files, directories and links.
    pub nr_files: u64,
    /// Bytes of regular files.
    pub bytes: u64,
}

const HEADER: usize = 110;
const TRAILER: &[u8] = b"TRAILER!!!";

/// An entry.
struct Entry<'a> {
    ino: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    nr_links: u32,
    mtime: u32,
    device: (u32, u32),
    name: &'a [u8],
    content: &'a [u8],
}

/// Reads an archive from one entry to the next.
struct Reader<'a> {
    archive: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads the entry at the current place, and what it is called even if it is not whole.
    fn next(&mut self) -> Result<Entry<'a>, (ArchiveFault, &'a [u8])> {
        let header = self.take(HEADER).ok_or((ArchiveFault::Cut, b"".as_slice()))?;
        if !matches!(&header[..6], b"070701" | b"070702") {
            return Err((ArchiveFault::NoHeader, b""));
        }
        let mut fields = [0; 13];
        for (field, digits) in fields.iter_mut().zip(header[6..].chunks_exact(8)) {
            *field = parse_hex(digits).ok_or((ArchiveFault::BadField, b"".as_slice()))?;
        }
        let [ino, mode, uid, gid, nr_links, mtime, size, major, minor, _, _, name_size, _] = fields;
        let name = self.take(name_size as usize).ok_or((ArchiveFault::Cut, b"".as_slice()))?;
        let name = name.strip_suffix(b"\0").ok_or((ArchiveFault::BadName, name))?;
        let content = self.take_padded(size as usize).ok_or((ArchiveFault::Cut, name))?;
        let device = (major, minor);
        Ok(Entry { ino, mode, uid, gid, nr_links, mtime, device, name, content })
    }

    /// Takes bytes from the current place, which is aligned for what follows a name.
    fn take_padded(&mut self, len: usize) -> Option<&'a [u8]> {
        self.align();
        let bytes = self.take(len)?;
        self.align();
        Some(bytes)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let bytes = self.archive.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    /// Skips padding, which may be missing at the end of the archive.
    fn align(&mut self) {
        self.at = self.at.next_multiple_of(4).min(self.archive.len());
    }

    /// Skips zero bytes between archives.
    fn skip_zeroes(&mut self) {
        let rest = self.archive.get(self.at..).unwrap_or(&[]);
        self.at += rest.iter().take_while(|byte| **byte == 0).count();
    }

    fn is_at_end(&self) -> bool {
        self.at >= self.archive.len()
    }
}

fn parse_hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}

/// Files of one archive that have several names, by device and inode number.
type HardLinks<M> = BTreeMap<((u32, u32), u32), InodeRef<M>>;

/// Unpacks an archive, or several one behind the other, into the root of `vfs`.
///
/// # Errors
///
/// [`InitramfsError`] at the first entry that is not whole or cannot be made.
pub fn unpack<M: Machine>(vfs: &Vfs<M>, archive: &[u8]) -> Result<Unpacked, InitramfsError> {
    let mut unpacked = Unpacked::default();
    let mut reader = Reader { archive, at: 0 };
    let mut hard_links = HardLinks::new();
    let mut dirs = Vec::new();
    loop {
        let offset = reader.at;
        let error = |fault, name: &[u8]| InitramfsError {
            offset,
            name: String::from_utf8_lossy(name).into_owned(),
            fault,
        };
        let entry = reader.next().map_err(|(fault, name)| error(fault, name))?;
        if entry.name == TRAILER {
            hard_links.clear();
            reader.skip_zeroes();
            if reader.is_at_end() {
                set_times(&dirs);
                return Ok(unpacked);
            }
            continue;
        }
        let made = unpack_entry(vfs, &entry, &mut hard_links)
            .map_err(|why| error(ArchiveFault::Refused(why), entry.name))?;
        dirs.extend(made.filter(|inode| is_dir(inode.kind())).map(|inode| (inode, entry.mtime)));
        unpacked.nr_files += 1;
        unpacked.bytes += entry.content.len() as u64;
        vfs.env().machine().cond_resched();
    }
}

fn unpack_entry<M: Machine>(
    vfs: &Vfs<M>,
    entry: &Entry<'_>,
    hard_links: &mut HardLinks<M>,
) -> Result<Option<InodeRef<M>>, Errno> {
    let kind = entry.mode & S_IFMT;
    let inode = match kind {
        S_IFDIR => make(vfs, entry.name, New::Directory(entry.mode & 0o1777))?,
        S_IFLNK => make(vfs, entry.name, New::Symlink(Vec::from(entry.content)))?,
        S_IFREG => unpack_file(vfs, entry, hard_links)?,
        // Devices come from /dev, whatever an archive says.
        _ => return Ok(None),
    };
    inode.change(&AttrChange {
        mode: (kind != S_IFLNK).then_some(entry.mode & 0o7777),
        uid: Some(entry.uid),
        gid: Some(entry.gid),
        atime: None,
        mtime: Some(time_of(entry.mtime)),
    })?;
    Ok(Some(inode))
}

/// Sets the times of directories again: what was made in them has changed them.
fn set_times<M: Machine>(dirs: &[(InodeRef<M>, u32)]) {
    for (dir, mtime) in dirs {
        let change = AttrChange { mtime: Some(time_of(*mtime)), ..AttrChange::default() };
        // It worked when the directory was made.
        let _ = dir.change(&change);
    }
}

fn time_of(seconds: u32) -> FileTime {
    FileTime { seconds: seconds as i64, nanoseconds: 0 }
}

fn unpack_file<M: Machine>(
    vfs: &Vfs<M>,
    entry: &Entry<'_>,
    hard_links: &mut HardLinks<M>,
) -> Result<InodeRef<M>, Errno> {
    let number = (entry.device, entry.ino);
    let inode = match hard_links.get(&number).filter(|_| entry.nr_links > 1) {
        Some(first) => {
            remove_old(vfs, entry.name)?;
            vfs.make_link(InodeRef::clone(first), vfs.root(), entry.name)?;
            InodeRef::clone(first)
        }
        None => make(vfs, entry.name, New::Regular(entry.mode & 0o7777))?,
    };
    if entry.nr_links > 1 {
        hard_links.insert(number, InodeRef::clone(&inode));
    }
    let mode = OpenMode { read: false, write: true, nonblock: false };
    let file = InodeRef::clone(&inode).open(mode)?;
    let mut source = SliceSource::new(entry.content);
    let mut at = 0;
    while source.left() > 0 {
        at = file.write(WriteAt::Offset(at), &mut source, false)?.end;
    }
    Ok(inode)
}

/// Makes a file in place of an older one; a directory that is there stays.
fn make<M: Machine>(vfs: &Vfs<M>, path: &[u8], new: New) -> Result<InodeRef<M>, Errno> {
    let parent = vfs.find_parent(vfs.root(), path)?;
    let Last::Name(name) = &parent.last else { return vfs.find(vfs.root(), path, false) };
    if matches!(new, New::Directory(_)) {
        match vfs.create_at(&parent.dir, name, new.clone()) {
            Err(Errno::EEXIST) => {}
            other => return other,
        }
        let found = vfs.find(vfs.root(), path, false)?;
        if found.directory().is_some() {
            return Ok(found);
        }
    }
    remove_old(vfs, path)?;
    vfs.create_at(&parent.dir, name, new)
}

fn remove_old<M: Machine>(vfs: &Vfs<M>, path: &[u8]) -> Result<(), Errno> {
    match vfs.unlink(vfs.root(), path) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error),
    }
}
