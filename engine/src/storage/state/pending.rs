//! Rows that are not in a table file yet: what the last chunks changed, in memory.
//!
//! Each chunk is one sorted, immutable layer, so a view is a list of layers over the table files
//! and costs nothing to keep. Layers of a size are merged as they come, as an LSM tree does it, so
//! that a reader meets few of them; most it passes by after one look at a small filter.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Bound;
use std::sync::Arc;

use fjall::Slice;
use raft3d_core::LocalFault;
use raft3d_core::state::overlay::Changes;

use super::fault;

/// Layers of one size that are merged into one.
const FAN_OUT: usize = 8;
/// Most rows that one merge makes: it holds up the chunk that it runs in.
const MERGED_ROWS_MAX: usize = 32 * 1024;
/// What a row costs in memory beside its bytes: two handles, their heads, the filter.
const ROW_OVERHEAD_BYTES: usize = 96;
/// Bits of filter for each row; with [`FILTER_PROBES`], one look in fifty is in vain.
const FILTER_BITS_PER_ROW: usize = 12;
/// Bits that each key sets.
const FILTER_PROBES: u64 = 4;

/// A row's new value; none where it is deleted.
pub(super) type Change = (Slice, Option<Slice>);

/// What one chunk changed, or several that were merged. Sorted by key.
pub(super) struct Layer {
    rows: Vec<Change>,
    filter: Filter,
}

impl Layer {
    fn new(rows: Vec<Change>) -> Self {
        let filter = Filter::new(&rows);
        Self { rows, filter }
    }

    pub(super) fn from_changes(changes: Changes) -> Self {
        let row = |(key, value): (Vec<u8>, Option<Vec<u8>>)| (key.into(), value.map(Slice::from));
        Self::new(changes.into_iter().map(row).collect())
    }

    /// One layer that reads as those do; the newest comes last.
    fn merged(layers: Vec<Arc<Self>>) -> Self {
        let mut rows = Vec::with_capacity(layers.iter().map(|layer| layer.rows.len()).sum());
        for layer in layers.into_iter().rev() {
            match Arc::try_unwrap(layer) {
                Ok(layer) => rows.extend(layer.rows),
                Err(shared) => rows.extend(shared.rows.iter().cloned()),
            }
        }
        // Stable: of equal keys the newest stays first, and only it is kept.
        rows.sort_by(|a: &Change, b| a.0.cmp(&b.0));
        rows.dedup_by(|later, first| later.0 == first.0);
        Self::new(rows)
    }

    /// What it says of `key`, whose [`hash`] is `hash`.
    pub(super) fn get(&self, key: &[u8], hash: u64) -> Option<&Option<Slice>> {
        if !self.filter.may_hold(hash) {
            return None;
        }
        let at = self.rows.binary_search_by(|row| (*row.0).cmp(key)).ok()?;
        self.rows.get(at).map(|row| &row.1)
    }

    /// Its rows from `start` on.
    fn first(&self, start: Bound<&[u8]>) -> usize {
        match start {
            Bound::Included(start) => self.rows.partition_point(|row| *row.0 < *start),
            Bound::Excluded(start) => self.rows.partition_point(|row| *row.0 <= *start),
            Bound::Unbounded => 0,
        }
    }
}

/// Hash of a key for the filters: neither stored nor sent anywhere.
pub(super) fn hash(key: &[u8]) -> u64 {
    // SplitMix64's last step spreads the checksum's 32 bits over 64.
    let mut z = u64::from(crc32c::crc32c(key)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 27)
}

/// A Bloom filter (Bloom 1970).
struct Filter {
    words: Vec<u64>,
}

impl Filter {
    fn new(rows: &[Change]) -> Self {
        let words = (rows.len() * FILTER_BITS_PER_ROW / 64 + 1).next_power_of_two();
        let mut filter = Self {
            words: vec![0; words],
        };
        for (key, _) in rows {
            for (word, bit) in filter.places(hash(key)) {
                if let Some(word) = filter.words.get_mut(word) {
                    *word |= bit;
                }
            }
        }
        filter
    }

    fn may_hold(&self, hash: u64) -> bool {
        self.places(hash)
            .into_iter()
            .all(|(word, bit)| self.words.get(word).is_some_and(|word| word & bit != 0))
    }

    fn places(&self, hash: u64) -> [(usize, u64); FILTER_PROBES as usize] {
        let mask = self.words.len() - 1;
        let step = (hash >> 32) | 1;
        let mut at = hash;
        [(); FILTER_PROBES as usize].map(|()| {
            at = at.wrapping_add(step);
            ((at >> 6) as usize & mask, 1 << (at & 63))
        })
    }
}

/// All that is not in a table file.
#[derive(Default)]
pub(super) struct Pending {
    /// The first level is the newest; within one, the oldest layer comes first.
    levels: Vec<Vec<Arc<Layer>>>,
    /// What is being written to table files just now, the oldest first.
    frozen: Vec<Arc<Layer>>,
    bytes: usize,
}

impl Pending {
    /// Adds what a chunk changed.
    pub(super) fn push(&mut self, changes: Changes) {
        if changes.is_empty() {
            return;
        }
        let bytes = |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| {
            key.len() + value.as_ref().map_or(0, Vec::len) + ROW_OVERHEAD_BYTES
        };
        self.bytes += changes.iter().map(bytes).sum::<usize>();
        let mut layer = Arc::new(Layer::from_changes(changes));
        for level in &mut self.levels {
            level.push(layer);
            let full = level.len() >= FAN_OUT;
            let rows = level.iter().map(|layer| layer.rows.len()).sum::<usize>();
            if !full || rows > MERGED_ROWS_MAX {
                return;
            }
            layer = Arc::new(Layer::merged(std::mem::take(level)));
        }
        self.levels.push(vec![layer]);
    }

    /// Bytes that came since the last freeze. What was overwritten meanwhile counts too.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sets everything apart to be written.
    pub(super) fn freeze(&mut self) {
        let levels = std::mem::take(&mut self.levels);
        self.frozen.extend(levels.into_iter().rev().flatten());
        self.bytes = 0;
    }

    /// Forgets what was set apart: it is in table files now.
    pub(super) fn forget_frozen(&mut self) {
        self.frozen.clear();
    }

    /// All layers, the newest first.
    pub(super) fn layers(&self) -> Arc<[Arc<Layer>]> {
        let active = self.levels.iter().flat_map(|level| level.iter().rev());
        active.chain(self.frozen.iter().rev()).cloned().collect()
    }
}

/// Rows of several layers and of the table files below them as one, ascending by key. Of each key
/// the newest change counts.
pub(super) struct Merged {
    sources: Vec<Source>,
    heap: BinaryHeap<Next>,
}

enum Source {
    Layer { layer: Arc<Layer>, at: usize },
    Tables(fjall::Iter),
}

/// The next row of a source; the greatest is the one with the least key, of the newest source.
struct Next {
    row: Change,
    source: usize,
}

impl Merged {
    /// The rows of `layers`, which come newest first, from `start` on, and of `tables` below them.
    pub(super) fn new(
        layers: &[Arc<Layer>],
        start: Bound<&[u8]>,
        tables: Option<fjall::Iter>,
    ) -> Result<Self, LocalFault> {
        let layers = layers.iter().map(|layer| Source::Layer {
            layer: Arc::clone(layer),
            at: layer.first(start),
        });
        let sources: Vec<Source> = layers.chain(tables.map(Source::Tables)).collect();
        let mut merged = Self {
            heap: BinaryHeap::with_capacity(sources.len()),
            sources,
        };
        for source in 0..merged.sources.len() {
            merged.advance(source)?;
        }
        Ok(merged)
    }

    fn advance(&mut self, source: usize) -> Result<(), LocalFault> {
        let row = match self.sources.get_mut(source) {
            Some(Source::Layer { layer, at }) => {
                *at += 1;
                layer.rows.get(*at - 1).cloned()
            }
            Some(Source::Tables(rows)) => match rows.next() {
                Some(guard) => {
                    let (key, value) = guard.into_inner().map_err(fault)?;
                    Some((key, Some(value)))
                }
                None => None,
            },
            None => None,
        };
        self.heap.extend(row.map(|row| Next { row, source }));
        Ok(())
    }

    /// The next change: the row, or that it is deleted.
    pub(super) fn next_change(&mut self) -> Result<Option<Change>, LocalFault> {
        let Some(Next { row, source }) = self.heap.pop() else {
            return Ok(None);
        };
        self.advance(source)?;
        while let Some(older) = self.heap.peek()
            && older.row.0 == row.0
        {
            let source = older.source;
            self.heap.pop();
            self.advance(source)?;
        }
        Ok(Some(row))
    }

    /// The next row that is not deleted.
    pub(super) fn next_row(&mut self) -> Result<Option<(Slice, Slice)>, LocalFault> {
        while let Some((key, value)) = self.next_change()? {
            if let Some(value) = value {
                return Ok(Some((key, value)));
            }
        }
        Ok(None)
    }
}

impl Ord for Next {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_key = other.row.0.cmp(&self.row.0);
        by_key.then(other.source.cmp(&self.source))
    }
}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Next {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Next {}
