// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file names every event that the memory manager counts.

base::events! {
    /// Events of the memory manager. Names are Linux's where Linux has the counter.
    pub enum MmEvent {
        /// Page faults resolved.
        PgFault = "pgfault",
        /// Page faults that waited for I/O.
        PgMajFault = "pgmajfault",
        /// Pages of folios allocated.
        PgAlloc = "pgalloc_normal",
        /// Pages of folios freed.
        PgFree = "pgfree",
        /// Pages moved to the active list.
        PgActivate = "pgactivate",
        /// Pages moved to the inactive list.
        PgDeactivate = "pgdeactivate",
        /// Pages looked at by the background thread.
        PgScanKswapd = "pgscan_kswapd",
        /// Pages looked at by allocating threads.
        PgScanDirect = "pgscan_direct",
        /// Pages reclaimed by the background thread.
        PgStealKswapd = "pgsteal_kswapd",
        /// Pages reclaimed by allocating threads.
        PgStealDirect = "pgsteal_direct",
        /// Times an allocation reclaimed for itself.
        AllocStall = "allocstall_normal",
        /// Times the background thread went to work.
        KswapdWakeup = "pageoutrun",
        /// Pages dropped because MADV_FREE had given them up.
        PgLazyFreed = "pglazyfreed",
        /// Pages written to swap.
        PswpOut = "pswpout",
        /// Pages read from swap.
        PswpIn = "pswpin",
        /// Pages of zeroes swapped out without I/O.
        SwpOutZero = "swpout_zero",
        /// Pages of zeroes swapped in without I/O.
        SwpInZero = "swpin_zero",
        /// Pages that faults read from swap beside the one that was asked for.
        SwapRa = "swap_ra",
        /// Of these, those that the same faults mapped.
        SwapRaMapped = "swap_ra_mapped",
        /// Pages that could not be read from swap.
        SwpInError = "swpin_error",
        /// Pages that could not be written to swap.
        SwpOutError = "swpout_error",
        /// Pages that came back from swap other than they were written.
        SwapChecksumError = "swap_checksum_error",
        /// Swap slots that will not be used again because writing to them failed.
        SwapSlotRetired = "swap_slot_retired",
        /// Times swapoff went through all address spaces and found pages to bring back.
        SwapoffRound = "swapoff_rounds",
        /// Pages that came back and had been evicted not long before.
        WorkingsetRefault = "workingset_refault_anon",
        /// Copy-on-write faults that copied.
        CowCopy = "cow_copy",
        /// Copy-on-write faults that found nobody else and reused the page.
        CowReuse = "cow_reuse",
        /// Pages whose tags were zeroed because PROT_MTE first covered them.
        MteTagsZeroed = "mte_tags_zeroed",
        /// Pages whose tags were copied with them.
        MteTagsCopied = "mte_tags_copied",
        /// Pages whose tags were saved at swap-out.
        MteTagsSaved = "mte_tags_saved",
        /// Pages whose tags were restored at swap-in.
        MteTagsRestored = "mte_tags_restored",
        /// Pages saved with all tags equal: no storage.
        MteTagUniform = "mte_tag_uniform",
        /// Pages saved as runs within 8 bytes.
        MteTagInline = "mte_tag_inline",
        /// Pages saved as runs in 16 bytes.
        MteTag16 = "mte_tag_16",
        /// Pages saved as runs in 32 bytes.
        MteTag32 = "mte_tag_32",
        /// Pages saved as runs in 64 bytes.
        MteTag64 = "mte_tag_64",
        /// Pages whose tags were written to the disk.
        MteTagDevice = "mte_tag_device",
        /// Pages saved as 128 raw bytes.
        MteTagRaw = "mte_tag_raw",
        /// Single-page TLB invalidations.
        TlbiPage = "tlbi_page",
        /// Range TLB invalidations.
        TlbiRange = "tlbi_range",
        /// Whole-address-space TLB invalidations.
        TlbiAsid = "tlbi_asid",
        /// TLB invalidations of everything.
        TlbiAll = "tlbi_all",
        /// Of all these, those that only the running CPU took part in.
        TlbiLocal = "tlbi_local",
        /// Pages that range TLB invalidations covered.
        TlbiRangePages = "tlbi_range_pages",
        /// Invalidations not needed because the address space has run nowhere.
        TlbiElided = "tlbi_elided",
        /// Waits for TLB invalidations.
        TlbDsb = "tlb_dsb",
        /// Waits not needed because somebody on the CPU had waited since.
        TlbDsbElided = "tlb_dsb_elided",
        /// Address spaces that moved to another CPU, and were forgotten where they had been.
        TlbMoved = "tlb_moved",
        /// Times that all ASIDs were given out.
        AsidRollover = "asid_rollover",
        /// Entries taken away that no TLB could hold.
        TlbElided = "tlb_elided",
        /// Block mappings split into pages.
        ThpSplitPmd = "thp_split_pmd",
        /// Runs of 16 entries unfolded because some of them were to change.
        ContUnfold = "cont_unfold",
        /// Pages moved to the memory of a device.
        DeviceIn = "device_migrate_in",
        /// Pages moved home from the memory of a device.
        DeviceOut = "device_migrate_out",
        /// Pages in RAM that a device was given for itself.
        DeviceExclusive = "device_exclusive",
        /// Those of them that a CPU's access, fork or mprotect took back.
        DeviceExclusiveEnd = "device_exclusive_end",
        /// 2 MiB blocks given to the kernel's heap.
        HeapGrow = "heap_grow",
        /// Block requests for tags, beside those for pages.
        SwapTagRequest = "swap_tag_requests",
        /// Folios that went out or came in by the request for the slots before theirs.
        SwapMerged = "swap_merged",
        /// Block requests for swap.
        SwapRequest = "swap_requests",
        /// Blocks of 2 MiB that a first touch got.
        ThpFaultAlloc = "thp_fault_alloc",
        /// First touches that could have had 2 MiB, and took less for want of a run of frames.
        ThpFaultFallback = "thp_fault_fallback",
        /// Folios of 2 MiB allocated to collapse pages into.
        ThpCollapseAlloc = "thp_collapse_alloc",
        /// Times that there was no run of frames for one.
        ThpCollapseAllocFailed = "thp_collapse_alloc_failed",
        /// Times that 2 MiB of zeroes for loads were allocated, not that they were mapped.
        ThpZeroPageAlloc = "thp_zero_page_alloc",
        /// Times that there was no run of frames for them.
        ThpZeroPageAllocFailed = "thp_zero_page_alloc_failed",
        /// Folios of 2 MiB split.
        ThpSplitPage = "thp_split_page",
        /// Folios of 2 MiB that somebody held, and that were not split.
        ThpSplitPageFailed = "thp_split_page_failed",
        /// Folios of 2 MiB found partly mapped and queued to be split.
        ThpDeferredSplitPage = "thp_deferred_split_page",
        /// Folios of 2 MiB swapped out whole.
        ThpSwpOut = "thp_swpout",
        /// Folios of 2 MiB split because they could not be swapped out whole.
        ThpSwpOutFallback = "thp_swpout_fallback",
    }
}
