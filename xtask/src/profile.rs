// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads machine profiles: the files `qemu/*.toml`, each a machine to boot on.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::size::Size;
use crate::workspace;

/// A machine, as data. What its fields mean to QEMU is decided in `qemu.rs` alone.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What this machine is for, in one line.
    pub about: String,
    /// The amount of RAM.
    pub memory: Size,
    /// The number of CPUs.
    #[serde(default = "one")]
    pub cpus: u32,
    /// Whether the CPU and the RAM have allocation tags.
    #[serde(default = "yes")]
    pub mte: bool,
    /// Whether the machine has EL2 and starts the kernel there.
    #[serde(default)]
    pub el2: bool,
    /// Whether virtual time counts instructions, so that runs repeat.
    #[serde(default)]
    pub deterministic: bool,
    /// Memory of a PCI function (ivshmem), for devices with memory of their own.
    pub device_memory: Option<Size>,
    /// Kernel options, `key=value`.
    #[serde(default)]
    pub kernel_args: Vec<String>,
    /// The disks, in the order `vda`, `vdb`, ...
    #[serde(default, rename = "disk")]
    pub disks: Vec<Disk>,
}

/// A virtio-blk disk.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// What is on it when the guest starts.
    pub content: Content,
    /// Its size.
    pub size: Size,
    /// How the guest reaches it.
    #[serde(default)]
    pub transport: Transport,
    /// The requests that fail.
    #[serde(default)]
    pub errors: Vec<DiskError>,
}

/// What is on a disk when the guest starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// A swap area, as `mkswap` makes one.
    Swap,
    /// Zeroes.
    Blank,
}

/// How the guest reaches a virtio device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A memory-mapped register window found in the device tree.
    #[default]
    Mmio,
    /// A PCI function.
    Pci,
    /// A file that the guest asks the emulator for: each request is done at once.
    Host,
}

/// A class of block requests that fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DiskError {
    /// The kind of request; with `nth`, of the two kinds that are counted.
    pub on: Option<Request>,
    /// The host errno it fails with; the guest sees VIRTIO_BLK_S_IOERR whatever the number.
    #[serde(default = "eio")]
    pub errno: u32,
    /// Fails only requests that cover this 512-byte sector.
    pub sector: Option<u64>,
    /// Fails only the first such request.
    #[serde(default)]
    pub once: bool,
    /// Fails none before this one; reads and writes are counted, from 1 on.
    pub nth: Option<u32>,
}

/// A kind of block request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// VIRTIO_BLK_T_IN.
    Read,
    /// VIRTIO_BLK_T_OUT.
    Write,
    /// VIRTIO_BLK_T_FLUSH.
    Flush,
    /// VIRTIO_BLK_T_DISCARD.
    Discard,
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

fn eio() -> u32 {
    5
}

impl Profile {
    /// Reads the profile called `name`.
    ///
    /// # Errors
    ///
    /// When there is none, or it does not say what a profile must say.
    pub fn load(name: &str) -> Result<Self, Error> {
        let known = names()?;
        if !known.iter().any(|known| known == name) {
            return Err(Error::UnknownMachine { name: name.to_owned(), known });
        }
        let path = dir().join(format!("{name}.toml"));
        let text = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        toml::from_str(&text).map_err(|source| Error::Profile { path, source: Box::new(source) })
    }

    /// Makes runs repeat on any number of CPUs. A virtio disk is done with a request when the host
    /// is, so disks become files that the guest reads and writes on the spot; only those whose
    /// requests shall fail stay what they are.
    pub fn make_deterministic(&mut self) {
        self.deterministic = true;
        for disk in self.disks.iter_mut().filter(|disk| disk.errors.is_empty()) {
            disk.transport = Transport::Host;
        }
    }
}

/// Returns the names of all profiles, sorted.
///
/// # Errors
///
/// When the directory cannot be read.
pub fn names() -> Result<Vec<String>, Error> {
    let dir = dir();
    let entries = std::fs::read_dir(&dir).map_err(Error::file("read", &dir))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| profile_name(&entry.ok()?.path())).collect();
    names.sort();
    Ok(names)
}

fn dir() -> PathBuf {
    workspace::root().join("qemu")
}

fn profile_name(path: &Path) -> Option<String> {
    (path.extension()? == "toml").then(|| path.file_stem()?.to_str().map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_in_the_tree_is_valid() {
        let names = names().expect("qemu/");
        assert!(names.iter().any(|name| name == "demo"), "{names:?}");
        for name in names {
            let profile = Profile::load(&name).unwrap_or_else(|error| panic!("{error}"));
            assert!((1..=8).contains(&profile.cpus), "{name}: kernel/base has MAX_CPUS = 8");
        }
    }

    #[test]
    fn demo_is_the_machine_that_the_readme_promises() {
        let demo = Profile::load("demo").expect("demo");
        assert_eq!(demo.memory, Size::mib(256));
        assert!(demo.mte && !demo.el2 && !demo.deterministic);
        assert_eq!(demo.disks.len(), 1);
        assert_eq!(demo.disks[0].size, Size::mib(1024));
        assert_eq!(demo.disks[0].content, Content::Swap);
    }

    #[test]
    fn load_of_an_unknown_name_lists_the_known_ones() {
        let error = Profile::load("../xtask/Cargo").expect_err("not a profile");
        assert!(error.to_string().contains("demo"), "{error}");
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        let text = "about = 'x'\nmemory = '1G'\nmtee = true\n";
        assert!(toml::from_str::<Profile>(text).is_err());
    }

    #[test]
    fn disk_errors_default_to_eio_on_every_such_request() {
        let text = "content = 'swap'\nsize = '64M'\nerrors = [{ on = 'read', sector = 8 }]\n";
        let disk: Disk = toml::from_str(text).expect("a disk");
        let error = DiskError {
            on: Some(Request::Read),
            errno: 5,
            sector: Some(8),
            once: false,
            nth: None,
        };
        assert_eq!((disk.transport, disk.errors.as_slice()), (Transport::Mmio, &[error][..]));
    }
}
