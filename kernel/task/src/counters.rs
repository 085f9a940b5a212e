// SPDX-License-Identifier: MIT OR Apache-2.0
//! This file brings the counters of all layers together: for /proc/vmstat, and for the console when
//! the machine stops.
//!
//! On the console the block stands between two marks, a counter to a line: `name value`. It is
//! printed when the machine stops, and for the magic key `m` (`sysrq.rs`).

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;

use base::Order;
use base::counter::Event;
use base::sync::OnceCell;
use hal::Platform;
use mm::MemInfo;

use crate::kernel::Kernel;

/// Calls its argument with each counter's name and value.
pub type CounterSource = Box<dyn Fn(&mut dyn FnMut(&'static str, u64)) + Send + Sync>;

/// The counters of layers that this one cannot see.
pub(crate) type Foreign = OnceCell<CounterSource>;

const BEGIN: &str = "--- counters begin ---";
const END: &str = "--- counters end ---";

base::events! {
    /// Gauges: what there is at the moment, in pages where the name does not say otherwise.
    enum Gauge {
        /// Free pages.
        Free = "nr_free_pages",
        /// Pages on the inactive list.
        Inactive = "nr_inactive_anon",
        /// Pages on the active list.
        Active = "nr_active_anon",
        /// Mapped anonymous pages.
        Anon = "nr_anon_pages",
        /// Blocks of 2 MiB that map anonymous folios.
        AnonBlocks = "nr_anon_transparent_hugepages",
        /// Mapped pages of shared memory, counted once per mapping.
        Mapped = "nr_mapped",
        /// Pages of shared memory.
        Shmem = "nr_shmem",
        /// Pages of page tables.
        Tables = "nr_page_table_pages",
        /// Free swap slots.
        SwapFree = "nr_swap_free",
        /// Bytes of folio descriptors and reverse-map tables.
        FolioBytes = "folio_bytes",
        /// Bytes of frame words.
        FrameWordBytes = "frame_word_bytes",
        /// Pages of swap slot words and of the tags of swapped pages.
        SwapMetadata = "swap_metadata_pages",
        /// Bytes in which the tags of swapped pages are stored.
        TagBytes = "mte_tag_bytes_stored",
        /// Of these, in records of 8 bytes.
        TagInlineBytes = "mte_tag_inline_bytes",
        /// Of these, in records of 16 bytes.
        Tag16Bytes = "mte_tag_16_bytes",
        /// Of these, in records of 32 bytes.
        Tag32Bytes = "mte_tag_32_bytes",
        /// Of these, in records of 64 bytes.
        Tag64Bytes = "mte_tag_64_bytes",
        /// Of these, in records of 128 bytes.
        TagRawBytes = "mte_tag_raw_bytes",
    }
}

impl Gauge {
    fn value(self, info: &MemInfo, tag_bytes: &[u64; 5]) -> u64 {
        match self {
            Self::Free => info.free,
            Self::Inactive => info.inactive,
            Self::Active => info.active,
            Self::Anon => info.anon,
            Self::AnonBlocks => info.block_mapped / u64::from(Order::BLOCK.nr_pages()),
            Self::Mapped => info.mapped,
            Self::Shmem => info.shmem,
            Self::Tables => info.tables,
            Self::SwapFree => info.swap_free,
            Self::FolioBytes => info.folio_bytes,
            Self::FrameWordBytes => info.frame_word_bytes,
            Self::SwapMetadata => info.swap_metadata,
            Self::TagBytes => tag_bytes.iter().sum(),
            Self::TagInlineBytes => tag_bytes[0],
            Self::Tag16Bytes => tag_bytes[1],
            Self::Tag32Bytes => tag_bytes[2],
            Self::Tag64Bytes => tag_bytes[3],
            Self::TagRawBytes => tag_bytes[4],
        }
    }
}

base::events! {
    /// Events of the process layer.
    enum TaskEvent {
        /// Processes killed because memory was used up.
        OomKill = "oom_kill",
    }
}

impl<P: Platform> Kernel<P> {
    /// Adds the counters of drivers.
    ///
    /// # Panics
    ///
    /// When there are some already.
    pub fn set_driver_counters(&self, source: CounterSource) {
        self.driver_counters.set(source);
    }

    /// Calls `visit` with the name and value of each counter, gauges first.
    pub(crate) fn for_each_counter(&self, visit: &mut dyn FnMut(&'static str, u64)) {
        let info = self.system().meminfo();
        let tag_bytes = self.system().tag_bytes_by_size();
        for (gauge, name) in Gauge::ALL.iter().zip(Gauge::NAMES) {
            visit(name, gauge.value(&info, &tag_bytes));
        }
        visit(TaskEvent::NAMES[TaskEvent::OomKill.index()], self.oom.nr_kills());
        self.system().counters().totals().for_each(|(name, value)| visit(name, value));
        if let Some(foreign) = self.driver_counters.get() {
            foreign(visit);
        }
    }

    /// Writes all counters to the console.
    pub(crate) fn print_counters(&self) {
        let mut text = String::new();
        self.for_each_counter(&mut |name, value| text += &format!("{name} {value}\n"));
        self.machine().console_write(format!("{BEGIN}\n{text}{END}\n").as_bytes());
    }
}
