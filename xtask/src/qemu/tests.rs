// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tests the QEMU command word by word.

use super::*;
use crate::profile::{Content, DiskError, Request};
use crate::size::Size;

fn machine() -> Profile {
    Profile {
        about: String::from("a test"),
        memory: Size::mib(256),
        cpus: 4,
        mte: true,
        el2: false,
        deterministic: false,
        kernel_args: Vec::new(),
        disks: Vec::new(),
        device_memory: None,
    }
}

fn disk() -> Disk {
    Disk {
        content: Content::Swap,
        size: Size::mib(64),
        transport: Transport::Mmio,
        errors: Vec::new(),
    }
}

fn boot() -> Boot {
    Boot {
        kernel: PathBuf::from("Image"),
        initramfs: None,
        command_line: String::from("exit=semihosting"),
        disks: Vec::new(),
        debugger: None,
        tape: None,
    }
}

fn line(machine: &Profile, boot: &Boot) -> String {
    command_line(Path::new("qemu"), machine, boot).to_string()
}

#[test]
fn plain_machine_is_the_line_of_the_emulator_notes() {
    assert_eq!(
        line(&machine(), &boot()),
        "qemu -nodefaults -M virt,gic-version=3,mte=on -cpu max,pauth-impdef=on -smp 4 -m 256M \
         -global virtio-mmio.force-legacy=false -display none -monitor none -serial stdio \
         -semihosting-config enable=on,target=native -no-reboot -kernel Image \
         -append exit=semihosting"
    );
}

#[test]
fn flags_of_a_profile_select_the_board() {
    let plain = Profile { mte: false, el2: true, ..machine() };
    assert!(line(&plain, &boot()).contains(" -M virt,gic-version=3,virtualization=on "));
    let repeatable = line(&Profile { deterministic: true, ..machine() }, &boot());
    assert!(repeatable.contains(" -icount shift=0,sleep=off "), "{repeatable}");
    assert!(repeatable.contains(" -M virt,gic-version=3,mte=on,dtb-randomness=off "));
}

#[test]
fn disks_keep_their_order_and_transport() {
    let pci = Disk { transport: Transport::Pci, ..disk() };
    let machine = Profile { disks: vec![disk(), pci], ..machine() };
    let boot = Boot { disks: vec!["a,b.img".into(), "c.img".into()], ..boot() };
    let line = line(&machine, &boot);
    assert!(line.contains("filename=a,,b.img,cache.no-flush=on"), "{line}");
    let first = line.find("-device virtio-blk-device,drive=disk0").expect("vda");
    let second = line.find("-device virtio-blk-pci,queue-size=512,drive=disk1").expect("vdb");
    assert!(first < second);
}

#[test]
fn a_file_of_the_host_is_no_device_and_lies_where_qemu_starts() {
    let host = Disk { transport: Transport::Host, ..disk() };
    let machine = Profile { disks: vec![host], ..machine() };
    let line = line(&machine, &Boot { disks: vec!["/d/disk0.img".into()], ..boot() });
    assert!(line.starts_with("cd /d && qemu "), "{line}");
    assert!(!line.contains("disk0.img") && !line.contains("virtio-blk"), "{line}");
}

#[test]
fn disk_errors_stand_between_the_file_and_the_disk() {
    let some = DiskError { on: None, errno: 5, sector: None, once: false, nth: None };
    let read = DiskError { on: Some(Request::Read), sector: Some(8), once: true, ..some };
    let write = DiskError { on: Some(Request::Write), errno: 28, ..some };
    let machine =
        Profile { disks: vec![Disk { errors: vec![read, write], ..disk() }], ..machine() };
    let line = line(&machine, &Boot { disks: vec!["a.img".into()], ..boot() });
    assert!(
        line.contains(
            "-blockdev driver=blkdebug,node-name=faulty0,image=file0,\
             inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.errno=5,\
             inject-error.0.sector=8,inject-error.0.once=on,\
             inject-error.1.event=none,inject-error.1.iotype=write,inject-error.1.errno=28 \
             -blockdev driver=raw,node-name=disk0,file=faulty0,discard=unmap"
        ),
        "{line}"
    );
}

#[test]
fn requests_are_counted_up_to_the_one_that_fails() {
    let nth = |once| DiskError { on: None, errno: 5, sector: None, once, nth: Some(2) };
    let once = blkdebug::rules(&[nth(true)]);
    let count = |rule, event, state| {
        let at = format!(",set-state.{rule}");
        format!("{at}.event={event}{at}.state={state}{at}.new_state={}", state + 1)
    };
    let two = ["read_aio", "write_aio"];
    let counted = |n: usize| (0..n).map(move |rule| count(rule, two[rule % 2], rule / 2 + 1));
    assert_eq!(
        once,
        counted(4).collect::<String>()
            + ",inject-error.0.event=read_aio,inject-error.0.state=2,inject-error.0.errno=5\
               ,inject-error.0.once=on\
               ,inject-error.1.event=write_aio,inject-error.1.state=2,inject-error.1.errno=5\
               ,inject-error.1.once=on"
    );
    // Without `once` the state stays, and so does the error.
    assert!(blkdebug::rules(&[nth(false)]).starts_with(&counted(2).collect::<String>()));
    assert!(!blkdebug::rules(&[nth(false)]).contains("set-state.2"));
}

#[test]
fn debugger_stops_the_machine_before_its_first_instruction() {
    let line = line(&machine(), &Boot { debugger: Some(1234), ..boot() });
    assert!(line.ends_with(" -S -gdb tcp:127.0.0.1:1234"), "{line}");
}

fn taped(mode: TapeMode) -> String {
    let tape = Tape { mode, events: "e".into(), serial_log: "s".into() };
    let machine = Profile { disks: vec![disk()], deterministic: true, ..machine() };
    line(&machine, &Boot { disks: vec!["a.img".into()], tape: Some(tape), ..boot() })
}

#[test]
fn recorder_stands_between_each_disk_and_its_device() {
    let line = taped(TapeMode::Record);
    assert!(line.contains(" -icount shift=0,rr=record,rrfile=e "), "{line}");
    assert!(line.contains(" -chardev stdio,id=serial0,logfile=s -serial chardev:serial0 "));
    assert!(
        line.contains(
            " -blockdev driver=blkreplay,node-name=taped0,image=disk0 \
             -device virtio-blk-device,drive=taped0,"
        ),
        "{line}"
    );
}

#[test]
fn what_can_go_backwards_has_room_for_the_machine_before_that_of_its_disks() {
    assert!(!taped(TapeMode::Replay(None)).contains("qcow2"));
    let snapshots = Snapshots { machine: "m".into(), disks: vec!["o".into()] };
    let line = taped(TapeMode::Replay(Some(snapshots)));
    let machine = line.find(" -drive if=none,id=machine,format=qcow2,file=m ").expect("a drive");
    assert!(machine < line.find("-blockdev").expect("a disk"), "{line}");
    assert!(line.contains("driver=qcow2,node-name=over0,file=overfile0,backing=disk0,"), "{line}");
    assert!(line.contains("driver=blkreplay,node-name=taped0,image=over0 "), "{line}");
}

#[test]
fn display_can_be_pasted_into_a_shell() {
    let boot = Boot { command_line: String::from("a=b -- it's $HOME"), ..boot() };
    assert!(line(&machine(), &boot).ends_with(r"-append 'a=b -- it'\''s $HOME'"));
    assert_eq!(shell_quote(""), "''");
}

#[test]
fn version_reads_what_distributions_print() {
    let version = |major, minor| Some(Version { major, minor });
    let debian = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright (c)";
    assert_eq!(Version::parse(debian), version(7, 2));
    assert_eq!(Version::parse("QEMU emulator version 10.0.2\n"), version(10, 0));
    assert_eq!(Version::parse("QEMU emulator version 9.1.50 (v9.1.0-1)"), version(9, 1));
    assert_eq!(Version::parse("qemu-img version 7.2.0"), None);
    assert_eq!(Version::parse(""), None);
}

#[test]
fn versions_compare_by_number_and_not_by_text() {
    let old = Version { major: 7, minor: 1 };
    let new = Version { major: 10, minor: 0 };
    assert!(old < Version::OLDEST && Version::OLDEST < new);
}
