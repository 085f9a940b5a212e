// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file writes an initramfs: a cpio archive in the "newc" format, as Linux takes it.
//!
//! The format is described in Linux Documentation/driver-api/early-userspace/buffer-format.rst.
//! Linux boots from the same archives, so that a test can be tried there.

/// A file system tree in the making. Directories come before what lies in them.
#[derive(Debug)]
pub struct Initramfs {
    bytes: Vec<u8>,
    next_inode: u32,
}

/// Everything a header says that is not the same for all entries.
struct Entry<'a> {
    mode: u32,
    nr_links: u32,
    path: &'a str,
    content: &'a [u8],
}

const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";

impl Initramfs {
    /// Starts a tree with the directories that kernels mount their file systems on.
    pub fn new() -> Self {
        let mut tree = Self { bytes: Vec::new(), next_inode: 1 };
        for path in ["dev", "proc", "sys", "tmp"] {
            tree.dir(path);
        }
        tree
    }

    /// Adds a directory.
    pub fn dir(&mut self, path: &str) {
        self.entry(&Entry { mode: S_IFDIR | 0o755, nr_links: 2, path, content: &[] });
    }

    /// Adds a file that may be executed.
    pub fn program(&mut self, path: &str, content: &[u8]) {
        self.entry(&Entry { mode: S_IFREG | 0o755, nr_links: 1, path, content });
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(&Entry { mode: S_IFREG | 0o644, nr_links: 1, path, content });
    }

    /// Adds a symbolic link to `target`.
    pub fn symlink(&mut self, path: &str, target: &str) {
        let content = target.as_bytes();
        self.entry(&Entry { mode: S_IFLNK | 0o777, nr_links: 1, path, content });
    }

    /// Ends the archive and returns its bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.next_inode = 0;
        self.entry(&Entry { mode: 0, nr_links: 1, path: TRAILER, content: &[] });
        self.bytes
    }

    /// Appends a header of 13 eight-digit hexadecimal fields, the name and the content, each
    /// padded to four bytes.
    ///
    /// # Panics
    ///
    /// On a name or a file that the format cannot hold: names are the host's own, and programs
    /// of 4 GiB do not boot anyway.
    fn entry(&mut self, entry: &Entry<'_>) {
        let relative = !entry.path.starts_with('/') && !entry.path.contains('\0');
        assert!(relative && !entry.path.is_empty(), "a path below the root: {:?}", entry.path);
        let file_size = u32::try_from(entry.content.len()).expect("a file below 4 GiB");
        let name_size = entry.path.len() as u32 + 1;
        self.bytes.extend(b"070701");
        let (uid, gid, mtime, device, checksum) = (0, 0, 0, 0, 0);
        let fields = [
            self.next_inode,
            entry.mode,
            uid,
            gid,
            entry.nr_links,
            mtime,
            file_size,
            device,
            device,
            device,
            device,
            name_size,
            checksum,
        ];
        for field in fields {
            self.bytes.extend(format!("{field:08x}").into_bytes());
        }
        self.bytes.extend(entry.path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(entry.content);
        self.pad();
        self.next_inode += 1;
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

impl Default for Initramfs {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an archive back: `(name, mode, content)`.
    fn read(mut archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        loop {
            assert_eq!(&archive[..6], b"070701");
            let field = |index: usize| {
                let digits = &archive[6 + 8 * index..14 + 8 * index];
                let digits = std::str::from_utf8(digits).expect("digits");
                u32::from_str_radix(digits, 16).expect("a number")
            };
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let name = &archive[110..110 + name_size - 1];
            assert_eq!(archive[110 + name_size - 1], 0);
            let start = (110 + name_size).next_multiple_of(4);
            let content = archive[start..start + size].to_vec();
            let name = String::from_utf8(name.to_vec()).expect("a name");
            archive = &archive[(start + size).next_multiple_of(4)..];
            if name == TRAILER {
                assert!(archive.is_empty());
                return entries;
            }
            entries.push((name, mode, content));
        }
    }

    #[test]
    fn archive_reads_back_what_was_added() {
        let mut tree = Initramfs::new();
        tree.program("init", b"\x7fELF!");
        tree.dir("tests");
        tree.symlink("tests/self", "../init");
        let entries = read(&tree.finish());
        let names: Vec<&str> = entries.iter().map(|entry| entry.0.as_str()).collect();
        assert_eq!(names, ["dev", "proc", "sys", "tmp", "init", "tests", "tests/self"]);
        assert_eq!(entries[4], (String::from("init"), 0o100_755, b"\x7fELF!".to_vec()));
        assert_eq!(entries[5].1, 0o040_755);
        assert_eq!(entries[6], (String::from("tests/self"), 0o120_777, b"../init".to_vec()));
    }

    #[test]
    fn header_is_the_documented_one_byte_for_byte() {
        let mut tree = Initramfs { bytes: Vec::new(), next_inode: 7 };
        tree.program("ab", b"xyz");
        let header = "070701000000070000\
                      81ed000000000000000000000001000000000000000300000000000000000000000000000000\
                      0000000300000000";
        let mut expected = header.as_bytes().to_vec();
        expected.extend(b"ab\0\0\0\0xyz\0");
        // 110 bytes of header and 3 of name are padded to 116, 3 of content to 4.
        assert_eq!(expected.len(), 120);
        assert_eq!(String::from_utf8_lossy(&tree.bytes), String::from_utf8_lossy(&expected));
    }

    #[test]
    #[should_panic(expected = "a path below the root")]
    fn absolute_path_is_refused() {
        Initramfs::new().dir("/etc");
    }
}
