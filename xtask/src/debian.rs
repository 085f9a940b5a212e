// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file fetches packages of Debian with the machine's own apt, from the mirror that it is
//! configured for, into a directory below `target/`; nothing is installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::need::Install;

/// Where Debian keeps the keys of its archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where the machine's apt gets its packages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mirror {
    uri: String,
    /// The name of the machine's own release.
    pub codename: String,
}

impl Mirror {
    /// Asks the machine's apt. `None` where there is none, or no Debian.
    pub fn of_this_machine() -> Option<Self> {
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

    /// Returns the line of a sources.list that names another release on the same mirror.
    fn source(&self, release: &str) -> String {
        format!("deb [signed-by={KEYRING}] {} {release} main\n", self.uri)
    }
}

/// Returns the codename of a Debian release.
fn release_codename(os_release: &str) -> Option<&str> {
    let value =
        |key: &str| os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    (value("ID")?.trim_matches('"') == "debian").then_some(())?;
    Some(value("VERSION_CODENAME")?.trim_matches('"'))
}

/// An apt of our own: lists and packages of one release, in a directory of ours.
#[derive(Debug)]
pub struct Apt {
    dir: PathBuf,
    architecture: Option<&'static str>,
    install: Install,
}

impl Apt {
    /// Prepares to fetch packages of `release` into `dir`; for another architecture than the
    /// machine's, where one is named.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made.
    pub fn new(
        mirror: &Mirror,
        release: &str,
        architecture: Option<&'static str>,
        dir: &Path,
        install: Install,
    ) -> Result<Self, String> {
        for below in ["lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(dir.join(below)).map_err(|why| why.to_string())?;
        }
        let source = mirror.source(release);
        std::fs::write(dir.join("sources.list"), source).map_err(|why| why.to_string())?;
        Ok(Self { dir: dir.to_owned(), architecture, install })
    }

    /// Fetches the lists.
    ///
    /// # Errors
    ///
    /// When apt does not succeed; it says why.
    pub fn update(&self) -> Result<(), String> {
        run(self.command("apt-get", &["update"]), self.install)
    }

    /// Returns what the lists say about packages with these names.
    pub fn show(&self, package: &str) -> String {
        let mut command = self.command("apt-cache", &["show", package]);
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
        output
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default()
    }

    /// Fetches packages and unpacks them below `root`.
    ///
    /// # Errors
    ///
    /// When a tool does not succeed; it says why.
    pub fn unpack<S: AsRef<str>>(&self, packages: &[S], root: &Path) -> Result<(), String> {
        let words: Vec<&str> =
            std::iter::once("download").chain(packages.iter().map(AsRef::as_ref)).collect();
        run(self.command("apt-get", &words), self.install)?;
        if self.install == Install::Print {
            return Err(String::from("nothing was run"));
        }
        let entries = std::fs::read_dir(&self.dir).map_err(|why| why.to_string())?;
        let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
        for package in files.filter(|path| path.extension().is_some_and(|end| end == "deb")) {
            let mut command = Command::new("dpkg-deb");
            command.arg("-x").arg(&package).arg(root);
            run(command, self.install)?;
        }
        Ok(())
    }

    fn command(&self, tool: &str, words: &[&str]) -> Command {
        let mut command = Command::new(tool);
        command.current_dir(&self.dir).arg("-qq");
        for (key, value) in [
            ("Dir::Etc::sourcelist", self.dir.join("sources.list")),
            ("Dir::Etc::sourceparts", PathBuf::from("/dev/null")),
            ("Dir::State::lists", self.dir.join("lists")),
            ("Dir::Cache", self.dir.join("cache")),
            // The directory is the user's; apt's own user need not see it.
            ("APT::Sandbox::User", PathBuf::from("root")),
        ] {
            command.arg("-o").arg(format!("{key}={}", value.display()));
        }
        for key in ["APT::Architecture", "APT::Architectures"] {
            if let Some(architecture) = self.architecture {
                command.arg("-o").arg(format!("{key}={architecture}"));
            }
        }
        command.args(words);
        command
    }
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
    fn only_debian_has_a_codename_here() {
        let debian = "PRETTY_NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(release_codename(debian), Some("bookworm"));
        assert_eq!(release_codename("ID=fedora\nVERSION_CODENAME=\"\"\n"), None);
        assert_eq!(release_codename(""), None);
    }

    #[test]
    fn other_releases_come_from_the_mirror_of_the_machines_own() {
        let targets =
            "http://a.example/security bookworm-security\nhttp://b.example/debian bookworm\n";
        let mirror = Mirror::parse(targets, "bookworm").expect("the second line");
        assert_eq!(
            mirror.source("bookworm-backports"),
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
             http://b.example/debian bookworm-backports main\n"
        );
        assert_eq!(Mirror::parse(targets, "trixie"), None);
    }

    #[test]
    fn printing_runs_nothing() {
        let dir = std::env::temp_dir().join(format!("granule-apt-{}", std::process::id()));
        let mirror = Mirror { uri: String::from("http://a.example"), codename: String::new() };
        let apt = Apt::new(&mirror, "sid", Some("arm64"), &dir, Install::Print).expect("a dir");
        assert_eq!(apt.update(), Ok(()));
        let unpacked = apt.unpack(&["no-such-package"], &dir);
        std::fs::remove_dir_all(&dir).expect("remove");
        assert_eq!(unpacked, Err(String::from("nothing was run")));
    }
}
