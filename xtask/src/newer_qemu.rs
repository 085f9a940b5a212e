// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file gets a newer QEMU where the distribution's has allocation tags wrong.
//!
//! Before version 8.0, QEMU drops the offset in the page when it looks a tag up, so a page has two
//! tags and not 256. Debian 12 has 7.2, and 10.0 in its backports. That one is fetched with the
//! machine's own apt, from the mirror it is configured for, into `target/`; nothing is installed.
//! The distribution's QEMU is installed beside it, for the libraries, and is used where no newer one
//! can be had: tests that need a tag per granule skip there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::need::Install;
use crate::qemu::{self, Version};
use crate::workspace;

/// First version that has tags right.
const EXACT_TAGS: Version = Version { major: 8, minor: 0 };

/// Where Debian keeps the keys of its archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

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

/// Where the machine's apt gets its packages.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Mirror {
    uri: String,
    codename: String,
}

impl Mirror {
    fn of_this_machine() -> Option<Self> {
        let release = std::fs::read_to_string("/etc/os-release").ok()?;
        let codename = release_codename(&release)?;
        let mut command = Command::new("apt-get");
        command.args(["indextargets", "--format", "$(REPO_URI) $(CODENAME)"]);
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        Self::parse(&String::from_utf8_lossy(&output.stdout), codename)
    }

    /// Reads lines of "URI codename".
    fn parse(targets: &str, codename: &str) -> Option<Self> {
        targets.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let (uri, own) = (words.next()?, words.next()?);
            (own == codename).then(|| Self { uri: uri.to_owned(), codename: codename.to_owned() })
        })
    }

    /// Returns the line of a sources.list that names the release's backports.
    fn backports(&self) -> String {
        format!("deb [signed-by={KEYRING}] {} {}-backports main\n", self.uri, self.codename)
    }
}

/// Returns the codename of a Debian release.
fn release_codename(os_release: &str) -> Option<&str> {
    let value =
        |key: &str| os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    (value("ID")?.trim_matches('"') == "debian").then_some(())?;
    Some(value("VERSION_CODENAME")?.trim_matches('"'))
}

fn fetch(mirror: &Mirror, dir: &Path, install: Install) -> Result<(), String> {
    let apt_dir = dir.join("apt");
    let make = |path: &Path| std::fs::create_dir_all(path).map_err(|why| why.to_string());
    make(&apt_dir.join("lists/partial"))?;
    make(&apt_dir.join("cache/archives/partial"))?;
    let sources = apt_dir.join("sources.list");
    std::fs::write(&sources, mirror.backports()).map_err(|why| why.to_string())?;
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.current_dir(&apt_dir).arg("-qq");
        for (key, value) in [
            ("Dir::Etc::sourcelist", sources.clone()),
            ("Dir::Etc::sourceparts", PathBuf::from("/dev/null")),
            ("Dir::State::lists", apt_dir.join("lists")),
            ("Dir::Cache", apt_dir.join("cache")),
            // The directory is the user's; apt's own user need not see it.
            ("APT::Sandbox::User", PathBuf::from("root")),
        ] {
            command.arg("-o").arg(format!("{key}={}", value.display()));
        }
        command.args(words);
        command
    };
    run(apt(&["update"]), install)?;
    run(apt(&[&["download"], &PACKAGES[..]].concat()), install)?;
    if install == Install::Print {
        return Err(String::from("nothing was run"));
    }
    let entries = std::fs::read_dir(&apt_dir).map_err(|why| why.to_string())?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    for package in files.filter(|path| path.extension().is_some_and(|end| end == "deb")) {
        let mut command = Command::new("dpkg-deb");
        command.arg("-x").arg(&package).arg(dir);
        run(command, install)?;
    }
    Ok(())
}

fn run(mut command: Command, install: Install) -> Result<(), String> {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let text = words.join(" ");
    eprintln!("+ {text}");
    if install == Install::Print {
        return Ok(());
    }
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{text}: {status}")),
        Err(why) => Err(format!("{text}: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_debian_release_has_backports() {
        let debian = "PRETTY_NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(release_codename(debian), Some("bookworm"));
        assert_eq!(release_codename("ID=fedora\nVERSION_CODENAME=\"\"\n"), None);
        assert_eq!(release_codename(""), None);
    }

    #[test]
    fn backports_come_from_the_mirror_of_the_release_itself() {
        let targets =
            "http://a.example/security bookworm-security\nhttp://b.example/debian bookworm\n";
        let mirror = Mirror::parse(targets, "bookworm").expect("the second line");
        assert_eq!(
            mirror.backports(),
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
             http://b.example/debian bookworm-backports main\n"
        );
        assert_eq!(Mirror::parse(targets, "trixie"), None);
    }

    #[test]
    fn a_qemu_that_has_tags_right_is_kept() {
        assert_eq!(prefer(EXACT_TAGS, Install::Print), None);
    }
}
