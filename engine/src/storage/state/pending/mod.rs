//! Rows that are not in a table file yet: what the last chunks changed, in memory.
//!
//! Each chunk is one sorted, immutable [`Layer`], so a view is a list of layers over the table
//! files and costs nothing to keep. Layers of a size are merged as they come, as an LSM tree does
//! it, so that a reader meets few of them; most it passes by after one look at a small filter.

mod buffers;
mod layer;
mod merged;
mod sought;

use std::sync::Arc;

use buffers::Buffers;
pub(crate) use layer::Change;
pub(super) use layer::{Layer, filter_place};
use layer::{ROW_OVERHEAD_BYTES, bytes_of};
pub(super) use merged::Merged;
pub(super) use sought::{MintedTo, Sought};

/// Layers of one size that are merged into one.
const FAN_OUT: usize = 8;
/// Most rows that one merge makes: it holds up the chunk that it runs in.
const MERGED_ROWS_MAX: usize = 32 * 1024;

/// All that is not in a table file.
#[derive(Default)]
pub(super) struct Pending {
    /// The first level is the newest; within one, the oldest layer comes first.
    levels: Vec<Vec<Arc<Layer>>>,
    /// What is being written to table files just now, the oldest first.
    frozen: Vec<Arc<Layer>>,
    bytes: usize,
    buffers: Buffers,
}

impl Pending {
    /// Adds what a chunk changed.
    pub(super) fn push(&mut self, changes: &[Change<'_>]) {
        if changes.is_empty() {
            return;
        }
        self.bytes += changes.iter().map(bytes_of).sum::<usize>();
        self.bytes += changes.len() * ROW_OVERHEAD_BYTES;
        let mut layer = Arc::new(Layer::of_chunk(changes, &self.buffers));
        for level in &mut self.levels {
            level.push(layer);
            let full = level.len() >= FAN_OUT;
            let rows = level.iter().map(|layer| layer.len()).sum::<usize>();
            if !full || rows > MERGED_ROWS_MAX {
                return;
            }
            layer = Arc::new(Layer::merged(&std::mem::take(level), &self.buffers));
        }
        self.levels.push(vec![layer]);
    }

    /// Bytes that came since the last freeze. What was overwritten meanwhile counts too.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sets everything apart to be written, and answers it, the oldest first.
    pub(super) fn freeze(&mut self) -> Vec<Arc<Layer>> {
        let levels = std::mem::take(&mut self.levels);
        self.frozen.extend(levels.into_iter().rev().flatten());
        self.bytes = 0;
        self.frozen.clone()
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test is to panic")]
mod tests {
    use super::*;

    /// The chunks of one client at a time are one entry each. A buffer of the usual size for each
    /// of them took a hundred times the memory of the rows.
    #[test]
    fn rows_of_small_chunks_take_no_more_memory_than_those_of_large_ones() {
        for rows_in_chunk in [1_u64, 10, 1_000] {
            let mut pending = Pending::default();
            let (rows, value) = (20_000, [7; 200]);
            for chunk in 0..rows / rows_in_chunk {
                let keys = (0..rows_in_chunk).map(|n| (chunk * rows_in_chunk + n).to_be_bytes());
                let keys: Vec<_> = keys.collect();
                let changes: Vec<Change<'_>> = keys
                    .iter()
                    .map(|key| (key.as_slice(), Some(value.as_slice())))
                    .collect();
                pending.push(&changes);
            }
            let layers = pending.layers();
            let taken: usize = layers.iter().map(|layer| layer.capacity()).sum();
            let needed = pending.bytes();
            assert!(
                taken <= needed * 3 / 2,
                "{rows_in_chunk} rows a chunk: {taken} bytes for {needed}"
            );
            let key = 19_999_u64.to_be_bytes();
            let sought = Sought::new(&key);
            let found = layers.iter().find_map(|layer| layer.get(&sought));
            assert_eq!(found.unwrap().unwrap(), value);
        }
    }
}
