// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file turns structs of the ABI into bytes and back, field by field at stated offsets.
//!
//! A struct in user memory is bytes until it is decoded: nothing is cast, no padding leaks out, and
//! the offset that stands beside each field is the one that user programs were compiled with.

/// A value with a fixed little-endian encoding.
pub trait Layout: Sized {
    /// Bytes of the encoding.
    const SIZE: usize;

    /// Reads the value from the first [`Self::SIZE`] bytes.
    fn get(bytes: &[u8]) -> Self;

    /// Writes the value to the first [`Self::SIZE`] bytes.
    fn put(&self, bytes: &mut [u8]);
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl Layout for $integer {
            const SIZE: usize = size_of::<$integer>();

            #[inline(always)]
            fn get(bytes: &[u8]) -> Self {
                let mut own = [0; size_of::<$integer>()];
                own.copy_from_slice(&bytes[..Self::SIZE]);
                <$integer>::from_le_bytes(own)
            }

            #[inline(always)]
            fn put(&self, bytes: &mut [u8]) {
                bytes[..Self::SIZE].copy_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

integers! { u8 u16 u32 u64 u128 i16 i32 i64 }

impl<T: Layout + Copy + Default, const N: usize> Layout for [T; N] {
    const SIZE: usize = N * T::SIZE;

    fn get(bytes: &[u8]) -> Self {
        core::array::from_fn(|index| T::get(&bytes[index * T::SIZE..]))
    }

    fn put(&self, bytes: &mut [u8]) {
        for (index, value) in self.iter().enumerate() {
            value.put(&mut bytes[index * T::SIZE..]);
        }
    }
}

/// Defines structs with their size and the offset of each field; bytes between fields are 0.
/// Fields that overlap or reach beyond the end do not compile.
macro_rules! layouts {
    ($(
        $(#[$doc:meta])*
        pub struct $name:ident [$size:literal] {
            $($(#[$field_doc:meta])* $field:ident: $type:ty = $offset:literal,)*
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $name {
            /// Bytes of the encoding.
            pub const SIZE: usize = $size;

            /// Decodes it.
            pub fn from_bytes(bytes: &[u8; $size]) -> Self {
                $crate::layout::Layout::get(bytes)
            }

            /// Encodes it.
            pub fn to_bytes(self) -> [u8; $size] {
                let mut bytes = [0; $size];
                $crate::layout::Layout::put(&self, &mut bytes);
                bytes
            }
        }

        const _: () = {
            let mut end = 0;
            $(
                assert!(end <= $offset, "fields overlap");
                end = $offset + <$type as $crate::layout::Layout>::SIZE;
            )*
            assert!(end <= $size, "a field reaches beyond the end");
        };

        impl $crate::layout::Layout for $name {
            const SIZE: usize = $size;

            fn get(bytes: &[u8]) -> Self {
                Self { $($field: $crate::layout::Layout::get(&bytes[$offset..]),)* }
            }

            fn put(&self, bytes: &mut [u8]) {
                bytes[..$size].fill(0);
                $($crate::layout::Layout::put(&self.$field, &mut bytes[$offset..]);)*
            }
        }
    )*};
}

pub(crate) use layouts;

#[cfg(test)]
mod tests {
    use super::Layout;

    layouts! {
        /// Has a hole.
        pub struct Holed [16] {
            /// One byte.
            small: u8 = 0,
            /// Aligned.
            large: i32 = 8,
        }
    }

    #[test]
    fn fields_are_little_endian_at_their_offsets_and_holes_are_zero() {
        let value = Holed { small: 7, large: -2 };
        let bytes = value.to_bytes();
        assert_eq!(Holed::SIZE, 16);
        assert_eq!(bytes, [7, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        assert_eq!(Holed::from_bytes(&bytes), value);
        assert_eq!(<[u16; 3]>::get(&[1, 0, 2, 0, 3, 1]), [1, 2, 0x103]);
    }
}
