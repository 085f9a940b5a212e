// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests fork, exit, wait4, exec and what a new program finds.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use user_tests::memory;
use user_tests::process::{self, Ended};
use user_tests::sys;

user_tests::tests!(
    exit_codes_are_eight_bits,
    killed_child_reports_its_signal,
    wait_reports_each_child_once,
    wait_without_children_fails,
    wait_for_another_process_fails,
    wait_without_hanging_returns_zero,
    wait_refuses_bad_options,
    waitid_leaves_the_child_on_request,
    orphans_go_to_init,
    child_has_its_own_pid,
    fork_copies_descriptors_which_share_offsets,
    hundred_children_live_at_once,
    vfork_child_execs,
    exec_passes_arguments_and_environment,
    exec_passes_long_arguments,
    exec_refuses_too_long_arguments,
    exec_closes_on_request,
    exec_resets_handlers_but_not_ignored_signals,
    exec_keeps_the_pid,
    exec_of_nothing_fails,
    exec_refuses_bad_elfs,
    exec_runs_scripts,
    auxiliary_vector_describes_the_program,
    exit_group_ends_all_threads,
);

/// The name of this program, to run it again.
fn program() -> String {
    std::env::args().next().expect("argv[0]")
}

fn exit_codes_are_eight_bits() {
    for code in [0, 1, 42, 127, 128, 255, 256, 257, -1] {
        assert_eq!(process::fork(|| code).wait(), Ended::Exited(code & 0xff));
    }
}

fn killed_child_reports_its_signal() {
    for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGUSR1, libc::SIGALRM] {
        let child = process::fork(|| {
            loop {
                std::thread::park();
            }
        });
        child.kill(signal);
        assert_eq!(child.wait(), Ended::Killed(signal));
    }
}

fn wait_reports_each_child_once() {
    let mut pids: Vec<i32> = (0..10).map(|code| process::fork(|| code).pid()).collect();
    for _ in 0..10 {
        let (pid, ended) = process::wait(-1, 0).expect("wait4");
        let place = pids.iter().position(|it| *it == pid).expect("a child of ours");
        pids.remove(place);
        assert!(matches!(ended, Ended::Exited(0..10)), "{ended:?}");
    }
    assert_eq!(process::wait(-1, 0).err(), Some(libc::ECHILD));
}

fn wait_without_children_fails() {
    assert_eq!(process::wait(-1, 0).err(), Some(libc::ECHILD));
    assert_eq!(process::wait(-1, libc::WNOHANG).err(), Some(libc::ECHILD));
    assert_eq!(process::wait(0, 0).err(), Some(libc::ECHILD));
}

fn wait_for_another_process_fails() {
    let child = process::fork(|| 0);
    for pid in [1, child.pid() + 1000, std::process::id() as i32] {
        assert_eq!(process::wait(pid, 0).err(), Some(libc::ECHILD), "{pid}");
    }
    assert_eq!(child.wait(), Ended::Exited(0));
}

fn wait_without_hanging_returns_zero() {
    let (reader, writer) = std::io::pipe().expect("pipe");
    let writer_fd = writer.as_raw_fd();
    let child = process::fork(|| {
        sys::call(libc::SYS_close, [writer_fd as usize]).expect("close");
        assert_eq!((&reader).read(&mut [0]).expect("read"), 0);
        7
    });
    let (pid, _) = process::wait(child.pid(), libc::WNOHANG).expect("wait4");
    assert_eq!(pid, 0, "it runs");
    drop(writer);
    assert_eq!(child.wait(), Ended::Exited(7));
}

fn wait_refuses_bad_options() {
    let child = process::fork(|| 0);
    assert_eq!(process::wait(child.pid(), 0x100).err(), Some(libc::EINVAL));
    assert_eq!(child.wait(), Ended::Exited(0));
}

fn waitid_leaves_the_child_on_request() {
    let child = process::fork(|| 3);
    let wait = |options: i32| {
        let mut info = [0i32; 32];
        let at = info.as_mut_ptr().expose_provenance();
        let id = child.pid() as usize;
        let arguments = [libc::P_PID as usize, id, at, options as usize, 0];
        sys::call(libc::SYS_waitid, arguments).expect("waitid");
        // si_signo, si_code, si_pid and si_status.
        (info[0], info[2], info[4], info[6])
    };
    let expected = (libc::SIGCHLD, libc::CLD_EXITED, child.pid(), 3);
    assert_eq!(wait(libc::WEXITED | libc::WNOWAIT), expected);
    assert_eq!(wait(libc::WEXITED), expected);
    assert_eq!(process::wait(child.pid(), 0).err(), Some(libc::ECHILD));
}

fn orphans_go_to_init() {
    let (mut reader, writer) = std::io::pipe().expect("pipe");
    let child = process::fork(|| {
        let parent = std::process::id();
        process::fork(|| {
            // Until the parent is gone.
            while std::os::unix::process::parent_id() == parent {
                std::thread::yield_now();
            }
            let parent = std::os::unix::process::parent_id() as u8;
            (&writer).write_all(&[parent]).expect("write");
            0
        });
        0
    });
    assert_eq!(child.wait(), Ended::Exited(0));
    let mut parent = [0];
    reader.read_exact(&mut parent).expect("read");
    assert_eq!(parent[0], 1);
}

fn child_has_its_own_pid() {
    let parent = std::process::id();
    let (mut reader, writer) = std::io::pipe().expect("pipe");
    let child = process::fork(|| {
        assert_eq!(std::os::unix::process::parent_id(), parent);
        let tid = sys::call(libc::SYS_gettid, []).expect("gettid") as u32;
        assert_eq!(tid, std::process::id());
        (&writer).write_all(&tid.to_le_bytes()).expect("write");
        0
    });
    let mut pid = [0; 4];
    reader.read_exact(&mut pid).expect("read");
    assert_eq!(i32::from_le_bytes(pid), child.pid());
    assert_ne!(u32::from_le_bytes(pid), parent);
    assert_eq!(child.wait(), Ended::Exited(0));
}

fn fork_copies_descriptors_which_share_offsets() {
    let path = "/tmp/fork_copies_descriptors";
    std::fs::write(path, b"0123456789").expect("write");
    let file = std::fs::File::open(path).expect("open");
    let mut bytes = [0; 4];
    (&file).read_exact(&mut bytes).expect("read");
    process::in_child(|| {
        let mut bytes = [0; 4];
        (&file).read_exact(&mut bytes).expect("read");
        assert_eq!(&bytes, b"4567");
        sys::call(libc::SYS_close, [file.as_raw_fd() as usize]).expect("close");
    });
    let mut rest = String::new();
    (&file).read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "89");
    std::fs::remove_file(path).expect("unlink");
}

fn hundred_children_live_at_once() {
    let (reader, writer) = std::io::pipe().expect("pipe");
    let writer_fd = writer.as_raw_fd();
    let mut counter = 0u64;
    let children: Vec<_> = (0..100)
        .map(|index| {
            counter += 1;
            process::fork(|| {
                sys::call(libc::SYS_close, [writer_fd as usize]).expect("close");
                assert_eq!((&reader).read(&mut [0]).expect("read"), 0);
                i32::from(counter != index + 1)
            })
        })
        .collect();
    drop(writer);
    for child in children {
        assert_eq!(child.wait(), Ended::Exited(0));
    }
}

fn vfork_child_execs() {
    // What the standard library does: clone with CLONE_VM and CLONE_VFORK, then exec.
    for _ in 0..20 {
        let status = Command::new(program()).arg("wait_without_children_fails").status();
        assert_eq!(status.expect("spawn").code(), Some(0));
    }
    let error = Command::new("/no/such/program").status().expect_err("no such program");
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
}

/// Runs the program `echo` with arguments and an environment, and returns what it printed.
fn echo(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let path = program().replace("processes", "echo");
    let output = Command::new(path)
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("spawn");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn exec_passes_arguments_and_environment() {
    let arguments = ["a", "", "b c", "d=e", "\u{e9}"];
    let text = echo(&arguments, &[("A", "1"), ("EMPTY", "")]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines, ["a", "", "b c", "d=e", "\u{e9}", "A=1", "EMPTY="]);
}

fn exec_passes_long_arguments() {
    let long = "x".repeat(100_000);
    let text = echo(&[&long, "y"], &[("Z", &long)]);
    assert_eq!(text, format!("{long}\ny\nZ={long}\n"));
    let many: Vec<String> = (0..5000).map(|index| index.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(echo(&many, &[]).lines().count(), 5000);
}

fn exec_refuses_too_long_arguments() {
    // MAX_ARG_STRLEN: 32 pages.
    let long = "x".repeat(32 * memory::PAGE);
    let error = Command::new(program()).arg(&long).status().expect_err("too long");
    assert_eq!(error.raw_os_error(), Some(libc::E2BIG));
    // More in all than a quarter of the stack's limit.
    let part = "x".repeat(100_000);
    let error = Command::new(program()).args([&part; 30]).status().expect_err("too much");
    assert_eq!(error.raw_os_error(), Some(libc::E2BIG));
}

fn exec_closes_on_request() {
    let (reader, writer) = std::io::pipe().expect("pipe");
    let fd = writer.as_raw_fd() as usize;
    let closing = |flag: usize| {
        sys::call(libc::SYS_fcntl, [fd, libc::F_SETFD as usize, flag]).expect("F_SETFD");
        echo(&[&format!("--is-open={fd}")], &[])
    };
    assert_eq!(closing(libc::FD_CLOEXEC as usize), "closed\n");
    assert_eq!(closing(0), "open\n");
    drop(reader);
}

fn exec_resets_handlers_but_not_ignored_signals() {
    process::handle(libc::SIGUSR1);
    process::ignore(libc::SIGUSR2);
    let action = |signal: i32| echo(&[&format!("--action={signal}")], &[]);
    assert_eq!(action(libc::SIGUSR1), "default\n");
    assert_eq!(action(libc::SIGUSR2), "ignored\n");
}

fn exec_keeps_the_pid() {
    let mut child = Command::new(program().replace("processes", "echo"))
        .arg("--pid")
        .env_clear()
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("spawn");
    let mut text = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut text).expect("read");
    assert_eq!(text.trim(), child.id().to_string());
    assert!(child.wait().expect("wait").success());
}

/// Tries to execute a file with these bytes and returns the error number.
fn exec_error(name: &str, bytes: &[u8], mode: u32) -> Option<i32> {
    let path = format!("/tmp/{name}");
    std::fs::write(&path, bytes).expect("write");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
    let result = process::exec(&path);
    std::fs::remove_file(&path).expect("unlink");
    result
}

fn exec_of_nothing_fails() {
    assert_eq!(process::exec("/no/such/program"), Some(libc::ENOENT));
    assert_eq!(process::exec("/tmp"), Some(libc::EACCES));
    assert_eq!(process::exec(""), Some(libc::ENOENT));
    assert_eq!(process::exec("/dev/null/x"), Some(libc::ENOTDIR));
    assert_eq!(exec_error("empty", &[], 0o755), Some(libc::ENOEXEC));
    assert_eq!(exec_error("text", b"hello", 0o755), Some(libc::ENOEXEC));
    let elf = std::fs::read(program()).expect("this program");
    assert_eq!(exec_error("not_executable", &elf, 0o644), Some(libc::EACCES));
}

fn exec_refuses_bad_elfs() {
    let elf = std::fs::read(program()).expect("this program");
    let refused = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = elf.clone();
        change(&mut bytes);
        assert_eq!(exec_error(name, &bytes, 0o755), Some(libc::ENOEXEC), "{name}");
    };
    // Offsets of the ELF header of 64 bits: e_machine 18, e_type 16, e_phentsize 54, e_phnum 56.
    refused("other_machine", &|bytes| bytes[18] = 62);
    refused("relocatable", &|bytes| bytes[16] = 1);
    refused("core", &|bytes| bytes[16] = 4);
    refused("no_magic", &|bytes| bytes[0] = 0);
    refused("size_of_headers", &|bytes| bytes[54] = 55);
    refused("no_headers", &|bytes| bytes[56] = 0);
    refused("half_a_header", &|bytes| bytes.truncate(40));
    refused("no_program_headers_left", &|bytes| bytes.truncate(70));
}

fn exec_runs_scripts() {
    let path = "/tmp/script";
    let interpreter = program().replace("processes", "echo");
    std::fs::write(path, format!("#! {interpreter} one two\nrest\n")).expect("write");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, mode).expect("chmod");
    let output = Command::new(path).arg("three").env_clear().output().expect("spawn");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().collect::<Vec<_>>(), ["one two", path, "three"]);
    std::fs::write(path, "#!/no/such/interpreter\n").expect("write");
    assert_eq!(process::exec(path), Some(libc::ENOENT));
    std::fs::remove_file(path).expect("unlink");
}

fn auxiliary_vector_describes_the_program() {
    let value = process::auxiliary_value;
    assert_eq!(value(libc::AT_PAGESZ), 4096);
    assert_eq!(value(libc::AT_CLKTCK), 100);
    assert_eq!(value(libc::AT_UID), 0);
    assert_eq!(value(libc::AT_SECURE), 0);
    // FP, ASIMD and atomics.
    for bit in [0, 1, 8] {
        assert_ne!(value(libc::AT_HWCAP) & 1 << bit, 0, "bit {bit} of AT_HWCAP");
    }
    let headers = value(libc::AT_PHDR) as usize;
    // p_type of some header is PT_LOAD.
    let is_load = |index| memory::load(headers + index * 56) as u32 == 1;
    assert!((0..value(libc::AT_PHNUM) as usize).any(is_load));
    assert_eq!(value(libc::AT_PHENT), 56);
    let random = value(libc::AT_RANDOM) as usize;
    assert_ne!(memory::load_pair(random), [0, 0]);
    let name = process::string_at(value(libc::AT_EXECFN) as usize);
    assert_eq!(name, program());
    assert_eq!(process::string_at(value(libc::AT_PLATFORM) as usize), "aarch64");
}

fn exit_group_ends_all_threads() {
    for _ in 0..10 {
        let child = process::fork(|| {
            for _ in 0..8 {
                std::thread::spawn(|| {
                    loop {
                        std::hint::spin_loop();
                    }
                });
                std::thread::spawn(|| {
                    loop {
                        std::thread::park();
                    }
                });
            }
            5
        });
        assert_eq!(child.wait(), Ended::Exited(5));
    }
}
