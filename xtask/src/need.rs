// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file finds out what a verb needs and this machine lacks, and installs it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::Error;
use crate::newer_qemu;
use crate::package_manager::{PackageManager, Words, find_program};
use crate::qemu::{self, Version};

/// Something a verb needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// The standard library of a Rust target.
    Target(&'static str),
    /// A component of the Rust toolchain.
    Component(&'static str),
    /// `qemu-system-aarch64`.
    Qemu,
    /// A gdb that knows arm64.
    Gdb,
}

/// What to do about missing things.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Install {
    /// Print each command and run it.
    Run,
    /// Print the commands only.
    Print,
}

/// The names under which an arm64 gdb may be found; a plain gdb may or may not know arm64.
const GDB_NAMES: [&str; 4] = ["gdb-multiarch", "aarch64-linux-gnu-gdb", "aarch64-elf-gdb", "gdb"];

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(name) => write!(f, "Rust target {name}"),
            Self::Component(name) => write!(f, "Rust component {name}"),
            Self::Qemu => f.write_str(qemu::PROGRAM),
            Self::Gdb => f.write_str("a gdb for arm64"),
        }
    }
}

/// Makes sure that all of `needs` are there. `qemu` is the program to use for [`Need::Qemu`]; what
/// is returned is the one to use in its place: the same, or a newer one where nobody asked for that
/// of the distribution and it is too old for some tests.
///
/// # Errors
///
/// When something is missing and was not installed, or QEMU is too old.
pub fn satisfy(needs: &[Need], qemu: &Path, install: Install) -> Result<PathBuf, Error> {
    let missing = missing(needs, qemu);
    if !missing.is_empty() {
        let search_path = search_path();
        let manager = PackageManager::find(&search_path);
        let can_rustup = find_program("rustup", &search_path).is_some();
        for words in commands(&missing, manager, can_rustup, is_root()) {
            eprintln!("+ {}", words.join(" "));
            if install == Install::Run {
                run(&words)?;
            }
        }
        let missing = self::missing(&missing, qemu);
        if !missing.is_empty() {
            return Err(Error::Missing(missing));
        }
    }
    if !needs.contains(&Need::Qemu) {
        return Ok(qemu.to_owned());
    }
    let version = qemu::version(qemu)?;
    check_version(version)?;
    let newer = (qemu == Path::new(qemu::PROGRAM)).then(|| newer_qemu::prefer(version, install));
    Ok(newer.flatten().unwrap_or_else(|| qemu.to_owned()))
}

/// Returns the gdb to use.
pub fn find_gdb() -> Option<PathBuf> {
    let search_path = search_path();
    GDB_NAMES.iter().filter_map(|name| find_program(name, &search_path)).find(|gdb| {
        let mut command = Command::new(gdb);
        // Exits with an error where it does not know the name.
        command.args(["-nx", "-batch", "-ex", "set architecture aarch64"]);
        succeeds(command)
    })
}

fn check_version(version: Version) -> Result<(), Error> {
    if version < Version::OLDEST { Err(Error::QemuTooOld(version)) } else { Ok(()) }
}

fn missing(needs: &[Need], qemu: &Path) -> Vec<Need> {
    needs.iter().copied().filter(|need| !is_there(*need, qemu)).collect()
}

fn is_there(need: Need, qemu: &Path) -> bool {
    match need {
        Need::Target(target) => {
            // Asks rustc and not rustup: a distribution's Rust is as good.
            let mut command = Command::new("rustc");
            command.args(["--print", "target-libdir", "--target", target]);
            let output = command.stderr(Stdio::null()).output();
            output.is_ok_and(|output| {
                Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir()
            })
        }
        Need::Component(component) => {
            let mut command = Command::new("cargo");
            command.args([cargo_verb(component), "--version"]);
            succeeds(command)
        }
        // No package manager brings a QEMU that was chosen by its path; starting it will tell.
        Need::Qemu if qemu.components().count() > 1 => true,
        Need::Qemu => {
            qemu.to_str().is_some_and(|name| find_program(name, &search_path()).is_some())
        }
        Need::Gdb => find_gdb().is_some(),
    }
}

fn cargo_verb(component: &str) -> &str {
    if component == "rustfmt" { "fmt" } else { component }
}

fn succeeds(mut command: Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Returns the commands that install what is missing and can be installed.
fn commands(
    missing: &[Need],
    manager: Option<&PackageManager>,
    can_rustup: bool,
    is_root: bool,
) -> Vec<Words> {
    let mut commands = Vec::new();
    let mut rustup = |kind: &str, names: Vec<&str>| {
        if can_rustup && !names.is_empty() {
            let words = ["rustup", kind, "add"].into_iter().chain(names);
            commands.push(words.map(str::to_owned).collect());
        }
    };
    rustup(
        "target",
        pick(missing, |need| if let Need::Target(it) = need { Some(it) } else { None }),
    );
    rustup(
        "component",
        pick(missing, |need| if let Need::Component(it) = need { Some(it) } else { None }),
    );
    if let Some(manager) = manager {
        let packages = pick(missing, |need| match need {
            Need::Qemu => Some(manager.qemu),
            Need::Gdb => Some(manager.gdb),
            _ => None,
        });
        if !packages.is_empty() {
            commands.extend(manager.commands(&packages, is_root));
        }
    }
    commands
}

fn pick(needs: &[Need], choose: impl Fn(Need) -> Option<&'static str>) -> Vec<&'static str> {
    needs.iter().copied().filter_map(choose).collect()
}

fn run(words: &[String]) -> Result<(), Error> {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    let status = command.status().map_err(Error::start(&words[0]))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed { command: words.join(" "), status })
}

fn search_path() -> OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| OsStr::new("0") == trimmed(&output.stdout))
}

fn trimmed(bytes: &[u8]) -> &OsStr {
    use std::os::unix::ffi::OsStrExt;
    OsStr::from_bytes(bytes.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(missing: &[Need], manager: Option<&PackageManager>, can_rustup: bool) -> Vec<String> {
        let commands = commands(missing, manager, can_rustup, true);
        commands.iter().map(|words| words.join(" ")).collect()
    }

    #[test]
    fn missing_rust_parts_are_added_in_one_command_a_kind() {
        let missing =
            [Need::Target("a"), Need::Component("rustfmt"), Need::Target("b"), Need::Qemu];
        let expected = ["rustup target add a b", "rustup component add rustfmt"];
        assert_eq!(typed(&missing, None, true), expected);
        assert_eq!(typed(&missing, None, false), [""; 0]);
    }

    #[test]
    fn missing_programs_come_from_the_package_manager_in_one_command() {
        let path = std::env::temp_dir().join(format!("granule-need-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("create");
        std::os::unix::fs::symlink("/bin/sh", path.join("apk")).expect("link");
        let manager = PackageManager::find(path.as_os_str());
        std::fs::remove_dir_all(&path).expect("remove");
        let missing = [Need::Qemu, Need::Gdb];
        let expected = ["apk add qemu-system-aarch64 gdb-multiarch"];
        assert_eq!(typed(&missing, manager, true), expected);
    }

    #[test]
    fn nothing_missing_needs_no_command() {
        assert_eq!(typed(&[], PackageManager::find(&search_path()), true), [""; 0]);
    }

    #[test]
    fn only_a_qemu_without_a_path_can_be_missing() {
        let needs = [Need::Qemu];
        assert_eq!(missing(&needs, Path::new("no-such-qemu")), needs);
        assert_eq!(missing(&needs, Path::new("/no/such/qemu")), []);
        let error = satisfy(&needs, Path::new("/no/such/qemu"), Install::Print);
        let text = error.expect_err("cannot be started").to_string();
        assert!(text.starts_with("cannot start /no/such/qemu: "), "{text}");
    }

    #[test]
    fn a_target_that_rustc_does_not_have_is_missing() {
        let needs = [Need::Target("no-such-target")];
        assert_eq!(missing(&needs, Path::new("")), needs);
    }

    #[test]
    fn old_qemu_is_refused_with_both_versions() {
        let error = check_version(Version { major: 6, minor: 2 }).expect_err("too old");
        let text = error.to_string();
        assert!(text.contains("6.2") && text.contains("7.2"), "{text}");
        assert!(check_version(Version::OLDEST).is_ok());
    }
}
