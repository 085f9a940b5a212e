// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file installs everything at once (`cargo xtask setup`).

use clap::Args;

use crate::build::{KERNEL_TARGET, USER_TARGET};
use crate::error::Error;
use crate::need::{self, Need};
use crate::options::HostOptions;

/// What `build`, `run` and `bench` need of the Rust toolchain.
pub const TARGETS: [Need; 2] = [Need::Target(KERNEL_TARGET), Need::Target(USER_TARGET)];

/// What `test` needs besides.
pub const LINTS: [Need; 2] = [Need::Component("rustfmt"), Need::Component("clippy")];

/// Installs what any verb needs
#[derive(Args, Debug)]
pub struct Setup {
    #[command(flatten)]
    host: HostOptions,
}

impl Setup {
    /// Runs the verb.
    ///
    /// # Errors
    ///
    /// When something is missing and was not installed.
    pub fn run(&self) -> Result<u8, Error> {
        let needs = [&TARGETS[..], &LINTS, &[Need::Qemu, Need::Gdb]].concat();
        need::satisfy(&needs, &self.host.qemu, self.host.install())?;
        println!("everything is there");
        Ok(0)
    }
}
