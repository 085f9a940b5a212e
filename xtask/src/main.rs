// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file reads the command line of `cargo xtask`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, runs and tests Granule
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Setup(xtask::setup::Setup),
    Build(xtask::build::Build),
    Run(xtask::run::Run),
    Counters(xtask::counters::Counters),
    Trace(xtask::trace::Trace),
    Record(xtask::record::Record),
    Replay(xtask::replay::Replay),
    Gdb(xtask::gdb::Gdb),
    Bench(xtask::bench::Bench),
    Test(xtask::test::Test),
    Check(xtask::check::Check),
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Setup(verb) => verb.run(),
        Verb::Build(verb) => verb.run(),
        Verb::Run(verb) => verb.run(),
        Verb::Counters(verb) => verb.run(),
        Verb::Trace(verb) => verb.run(),
        Verb::Record(verb) => verb.run(),
        Verb::Replay(verb) => verb.run(),
        Verb::Gdb(verb) => verb.run(),
        Verb::Bench(verb) => verb.run(),
        Verb::Test(verb) => verb.run(),
        Verb::Check(verb) => verb.run(),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_verb_has_a_consistent_help() {
        Cli::command().debug_assert();
        for verb in Cli::command().get_subcommands_mut() {
            let (name, help) = (verb.get_name().to_owned(), verb.render_long_help().to_string());
            assert!(help.contains("Usage: "), "{name}: {help}");
            assert!(verb.get_about().is_some(), "{name} says what it does");
        }
    }
}
