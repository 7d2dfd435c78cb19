//! The files of a log, as the format's documentation says (`engine/src/storage/log/`).

use std::fs;
use std::path::Path;

use raft3d_engine::codec::{encode_log_id, encode_vote};

use super::Content;

/// Size of a segment: the smallest there may be, bytes.
pub(super) const SEGMENT_BYTES: usize = 16 << 10;
/// Where a segment's frames begin, bytes.
pub(super) const SEGMENT_HEADER_BYTES: usize = 4_096;
/// Bytes of a segment's header that mean something.
const SEGMENT_FIELDS_BYTES: usize = 60;
const FRAME_HEADER_BYTES: usize = 32;
const SLOT_BYTES: usize = 4_096;

/// Random in a real log; here they are known, so that a fuzzer finds the same bytes again.
const SALT: [u8; 16] = *b"salt of a fuzzer";
const MARKER: u64 = 0x0dd_ba11;

/// Where a frame was put.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    segment: usize,
    offset: usize,
    /// End of its payload; zeros follow up to a multiple of eight.
    end: usize,
}

/// One blow to the files.
#[derive(Clone, Copy, Debug)]
pub(super) enum Blow {
    /// Bytes of the segments, as if they stood one behind the other: zeroed, or changed by xor.
    Segments {
        at: usize,
        length: usize,
        xor: Option<u8>,
    },
    /// A byte of a slot of the watermark.
    Watermark { slot: usize },
}

/// The files.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    segments: Vec<Vec<u8>>,
    slots: Vec<Vec<u8>>,
    pub(super) frames: Vec<Placed>,
    end: usize,
}

impl Image {
    /// Whether the frame around a payload of that length begins a segment.
    pub(super) fn begins_segment(&self, payload_bytes: usize) -> bool {
        let frame_bytes = FRAME_HEADER_BYTES + payload_bytes;
        self.segments.is_empty() || self.end + frame_bytes > SEGMENT_BYTES
    }

    /// The next frame begins a segment.
    pub(super) fn roll(&mut self) {
        self.end = SEGMENT_BYTES;
    }

    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }

    fn add_segment(&mut self) {
        let ordinal = self.segments.len() as u64 + 1;
        let mut header = b"R3DLOGSG".to_vec();
        header.extend(1_u32.to_le_bytes());
        header.extend([0; 4]);
        header.extend(ordinal.to_le_bytes());
        header.extend((SEGMENT_BYTES as u64).to_le_bytes());
        header.extend(SALT);
        header.extend(MARKER.to_le_bytes());
        header.extend(crc32c::crc32c(&header).to_le_bytes());
        header.resize(SEGMENT_BYTES, 0);
        self.segments.push(header);
        self.end = SEGMENT_HEADER_BYTES;
    }

    /// Adds a frame. It must fit, and begin with a checkpoint where it begins a segment.
    pub(super) fn add_frame(&mut self, payload: &[u8], records: u32) {
        if self.begins_segment(payload.len()) {
            self.add_segment();
        }
        let sequence = self.frames.len() as u64 + 1;
        let mut rest = Vec::new();
        let salted = crc32c::crc32c(&SALT);
        rest.extend(crc32c::crc32c_append(salted, payload).to_le_bytes());
        rest.extend(MARKER.to_le_bytes());
        rest.extend(sequence.to_le_bytes());
        rest.extend((payload.len() as u32).to_le_bytes());
        rest.extend(records.to_le_bytes());
        let placed = crc32c::crc32c_append(salted, &(self.end as u64).to_le_bytes());
        let checksum = crc32c::crc32c_append(placed, &rest).to_le_bytes();
        let frame = [checksum.as_slice(), &rest, payload].concat();
        let offset = self.end;
        let end = offset + frame.len();
        let segment = self.segments.len() - 1;
        self.segments[segment][offset..end].copy_from_slice(&frame);
        self.frames.push(Placed {
            segment,
            offset,
            end,
        });
        self.end = end.next_multiple_of(8);
    }

    /// Writes both slots: the older one names a frame less.
    pub(super) fn set_watermark(&mut self, synced: usize, states: &[Content]) {
        let slot = |generation: u64, sequence: usize| {
            let mut rest = generation.to_le_bytes().to_vec();
            rest.extend((sequence as u64).to_le_bytes());
            put_opt(&mut rest, states[sequence].vote.as_ref(), encode_vote);
            put_opt(&mut rest, states[sequence].last.as_ref(), encode_log_id);
            let mut slot = b"R3DLOGWM".to_vec();
            slot.extend(1_u32.to_le_bytes());
            slot.extend((rest.len() as u32).to_le_bytes());
            slot.extend(rest);
            slot.extend(crc32c::crc32c(&slot).to_le_bytes());
            slot.resize(SLOT_BYTES, 0);
            slot
        };
        self.slots = vec![slot(1, synced.saturating_sub(1)), slot(2, synced)];
    }

    pub(super) fn strike(&mut self, blow: Blow) {
        match blow {
            Blow::Segments { at, length, xor } => {
                let files = self.segments.iter_mut().flatten();
                for byte in files.skip(at).take(length) {
                    *byte = xor.map_or(0, |xor| *byte ^ xor);
                }
            }
            Blow::Watermark { slot } => self.slots[slot][20] ^= 0xff,
        }
    }

    pub(super) fn store(&self, dir: &Path) {
        for (nth, bytes) in self.segments.iter().enumerate() {
            let path = dir.join(format!("{:016}.seg", nth + 1));
            fs::write(path, bytes).expect("a segment");
        }
        fs::write(dir.join("watermark"), self.slots.concat()).expect("the watermark");
    }

    /// How many frames the watermark says are synced; none where neither slot is whole.
    pub(super) fn named_by_watermark(&self, whole: &Self, synced: usize) -> Option<usize> {
        if self.slots[1] == whole.slots[1] {
            Some(synced)
        } else if self.slots[0] == whole.slots[0] {
            Some(synced.saturating_sub(1))
        } else {
            None
        }
    }

    pub(super) fn has_damaged_segment_header(&self, whole: &Self) -> bool {
        let pairs = self.segments.iter().zip(&whole.segments);
        let fields = ..SEGMENT_FIELDS_BYTES;
        pairs.into_iter().any(|(a, b)| a[fields] != b[fields])
    }

    /// Whether a byte of a frame that means something is another one.
    pub(super) fn differs(&self, whole: &Self, nth: usize) -> bool {
        let Placed {
            segment,
            offset,
            end,
        } = whole.frames[nth];
        self.segments[segment][offset..end] != whole.segments[segment][offset..end]
    }

    /// The same of a frame's header alone.
    pub(super) fn differs_in_header(&self, whole: &Self, nth: usize) -> bool {
        let Placed {
            segment, offset, ..
        } = whole.frames[nth];
        let header = offset..offset + FRAME_HEADER_BYTES;
        self.segments[segment][header.clone()] != whole.segments[segment][header]
    }
}

/// Appends a record.
pub(super) fn put_record(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    let mut record = vec![kind, 0, 0, 0];
    record.extend((body.len() as u32).to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&record), body);
    record.extend(checksum.to_le_bytes());
    record.extend_from_slice(body);
    out.extend(record);
}

/// Appends `opt(value)`.
pub(super) fn put_opt<T>(out: &mut Vec<u8>, value: Option<&T>, encode: fn(&T, &mut Vec<u8>)) {
    let mut bytes = Vec::new();
    if let Some(value) = value {
        encode(value, &mut bytes);
    }
    out.push(bytes.len() as u8);
    out.extend(bytes);
}
