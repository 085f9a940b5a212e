// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file finds the modules that a Linux needs for its disk, in the order in which they need each
//! other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::{Object, ObjectSection};

use crate::error::Error;

/// A module, uncompressed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Module {
    /// Its name, with underscores.
    pub name: String,
    /// The ELF.
    pub bytes: Vec<u8>,
}

/// Returns the modules called `wanted` and those that they need. One that is not below `dir` is taken
/// for a part of the kernel.
///
/// # Errors
///
/// When a file cannot be read or uncompressed.
pub fn load_order(dir: &Path, wanted: &[&str]) -> Result<Vec<Module>, Error> {
    let mut files = BTreeMap::new();
    find(dir, &mut files)?;
    let mut modules = Vec::new();
    for name in wanted {
        add(name, &mut modules, &|name| files.get(name).map(|file| read(file)).transpose())?;
    }
    Ok(modules)
}

/// Reads the module of a name, if there is one.
type Read<'a> = dyn Fn(&str) -> Result<Option<Vec<u8>>, Error> + 'a;

/// Adds what a module needs, and the module.
fn add(name: &str, modules: &mut Vec<Module>, read: &Read<'_>) -> Result<(), Error> {
    if modules.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let Some(bytes) = read(name)? else { return Ok(()) };
    for needed in needs(info(&bytes)) {
        add(&needed, modules, read)?;
    }
    modules.push(Module { name: name.to_owned(), bytes });
    Ok(())
}

/// Collects module files by name. A file may be called `virtio-rng.ko.xz` and be `virtio_rng`.
fn find(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<(), Error> {
    let entries = std::fs::read_dir(dir).map_err(Error::file("read", dir))?;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() {
            find(&path, files)?;
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()?.split_once(".ko"));
        if let Some((name, _)) = name {
            files.insert(name.replace('-', "_"), path.clone());
        }
    }
    Ok(())
}

/// Returns what a module says about itself: its section `.modinfo`, or nothing.
fn info(module: &[u8]) -> &[u8] {
    let Ok(elf) = object::File::parse(module) else { return &[] };
    elf.section_by_name(".modinfo").and_then(|section| section.data().ok()).unwrap_or_default()
}

/// Returns the names in the entry `depends=`.
fn needs(info: &[u8]) -> Vec<String> {
    let entries = info.split(|byte| *byte == 0);
    let names = entries.filter_map(|entry| str::from_utf8(entry).ok()?.strip_prefix("depends="));
    let names = names.flat_map(|names| names.split(',')).filter(|name| !name.is_empty());
    names.map(|name| name.replace('-', "_")).collect()
}

/// Reads a module, through the tool that its name's end asks for.
fn read(file: &Path) -> Result<Vec<u8>, Error> {
    let end = file.extension().and_then(|end| end.to_str());
    let tool = match end {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return std::fs::read(file).map_err(Error::file("read", file)),
    };
    let mut command = Command::new(tool);
    command.arg("-dc").arg(file);
    let output =
        command.output().map_err(|_| Error::NoTool { tool, package: tool_package(tool) })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let command = format!("{tool} -dc {}", file.display());
    Err(Error::Failed { command, status: output.status })
}

fn tool_package(tool: &str) -> &str {
    if tool == "xz" { "xz-utils" } else { tool }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF header, a string table and `.modinfo`: the least that has a section.
    fn module(depends: &str) -> Vec<u8> {
        let info = format!("license=GPL\0depends={depends}\0name=x\0");
        let names = b"\0.modinfo\0";
        let mut elf = Vec::new();
        elf.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        // ET_REL, EM_AARCH64, version; entry and program headers: none; where sections are.
        elf.extend([1, 0, 183, 0, 1, 0, 0, 0]);
        let at_sections = 64 + info.len() + names.len();
        for word in [0, 0, at_sections as u64] {
            elf.extend(word.to_le_bytes());
        }
        // Flags; sizes of headers; 3 sections, of which the last has the names.
        elf.extend([0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
        elf.extend(info.as_bytes());
        elf.extend(names);
        let mut section = |name: u32, kind: u32, at: usize, len: usize| {
            elf.extend(name.to_le_bytes());
            elf.extend(kind.to_le_bytes());
            for word in [0, 0, at as u64, len as u64, 0, 1, 0] {
                elf.extend(word.to_le_bytes());
            }
        };
        section(0, 0, 0, 0);
        section(1, 1, 64, info.len());
        section(0, 3, 64 + info.len(), names.len());
        elf
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let dir = std::env::temp_dir().join(format!("granule-modules-{}", std::process::id()));
        let below = dir.join("drivers/block");
        std::fs::create_dir_all(&below).expect("create");
        for (name, depends) in
            [("virtio_blk", "virtio,virtio-ring"), ("virtio-ring", "virtio"), ("virtio", "")]
        {
            std::fs::write(below.join(format!("{name}.ko")), module(depends)).expect("write");
        }
        let order = load_order(&dir, &["virtio_blk", "virtio_mmio", "virtio_ring"]);
        std::fs::remove_dir_all(&dir).expect("remove");
        let order = order.expect("modules");
        let names: Vec<&str> = order.iter().map(|module| module.name.as_str()).collect();
        // virtio_mmio has no file: a part of the kernel.
        assert_eq!(names, ["virtio", "virtio_ring", "virtio_blk"]);
    }

    #[test]
    fn a_file_that_is_no_module_needs_nothing() {
        assert_eq!(info(b"no ELF"), b"");
        assert_eq!(needs(b"license=GPL\0depends=\0"), [""; 0]);
    }

    #[test]
    fn a_compressed_module_goes_through_its_tool() {
        let error = read(Path::new("/no/such/x.ko.gz")).expect_err("no such file").to_string();
        assert!(error.starts_with("`gzip -dc /no/such/x.ko.gz` failed"), "{error}");
    }
}
