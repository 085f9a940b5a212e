// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file runs commands of gdb on a guest that the program `picture` has stopped.

use std::collections::BTreeMap;

use hal::PageTags;
use libtest_mimic::Failed;
use xtask::scratch::Scratch;
use xtask::workspace;

use crate::lab::Lab;

/// Where the program's call that no kernel has ends up.
const STOP: &str = "break task/src/syscall/unknown.rs:32";

/// Stands for the step that makes variables of the addresses that the program has printed.
const KNOW: &str = "";

/// What stands before the output of each command.
const MARK: &str = "@@@ ";

/// What a program printed about its memory.
#[derive(Debug, Default)]
pub struct Picture {
    /// Pages have tags.
    pub has_tags: bool,
    /// The program's process, and its child.
    pub processes: [u32; 2],
    /// Address, and frame or slot, by name.
    mapped: BTreeMap<String, (u64, u64)>,
    swapped: BTreeMap<String, (u64, u64)>,
    /// A digit for each granule, by name.
    tags: BTreeMap<String, String>,
}

impl Picture {
    /// The pages in swap that have tags, where there are any.
    pub const SAVED: [&str; 8] =
        ["uniform", "repeat", "aligned", "headers", "runs", "slab", "mask", "raw"];

    fn read(serial: &str) -> Self {
        let mut picture = Self::default();
        for line in serial.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["picture:", "tags", answer] => picture.has_tags = answer == "yes",
                ["picture:", "processes", pid, child] => {
                    picture.processes = [pid, child].map(|pid| pid.parse().unwrap_or(0));
                }
                ["picture:", "mapped", name, address, frame] => {
                    picture.mapped.insert(name.to_owned(), (number(address), number(frame)));
                }
                ["picture:", "swapped", name, address, slot] => {
                    picture.swapped.insert(name.to_owned(), (number(address), number(slot)));
                }
                ["picture:", "tags-of", name, _, digits] => {
                    picture.tags.insert(name.to_owned(), digits.to_owned());
                }
                _ => {}
            }
        }
        picture
    }

    /// Returns the address and the frame of a page in memory.
    ///
    /// # Errors
    ///
    /// When the program did not print it.
    pub fn mapped(&self, name: &str) -> Result<(u64, u64), Failed> {
        found(self.mapped.get(name), name).copied()
    }

    /// Returns the address and the slot of a page in swap.
    ///
    /// # Errors
    ///
    /// When the program did not print it.
    pub fn swapped(&self, name: &str) -> Result<(u64, u64), Failed> {
        found(self.swapped.get(name), name).copied()
    }

    /// Returns the tags of a page.
    ///
    /// # Errors
    ///
    /// When the program did not print them.
    pub fn tags(&self, name: &str) -> Result<PageTags, Failed> {
        let mut tags = PageTags::ZERO;
        for (granule, digit) in found(self.tags.get(name), name)?.chars().enumerate() {
            let tag = digit.to_digit(16).unwrap_or(0);
            tags.0[granule / 16] |= u64::from(tag) << (granule % 16 * 4);
        }
        Ok(tags)
    }

    /// Returns how `mm-tags` shows a page, the pointer's granule being the first.
    ///
    /// # Errors
    ///
    /// When the program did not print its tags.
    pub fn digits(&self, name: &str) -> Result<String, Failed> {
        let digits = found(self.tags.get(name), name)?;
        let rows = (0..8).map(|row| {
            let row_digits = &digits[32 * row..32 * (row + 1)];
            match row {
                0 => format!("  0x000: [{}]{}\n", &row_digits[..1], &row_digits[1..]),
                _ => format!("  {:#05x}: {row_digits}\n", row * 512),
            }
        });
        Ok(rows.collect())
    }
}

fn found<'a, T>(value: Option<&'a T>, name: &str) -> Result<&'a T, Failed> {
    value.ok_or_else(|| Failed::from(format!("the guest printed nothing about {name}")))
}

fn number(text: &str) -> u64 {
    let hex = text.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16));
    hex.unwrap_or_else(|| text.parse()).unwrap_or(0)
}

/// What commands printed.
#[derive(Debug)]
pub struct Session {
    /// What the program printed.
    pub picture: Picture,
    /// Everything.
    pub all: String,
    /// What the guest printed.
    serial: String,
    outputs: BTreeMap<String, String>,
}

impl Session {
    /// Stops a guest where its memory is in the state that it prints, runs `commands`, and lets it go on.
    ///
    /// # Errors
    ///
    /// When gdb cannot be started.
    pub fn at_stop(lab: &Lab, cpus: u32, commands: &[String]) -> Result<Self, Failed> {
        let commands = commands.iter().map(String::as_str);
        let last = ["delete", "continue"];
        let all = [STOP, "continue", KNOW].into_iter().chain(commands).chain(last);
        Self::run(lab, cpus, &all.collect::<Vec<_>>())
    }

    /// Runs `commands` on a guest that has not executed an instruction.
    ///
    /// # Errors
    ///
    /// When gdb cannot be started.
    pub fn at_start(lab: &Lab, cpus: u32, commands: &[&str]) -> Result<Self, Failed> {
        Self::run(lab, cpus, commands)
    }

    fn run(lab: &Lab, cpus: u32, commands: &[&str]) -> Result<Self, Failed> {
        let program = lab.programs()?.path("picture").display().to_string();
        let mut files = Scratch::new()?;
        let serial_path = files.file("serial");
        let serial_name = serial_path.display().to_string();
        let mut words =
            ["gdb", "--machine", "test", "--serial", &serial_name].map(str::to_owned).to_vec();
        let mut ex = |command: String| words.extend([String::from("--command"), command]);
        ex(format!("source {}", workspace::root().join("tests/gdb/session.py").display()));
        for command in commands {
            ex(match *command {
                KNOW => format!("python know({serial_name:?})"),
                command => format!("python run({command:?})"),
            });
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let run = lab.xtask(cpus, &words, &[&program])?;
        run.expect("output", run.stdout.contains(MARK))?;
        let serial = std::fs::read_to_string(&serial_path)?;
        let (picture, outputs) = (Picture::read(&serial), by_command(&run.stdout));
        let all = format!("{}\n{}\n{serial}", run.stdout, run.stderr);
        Ok(Self { picture, all, serial, outputs })
    }

    /// Returns what a command printed.
    ///
    /// # Errors
    ///
    /// When it was not run.
    pub fn output(&self, command: &str) -> Result<&str, Failed> {
        found(self.outputs.get(command).map(String::as_str).as_ref(), command).copied()
    }

    /// Expects that a command printed all of `words`.
    ///
    /// # Errors
    ///
    /// When it did not.
    pub fn says(&self, command: &str, words: &[&str]) -> Result<(), Failed> {
        let output = self.output(command)?;
        match words.iter().find(|word| !output.contains(**word)) {
            Some(word) => self.expect(&format!("`{word}` of {command}"), false),
            None => Ok(()),
        }
    }

    /// Expects that a command did not print `word`.
    ///
    /// # Errors
    ///
    /// When it did.
    pub fn says_not(&self, command: &str, word: &str) -> Result<(), Failed> {
        let is_absent = !self.output(command)?.contains(word);
        self.expect(&format!("no `{word}` of {command}"), is_absent)
    }

    /// Expects that the program went on afterwards, found its memory as it was, and ended well.
    ///
    /// # Errors
    ///
    /// When it did not.
    pub fn was_harmless(&self) -> Result<(), Failed> {
        self.expect("memory as it was", self.serial.contains("picture: kept"))?;
        self.expect("success", self.serial.contains("granule: power off, status 0"))
    }

    /// Fails with all that was printed, unless `holds`.
    ///
    /// # Errors
    ///
    /// Unless `holds`.
    pub fn expect(&self, what: &str, holds: bool) -> Result<(), Failed> {
        match holds {
            true => Ok(()),
            false => Err(Failed::from(format!("expected {what}\n{}", self.all))),
        }
    }
}

/// Cuts gdb's output where commands begin, those that `run` of `tests/gdb/session.py` ran.
pub fn by_command(output: &str) -> BTreeMap<String, String> {
    let mut outputs = BTreeMap::new();
    for part in output.split(MARK).skip(1) {
        let (command, text) = part.split_once('\n').unwrap_or((part, ""));
        outputs.insert(command.to_owned(), text.to_owned());
    }
    outputs
}
