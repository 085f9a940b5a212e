// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file gets a newer QEMU where the distribution's has allocation tags wrong.
//!
//! Before version 8.0, QEMU drops the offset in the page when it looks a tag up, so a page has two
//! tags and not 256. Debian 12 has 7.2, and 10.0 in its backports. That one is fetched with the
//! machine's own apt, from the mirror it is configured for, into `target/`; nothing is installed.
//! The distribution's QEMU is installed beside it, for the libraries, and is used where no newer one
//! can be had: tests that need a tag per granule skip there.

use std::path::{Path, PathBuf};

use crate::debian::{Apt, Mirror};
use crate::need::Install;
use crate::qemu::{self, Version};
use crate::workspace;

/// First version that has tags right.
const EXACT_TAGS: Version = Version { major: 8, minor: 0 };

/// Packages that QEMU needs in its own version; the rest comes from the distribution.
const PACKAGES: [&str; 3] = ["qemu-system-arm", "qemu-system-common", "qemu-system-data"];

/// Returns the QEMU to use in place of the distribution's, which has `version`: a newer one if that
/// is too old and one can be had.
pub fn prefer(version: Version, install: Install) -> Option<PathBuf> {
    if version >= EXACT_TAGS {
        return None;
    }
    if let Some(program) = fetched_before() {
        return Some(program);
    }
    let dir = dir();
    let program = program();
    let fetched = match Mirror::of_this_machine() {
        Some(mirror) => fetch(&mirror, &dir, install),
        None => Err(String::from("no apt mirror of a Debian release")),
    };
    match fetched {
        Ok(()) if works(&program) => Some(program),
        Ok(()) => None,
        Err(why) => {
            eprintln!(
                "QEMU {version} keeps two allocation tags per page, and no newer one can be had \
                 ({why}): tests that need a tag per granule will skip"
            );
            None
        }
    }
}

/// Returns the newer QEMU if an earlier run has fetched it.
pub fn fetched_before() -> Option<PathBuf> {
    Some(program()).filter(|program| works(program))
}

fn dir() -> PathBuf {
    workspace::granule_dir().join("qemu")
}

fn program() -> PathBuf {
    dir().join("usr/bin").join(qemu::PROGRAM)
}

fn works(program: &Path) -> bool {
    program.exists() && qemu::version(program).is_ok_and(|version| version >= EXACT_TAGS)
}

fn fetch(mirror: &Mirror, dir: &Path, install: Install) -> Result<(), String> {
    let backports = format!("{}-backports", mirror.codename);
    let apt = Apt::new(mirror, &backports, None, &dir.join("apt"), install)?;
    apt.update()?;
    apt.unpack(&PACKAGES, dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qemu_that_has_tags_right_is_kept() {
        assert_eq!(prefer(EXACT_TAGS, Install::Print), None);
    }
}
