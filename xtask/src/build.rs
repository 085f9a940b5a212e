// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file builds the kernel and the EL0 programs (`cargo xtask build`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use clap::Args;
use serde::Deserialize;

use crate::error::Error;
use crate::image;
use crate::need;
use crate::options::{BuildOptions, HostOptions};
use crate::setup;
use crate::workspace;

/// The target of the kernel.
pub const KERNEL_TARGET: &str = "aarch64-unknown-none-softfloat";

/// The target of EL0 programs.
pub const USER_TARGET: &str = "aarch64-unknown-linux-musl";

/// The package of EL0 programs.
pub const USER_PACKAGE: &str = "user-tests";

/// How the kernel is compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checks {
    /// As it is run and measured.
    Release,
    /// With debug assertions, overflow checks and the lock-order check.
    Checked,
}

/// Which kernel to build.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelBuild {
    /// How it is compiled.
    pub checks: Checks,
    /// What is part of it besides the kernel.
    pub variant: Variant,
}

/// What a kernel can have that a plain one has not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Variant {
    /// Nothing.
    Plain,
    /// The in-guest tests.
    Tests,
    /// Experiments and historical bugs, chosen by boot options `lab.*`.
    Lab,
    /// Events kept in a ring, chosen by boot options `trace`.
    Trace,
    /// Both.
    LabTrace,
}

/// A kernel that was built.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The ELF, for its symbols.
    pub elf: PathBuf,
    /// What is booted.
    pub image: PathBuf,
}

/// Builds the kernel, its Image and the EL0 programs
#[derive(Args, Debug)]
pub struct Build {
    #[command(flatten)]
    build: BuildOptions,
    #[command(flatten)]
    host: HostOptions,
    /// Build the in-guest tests into the kernel
    #[arg(long, conflicts_with = "lab")]
    ktest: bool,
    /// Build the experiments into the kernel
    #[arg(long)]
    lab: bool,
}

impl Build {
    /// Runs the verb.
    ///
    /// # Errors
    ///
    /// When something does not build.
    pub fn run(&self) -> Result<u8, Error> {
        need::satisfy(&setup::TARGETS, &self.host.qemu, self.host.install())?;
        let checks = self.build.checks(Checks::Release);
        let variant = match (self.ktest, self.lab) {
            (true, _) => Variant::Tests,
            (_, true) => Variant::Lab,
            (false, false) => Variant::Plain,
        };
        let kernel = kernel(KernelBuild { checks, variant })?;
        println!("{}\n{}", kernel.elf.display(), kernel.image.display());
        for program in user_programs(&[])?.values() {
            println!("{}", program.display());
        }
        Ok(0)
    }
}

impl Checks {
    fn cargo_profile(self) -> &'static str {
        match self {
            Self::Release => "kernel",
            Self::Checked => "kernel-checked",
        }
    }
}

impl Variant {
    fn feature(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Tests => Some("ktest"),
            Self::Lab => Some("lab"),
            Self::Trace => Some("trace"),
            Self::LabTrace => Some("lab,trace"),
        }
    }
}

/// Builds a kernel and its Image.
///
/// Each kind of kernel has its own directory, so that one being booted is not overwritten by
/// another being built.
///
/// # Errors
///
/// When the compiler fails (it says why) or the ELF makes no Image.
pub fn kernel(build: KernelBuild) -> Result<Kernel, Error> {
    kernel_with(build, DebugInfo::Lines)
}

/// Like [`kernel`], with the types and variables that a debugger shows.
///
/// # Errors
///
/// As for [`kernel`].
pub fn kernel_for_debugger(build: KernelBuild) -> Result<Kernel, Error> {
    kernel_with(build, DebugInfo::Full)
}

/// What the ELF says about the source.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DebugInfo {
    /// Line numbers, for backtraces.
    Lines,
    /// Everything.
    Full,
}

fn kernel_with(build: KernelBuild, debug_info: DebugInfo) -> Result<Kernel, Error> {
    let profile = build.checks.cargo_profile();
    let mut command = workspace::cargo();
    command.args(["build", "-p", "kernel", "--target", KERNEL_TARGET, "--profile", profile]);
    let mut name = profile.to_owned();
    if debug_info == DebugInfo::Full {
        // Cargo keeps both kinds of what it has compiled.
        command.args(["--config", &format!("profile.{profile}.debug=\"full\"")]);
        name += "-debugger";
    }
    if let Some(feature) = build.variant.feature() {
        command.args(["--features", feature]);
        name = format!("{name}-{}", feature.replace(',', "-"));
    }
    let built = programs(command)?;
    let built = built.get("kernel").ok_or_else(|| Error::Answer {
        command: String::from("cargo build -p kernel"),
        expected: "program called kernel",
    })?;
    let bytes = std::fs::read(built).map_err(Error::file("read", built))?;
    let flat =
        image::flatten(&bytes).map_err(|source| Error::Image { path: built.clone(), source })?;
    let dir = workspace::granule_dir().join(name);
    std::fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
    let kernel = Kernel { elf: dir.join("kernel.elf"), image: dir.join("Image") };
    replace(&kernel.elf, &bytes)?;
    replace(&kernel.image, &flat)?;
    Ok(kernel)
}

/// Builds EL0 programs, all or those named, and returns their files by name.
///
/// # Errors
///
/// When the compiler fails; it says why.
pub fn user_programs(names: &[&str]) -> Result<BTreeMap<String, PathBuf>, Error> {
    let mut command = workspace::cargo();
    command.args(["build", "-p", USER_PACKAGE, "--target", USER_TARGET, "--profile", "user"]);
    for name in names {
        command.args(["--bin", name]);
    }
    programs(command)
}

/// Builds one EL0 program and returns its file.
///
/// # Errors
///
/// When the compiler fails; it says why.
pub fn user_program(name: &str) -> Result<PathBuf, Error> {
    user_programs(&[name])?.remove(name).ok_or_else(|| Error::Answer {
        command: format!("cargo build -p {USER_PACKAGE} --bin {name}"),
        expected: "program",
    })
}

/// Tells apart the files that this process is writing: its threads may build the same kernel.
static NEXT_FRESH: AtomicU32 = AtomicU32::new(0);

/// Writes a file by renaming, so that a QEMU that is starting reads the old or the new one.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let number = NEXT_FRESH.fetch_add(1, Relaxed);
    let fresh = path.with_extension(format!("new-{}-{number}", std::process::id()));
    std::fs::write(&fresh, bytes).map_err(Error::file("write", &fresh))?;
    std::fs::rename(&fresh, path).map_err(Error::file("replace", path))
}

/// A line of Cargo's `--message-format=json`.
#[derive(Deserialize)]
struct Message {
    target: Option<MessageTarget>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct MessageTarget {
    name: String,
}

/// Runs a Cargo build and returns the programs that it made, by name.
fn programs(mut command: Command) -> Result<BTreeMap<String, PathBuf>, Error> {
    // Errors and warnings go to the terminal as always, the list of programs comes here.
    command.args(["--quiet", "--message-format=json-render-diagnostics"]);
    let output = command.stderr(Stdio::inherit()).output().map_err(Error::start("cargo"))?;
    if !output.status.success() {
        let command = display(&command);
        return Err(Error::Failed { command, status: output.status });
    }
    Ok(executables(&String::from_utf8_lossy(&output.stdout)))
}

fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    let message = |line: &str| serde_json::from_str::<Message>(line).ok();
    messages
        .lines()
        .filter_map(message)
        .filter_map(|message| Some((message.target?.name, message.executable?)))
        .collect()
}

/// Writes a Cargo command as a person would type it.
pub fn display(command: &Command) -> String {
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    let words: Vec<String> = std::iter::once(String::from("cargo")).chain(arguments).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_threads_may_write_the_same_file() {
        let path = std::env::temp_dir().join(format!("granule-replace-{}", std::process::id()));
        let write = |_| {
            std::thread::spawn({
                let path = path.clone();
                move || (0..200).try_for_each(|_| replace(&path, b"x"))
            })
        };
        let writers: Vec<_> = (0..4).map(write).collect();
        let written = writers.into_iter().map(|writer| writer.join().expect("no panic"));
        let written: Vec<_> = written.collect();
        std::fs::remove_file(&path).expect("remove");
        assert!(written.iter().all(Result::is_ok), "{written:?}");
    }

    #[test]
    fn executables_are_the_programs_and_not_the_libraries() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"base"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"runner"},"executable":"/t/runner"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
            "\nnot json\n",
        );
        let expected = [(String::from("runner"), PathBuf::from("/t/runner"))];
        assert_eq!(executables(messages), BTreeMap::from(expected));
    }
}
