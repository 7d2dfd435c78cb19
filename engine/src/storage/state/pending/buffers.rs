//! Memory of rows that are in table files by now, kept for those that come.
//!
//! Some megabytes of rows come and go each second. Given back to the system, that memory would
//! have to be cleared page by page before it is used again.

use std::sync::{Arc, Mutex, PoisonError};

/// Most bytes that are kept without a use.
const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Smaller buffers are not kept: the allocator has those at hand.
const KEPT_BUFFER_BYTES_MIN: usize = 32 * 1024;
/// Larger ones are a multiple of this in size, so that more of them fit the next chunk.
const STEP_BYTES: usize = 16 * 1024;

/// Buffers without a use.
#[derive(Clone, Default)]
pub(super) struct Buffers(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Buffers {
    /// An empty buffer with room for `bytes`, and not for much more.
    pub(super) fn take(&self, bytes: usize) -> Buffer {
        let found = self.find(bytes);
        let room = if bytes < KEPT_BUFFER_BYTES_MIN {
            bytes
        } else {
            bytes.next_multiple_of(STEP_BYTES)
        };
        Buffer {
            bytes: found.unwrap_or_else(|| Vec::with_capacity(room)),
            home: self.clone(),
        }
    }

    fn find(&self, bytes: usize) -> Option<Vec<u8>> {
        if bytes < KEPT_BUFFER_BYTES_MIN {
            return None;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |buffer: &Vec<u8>| (bytes..=2 * bytes).contains(&buffer.capacity());
        let at = kept.buffers.iter().rposition(fits)?;
        let buffer = kept.buffers.swap_remove(at);
        kept.bytes -= buffer.capacity();
        Some(buffer)
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() < KEPT_BUFFER_BYTES_MIN {
            return;
        }
        buffer.clear();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.bytes + buffer.capacity() <= KEPT_BYTES_MAX {
            kept.bytes += buffer.capacity();
            kept.buffers.push(buffer);
        }
    }
}

/// Bytes that go back to where they were taken from.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Buffer {
    /// Appends; answers where it is.
    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        at
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// What was appended at `at`; empty where there is no such thing.
    pub(super) fn get(&self, at: usize, len: usize) -> &[u8] {
        self.bytes.get(at..at + len).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_used_again_up_to_a_limit() {
        let buffers = Buffers::default();
        let mut first = buffers.take(100_000);
        first.push(b"row");
        let place = first.bytes.as_ptr();
        drop(first);
        let (larger, small) = (buffers.take(300_000), buffers.take(100));
        assert_eq!(small.bytes.capacity(), 100, "one row costs what it is");
        let again = buffers.take(90_000);
        assert_eq!(again.bytes.as_ptr(), place);
        assert!(again.bytes.is_empty(), "rows of another time");
        assert_ne!(larger.bytes.as_ptr(), place);
        let many: Vec<_> = (0..100).map(|_| buffers.take(1024 * 1024)).collect();
        drop(many);
        let kept = buffers.0.lock().map(|kept| kept.bytes).unwrap_or_default();
        assert!(kept > 0 && kept <= KEPT_BYTES_MAX, "{kept}");
    }
}
