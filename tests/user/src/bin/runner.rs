// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program is init of the EL0 tests: it runs other programs and reports in KTAP.
//!
//! It runs the tests named by its arguments, or else by the lines of `/tests/plan`, one after the
//! other: `program`, or `program::test` for one of the tests in a program. What a program prints is
//! passed on as KTAP diagnostics (`# ...`) as it comes, so that it can be read even if the machine
//! dies. A test that takes too long is killed. On Linux it runs as any program does:
//! `runner ./tags::fork_copies_tags`.

use std::io::{self, PipeReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use user_tests::{process, sys};

/// Where tests are that are named without a slash.
const TESTS: &str = "/tests";

/// The names of the tests to run.
const PLAN: &str = "/tests/plan";

/// How long a test may take: less than the host lets a guest be silent.
const TIME_LIMIT: Duration = Duration::from_secs(45);

/// What became of a program.
enum Verdict {
    Pass,
    Skip { reason: String },
    Fail { how: String },
}

fn main() -> ExitCode {
    let tests = match tests() {
        Ok(tests) => tests,
        Err(error) => {
            println!("Bail out! cannot read {PLAN}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("KTAP version 1");
    println!("1..{}", tests.len());
    let mut nr_failed = 0;
    for (index, test) in tests.iter().enumerate() {
        let name = test.rsplit('/').next().unwrap_or(test);
        let number = index + 1;
        match run(test).unwrap_or_else(|error| Verdict::Fail { how: error.to_string() }) {
            Verdict::Pass => println!("ok {number} {name}"),
            Verdict::Skip { reason } => println!("ok {number} {name} # SKIP {reason}"),
            Verdict::Fail { how } => {
                nr_failed += 1;
                println!("not ok {number} {name} # {how}");
            }
        }
        reap_orphans();
    }
    if nr_failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns the names of the tests to run.
fn tests() -> io::Result<Vec<String>> {
    let named: Vec<String> = std::env::args().skip(1).collect();
    if !named.is_empty() {
        return Ok(named);
    }
    Ok(std::fs::read_to_string(PLAN)?.lines().map(str::to_owned).collect())
}

/// Returns the command of a test.
fn command(test: &str) -> Command {
    let (program, test) = match test.split_once("::") {
        Some((program, test)) => (program, Some(test)),
        None => (test, None),
    };
    // Joining a path that starts with a slash replaces; one with a slash inside is meant as is.
    let path = match Path::new(program).components().count() {
        1 => Path::new(TESTS).join(program),
        _ => PathBuf::from(program),
    };
    let mut command = Command::new(path);
    command.args(test);
    command
}

fn run(test: &str) -> io::Result<Verdict> {
    let (reader, writer) = io::pipe()?;
    let mut command = command(test);
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    // What a test leaves behind can so be killed with it.
    command.process_group(0);
    let mut child = command.spawn()?;
    // The command holds write ends of the pipe, which would keep it open for ever.
    drop(command);
    let last_line = pass_on(reader)?;
    if last_line.is_none() {
        kill_group(&child);
    }
    let status = child.wait()?;
    kill_group(&child);
    Ok(match last_line {
        Some(last_line) => verdict(status, last_line),
        None => Verdict::Fail { how: format!("took more than {TIME_LIMIT:?}") },
    })
}

/// Prints a program's output as diagnostics until its end, and returns its last line; nothing when
/// that takes too long.
fn pass_on(mut reader: PipeReader) -> io::Result<Option<String>> {
    let start = Instant::now();
    let (mut line, mut last_line) = (Vec::new(), String::new());
    while let Some(left) = TIME_LIMIT.checked_sub(start.elapsed()) {
        if !is_readable(&reader, left)? {
            continue;
        }
        let mut buffer = [0; 512];
        let nr_read = reader.read(&mut buffer)?;
        for &byte in &buffer[..nr_read] {
            if byte == b'\n' {
                last_line = show(&mut line)?;
            } else {
                line.push(byte);
            }
        }
        if nr_read == 0 {
            if !line.is_empty() {
                last_line = show(&mut line)?;
            }
            return Ok(Some(last_line));
        }
    }
    if !line.is_empty() {
        show(&mut line)?;
    }
    Ok(None)
}

/// Prints a line as a diagnostic and takes it.
fn show(line: &mut Vec<u8>) -> io::Result<String> {
    let text = String::from_utf8_lossy(line).into_owned();
    line.clear();
    writeln!(io::stdout(), "# {text}")?;
    Ok(text)
}

/// Waits until there is something to read, or the end of it.
fn is_readable(reader: &PipeReader, time_limit: Duration) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let polls = (&raw mut poll).expose_provenance();
    let time = libc::timespec {
        tv_sec: time_limit.as_secs() as i64,
        tv_nsec: i64::from(time_limit.subsec_nanos()),
    };
    let time = (&raw const time).expose_provenance();
    match sys::call(libc::SYS_ppoll, [polls, 1, time]) {
        Ok(nr_ready) => Ok(nr_ready == 1),
        Err(libc::EINTR) => Ok(false),
        Err(error) => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Ends what runs of a test. When nothing does, there is no such group.
fn kill_group(child: &Child) {
    let group = (child.id() as usize).wrapping_neg();
    let _ = sys::call(libc::SYS_kill, [group, libc::SIGKILL as usize]);
}

/// Takes note of the ends of processes whose parents are gone, which falls to init.
fn reap_orphans() {
    while let Ok((1.., _)) = process::wait(-1, libc::WNOHANG) {}
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
