// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file builds and boots guests for tests, and keeps what they print.

use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libtest_mimic::Failed;
use xtask::build::{self, Kernel, KernelBuild, Variant};
use xtask::choices::Choices;
use xtask::error::Error;
use xtask::guest::{Guest, Setup};
use xtask::lines::Piece;
use xtask::profile::Profile;
use xtask::scratch::Scratch;
use xtask::watchdog::{Ending, Limits};

use crate::programs::Programs;

/// What goes wrong on the host, shared by all trials that wanted the same thing.
pub type Result<T> = std::result::Result<T, Arc<Error>>;

/// How long a guest may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// How long one boot may take in all.
const TOTAL: Duration = Duration::from_secs(600);

/// The start of the line that a panicking kernel prints first.
const PANIC: &str = "granule: PANIC";

/// What `cargo xtask test` chose, and what was built for it. Nothing is built before it is used,
/// so that a filter that leaves no trial costs nothing.
#[derive(Debug)]
pub struct Lab {
    choices: Choices,
    variant: Variant,
    kernel: OnceLock<Result<Kernel>>,
    programs: OnceLock<Result<Programs>>,
}

/// A guest to boot.
#[derive(Clone, Debug)]
pub struct Boot {
    /// The machine.
    pub machine: Profile,
    /// The bytes of the initramfs.
    pub initramfs: Option<Vec<u8>>,
    /// Kernel options besides the machine's.
    pub kernel_args: Vec<String>,
    /// Arguments of init.
    pub init_args: Vec<String>,
    /// What is typed on its console, before it is switched on.
    pub typed: Vec<u8>,
    /// How long the guest may be silent.
    pub silence: Duration,
}

/// What a guest did.
#[derive(Clone, Debug)]
pub struct Transcript {
    /// How it ended.
    pub ending: Ending,
    /// What it printed.
    pub lines: Vec<String>,
}

impl Lab {
    /// Prepares to build what `cargo xtask test` asked for, in this variant of the kernel.
    pub fn new(variant: Variant) -> Self {
        let (kernel, programs) = (OnceLock::new(), OnceLock::new());
        Self { choices: Choices::from_env(), variant, kernel, programs }
    }

    /// Returns what was chosen.
    pub fn choices(&self) -> &Choices {
        &self.choices
    }

    /// Returns the CPU counts to test at.
    pub fn cpu_counts(&self) -> &[u32] {
        &self.choices.cpu_counts
    }

    /// Returns the EL0 programs, building them the first time.
    ///
    /// # Errors
    ///
    /// When one does not build.
    pub fn programs(&self) -> Result<&Programs> {
        let programs = self.programs.get_or_init(|| Programs::build().map_err(Arc::new));
        programs.as_ref().map_err(Arc::clone)
    }

    /// Boots a guest and waits for its end.
    ///
    /// # Errors
    ///
    /// When the kernel does not build or QEMU cannot be started.
    pub fn boot(&self, boot: Boot) -> Result<Transcript> {
        let setup = Setup {
            qemu: self.choices.qemu.clone(),
            machine: boot.machine,
            kernel: self.kernel()?.clone(),
            initramfs: boot.initramfs,
            kernel_args: boot.kernel_args,
            init_args: boot.init_args,
        };
        let mut files = Scratch::new()?;
        let stdin = typed(&boot.typed, &mut files)?;
        let guest = Guest::prepare(&setup, files, None)?;
        let limits = Limits { silence: Some(boot.silence), total: Some(TOTAL), fragment: None };
        let mut lines = Vec::new();
        let ending = guest.run(stdin, &limits, &mut |piece| {
            let (Piece::Line(line) | Piece::Fragment(line)) = piece;
            // A symbolised frame has more than one line.
            lines.extend(String::from_utf8_lossy(&line).lines().map(str::to_owned));
        })?;
        Ok(Transcript { ending, lines })
    }

    fn kernel(&self) -> Result<&Kernel> {
        let (checks, variant) = (self.choices.checks, self.variant);
        let build = || build::kernel(KernelBuild { checks, variant }).map_err(Arc::new);
        self.kernel.get_or_init(build).as_ref().map_err(Arc::clone)
    }
}

/// Makes a file of what is typed: QEMU hands the guest no more than it takes.
fn typed(bytes: &[u8], files: &mut Scratch) -> std::result::Result<Stdio, Error> {
    let path = files.file("typed");
    let write = || std::fs::write(&path, bytes).and_then(|()| std::fs::File::open(&path));
    write().map(Stdio::from).map_err(Error::file("write", &path))
}

impl Boot {
    /// Describes a guest without init on the machine called `machine`.
    ///
    /// # Errors
    ///
    /// When there is no such machine.
    pub fn on(machine: &str) -> Result<Self> {
        Ok(Self {
            machine: Profile::load(machine)?,
            initramfs: None,
            kernel_args: Vec::new(),
            init_args: Vec::new(),
            typed: Vec::new(),
            silence: SILENCE,
        })
    }
}

impl Transcript {
    /// Returns the panic's line, if the kernel panicked.
    pub fn panic(&self) -> Option<&str> {
        self.lines.iter().map(String::as_str).find(|line| line.starts_with(PANIC))
    }

    /// Returns the exit status, unless the guest hung.
    pub fn status(&self) -> Option<i32> {
        match &self.ending {
            Ending::Exited(status) => status.code(),
            Ending::Hung(_) => None,
        }
    }

    /// Makes the failure of a test that expected something else; shows all that was printed.
    pub fn complaint(&self, expected: &str) -> Failed {
        let lines = self.lines.join("\n    ");
        Failed::from(format!("expected {expected}; {}\n    {lines}", self.last_words()))
    }

    /// Fails with all that the guest printed, unless `holds`.
    ///
    /// # Errors
    ///
    /// Unless `holds`.
    pub fn expect(&self, what: &str, holds: bool) -> std::result::Result<(), Failed> {
        if holds { Ok(()) } else { Err(self.complaint(what)) }
    }

    /// Says in one line how the guest ended.
    pub fn last_words(&self) -> String {
        match self.panic() {
            Some(panic) => format!("{panic}; {}", self.ending),
            None => self.ending.to_string(),
        }
    }
}
