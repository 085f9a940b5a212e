// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program is init of the EL0 tests: it runs other programs and reports in KTAP.
//!
//! It runs the programs named by its arguments, or else all in `/tests`, one after the other. What
//! a program prints is passed on as KTAP diagnostics (`# ...`) as it comes, so that it can be read
//! even if the machine dies. On Linux it runs as any program does: `runner ./some_test`.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

/// Where tests are that are named without a slash.
const TESTS: &str = "/tests";

/// What became of a program.
enum Verdict {
    Pass,
    Skip { reason: String },
    Fail { how: String },
}

fn main() -> ExitCode {
    let tests = match tests(std::env::args_os().skip(1).collect()) {
        Ok(tests) => tests,
        Err(error) => {
            println!("Bail out! cannot list {TESTS}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("KTAP version 1");
    println!("1..{}", tests.len());
    let mut nr_failed = 0;
    for (index, path) in tests.iter().enumerate() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = index + 1;
        match run(path).unwrap_or_else(|error| Verdict::Fail { how: error.to_string() }) {
            Verdict::Pass => println!("ok {number} {name}"),
            Verdict::Skip { reason } => println!("ok {number} {name} # SKIP {reason}"),
            Verdict::Fail { how } => {
                nr_failed += 1;
                println!("not ok {number} {name} # {how}");
            }
        }
    }
    if nr_failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns the paths of the named tests, or of all.
fn tests(names: Vec<OsString>) -> io::Result<Vec<PathBuf>> {
    if !names.is_empty() {
        // Joining a path that starts with a slash replaces; one with a slash inside is meant as is.
        let locate = |name: OsString| match Path::new(&name).components().count() {
            1 => Path::new(TESTS).join(name),
            _ => PathBuf::from(name),
        };
        return Ok(names.into_iter().map(locate).collect());
    }
    let mut tests = Vec::new();
    for entry in std::fs::read_dir(TESTS)? {
        tests.push(entry?.path());
    }
    tests.sort();
    Ok(tests)
}

fn run(path: &Path) -> io::Result<Verdict> {
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    // The command holds write ends of the pipe, which would keep it open for ever.
    drop(command);
    let last_line = pass_on(reader)?;
    Ok(verdict(child.wait()?, last_line))
}

/// Prints a program's output as diagnostics until its end, and returns its last line.
fn pass_on(reader: PipeReader) -> io::Result<String> {
    let mut last_line = String::new();
    for line in BufReader::new(reader).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        writeln!(io::stdout(), "# {line}")?;
        last_line = line;
    }
    Ok(last_line)
}

fn verdict(status: ExitStatus, last_line: String) -> Verdict {
    match (status.code(), status.signal()) {
        (Some(0), _) => Verdict::Pass,
        (Some(code), _) if code == i32::from(user_tests::SKIP) => {
            Verdict::Skip { reason: last_line }
        }
        (Some(code), _) => Verdict::Fail { how: format!("exit={code}") },
        (None, Some(signal)) => Verdict::Fail { how: format!("signal={signal}") },
        (None, None) => Verdict::Fail { how: status.to_string() },
    }
}
