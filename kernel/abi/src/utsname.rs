// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file holds the answer of uname (include/uapi/linux/utsname.h).

/// Bytes of each of the six names, with the zero at its end.
pub const NEW_UTS_LEN: usize = 65;

/// `struct new_utsname`: sysname, nodename, release, version, machine, domainname.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Utsname<'a>(pub [&'a str; 6]);

/// Bytes of the encoding.
pub const SIZE: usize = 6 * NEW_UTS_LEN;

impl Utsname<'_> {
    /// Encodes it; a name that is too long is cut.
    pub fn to_bytes(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        for (field, name) in bytes.chunks_exact_mut(NEW_UTS_LEN).zip(self.0) {
            let len = name.len().min(NEW_UTS_LEN - 1);
            field[..len].copy_from_slice(&name.as_bytes()[..len]);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::Utsname;

    #[test]
    fn names_stand_65_bytes_apart_and_end_with_a_zero() {
        let long = "x".repeat(70);
        let bytes = Utsname(["Linux", &long, "", "", "aarch64", ""]).to_bytes();
        assert_eq!(bytes.len(), 390);
        assert_eq!(&bytes[..6], b"Linux\0");
        assert_eq!((bytes[65 + 63], bytes[65 + 64]), (b'x', 0));
        assert_eq!(&bytes[260..268], b"aarch64\0");
    }
}
