//! Reading a segment from front to back with a bounded buffer.

use super::error::LogError;
use super::segment::Segment;

/// A part of a segment in memory, moved along as bytes are asked for.
#[derive(Debug)]
pub(super) struct Window<'a> {
    segment: &'a Segment,
    buffer: Vec<u8>,
    /// Offset of `buffer` in the segment, bytes.
    start: u64,
    /// How much to read at once where less is asked for, bytes.
    step: usize,
}

impl<'a> Window<'a> {
    /// A window that reads `step` bytes at once, or more where more is asked for.
    pub(super) fn new(segment: &'a Segment, step: usize) -> Self {
        Self {
            segment,
            buffer: Vec::new(),
            start: 0,
            step,
        }
    }

    /// The segment.
    pub(super) fn segment(&self) -> &'a Segment {
        self.segment
    }

    /// Bytes from `offset` on: `wanted` of them, or fewer at the end of the segment; more where
    /// more are in memory.
    ///
    /// # Errors
    /// The read failed.
    pub(super) fn at(&mut self, offset: u64, wanted: usize) -> Result<&[u8], LogError> {
        let left = usize::try_from(self.segment.bytes.saturating_sub(offset)).unwrap_or(0);
        let wanted = wanted.min(left);
        if offset < self.start || offset + wanted as u64 > self.start + self.buffer.len() as u64 {
            self.buffer.resize(wanted.max(self.step).min(left), 0);
            self.start = offset;
            self.segment.read_exact_at(&mut self.buffer, offset)?;
        }
        let skip = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(self.buffer.get(skip..).unwrap_or_default())
    }
}

/// Length of the zeros to compare with, bytes.
const ZEROS_BYTES: usize = 4_096;
const ZEROS: [u8; ZEROS_BYTES] = [0; ZEROS_BYTES];

/// How many bytes at the front of `bytes` are certainly zero: a multiple of 4096, or all of them.
pub(super) fn leading_zeros(bytes: &[u8]) -> usize {
    let mut zeros = 0;
    for chunk in bytes.chunks(ZEROS_BYTES) {
        if Some(chunk) != ZEROS.get(..chunk.len()) {
            break;
        }
        zeros += chunk.len();
    }
    zeros
}
