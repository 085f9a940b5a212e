// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file rounds allocations up to the sizes that slabs serve.

use core::alloc::Layout;

/// The sizes, ascending. Each is a multiple of 16, so that an object's address has the alignment of
/// the largest power of two that divides its size.
pub const SIZES: [usize; 17] =
    [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192, 16384];

/// The largest size.
pub const MAX_SIZE: usize = SIZES[SIZES.len() - 1];

/// Sizes up to here are looked up in [`CLASS_OF_GRANULES`], larger ones are searched for.
const MAX_LOOKUP: usize = 2048;

/// The class of each size up to [`MAX_LOOKUP`], by its number of 16-byte granules.
const CLASS_OF_GRANULES: [u8; MAX_LOOKUP / 16 + 1] = {
    let mut classes = [0; MAX_LOOKUP / 16 + 1];
    let mut granules = 0;
    while granules < classes.len() {
        classes[granules] = first_class(0, granules * 16) as u8;
        granules += 1;
    }
    classes
};

/// Returns the first class, from `from` on, whose size is at least `size`.
const fn first_class(from: usize, size: usize) -> usize {
    let mut class = from;
    while SIZES[class] < size {
        class += 1;
    }
    class
}

/// Returns the class that serves a layout, or `None` when it is too large for a slab.
#[inline]
pub fn class_of(layout: Layout) -> Option<usize> {
    let size = layout.size().max(layout.align());
    if size > MAX_SIZE {
        return None;
    }
    let mut class = match size {
        ..=MAX_LOOKUP => CLASS_OF_GRANULES[size.div_ceil(16)] as usize,
        _ => first_class(SIZES.len() - 3, size),
    };
    // Sizes between powers of two align less. A power of two ends the search.
    while !SIZES[class].is_multiple_of(layout.align()) {
        class += 1;
    }
    Some(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_is_the_smallest_that_fits_in_size_and_alignment() {
        for size in 1..=MAX_SIZE + 1 {
            for align in (0..=14).map(|shift| 1 << shift) {
                let fits = |s: &usize| *s >= size && s.is_multiple_of(align);
                let expected = SIZES.iter().position(fits);
                let layout = Layout::from_size_align(size, align).unwrap();
                assert_eq!(class_of(layout), expected, "{layout:?}");
            }
        }
    }
}
