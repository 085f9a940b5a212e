// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file serves small objects from chunks of one size class each: allocation and free take the
//! same few steps however many objects there are.
//!
//! A chunk is 64 KiB, aligned to its size, with a header at its start; an object's chunk is found by
//! clearing low address bits. Objects of a class come from any chunk of the class that has one free;
//! such chunks are in the class's list. A chunk whose last object is freed goes back.

#![expect(unsafe_code, reason = "links run through free objects and chunk headers")]

use core::ptr::{NonNull, null_mut};

use super::size_class::SIZES;

/// Bytes in a chunk, and its alignment.
pub const CHUNK_SIZE: usize = 64 << 10;

/// What a chunk starts with.
#[repr(C)]
struct Header {
    /// Neighbours in the class's list of chunks with free objects.
    next: *mut Header,
    prev: *mut Header,
    /// Free objects, linked through their first word.
    free: *mut FreeObject,
    class: u16,
    /// Objects in use.
    nr_used: u16,
    /// Objects that were ever handed out: those behind have not been touched yet.
    nr_fresh: u16,
}

struct FreeObject {
    next: *mut FreeObject,
}

/// Chunks of all classes.
pub struct Slab {
    /// The list of each class.
    with_free: [*mut Header; SIZES.len()],
}

// SAFETY: a slab owns the chunks it points to.
unsafe impl Send for Slab {}

/// Returns the offset of a class's first object: past the header, aligned as the size asks.
const fn first_object(class: usize) -> usize {
    let natural_align = 1 << SIZES[class].trailing_zeros();
    size_of::<Header>().next_multiple_of(natural_align)
}

/// Returns how many objects of a class fit a chunk.
const fn capacity(class: usize) -> usize {
    (CHUNK_SIZE - first_object(class)) / SIZES[class]
}

impl Slab {
    /// Builds a slab without chunks.
    pub const fn new() -> Self {
        Self { with_free: [null_mut(); SIZES.len()] }
    }

    /// Takes an object of a class, or `None` when the class needs another chunk.
    pub fn alloc(&mut self, class: usize) -> Option<NonNull<u8>> {
        let chunk = self.with_free[class];
        // SAFETY: a chunk in a list is owned by this slab, and the list holds no other reference.
        let header = unsafe { chunk.as_mut() }?;
        let object = match NonNull::new(header.free) {
            Some(free) => {
                // SAFETY: a free object's first word was written when it was freed.
                header.free = unsafe { free.as_ref() }.next;
                free.cast()
            }
            None => {
                let offset = first_object(class) + usize::from(header.nr_fresh) * SIZES[class];
                header.nr_fresh += 1;
                // Inside the chunk: it is not full, so `nr_fresh` was below its capacity.
                NonNull::new(chunk.cast::<u8>().wrapping_add(offset))?
            }
        };
        header.nr_used += 1;
        if usize::from(header.nr_used) == capacity(class) {
            self.unlink(chunk);
        }
        Some(object)
    }

    /// Gives a class another chunk.
    ///
    /// # Safety
    ///
    /// `chunk` is [`CHUNK_SIZE`] writable bytes, aligned to their size, that nothing else uses until
    /// [`Slab::free`] returns them.
    pub unsafe fn add_chunk(&mut self, class: usize, chunk: NonNull<u8>) {
        let header = Header {
            next: null_mut(),
            prev: null_mut(),
            free: null_mut(),
            class: class as u16,
            nr_used: 0,
            nr_fresh: 0,
        };
        let chunk = chunk.cast::<Header>().as_ptr();
        // SAFETY: the caller's promise.
        unsafe { chunk.write(header) };
        self.link(chunk);
    }

    /// Frees an object. Returns its chunk when it was the last one in use: the chunk is the
    /// caller's again.
    ///
    /// # Safety
    ///
    /// `object` came from [`Slab::alloc`] and is not used any more.
    pub unsafe fn free(&mut self, object: NonNull<u8>) -> Option<NonNull<u8>> {
        let chunk = object.as_ptr().map_addr(|at| at & !(CHUNK_SIZE - 1)).cast::<Header>();
        // SAFETY: objects lie in chunks, whose header is at the aligned address.
        let header = unsafe { &mut *chunk };
        let class = usize::from(header.class);
        let was_full = usize::from(header.nr_used) == capacity(class);
        header.nr_used -= 1;
        if header.nr_used == 0 {
            if !was_full {
                self.unlink(chunk);
            }
            return NonNull::new(chunk.cast());
        }
        let link = object.cast::<FreeObject>();
        // SAFETY: the caller's promise; an object has at least 16 bytes, aligned to 16.
        unsafe { link.write(FreeObject { next: header.free }) };
        header.free = link.as_ptr();
        if was_full {
            self.link(chunk);
        }
        None
    }

    /// Puts a chunk at the head of its class's list.
    fn link(&mut self, chunk: *mut Header) {
        // SAFETY: `chunk` is a chunk of this slab, in no list.
        let header = unsafe { &mut *chunk };
        let head = &mut self.with_free[usize::from(header.class)];
        header.next = *head;
        header.prev = null_mut();
        // SAFETY: chunks in a list are chunks of this slab.
        if let Some(next) = unsafe { header.next.as_mut() } {
            next.prev = chunk;
        }
        *head = chunk;
    }

    /// Takes a chunk out of its class's list.
    fn unlink(&mut self, chunk: *mut Header) {
        // SAFETY: `chunk` is a chunk of this slab, in its class's list.
        let Header { next, prev, class, .. } = *unsafe { &*chunk };
        // SAFETY: chunks in a list are chunks of this slab.
        match unsafe { prev.as_mut() } {
            Some(prev) => prev.next = next,
            None => self.with_free[usize::from(class)] = next,
        }
        // SAFETY: chunks in a list are chunks of this slab.
        if let Some(next) = unsafe { next.as_mut() } {
            next.prev = prev;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::size_class::SIZES;
    use std::alloc::{Layout, alloc, dealloc};
    use std::collections::BTreeMap;
    use std::vec::Vec;

    const CHUNK: Layout = match Layout::from_size_align(CHUNK_SIZE, CHUNK_SIZE) {
        Ok(layout) => layout,
        Err(_) => panic!(),
    };

    /// A slab that takes its chunks from the host's heap and counts them.
    struct Host {
        slab: Slab,
        nr_chunks: usize,
    }

    impl Host {
        fn new() -> Self {
            Self { slab: Slab::new(), nr_chunks: 0 }
        }

        fn alloc(&mut self, class: usize) -> NonNull<u8> {
            self.slab.alloc(class).unwrap_or_else(|| {
                // SAFETY: the layout is not of size zero.
                let chunk = NonNull::new(unsafe { alloc(CHUNK) }).unwrap();
                self.nr_chunks += 1;
                // SAFETY: a chunk of its own, until `free` returns it.
                unsafe { self.slab.add_chunk(class, chunk) };
                self.slab.alloc(class).unwrap()
            })
        }

        fn free(&mut self, object: NonNull<u8>) {
            // SAFETY: the tests free what they have allocated, once.
            if let Some(chunk) = unsafe { self.slab.free(object) } {
                self.nr_chunks -= 1;
                // SAFETY: allocated above with this layout.
                unsafe { dealloc(chunk.as_ptr(), CHUNK) };
            }
        }
    }

    #[test]
    fn objects_are_aligned_and_disjoint() {
        for (class, size) in SIZES.into_iter().enumerate() {
            let mut host = Host::new();
            let objects: Vec<_> = (0..2 * capacity(class) + 1).map(|_| host.alloc(class)).collect();
            assert_eq!(host.nr_chunks, 3);
            let mut starts: Vec<_> = objects.iter().map(|object| object.addr().get()).collect();
            starts.sort_unstable();
            assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= size), "{size}");
            assert!(starts.iter().all(|at| at.trailing_zeros() >= size.trailing_zeros()), "{size}");
            assert!(starts.iter().all(|at| at % CHUNK_SIZE + size <= CHUNK_SIZE), "{size}");
            objects.into_iter().for_each(|object| host.free(object));
            assert_eq!(host.nr_chunks, 0, "{size}");
        }
    }

    #[test]
    fn full_chunk_comes_back_to_the_list_when_an_object_is_freed() {
        let class = SIZES.len() - 1;
        let mut host = Host::new();
        let objects: Vec<_> = (0..capacity(class)).map(|_| host.alloc(class)).collect();
        host.free(objects[1]);
        assert_eq!(host.alloc(class), objects[1]);
        assert_eq!(host.nr_chunks, 1);
        objects.into_iter().for_each(|object| host.free(object));
    }

    #[test]
    fn random_use_never_hands_out_a_live_object() {
        let mut host = Host::new();
        let mut live = BTreeMap::new();
        let mut random = 1_u64;
        for round in 0..100_000_u64 {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(round);
            let class = (random >> 40) as usize % SIZES.len();
            if random >> 60 < 8 && live.len() < 3000 {
                let object = host.alloc(class);
                // SAFETY: the object has at least 16 bytes.
                unsafe { object.cast::<u64>().write(round) };
                assert!(live.insert(object, round).is_none(), "handed out twice");
            } else if let Some((object, mark)) = live.pop_first() {
                // SAFETY: written above.
                assert_eq!(unsafe { object.cast::<u64>().read() }, mark, "overwritten");
                host.free(object);
            }
        }
        live.into_keys().for_each(|object| host.free(object));
        assert_eq!(host.nr_chunks, 0);
    }
}
