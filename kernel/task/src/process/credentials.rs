// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is whose process it is: real, effective and saved user and group (credentials(7)).
//!
//! An effective user of 0 has every capability, another has none. A process begins as root, so what it
//! may have again (CapPrm) is all as long as one of its users is 0 (Linux: security/commoncap.c,
//! `cap_emulate_setxuid`).
//!
//! Credentials are the process's, as POSIX has it. Linux keeps them for each thread, and the C library
//! makes all threads change them together.

use abi::Errno;

/// Stands for "as it is" in setreuid, setresuid and theirs for groups.
const UNCHANGED: u32 = u32::MAX;

/// Three users, or three groups.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Ids {
    pub real: u32,
    pub effective: u32,
    pub saved: u32,
}

/// Users and groups of a process.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Credentials {
    pub user: Ids,
    pub group: Ids,
}

impl Credentials {
    /// Tells whether it has the capabilities, of which CAP_SYS_ADMIN is one.
    pub fn is_privileged(&self) -> bool {
        self.user.effective == 0
    }

    /// Tells whether it can have the capabilities again.
    pub fn may_be_privileged(&self) -> bool {
        self.user.has(0)
    }

    /// Is what they are for a new program: it cannot go back to what was saved before.
    pub fn exec(&mut self) {
        for ids in [&mut self.user, &mut self.group] {
            ids.saved = ids.effective;
        }
    }
}

impl Ids {
    fn has(&self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }

    /// Does what setuid and setgid do (Linux: kernel/sys.c).
    ///
    /// # Errors
    ///
    /// EINVAL for what is no id, EPERM for one that the process may not take.
    pub fn set(&mut self, id: u32, is_privileged: bool) -> Result<(), Errno> {
        if id == UNCHANGED {
            return Err(Errno::EINVAL);
        }
        if is_privileged {
            *self = Self { real: id, effective: id, saved: id };
        } else if id == self.real || id == self.saved {
            self.effective = id;
        } else {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// Does what setreuid and setregid do.
    ///
    /// # Errors
    ///
    /// EPERM for an id that the process may not take; nothing is changed.
    pub fn set_two(&mut self, real: u32, effective: u32, is_privileged: bool) -> Result<(), Errno> {
        let old = *self;
        let may_be_real = [UNCHANGED, old.real, old.effective].contains(&real);
        let may_be_effective = effective == UNCHANGED || old.has(effective);
        if !(is_privileged || may_be_real && may_be_effective) {
            return Err(Errno::EPERM);
        }
        self.real = or(real, old.real);
        self.effective = or(effective, old.effective);
        if real != UNCHANGED || (effective != UNCHANGED && effective != old.real) {
            self.saved = self.effective;
        }
        Ok(())
    }

    /// Does what setresuid and setresgid do.
    ///
    /// # Errors
    ///
    /// EPERM for an id that the process may not take; nothing is changed.
    pub fn set_three(&mut self, new: [u32; 3], is_privileged: bool) -> Result<(), Errno> {
        let may_be = |id: &u32| *id == UNCHANGED || self.has(*id);
        if !is_privileged && !new.iter().all(may_be) {
            return Err(Errno::EPERM);
        }
        let [real, effective, saved] = new;
        self.real = or(real, self.real);
        self.effective = or(effective, self.effective);
        self.saved = or(saved, self.saved);
        Ok(())
    }
}

fn or(id: u32, old: u32) -> u32 {
    if id == UNCHANGED { old } else { id }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Ids = Ids { real: 0, effective: 0, saved: 0 };

    fn ids(real: u32, effective: u32, saved: u32) -> Ids {
        Ids { real, effective, saved }
    }

    #[test]
    fn root_that_becomes_a_user_cannot_go_back() {
        let mut user = ROOT;
        assert_eq!(user.set(1000, true), Ok(()));
        assert_eq!(user, ids(1000, 1000, 1000));
        assert_eq!(user.set(0, false), Err(Errno::EPERM));
        assert_eq!(user.set_two(0, UNCHANGED, false), Err(Errno::EPERM));
        assert_eq!(user.set_three([UNCHANGED, UNCHANGED, 0], false), Err(Errno::EPERM));
        assert_eq!(user, ids(1000, 1000, 1000), "nothing is half done");
    }

    #[test]
    fn a_saved_user_can_be_taken_again() {
        let mut user = ROOT;
        assert_eq!(user.set_three([UNCHANGED, 1000, UNCHANGED], true), Ok(()));
        assert_eq!(user, ids(0, 1000, 0));
        assert_eq!(user.set(0, false), Ok(()));
        assert_eq!(user, ROOT);
    }

    #[test]
    fn two_ids_move_the_saved_one_when_the_real_one_is_set_or_left() {
        let mut user = ROOT;
        assert_eq!(user.set_two(UNCHANGED, 0, true), Ok(()));
        assert_eq!(user, ROOT);
        assert_eq!(user.set_two(UNCHANGED, 7, true), Ok(()));
        assert_eq!(user, ids(0, 7, 7));
        // Real and effective change places.
        assert_eq!(user.set_two(7, 0, false), Ok(()));
        assert_eq!(user, ids(7, 0, 0));
    }

    #[test]
    fn exec_forgets_what_was_saved() {
        let mut own = Credentials { user: ids(5, 5, 0), group: ROOT };
        assert!(own.may_be_privileged() && !own.is_privileged());
        own.exec();
        assert_eq!(own.user, ids(5, 5, 5));
        assert!(!own.may_be_privileged());
    }

    #[test]
    fn all_ones_is_no_id() {
        assert_eq!(ROOT.clone().set(UNCHANGED, true), Err(Errno::EINVAL));
        let mut user = ROOT;
        assert_eq!(user.set_three([UNCHANGED; 3], false), Ok(()));
        assert_eq!(user, ROOT);
    }
}
