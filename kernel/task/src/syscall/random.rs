// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file hands out random bytes: getrandom.

use abi::sched::{GRND_INSECURE, GRND_NONBLOCK, GRND_RANDOM};
use abi::{Errno, number};
use hal::Platform;

use super::{Call, Outcome, Row};

impl<P: Platform> Call<'_, P> {
    pub(super) const RANDOM: &'static [Row<P>] = &[(number::GETRANDOM, getrandom)];
}

fn getrandom<P: Platform>(call: &mut Call<'_, P>) -> Outcome {
    let (buf, len, flags) = (call.arg(0), call.arg(1) as usize, call.arg_u32(2));
    let is_known = flags & !(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE) == 0;
    if !is_known || flags & (GRND_RANDOM | GRND_INSECURE) == GRND_RANDOM | GRND_INSECURE {
        return Err(Errno::EINVAL);
    }
    let len = len.min(i32::MAX as usize);
    let mut done = 0;
    while done < len {
        let mut chunk = [0; 256];
        let chunk = &mut chunk[..(len - done).min(256)];
        call.kernel.machine().entropy(chunk);
        if let Err(why) = call.write(buf.wrapping_add(done as u64), chunk) {
            return if done == 0 { Err(why) } else { Ok(done as u64) };
        }
        done += chunk.len();
        call.kernel.sched().cond_resched();
        if call.kernel.sched().current().is_interrupted() && done < len {
            break;
        }
    }
    Ok(done as u64)
}
