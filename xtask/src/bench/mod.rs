// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file measures: it boots the benchmark, here and on Linux (`cargo xtask bench`).

pub mod chart;
mod functions;
pub mod gate;
pub mod guests;
pub mod record;
pub mod result;
pub mod rows;
pub mod table;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::build::{self, Checks};
use crate::error::Error;
use crate::guest::{Guest, Setup};
use crate::linux_kernel::LinuxOptions;
use crate::options::{Defaults, GuestOptions};
use crate::qemu;
use crate::run;
use crate::scratch::Scratch;
use crate::size::Size;
use crate::watchdog::Limits;
use crate::workspace;
use gate::Gate;
use result::{Comparison, Measured};
use rows::{SECTIONS, Section};

/// The slowest row takes a while before its line is printed.
const SILENCE: Duration = Duration::from_secs(900);

/// The program that measures.
const PROGRAM: &str = "bench";

const DEFAULTS: Defaults = Defaults { machine: "bench", checks: Checks::Release, program: PROGRAM };

/// Boots the benchmark: instructions per operation, exact
#[derive(Args, Debug)]
pub struct Bench {
    /// Rows or sections (calls, pages, cpus, growth, flat, slots, migration, metadata, boot) [default: those
    /// that need no other machine]
    rows: Vec<String>,
    /// Measure every section
    #[arg(long, conflicts_with = "rows")]
    all: bool,
    /// Measure another kernel too, in the same emulator; without rows: every section, and
    /// docs/PERFORMANCE.md is written
    #[arg(long, value_name = "KERNEL")]
    peer: Option<Peer>,
    /// Take the other kernel's numbers from a file that --json has written: it has not changed
    #[arg(long, value_name = "FILE", conflicts_with = "peer")]
    peer_from: Option<PathBuf>,
    #[command(flatten)]
    linux: LinuxOptions,
    /// Write the numbers as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw a bar chart
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write numbers, tables and chart to docs/
    #[arg(long)]
    record: bool,
    /// Take the numbers from a file that --json has written, instead of measuring
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rows", "all", "peer", "update_gate"])]
    from: Option<PathBuf>,
    /// Write the counts of this kernel to tests/gate.toml
    #[arg(long, conflicts_with_all = ["rows", "all", "peer"])]
    update_gate: bool,
    /// Count where the instructions of a row go, as pageout/4K or fault/2M+mte, by functions and lines
    /// of the kernel (QEMU 8.1 or newer; takes a minute)
    #[arg(long, value_name = "ROW", conflicts_with_all = ["rows", "all", "peer", "from", "update_gate"])]
    profile: Option<String>,
    #[command(flatten)]
    guest: GuestOptions,
    /// Prepare everything and print the QEMU commands instead of running them
    #[arg(long)]
    dry_run: bool,
}

/// A kernel to compare with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Peer {
    Linux,
}

/// A boot: what is different about the machine, and the words for the program.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Boot {
    cpus: Option<u32>,
    memory: Option<Size>,
    kernel_arg: Option<&'static str>,
    words: Vec<String>,
}

impl Bench {
    /// Runs the verb.
    ///
    /// # Errors
    ///
    /// When a guest cannot be started, or does not finish.
    pub fn run(&self) -> Result<u8, Error> {
        if let Some(path) = &self.from {
            return self.finish(&read(path)?);
        }
        if let Some(row) = &self.profile {
            return self.profile(row);
        }
        let boots = self.boots()?;
        let peer = self.peer_from.as_deref().map(read).transpose()?.and_then(|past| past.linux);
        let setup = self.guest.setup(DEFAULTS, run::needs(self.dry_run), &[])?;
        let mut guests = vec![("granule", guests::granule(&setup))];
        if self.peer == Some(Peer::Linux) {
            let kernel = self.linux.kernel(self.guest.install())?;
            let program = build::user_program(PROGRAM)?;
            guests.push(("linux", guests::linux(&setup, &kernel, &program)?));
        }
        if self.dry_run {
            return self.print(&boots, &guests);
        }
        let limits = Limits { silence: Some(SILENCE), ..Limits::default() };
        // That of the kernel that was built, whatever is committed while it runs.
        let commit = workspace::commit();
        let mut found = vec![Measured::default(); guests.len()];
        // Each kernel has a processor of the host to itself: what is counted does not depend on it.
        thread::scope(|scope| {
            let guests = guests.iter().zip(&mut found);
            let runs: Vec<_> = guests
                .map(|((name, setup), measured)| {
                    let (boots, limits) = (&boots, &limits);
                    scope.spawn(move || {
                        boots.iter().try_for_each(|boot| {
                            guests::measure(name, &self.of_boot(setup, boot), limits, measured)
                        })
                    })
                })
                .collect();
            runs.into_iter().try_for_each(|run| run.join().expect("it does not panic"))
        })?;
        let mut found = found.into_iter();
        self.finish(&Comparison {
            command: command(),
            qemu: qemu::full_version(&setup.qemu)?,
            commit,
            granule: found.next().unwrap_or_default(),
            linux: found.next().or(peer),
        })
    }

    /// Prints where the instructions of a row go.
    fn profile(&self, row: &str) -> Result<u8, Error> {
        if !functions::is_row(row) {
            return Err(Error::UnknownRow(row.to_owned()));
        }
        let mut setup = guests::granule(&self.guest.setup(DEFAULTS, run::needs(false), &[])?);
        setup.init_args = vec![row.to_owned()];
        setup.kernel_args.extend(functions::kernel_arg(row).map(str::to_owned));
        let limits = Limits { silence: Some(SILENCE), ..Limits::default() };
        print!("{}", functions::profile(&setup, PROGRAM, &limits)?);
        Ok(0)
    }

    /// Returns whether every row is measured on both kernels: what docs/PERFORMANCE.md is made of.
    fn is_comparison(&self) -> bool {
        self.rows.is_empty() && self.peer.is_some()
    }

    /// Divides what is asked for into boots: sections that need the same machine share one.
    fn boots(&self) -> Result<Vec<Boot>, Error> {
        let mut boots: Vec<Boot> = Vec::new();
        for section in &SECTIONS {
            let words = self.words_of(section);
            let (cpus, memory) = (section.cpus, section.memory_mib.map(Size::mib));
            let kernel_arg = section.kernel_arg;
            let same = |boot: &&mut Boot| {
                (boot.cpus, boot.memory, boot.kernel_arg) == (cpus, memory, kernel_arg)
            };
            match boots.iter_mut().find(same) {
                _ if words.is_empty() => {}
                Some(boot) => boot.words.extend(words),
                None => boots.push(Boot { cpus, memory, kernel_arg, words }),
            }
        }
        let is_known = |word: &&String| boots.iter().any(|boot| boot.words.contains(word));
        match self.rows.iter().find(|word| !is_known(word)) {
            Some(word) => Err(Error::UnknownRow(word.clone())),
            None => Ok(boots),
        }
    }

    /// Returns the words that choose what is asked for of a section.
    fn words_of(&self, section: &Section) -> Vec<String> {
        let is_default = self.rows.is_empty() && !self.update_gate && section.is_default;
        let is_whole = self.all || self.is_comparison() || is_default;
        let gated: &[&str] = if self.update_gate { &gate::ROWS } else { &[] };
        let named = |name: &&str| gated.contains(name) || self.rows.iter().any(|word| word == name);
        if is_whole || named(&section.name) {
            return vec![section.name.to_owned()];
        }
        section.rows.iter().map(|row| row.name).filter(named).map(str::to_owned).collect()
    }

    fn of_boot(&self, setup: &Setup, boot: &Boot) -> Setup {
        let mut setup = setup.clone();
        // What the user says counts more.
        let chosen = self.guest.machine();
        setup.machine.cpus = chosen.smp.or(boot.cpus).unwrap_or(setup.machine.cpus);
        setup.machine.memory = chosen.memory.or(boot.memory).unwrap_or(setup.machine.memory);
        setup.kernel_args.extend(boot.kernel_arg.map(str::to_owned));
        setup.init_args.clone_from(&boot.words);
        setup
    }

    fn print(&self, boots: &[Boot], guests: &[(&str, Setup)]) -> Result<u8, Error> {
        for boot in boots {
            for (_, setup) in guests {
                let setup = self.of_boot(setup, boot);
                println!("{}", Guest::prepare(&setup, Scratch::kept()?, None)?.command_line());
            }
        }
        Ok(0)
    }

    /// Prints the tables and writes the files that were asked for.
    fn finish(&self, comparison: &Comparison) -> Result<u8, Error> {
        print!("{}", table::tables(comparison));
        for line in table::over_aim(&comparison.granule) {
            println!("over its aim: {}", line.title);
        }
        if self.update_gate {
            Gate::of(&comparison.qemu, &comparison.granule).save()?;
        }
        if let Some(path) = &self.json {
            write(path, &record::json(comparison))?;
        }
        if let Some(path) = &self.svg {
            write(path, &chart::draw(comparison))?;
        }
        if self.record || self.is_comparison() {
            record::record(comparison)?;
            println!("written: {}", record::PAGE);
        }
        Ok(0)
    }
}

fn read(path: &Path) -> Result<Comparison, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
    serde_json::from_str(&text).map_err(|source| Error::Numbers { path: path.to_owned(), source })
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(Error::file("write", path))
}

/// Returns this command as a person types it.
fn command() -> String {
    let words: Vec<_> = std::env::args().skip(1).collect();
    format!("cargo xtask {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: Bench,
    }

    fn boots(words: &str) -> Result<Vec<(Option<u32>, String)>, Error> {
        let words = std::iter::once("bench").chain(words.split_whitespace());
        let boots = Line::parse_from(words).bench.boots()?;
        Ok(boots.into_iter().map(|boot| (boot.cpus, boot.words.join(" "))).collect())
    }

    #[test]
    fn sections_share_a_boot_where_they_need_the_same_machine() {
        let standard = String::from("calls pages slots metadata boot");
        assert_eq!(boots("").expect("known"), [(None, standard.clone())]);
        let all = boots("--all").expect("known");
        let others = [(Some(4), "cpus"), (None, "growth flat"), (None, "migration")];
        let others = others.map(|(cpus, words)| (cpus, String::from(words)));
        assert_eq!(all, [vec![(None, standard)], others.to_vec()].concat());
        assert_eq!(boots("--peer linux").expect("known"), all);
    }

    #[test]
    fn rows_are_chosen_by_name() {
        let chosen = boots("fault munmap calls fault_at_once").expect("known");
        let expected = [(None, "calls fault munmap"), (Some(4), "fault_at_once")];
        assert_eq!(chosen, expected.map(|(cpus, words)| (cpus, String::from(words))));
    }

    #[test]
    fn an_unknown_row_is_refused_before_anything_is_built() {
        let error = boots("fualt").expect_err("unknown").to_string();
        assert!(error.contains("fualt") && error.contains("copy_on_write"), "{error}");
    }
}
