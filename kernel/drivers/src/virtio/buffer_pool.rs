// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file remembers the buffers of requests in flight: as many as the queue has descriptors,
//! because each has one, in lists.

use alloc::boxed::Box;
use core::ptr::NonNull;

/// No node.
const END: u16 = u16::MAX;

struct Node {
    buffer: NonNull<[u8]>,
    next: u16,
}

/// A list of buffers. Whoever has it removes it once.
#[derive(Clone, Copy)]
pub struct List {
    first: u16,
}

/// All nodes, in the lists of requests and in one of those that are free.
pub struct BufferPool {
    nodes: Box<[Node]>,
    free: u16,
}

impl BufferPool {
    /// Builds a pool of free nodes.
    pub fn new(nr_nodes: usize) -> Self {
        let nothing = NonNull::slice_from_raw_parts(NonNull::dangling(), 0);
        let next = |index| if index + 1 < nr_nodes { index as u16 + 1 } else { END };
        let node = |index| Node { buffer: nothing, next: next(index) };
        Self { nodes: (0..nr_nodes).map(node).collect(), free: 0 }
    }

    /// Makes a list of buffers.
    ///
    /// # Panics
    ///
    /// When there are more buffers in the pool than the queue has descriptors.
    pub fn insert(&mut self, buffers: &[NonNull<[u8]>]) -> List {
        let mut first = END;
        for &buffer in buffers.iter().rev() {
            let index = self.free;
            let node = &mut self.nodes[usize::from(index)];
            self.free = node.next;
            *node = Node { buffer, next: first };
            first = index;
        }
        List { first }
    }

    /// Iterates over a list, in the order of the buffers.
    pub fn iter(&self, list: List) -> impl Iterator<Item = NonNull<[u8]>> {
        let mut next = list.first;
        core::iter::from_fn(move || {
            let node = self.nodes.get(usize::from(next))?;
            next = node.next;
            Some(node.buffer)
        })
    }

    /// Tells whether a list has more than one buffer.
    pub fn has_several(&self, list: List) -> bool {
        self.nodes.get(usize::from(list.first)).is_some_and(|node| node.next != END)
    }

    /// Frees the nodes of a list.
    pub fn remove(&mut self, list: List) {
        let mut next = list.first;
        while let Some(node) = self.nodes.get_mut(usize::from(next)) {
            let index = next;
            next = node.next;
            node.next = self.free;
            self.free = index;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn buffers(lengths: &[usize]) -> Vec<NonNull<[u8]>> {
        let buffer = |len: &usize| NonNull::slice_from_raw_parts(NonNull::dangling(), *len);
        lengths.iter().map(buffer).collect()
    }

    fn lengths(pool: &BufferPool, list: List) -> Vec<usize> {
        pool.iter(list).map(|buffer| buffer.len()).collect()
    }

    #[test]
    fn several_buffers_are_more_than_one() {
        let mut pool = BufferPool::new(3);
        let lists = [&[][..], &[1], &[2, 3]].map(|lengths| pool.insert(&buffers(lengths)));
        assert_eq!(lists.map(|list| pool.has_several(list)), [false, false, true]);
    }

    #[test]
    fn lists_keep_their_order_and_every_node_comes_back() {
        let mut pool = BufferPool::new(5);
        let (a, none) = (pool.insert(&buffers(&[1, 2])), pool.insert(&[]));
        let b = pool.insert(&buffers(&[3, 4, 5]));
        assert_eq!((lengths(&pool, a), lengths(&pool, b)), ([1, 2].into(), [3, 4, 5].into()));
        assert_eq!(lengths(&pool, none), []);
        pool.remove(a);
        pool.remove(none);
        let c = pool.insert(&buffers(&[6, 7]));
        assert_eq!((lengths(&pool, b), lengths(&pool, c)), ([3, 4, 5].into(), [6, 7].into()));
        pool.remove(b);
        pool.remove(c);
        let all = pool.insert(&buffers(&[1, 2, 3, 4, 5]));
        assert_eq!(lengths(&pool, all), [1, 2, 3, 4, 5]);
    }
}
