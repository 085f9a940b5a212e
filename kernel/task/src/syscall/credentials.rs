// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file tells programs whose they are, and lets them be somebody else's: setresuid and its like.

use abi::{Errno, number};
use hal::Platform;

use super::{Call, Outcome, Row};
use crate::process::{Credentials, Ids};

impl<P: Platform> Call<'_, P> {
    pub(super) const CREDENTIALS: &'static [Row<P>] = &[
        (number::GETUID, |call| Ok(call.credentials().user.real.into())),
        (number::GETEUID, |call| Ok(call.credentials().user.effective.into())),
        (number::GETGID, |call| Ok(call.credentials().group.real.into())),
        (number::GETEGID, |call| Ok(call.credentials().group.effective.into())),
        // Nobody is in further groups.
        (number::GETGROUPS, |_| Ok(0)),
        (number::GETRESUID, |call| call.put_ids(call.credentials().user)),
        (number::GETRESGID, |call| call.put_ids(call.credentials().group)),
        (number::SETUID, |call| call.change(user, |ids, [id, ..], may| ids.set(id, may))),
        (number::SETGID, |call| call.change(group, |ids, [id, ..], may| ids.set(id, may))),
        (number::SETREUID, |call| call.change(user, set_two)),
        (number::SETREGID, |call| call.change(group, set_two)),
        (number::SETRESUID, |call| call.change(user, Ids::set_three)),
        (number::SETRESGID, |call| call.change(group, Ids::set_three)),
    ];

    fn credentials(&self) -> Credentials {
        self.thread.process().credentials()
    }

    /// Goes on only for who has CAP_SYS_ADMIN.
    ///
    /// # Errors
    ///
    /// EPERM for others.
    pub(super) fn check_admin(&self) -> Result<(), Errno> {
        if self.credentials().is_privileged() { Ok(()) } else { Err(Errno::EPERM) }
    }

    fn put_ids(&self, ids: Ids) -> Outcome {
        for (index, id) in [ids.real, ids.effective, ids.saved].into_iter().enumerate() {
            self.write(self.arg(index), &id.to_le_bytes())?;
        }
        Ok(0)
    }

    /// Changes users or groups by the call's arguments.
    fn change(
        &self,
        which: fn(&mut Credentials) -> &mut Ids,
        how: fn(&mut Ids, [u32; 3], bool) -> Result<(), Errno>,
    ) -> Outcome {
        let ids = [0, 1, 2].map(|index| self.arg_u32(index));
        self.thread.process().with_credentials(|own| {
            let is_privileged = own.is_privileged();
            how(which(own), ids, is_privileged).map(|()| 0)
        })
    }
}

fn user(own: &mut Credentials) -> &mut Ids {
    &mut own.user
}

fn group(own: &mut Credentials) -> &mut Ids {
    &mut own.group
}

fn set_two(
    ids: &mut Ids,
    [real, effective, _]: [u32; 3],
    is_privileged: bool,
) -> Result<(), Errno> {
    ids.set_two(real, effective, is_privileged)
}
