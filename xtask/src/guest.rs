// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file prepares a guest (disks, initramfs, command line) and runs it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::build::Kernel;
use crate::error::Error;
use crate::initramfs::Initramfs;
use crate::lines::Piece;
use crate::overlay;
use crate::profile::{Content, Disk, Profile, Transport};
use crate::qemu::{self, Boot, CommandLine, Snapshots, Tape, TapeMode};
use crate::scratch::Scratch;
use crate::size::Size;
use crate::swap_image;
use crate::symbolize::Symbols;
use crate::watchdog::{self, Ending, Limits};

/// What a guest is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The QEMU program.
    pub qemu: PathBuf,
    /// The machine.
    pub machine: Profile,
    /// The kernel.
    pub kernel: Kernel,
    /// The bytes of the initramfs.
    pub initramfs: Option<Vec<u8>>,
    /// Kernel options besides the machine's own, `key=value`.
    pub kernel_args: Vec<String>,
    /// The arguments of init.
    pub init_args: Vec<String>,
}

/// A guest ready to run. Its files are removed when it is dropped.
#[derive(Debug)]
pub struct Guest {
    line: CommandLine,
    elf: PathBuf,
    _files: Scratch,
}

impl Guest {
    /// Writes the guest's files into `files` and makes its command.
    ///
    /// # Errors
    ///
    /// When a file cannot be written, or an argument cannot go on a kernel command line.
    pub fn prepare(setup: &Setup, files: Scratch, debugger: Option<u16>) -> Result<Self, Error> {
        Self::prepare_taped(setup, files, debugger, None)
    }

    /// As [`Guest::prepare`], for a guest that is recorded or replayed. A replay with a debugger can
    /// go backwards.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn prepare_taped(
        setup: &Setup,
        mut files: Scratch,
        debugger: Option<u16>,
        mut tape: Option<Tape>,
    ) -> Result<Self, Error> {
        let command_line = kernel_command_line(setup)?;
        let mut disks = Vec::new();
        for (index, disk) in setup.machine.disks.iter().enumerate() {
            let path = match disk.transport {
                Transport::Host => files.dir("host")?.join(host_name(index)),
                Transport::Mmio | Transport::Pci => files.file(&format!("disk{index}.img")),
            };
            create_disk(&path, disk)?;
            disks.push(path);
        }
        if let (Some(Tape { mode: TapeMode::Replay(snapshots), .. }), Some(_)) =
            (&mut tape, debugger)
        {
            *snapshots = Some(create_snapshots(&setup.machine, &mut files)?);
        }
        let mut initramfs = None;
        if let Some(bytes) = &setup.initramfs {
            let path = files.file("initramfs.cpio");
            std::fs::write(&path, bytes).map_err(Error::file("write", &path))?;
            initramfs = Some(path);
        }
        let kernel = setup.kernel.image.clone();
        let boot = Boot { kernel, initramfs, command_line, disks, debugger, tape };
        let line = qemu::command_line(&setup.qemu, &setup.machine, &boot);
        Ok(Self { line, elf: setup.kernel.elf.clone(), _files: files })
    }

    /// Returns the command that starts the guest.
    pub fn command_line(&self) -> &CommandLine {
        &self.line
    }

    /// Has QEMU write the PC of each instruction to a file.
    pub fn log_instructions(&mut self, log: &Path) {
        self.line.log_instructions(log);
    }

    /// Runs the guest to its end. `sink` gets its output, backtraces symbolised.
    ///
    /// # Errors
    ///
    /// When QEMU cannot be started.
    pub fn run(
        &self,
        stdin: Stdio,
        limits: &Limits,
        sink: &mut dyn FnMut(Piece),
    ) -> Result<Ending, Error> {
        let mut command: Command = self.line.command();
        command.stdin(stdin);
        let mut symbols = Symbols::of(&self.elf);
        watchdog::watch(command, limits, &mut |piece| {
            sink(match piece {
                Piece::Line(line) => {
                    Piece::Line(symbols.rewrite(&line).map_or(line, String::into_bytes))
                }
                fragment @ Piece::Fragment(_) => fragment,
            });
        })
    }
}

/// Returns the name of a disk's file in a directory of its run's own.
fn host_name(index: usize) -> String {
    format!("disk{index}.img")
}

fn create_disk(path: &Path, disk: &Disk) -> Result<(), Error> {
    match disk.content {
        Content::Swap => swap_image::create(path, disk.size),
        Content::Blank => {
            std::fs::File::create(path).and_then(|file| file.set_len(disk.size.bytes()))
        }
    }
    .map_err(Error::file("write", path))
}

/// RAM and devices of a machine are less than this.
const MACHINE_STATE: Size = Size::mib(8 << 10);

fn create_snapshots(machine: &Profile, files: &mut Scratch) -> Result<Snapshots, Error> {
    let mut create = |name: &str, size: Size| {
        let path = files.file(name);
        overlay::create(&path, size).map_err(Error::file("write", &path))?;
        Ok(path)
    };
    let state = create("machine.qcow2", MACHINE_STATE)?;
    let disks = machine.disks.iter().enumerate();
    let disks = disks.map(|(index, disk)| create(&format!("over{index}.qcow2"), disk.size));
    Ok(Snapshots { machine: state, disks: disks.collect::<Result<_, Error>>()? })
}

fn kernel_command_line(setup: &Setup) -> Result<String, Error> {
    let mut words = vec![String::from("exit=semihosting")];
    for (index, disk) in setup.machine.disks.iter().enumerate() {
        if disk.transport == Transport::Host {
            words.push(format!("disk.host={}", host_name(index)));
        }
    }
    for option in setup.machine.kernel_args.iter().chain(&setup.kernel_args) {
        words.push(match option.split_once('=') {
            Some((key, value)) => format!("{key}={}", quoted(value)?),
            None => quoted(option)?,
        });
    }
    if !setup.init_args.is_empty() {
        words.push(String::from("--"));
        for argument in &setup.init_args {
            words.push(if argument.is_empty() { String::from("\"\"") } else { quoted(argument)? });
        }
    }
    Ok(words.join(" "))
}

/// Writes a word so that the kernel reads it as one: as on Linux (lib/cmdline.c, `next_arg`),
/// double quotes keep spaces, and nothing keeps a double quote.
fn quoted(word: &str) -> Result<String, Error> {
    if word.contains(|c: char| c == '"' || c.is_control()) {
        return Err(Error::CommandLineWord(word.to_owned()));
    }
    let is_plain = !word.contains(char::is_whitespace);
    Ok(if is_plain { word.to_owned() } else { format!("\"{word}\"") })
}

/// Makes an initramfs whose init is the program at `path`.
///
/// # Errors
///
/// When the host cannot read the program.
pub fn initramfs_of(path: impl AsRef<OsStr>) -> Result<Vec<u8>, Error> {
    let path = Path::new(path.as_ref());
    let program = std::fs::read(path).map_err(Error::file("read", path))?;
    let mut tree = Initramfs::new();
    tree.program("init", &program);
    Ok(tree.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(machine: &str, kernel_args: &[&str], init_args: &[&str]) -> Setup {
        let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Setup {
            qemu: PathBuf::from("sh"),
            machine: Profile::load(machine).expect("a profile"),
            kernel: Kernel { elf: PathBuf::from("kernel.elf"), image: PathBuf::from("Image") },
            initramfs: Some(b"cpio".to_vec()),
            kernel_args: strings(kernel_args),
            init_args: strings(init_args),
        }
    }

    #[test]
    fn command_line_has_the_machines_options_then_ours_then_those_of_init() {
        let setup = setup("demo", &["mm.dbm=sw"], &["-v", "a=b"]);
        let line = kernel_command_line(&setup).expect("a line");
        assert_eq!(line, "exit=semihosting swap=vda mm.dbm=sw -- -v a=b");
    }

    #[test]
    fn spaces_are_kept_in_quotes_as_linux_reads_them() {
        let setup = setup("no-disk", &["note=a b", "quiet"], &["-c", "echo hi", ""]);
        let line = kernel_command_line(&setup).expect("a line");
        assert_eq!(line, r#"exit=semihosting note="a b" quiet -- -c "echo hi" """#);
    }

    #[test]
    fn a_word_that_no_quotes_can_keep_is_refused_and_named() {
        for word in ["a\"b", "a\nb", "a\tb"] {
            for setup in [setup("demo", &[], &[word]), setup("demo", &[word], &[])] {
                let text = kernel_command_line(&setup).expect_err("refused").to_string();
                assert!(text.contains(&format!("{word:?}")), "{text}");
            }
        }
    }

    #[test]
    fn files_of_a_guest_exist_while_it_does() {
        let files = Scratch::new().expect("scratch");
        let guest = Guest::prepare(&setup("demo", &[], &[]), files, None).expect("a guest");
        let line = guest.command_line().to_string();
        let name = |text: &str, end: char| {
            let start = line.find(text).expect("the option") + text.len();
            let rest = &line[start..];
            PathBuf::from(&rest[..rest.find(end).unwrap_or(rest.len())])
        };
        let (disk, initramfs) = (name("filename=", ','), name("-initrd ", ' '));
        assert_eq!(std::fs::metadata(&disk).expect("the disk").len(), 1 << 30);
        assert_eq!(std::fs::read(&initramfs).expect("the archive"), b"cpio");
        drop(guest);
        assert!(!disk.exists() && !initramfs.exists());
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = initramfs_of("/no/such/program").expect_err("no such file");
        assert!(error.to_string().starts_with("cannot read /no/such/program: "), "{error}");
    }
}
