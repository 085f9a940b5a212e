// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file knows how the machine's own package manager is asked for QEMU and gdb.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// A command as it is printed and run.
pub type Words = Vec<String>;

/// A package manager and its names for what Granule needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PackageManager {
    program: &'static str,
    /// Run before an installation, where lists must be fetched first.
    refresh: Option<&'static [&'static str]>,
    install: &'static [&'static str],
    /// The package with `qemu-system-aarch64`.
    pub qemu: &'static str,
    /// The package with a gdb that knows arm64.
    pub gdb: &'static str,
    /// Whether it wants to be root.
    wants_root: bool,
}

const KNOWN: [PackageManager; 5] = [
    PackageManager {
        program: "apt-get",
        refresh: Some(&["apt-get", "update"]),
        // Nobody may be there to answer a question.
        install: &[
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
            "install",
            "-y",
            "--no-install-recommends",
        ],
        qemu: "qemu-system-arm",
        gdb: "gdb-multiarch",
        wants_root: true,
    },
    PackageManager {
        program: "dnf",
        refresh: None,
        install: &["dnf", "install", "-y"],
        qemu: "qemu-system-aarch64-core",
        gdb: "gdb",
        wants_root: true,
    },
    PackageManager {
        program: "pacman",
        refresh: None,
        install: &["pacman", "-S", "--noconfirm", "--needed"],
        qemu: "qemu-system-aarch64",
        gdb: "aarch64-linux-gnu-gdb",
        wants_root: true,
    },
    PackageManager {
        program: "apk",
        refresh: None,
        install: &["apk", "add"],
        qemu: "qemu-system-aarch64",
        gdb: "gdb-multiarch",
        wants_root: true,
    },
    PackageManager {
        program: "brew",
        refresh: None,
        install: &["brew", "install"],
        qemu: "qemu",
        gdb: "aarch64-elf-gdb",
        wants_root: false,
    },
];

impl PackageManager {
    /// Finds the machine's package manager in `search_path`, a value of `PATH`.
    pub fn find(search_path: &OsStr) -> Option<&'static Self> {
        KNOWN.iter().find(|known| find_program(known.program, search_path).is_some())
    }

    /// Returns the commands that install `packages`.
    pub fn commands(&self, packages: &[&str], is_root: bool) -> Vec<Words> {
        let sudo = if self.wants_root && !is_root { &["sudo"][..] } else { &[] };
        let words = |command: &[&str], more: &[&str]| -> Words {
            [sudo, command, more].concat().iter().map(|word| (*word).to_owned()).collect()
        };
        let refresh = self.refresh.iter().map(|command| words(command, &[]));
        refresh.chain([words(self.install, packages)]).collect()
    }
}

/// Finds an executable file in `search_path`, a value of `PATH`.
pub fn find_program(name: &str, search_path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(search_path).map(|dir| dir.join(name)).find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_refreshes_its_lists_and_asks_no_question() {
        let apt = KNOWN[0].commands(&[KNOWN[0].qemu, KNOWN[0].gdb], true);
        let commands: Vec<String> = apt.iter().map(|words| words.join(" ")).collect();
        assert_eq!(
            commands,
            [
                "apt-get update",
                "env DEBIAN_FRONTEND=noninteractive apt-get install -y \
                 --no-install-recommends qemu-system-arm gdb-multiarch"
            ]
        );
    }

    #[test]
    fn a_user_who_is_not_root_gets_sudo_but_not_for_brew() {
        for known in KNOWN {
            let first = known.commands(&[known.qemu], false)[0][0].clone();
            assert_eq!(first == "sudo", known.program != "brew", "{}", known.program);
        }
    }

    #[test]
    fn the_package_manager_is_the_one_on_the_path() {
        let dir = std::env::temp_dir().join(format!("granule-path-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("create");
        assert_eq!(PackageManager::find(dir.as_os_str()), None);
        std::os::unix::fs::symlink("/bin/sh", dir.join("pacman")).expect("link");
        let found = PackageManager::find(dir.as_os_str()).map(|found| found.program);
        std::fs::remove_dir_all(&dir).expect("remove");
        assert_eq!(found, Some("pacman"));
    }
}
