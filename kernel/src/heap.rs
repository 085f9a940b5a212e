// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file is the kernel heap, Rust's global allocator.
//!
//! 1. At boot, `linked_list_allocator` gets a range of RAM, the *first heap*. It hands out large
//!    allocations and chunks: few and large pieces, so its linear search stays short.
//! 2. Small objects (up to 16 KiB) come from size classes cut out of chunks ([`slab`]).
//! 3. When the first heap is used up, the memory manager is asked for whole 2 MiB blocks
//!    ([`set_growth`]), which [`chunk_map`] divides. Blocks are never given back.
//!
//! An allocation that cannot be served returns null: there is no reclaim and no waiting here, because
//! any lock may be held. Callers on behalf of user programs look at [`free_bytes`] first.

mod chunk_map;
mod size_class;
mod slab;

#[cfg(target_os = "none")]
#[cfg_attr(
    not(feature = "ktest"),
    expect(unused_imports, reason = "mm's wiring calls set_growth")
)]
pub use kernel::{add_block, free_bytes, init, room, set_growth};

#[cfg(target_os = "none")]
mod kernel {
    #![expect(unsafe_code, reason = "implements GlobalAlloc")]

    use core::alloc::{GlobalAlloc, Layout};
    use core::ops::Range;
    use core::ptr::{NonNull, null_mut, with_exposed_provenance_mut};
    use core::sync::atomic::{AtomicBool, Ordering};

    use base::lock_level;
    use base::percpu::MAX_CPUS;
    use base::sync::SpinLock;
    use linked_list_allocator::Heap as FirstHeap;

    use super::chunk_map::{BLOCK_SIZE, ChunkMap};
    use super::size_class::{SIZES, class_of};
    use super::slab::{CHUNK_SIZE, Slab};

    #[global_allocator]
    static HEAP: KernelHeap = KernelHeap;

    struct KernelHeap;

    static STATE: SpinLock<State, lock_level::Heap> = SpinLock::new(State {
        first: FirstHeap::empty(),
        slab: Slab::new(),
        chunks: ChunkMap::empty(),
    });

    struct State {
        first: FirstHeap,
        slab: Slab,
        chunks: ChunkMap,
    }

    /// How the heap asks for another block.
    type Growth = &'static (dyn Fn() -> bool + Send + Sync);

    static GROWTH: SpinLock<Option<Growth>, lock_level::Heap> = SpinLock::new(None);

    const CHUNK: Layout = match Layout::from_size_align(CHUNK_SIZE, CHUNK_SIZE) {
        Ok(layout) => layout,
        Err(_) => panic!("a chunk is a valid layout"),
    };

    /// Gives the heap its first range, and the addresses of all RAM, from which blocks may come.
    ///
    /// # Safety
    ///
    /// Called once. `first` is mapped writable memory that nothing else uses; block addresses are
    /// multiples of 2 MiB from `ram.start`.
    pub unsafe fn init(first: Range<usize>, ram: Range<usize>) {
        let mut state = STATE.lock();
        let bottom = with_exposed_provenance_mut(first.start);
        // SAFETY: the caller's promise.
        unsafe { state.first.init(bottom, first.len()) };
        let base = ram.start & !(BLOCK_SIZE - 1);
        let nr_blocks = (ram.end - base).div_ceil(BLOCK_SIZE);
        let words = Layout::array::<u32>(nr_blocks).expect("a word for each block of RAM");
        let words_at = state.first.allocate_first_fit(words).expect("the first heap is larger");
        let words_at = words_at.cast::<u32>();
        // SAFETY: allocated for this many words.
        unsafe { words_at.write_bytes(0, nr_blocks) };
        // SAFETY: initialised on the line above, and never freed.
        let free = unsafe { core::slice::from_raw_parts_mut(words_at.as_ptr(), nr_blocks) };
        state.chunks = ChunkMap::new(base, free);
    }

    /// Says how to ask for another block: `grow` has one given to [`add_block`] and returns `true`,
    /// or returns `false`. It is called inside an allocation with any lock held, so it may only
    /// *try* to take locks, and must not allocate.
    #[cfg_attr(not(feature = "ktest"), expect(dead_code, reason = "mm's wiring calls it"))]
    pub fn set_growth(grow: Growth) {
        *GROWTH.lock() = Some(grow);
    }

    /// Gives the heap a block of 2 MiB.
    ///
    /// # Safety
    ///
    /// The block is mapped writable memory that nothing else uses, for ever.
    pub unsafe fn add_block(block: NonNull<u8>) {
        STATE.lock().chunks.add_block(block.as_ptr().expose_provenance());
    }

    /// Returns how many bytes are free outside the chunks in use.
    pub fn free_bytes() -> usize {
        let state = STATE.lock();
        state.first.free() + state.chunks.nr_free() * CHUNK_SIZE
    }

    /// Returns how many bytes of whole chunks are free: what can be counted on. The first heap is
    /// left out, as its free bytes may be anywhere.
    pub fn room() -> usize {
        STATE.lock().chunks.nr_free() * CHUNK_SIZE
    }

    impl State {
        fn alloc(&mut self, layout: Layout) -> Option<NonNull<u8>> {
            let Some(class) = class_of(layout) else { return self.alloc_large(layout) };
            if let Some(object) = self.slab.alloc(class) {
                return Some(object);
            }
            let chunk = self.take_chunk()?;
            // SAFETY: a chunk that has just been taken is nobody else's.
            unsafe { self.slab.add_chunk(class, chunk) };
            self.slab.alloc(class)
        }

        /// # Safety
        ///
        /// `object` was allocated with this layout.
        unsafe fn dealloc(&mut self, object: NonNull<u8>, layout: Layout) {
            if class_of(layout).is_none() {
                // SAFETY: the caller's promise.
                unsafe { self.free_large(object, layout) };
                return;
            }
            // SAFETY: the caller's promise; small layouts come from the slab.
            if let Some(chunk) = unsafe { self.slab.free(object) } {
                // SAFETY: a chunk is what `take_chunk` gave, as a large allocation.
                unsafe { self.free_large(chunk, CHUNK) };
            }
        }

        fn take_chunk(&mut self) -> Option<NonNull<u8>> {
            self.take_run(CHUNK).or_else(|| self.first.allocate_first_fit(CHUNK).ok())
        }

        fn alloc_large(&mut self, layout: Layout) -> Option<NonNull<u8>> {
            self.first.allocate_first_fit(layout).ok().or_else(|| self.take_run(layout))
        }

        /// Takes adjacent chunks. A run has the alignment of a chunk only.
        fn take_run(&mut self, layout: Layout) -> Option<NonNull<u8>> {
            if layout.align() > CHUNK_SIZE {
                return None;
            }
            let at = self.chunks.take(layout.size().div_ceil(CHUNK_SIZE))?;
            NonNull::new(with_exposed_provenance_mut(at))
        }

        /// # Safety
        ///
        /// `at` came from `take_chunk` or `alloc_large`, with this layout.
        unsafe fn free_large(&mut self, at: NonNull<u8>, layout: Layout) {
            let first_heap = self.first.bottom()..self.first.top();
            if first_heap.contains(&at.as_ptr()) {
                // SAFETY: the caller's promise; the address says which of the two it came from.
                unsafe { self.first.deallocate(at, layout) };
            } else {
                self.chunks.put(at.addr().get(), layout.size().div_ceil(CHUNK_SIZE));
            }
        }
    }

    /// Asks for another block, but not from inside such a question.
    fn grow() -> bool {
        static IS_GROWING: [AtomicBool; MAX_CPUS] = [const { AtomicBool::new(false) }; MAX_CPUS];
        let Some(grow) = GROWTH.try_lock().and_then(|growth| *growth) else { return false };
        let is_growing = &IS_GROWING[arch::cpu::current().get()];
        if is_growing.swap(true, Ordering::Relaxed) {
            return false;
        }
        let has_grown = grow();
        is_growing.store(false, Ordering::Relaxed);
        has_grown
    }

    // SAFETY: objects are disjoint, aligned and of the size asked for: tested in `slab`,
    // `size_class` and `chunk_map`; the lock serialises all access.
    unsafe impl GlobalAlloc for KernelHeap {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            let object = STATE.lock().alloc(layout);
            let object = object.or_else(|| match grow() {
                true => STATE.lock().alloc(layout),
                false => None,
            });
            object.map_or(null_mut(), NonNull::as_ptr)
        }

        unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
            let Some(object) = NonNull::new(object) else { return };
            // SAFETY: the caller's promise.
            unsafe { STATE.lock().dealloc(object, layout) };
        }

        unsafe fn realloc(&self, object: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
            // SAFETY: the caller's promise: the new size does not overflow with this alignment.
            let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
            let class = class_of(layout);
            if class.is_some() && class == class_of(new) {
                return object;
            }
            // SAFETY: the caller's promise: the new size is not zero.
            let to = unsafe { self.alloc(new) };
            if !to.is_null() {
                let len = layout.size().min(new_size);
                // SAFETY: both are valid for the smaller of their sizes, and disjoint.
                unsafe { to.copy_from_nonoverlapping(object, len) };
                // SAFETY: the caller's promise.
                unsafe { self.dealloc(object, layout) };
            }
            to
        }
    }

    const _: () = assert!(SIZES[SIZES.len() - 1] < CHUNK_SIZE);
}
