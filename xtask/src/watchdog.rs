// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file watches a running guest: it hands its output on and ends it when it hangs.

use std::fmt;
use std::io::{self, PipeReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::lines::{Lines, Piece};

/// The exit status that `timeout(1)` uses too.
const HANG_STATUS: u8 = 124;

/// How long a guest may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// The longest time without output.
    pub silence: Option<Duration>,
    /// The longest time in all.
    pub total: Option<Duration>,
    /// The time after which an unfinished line is handed on, for prompts.
    pub fragment: Option<Duration>,
}

/// How a guest ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// QEMU exited.
    Exited(ExitStatus),
    /// QEMU was killed because the guest went beyond a limit.
    Hung(Hang),
}

/// A guest that did not end on its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hang {
    /// Which limit it went beyond.
    pub limit: Limit,
    /// The length of this limit.
    pub after: Duration,
    /// What it printed last.
    pub last_line: String,
}

/// A limit that a guest can go beyond.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// No output for too long.
    Silence,
    /// Running for too long.
    Total,
}

impl Ending {
    /// Returns the exit status that tells a shell what happened.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Hung(_) => HANG_STATUS,
            Self::Exited(status) => match status.code() {
                Some(code) => u8::try_from(code).unwrap_or(u8::MAX),
                // Killed by a signal.
                None => u8::MAX,
            },
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "QEMU ended with {status}"),
            Self::Hung(hang) => hang.fmt(f),
        }
    }
}

impl fmt::Display for Hang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.limit {
            Limit::Silence => "no output for",
            Limit::Total => "still running after",
        };
        let seconds = self.after.as_secs_f64();
        write!(f, "HANG: {what} {seconds} s, last line: {}", self.last_line)
    }
}

/// Runs `command` until it ends or goes beyond `limits`; `sink` gets its output.
///
/// Standard output and standard error arrive as one stream, in order.
///
/// # Errors
///
/// When the command cannot be started or waited for.
pub fn watch(
    mut command: Command,
    limits: &Limits,
    sink: &mut dyn FnMut(Piece),
) -> Result<Ending, Error> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let spawn = |command: &mut Command| -> io::Result<(Child, PipeReader)> {
        let (reader, writer) = io::pipe()?;
        command.stdout(writer.try_clone()?).stderr(writer);
        Ok((command.spawn()?, reader))
    };
    let (mut child, reader) = spawn(&mut command).map_err(Error::start(&tool))?;
    // The command holds write ends of the pipe, which would keep it open for ever.
    drop(command);
    let (sender, receiver) = mpsc::channel();
    let pump = thread::spawn(move || pump(reader, &sender));
    let hang = Watch::new(limits).follow(&receiver, sink);
    if hang.is_some() {
        end(&mut child, &receiver).map_err(Error::start(&tool))?;
    }
    let status = child.wait().map_err(Error::start(&tool))?;
    pump.join().expect("the reader of a guest's output does not panic");
    Ok(hang.map_or(Ending::Exited(status), Ending::Hung))
}

/// How long a command that was asked to end may take to do so.
const GRACE: Duration = Duration::from_secs(5);

/// Asks a command to end, then kills it: QEMU writes the end of a recording when it is asked.
fn end(child: &mut Child, output: &Receiver<Vec<u8>>) -> io::Result<()> {
    // Where there is no such program the command is killed at once.
    let asked = Command::new("kill").arg(child.id().to_string()).stderr(Stdio::null()).status();
    let deadline = Instant::now() + GRACE;
    while asked.as_ref().is_ok_and(ExitStatus::success)
        && output.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
        && Instant::now() < deadline
    {}
    child.kill()
}

/// Sends what arrives until nobody writes or nobody listens any more.
fn pump(mut reader: PipeReader, sender: &Sender<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = reader.read(&mut buffer) {
        if sender.send(buffer[..len].to_vec()).is_err() {
            return;
        }
    }
}

/// The clocks of a guest that is running.
struct Watch<'a> {
    limits: &'a Limits,
    start: Instant,
    last_output: Instant,
    lines: Lines,
    last_line: Vec<u8>,
    /// An unfinished line waits to be handed on.
    owes_fragment: bool,
}

impl<'a> Watch<'a> {
    fn new(limits: &'a Limits) -> Self {
        let start = Instant::now();
        let (lines, last_line) = (Lines::default(), Vec::new());
        Self { limits, start, last_output: start, lines, last_line, owes_fragment: false }
    }

    /// Hands output on until it ends (`None`) or a limit is passed.
    fn follow(&mut self, output: &Receiver<Vec<u8>>, sink: &mut dyn FnMut(Piece)) -> Option<Hang> {
        loop {
            let now = Instant::now();
            if let Some(hang) = self.expired(now) {
                return Some(hang);
            }
            if self.owes_fragment && self.fragment_due() <= Some(now) {
                self.owes_fragment = false;
                self.lines.take_fragment().into_iter().for_each(&mut *sink);
            }
            let received = match self.next_deadline() {
                Some(deadline) => output.recv_timeout(deadline.saturating_duration_since(now)),
                None => output.recv().map_err(RecvTimeoutError::from),
            };
            match received {
                Ok(bytes) => self.take(&bytes, sink),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.lines.finish().into_iter().for_each(sink);
                    return None;
                }
            }
        }
    }

    fn take(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Piece)) {
        self.last_output = Instant::now();
        self.owes_fragment = self.limits.fragment.is_some();
        for piece in self.lines.push(bytes) {
            let (Piece::Line(text) | Piece::Fragment(text)) = &piece;
            if !text.is_empty() {
                self.last_line.clone_from(text);
            }
            sink(piece);
        }
    }

    fn expired(&self, now: Instant) -> Option<Hang> {
        let (limit, after) = [
            (Limit::Silence, self.last_output, self.limits.silence),
            (Limit::Total, self.start, self.limits.total),
        ]
        .into_iter()
        .find_map(|(limit, since, after)| (now >= since + after?).then_some((limit, after?)))?;
        let current = self.lines.current();
        let line = if current.is_empty() { &self.last_line } else { current };
        let last_line = String::from_utf8_lossy(line).trim_end().to_owned();
        Some(Hang { limit, after, last_line })
    }

    fn next_deadline(&self) -> Option<Instant> {
        let silence = self.limits.silence.map(|after| self.last_output + after);
        let total = self.limits.total.map(|after| self.start + after);
        let fragment = if self.owes_fragment { self.fragment_due() } else { None };
        [silence, total, fragment].into_iter().flatten().min()
    }

    fn fragment_due(&self) -> Option<Instant> {
        self.limits.fragment.map(|after| self.last_output + after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(200);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn watched(script: &str, limits: &Limits) -> (Ending, Vec<Piece>) {
        let mut pieces = Vec::new();
        let ending = watch(shell(script), limits, &mut |piece| pieces.push(piece));
        (ending.expect("sh"), pieces)
    }

    fn line(text: &str) -> Piece {
        Piece::Line(text.as_bytes().to_vec())
    }

    #[test]
    fn output_and_exit_status_come_through() {
        let (ending, pieces) = watched("echo one; echo two >&2; exit 3", &Limits::default());
        assert_eq!(pieces, [line("one"), line("two")]);
        assert_eq!(ending.exit_code(), 3);
    }

    #[test]
    fn silence_is_a_hang_and_names_the_last_line() {
        let limits = Limits { silence: Some(SOON), ..Limits::default() };
        let (ending, pieces) = watched("echo mm: swapping; exec sleep 1000", &limits);
        assert_eq!(ending.to_string(), "HANG: no output for 0.2 s, last line: mm: swapping");
        assert_eq!((ending.exit_code(), pieces), (124, vec![line("mm: swapping")]));
    }

    #[test]
    fn output_ends_a_silence() {
        let limits = Limits { silence: Some(SOON), ..Limits::default() };
        let mut watch = Watch::new(&limits);
        let now = Instant::now();
        watch.last_output = now - 2 * SOON;
        assert!(watch.expired(now).is_some());
        watch.take(b"mm: still here", &mut |_| {});
        assert_eq!(watch.expired(now), None);
    }

    #[test]
    fn an_unfinished_line_is_the_last_line_of_a_hang() {
        let limits = Limits { silence: Some(SOON), ..Limits::default() };
        let (ending, _) = watched("echo first; printf 'second ...'; exec sleep 1000", &limits);
        assert!(ending.to_string().ends_with("last line: second ..."), "{ending}");
    }

    #[test]
    fn endless_output_meets_the_total_limit() {
        let limits = Limits { silence: Some(10 * SOON), total: Some(SOON), fragment: None };
        let (ending, _) = watched("while :; do echo y; done", &limits);
        let Ending::Hung(hang) = ending else { panic!("{ending}") };
        assert_eq!((hang.limit, hang.last_line.as_str()), (Limit::Total, "y"));
    }

    #[test]
    fn a_prompt_is_handed_on_before_its_line_ends() {
        let limits = Limits { silence: Some(2 * SOON), fragment: Some(SOON / 10), total: None };
        let (_, pieces) = watched("printf 'login: '; exec sleep 1000", &limits);
        assert_eq!(pieces, [Piece::Fragment(b"login: ".to_vec())]);
    }

    #[test]
    fn death_by_signal_is_a_failure() {
        let (ending, _) = watched("kill -9 $$", &Limits::default());
        assert_eq!(ending.exit_code(), u8::MAX);
    }

    #[test]
    fn a_missing_program_is_an_error_that_names_it() {
        let command = Command::new("/no/such/qemu");
        let error = watch(command, &Limits::default(), &mut |_| {}).expect_err("no such file");
        assert!(error.to_string().contains("/no/such/qemu"), "{error}");
    }
}
