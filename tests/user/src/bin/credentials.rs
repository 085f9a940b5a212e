// SPDX-License-Identifier: MIT OR Apache-2.0
//! This program tests whose a process is, and that swap areas are for who has CAP_SYS_ADMIN. It begins as
//! root.

use std::os::unix::process::CommandExt;

use user_tests::process::{self, in_child};
use user_tests::swap;
use user_tests::sys::{self, Errno};
use user_tests::trial::Skip;

user_tests::tests!(
    a_process_without_privilege_has_eperm_of_swapon_and_swapoff,
    unknown_flags_are_einval_before_privilege_is_looked_at,
    privilege_comes_back_with_the_saved_user,
    credentials_are_inherited_by_fork_and_shown,
    all_three_users_of_one_who_is_not_root_are_its_own,
    exec_keeps_the_users_and_forgets_the_saved_one,
);

/// A user who is not root.
const USER: usize = 1000;
const GROUP: usize = 2000;
/// "As it is" in setresuid.
const KEEP: usize = u32::MAX as usize;
/// CAP_SYS_ADMIN (linux/capability.h).
const CAP_SYS_ADMIN: u32 = 21;
/// Set in the environment of the program that a test executes.
const AGAIN: &str = "CREDENTIALS_AGAIN";

fn root_needed() -> Result<(), Skip> {
    if users() == [0; 3] { Ok(()) } else { Err(Skip("not root")) }
}

/// Real, effective and saved user.
fn users() -> [u32; 3] {
    let mut ids = [u32::MAX; 3];
    let at = ids.as_mut_ptr().expose_provenance();
    sys::call(libc::SYS_getresuid, [at, at + 4, at + 8]).expect("getresuid");
    ids
}

fn set_users(ids: [usize; 3]) -> Result<(), Errno> {
    sys::call(libc::SYS_setresuid, ids).map(drop)
}

/// Becomes somebody else for good.
fn drop_privilege() {
    sys::call(libc::SYS_setgid, [GROUP]).expect("setgid of root");
    sys::call(libc::SYS_setuid, [USER]).expect("setuid of root");
}

/// Returns the fields of a line of /proc/self/status.
fn status(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    line.expect("a line of status").split_whitespace().map(String::from).collect()
}

fn has_sys_admin(set: &str) -> bool {
    let caps = u64::from_str_radix(&status(set)[0], 16).expect("a mask");
    caps & 1 << CAP_SYS_ADMIN != 0
}

fn a_process_without_privilege_has_eperm_of_swapon_and_swapoff() -> Result<(), Skip> {
    root_needed()?;
    in_child(|| {
        drop_privilege();
        // Whatever the path is.
        for path in ["/dev/vda", "/dev/vdb", "/proc", "/no/such/file"] {
            assert_eq!(swap::on(path, 0), Err(libc::EPERM), "{path}");
            assert_eq!(swap::off(path), Err(libc::EPERM), "{path}");
        }
        assert!(!has_sys_admin("CapEff") && !has_sys_admin("CapPrm"));
    });
    // Of root, it is the path that is wrong.
    assert_eq!(swap::off("/no/such/file"), Err(libc::ENOENT));
    Ok(())
}

fn unknown_flags_are_einval_before_privilege_is_looked_at() -> Result<(), Skip> {
    root_needed()?;
    in_child(|| {
        drop_privilege();
        assert_eq!(swap::on("/dev/vda", 1 << 20), Err(libc::EINVAL));
    });
    Ok(())
}

fn privilege_comes_back_with_the_saved_user() -> Result<(), Skip> {
    root_needed()?;
    in_child(|| {
        assert_eq!(set_users([KEEP, USER, KEEP]), Ok(()));
        assert_eq!(users(), [0, USER as u32, 0]);
        assert_eq!(swap::off("/no/such/file"), Err(libc::EPERM));
        assert!(!has_sys_admin("CapEff") && has_sys_admin("CapPrm"));
        assert_eq!(sys::call(libc::SYS_setuid, [0]), Ok(0));
        assert_eq!(users(), [0; 3]);
        assert_eq!(swap::off("/no/such/file"), Err(libc::ENOENT));
        assert!(has_sys_admin("CapEff"));
    });
    Ok(())
}

fn credentials_are_inherited_by_fork_and_shown() -> Result<(), Skip> {
    root_needed()?;
    in_child(|| {
        sys::call(libc::SYS_setresgid, [1, 2, 3]).expect("setresgid of root");
        set_users([4, 5, 6]).expect("setresuid of root");
        in_child(|| {
            assert_eq!(users(), [4, 5, 6]);
            assert_eq!(sys::call(libc::SYS_getuid, []), Ok(4));
            assert_eq!(sys::call(libc::SYS_geteuid, []), Ok(5));
            assert_eq!(sys::call(libc::SYS_getgid, []), Ok(1));
            assert_eq!(sys::call(libc::SYS_getegid, []), Ok(2));
            assert_eq!(status("Uid"), ["4", "5", "6", "5"]);
            assert_eq!(status("Gid"), ["1", "2", "3", "2"]);
        });
        assert_eq!(users(), [4, 5, 6], "the child's are its own");
    });
    Ok(())
}

fn all_three_users_of_one_who_is_not_root_are_its_own() -> Result<(), Skip> {
    root_needed()?;
    in_child(|| {
        set_users([4, 5, 6]).expect("setresuid of root");
        assert_eq!(set_users([KEEP, 0, KEEP]), Err(libc::EPERM));
        assert_eq!(set_users([5, 6, 7]), Err(libc::EPERM));
        assert_eq!(users(), [4, 5, 6], "nothing is half done");
        assert_eq!(sys::call(libc::SYS_setuid, [5]), Err(libc::EPERM), "not the effective one");
        assert_eq!(set_users([6, 4, KEEP]), Ok(()));
        assert_eq!(users(), [6, 4, 6]);
        // Real and effective change places; the saved one is the new effective one.
        assert_eq!(sys::call(libc::SYS_setreuid, [4, 6]), Ok(0));
        assert_eq!(users(), [4, 6, 6]);
        assert_eq!(sys::call(libc::SYS_setuid, [KEEP]), Err(libc::EINVAL));
        assert_eq!(sys::call(libc::SYS_setgid, [GROUP]), Err(libc::EPERM));
    });
    Ok(())
}

fn exec_keeps_the_users_and_forgets_the_saved_one() -> Result<(), Skip> {
    if std::env::var_os(AGAIN).is_some() {
        assert_eq!(users(), [USER as u32; 3]);
        assert_eq!(set_users([KEEP, 0, KEEP]), Err(libc::EPERM));
        assert_eq!([libc::AT_UID, libc::AT_EUID].map(process::auxiliary_value), [USER as u64; 2]);
        return Ok(());
    }
    root_needed()?;
    let own = std::env::current_exe().map_err(|_| Skip("no /proc/self/exe"))?;
    set_users([USER, USER, 0]).expect("setresuid of root");
    let name = "exec_keeps_the_users_and_forgets_the_saved_one";
    panic!("{}", std::process::Command::new(own).arg(name).env(AGAIN, "1").exec());
}
