// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the command-line options that several verbs share.

use std::path::PathBuf;

use clap::Args;

use crate::build::{self, Checks, Kernel, KernelBuild, Variant};
use crate::error::Error;
use crate::guest::{self, Setup};
use crate::need::{self, Install, Need};
use crate::profile::Profile;
use crate::qemu;
use crate::size::Size;

/// Which machine to boot.
#[derive(Args, Clone, Debug, Default)]
pub struct MachineOptions {
    /// Machine profile, a file qemu/NAME.toml
    #[arg(long, value_name = "NAME")]
    pub machine: Option<String>,
    /// Number of CPUs, 1 to 8
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8))]
    pub smp: Option<u32>,
    /// Amount of RAM, as 256M or 1G
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Size>,
    /// Virtual time counts instructions: runs repeat
    #[arg(long)]
    pub deterministic: bool,
    /// Kernel option, may be repeated
    #[arg(long, value_name = "K=V")]
    pub kernel_arg: Vec<String>,
}

/// How the kernel is compiled.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct BuildOptions {
    /// Kernel as it is measured (Cargo profile `kernel`)
    #[arg(long, conflicts_with = "checked")]
    pub release: bool,
    /// Kernel with all assertions (Cargo profile `kernel-checked`)
    #[arg(long)]
    pub checked: bool,
}

/// What is on this machine.
#[derive(Args, Clone, Debug)]
pub struct HostOptions {
    /// QEMU program to use
    #[arg(long, value_name = "PATH", default_value = qemu::PROGRAM)]
    pub qemu: PathBuf,
    /// Print what would be installed, install nothing
    #[arg(long)]
    pub no_install: bool,
}

/// Everything a verb that boots a guest can be told.
#[derive(Args, Clone, Debug)]
pub struct GuestOptions {
    #[command(flatten)]
    machine: MachineOptions,
    #[command(flatten)]
    build: BuildOptions,
    /// Kernel with experiments, chosen by kernel options `lab.*`
    #[arg(long)]
    lab: bool,
    #[command(flatten)]
    host: HostOptions,
}

/// What a verb boots where no option says otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// The machine profile.
    pub machine: &'static str,
    /// How the kernel is compiled.
    pub checks: Checks,
    /// The program of the package `user-tests` that is init.
    pub program: &'static str,
}

impl GuestOptions {
    /// Checks that `needs` are there, builds what is to be booted and describes the guest.
    /// `init` is a program and its arguments, empty for the default one.
    ///
    /// # Errors
    ///
    /// When something is missing or does not build.
    pub fn setup(
        &self,
        defaults: Defaults,
        needs: &[Need],
        init: &[String],
    ) -> Result<Setup, Error> {
        self.setup_variant(defaults, self.variant(), needs, init)
    }

    /// Returns whether the kernel is to have experiments.
    pub fn is_lab(&self) -> bool {
        self.lab
    }

    fn variant(&self) -> Variant {
        if self.lab { Variant::Lab } else { Variant::Plain }
    }

    /// Like [`GuestOptions::setup`], with a kernel that has what a verb needs.
    ///
    /// # Errors
    ///
    /// Those of [`GuestOptions::setup`].
    pub fn setup_variant(
        &self,
        defaults: Defaults,
        variant: Variant,
        needs: &[Need],
        init: &[String],
    ) -> Result<Setup, Error> {
        self.setup_with(defaults, variant, needs, init, build::kernel)
    }

    /// Like [`GuestOptions::setup`], with a kernel that a debugger can look into.
    ///
    /// # Errors
    ///
    /// Those of [`GuestOptions::setup`].
    pub fn setup_for_debugger(
        &self,
        defaults: Defaults,
        needs: &[Need],
        init: &[String],
    ) -> Result<Setup, Error> {
        self.setup_with(defaults, self.variant(), needs, init, build::kernel_for_debugger)
    }

    fn setup_with(
        &self,
        defaults: Defaults,
        variant: Variant,
        needs: &[Need],
        init: &[String],
        build_kernel: fn(KernelBuild) -> Result<Kernel, Error>,
    ) -> Result<Setup, Error> {
        let machine = self.machine.profile(defaults.machine)?;
        // A misspelt path is reported before minutes of building.
        let own = init.first().map(guest::initramfs_of).transpose()?;
        let qemu = need::satisfy(needs, &self.host.qemu, self.host.install())?;
        let initramfs = match own {
            Some(initramfs) => initramfs,
            None => guest::initramfs_of(build::user_program(defaults.program)?)?,
        };
        let checks = self.build.checks(defaults.checks);
        Ok(Setup {
            qemu,
            machine,
            kernel: build_kernel(KernelBuild { checks, variant })?,
            initramfs: Some(initramfs),
            kernel_args: self.machine.kernel_arg.clone(),
            init_args: init.iter().skip(1).cloned().collect(),
        })
    }
}

impl GuestOptions {
    /// Returns what was said about the machine.
    pub fn machine(&self) -> &MachineOptions {
        &self.machine
    }

    /// Returns what to do about missing things.
    pub fn install(&self) -> Install {
        self.host.install()
    }
}

impl MachineOptions {
    /// Loads the chosen profile, or the one called `default`, and applies the other options.
    ///
    /// # Errors
    ///
    /// When there is no such profile.
    pub fn profile(&self, default: &str) -> Result<Profile, Error> {
        let mut profile = Profile::load(self.machine.as_deref().unwrap_or(default))?;
        profile.cpus = self.smp.unwrap_or(profile.cpus);
        profile.memory = self.memory.unwrap_or(profile.memory);
        // A machine that is so by itself has the disks that it wants.
        if self.deterministic && !profile.deterministic {
            profile.make_deterministic();
        }
        Ok(profile)
    }
}

impl BuildOptions {
    /// Returns what was chosen, or else `default`.
    pub fn checks(self, default: Checks) -> Checks {
        match (self.release, self.checked) {
            (true, _) => Checks::Release,
            (_, true) => Checks::Checked,
            (false, false) => default,
        }
    }
}

impl HostOptions {
    /// Returns what to do about missing things.
    pub fn install(&self) -> Install {
        if self.no_install { Install::Print } else { Install::Run }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Transport;

    #[test]
    fn options_change_only_what_they_name() {
        let plain = MachineOptions::default().profile("demo").expect("demo");
        let options = MachineOptions { smp: Some(4), ..MachineOptions::default() };
        let changed = options.profile("demo").expect("demo");
        assert_eq!(changed, Profile { cpus: 4, ..plain });
    }

    #[test]
    fn deterministic_can_be_asked_for_but_not_taken_from_a_profile() {
        let bench = MachineOptions::default().profile("bench").expect("bench");
        assert!(bench.deterministic);
        let options = MachineOptions { deterministic: true, ..MachineOptions::default() };
        let demo = options.profile("demo").expect("demo");
        assert!(demo.deterministic && demo.disks[0].transport == Transport::Host);
        let failing = MachineOptions { machine: Some("disk-read-errors".into()), ..options };
        let failing = failing.profile("demo").expect("disk-read-errors");
        assert_eq!(failing.disks[0].transport, Transport::Mmio);
        assert_eq!(bench.disks[0].transport, Transport::Mmio);
    }
}
