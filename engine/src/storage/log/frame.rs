//! The bytes of a frame.
//!
//! One batch is one frame is one write is one sync. All numbers are little-endian.
//!
//! ```text
//! byte  size  field
//!    0     4  header checksum: CRC32C of salt (16 bytes), offset of this frame in its segment (8)
//!             and bytes 4..32 of the header
//!    4     4  payload checksum: CRC32C of salt (16 bytes) and the payload
//!    8     8  marker: random per segment, from the segment's header
//!   16     8  sequence number: 1 for the first frame of a log, one more for each, over segments
//!   24     4  payload length in bytes, 1 ..= segment size
//!   28     4  number of records in the payload, at least 1
//!   32     n  payload: the records, one after the other
//! 32+n   0-7  zeros up to a multiple of 8
//! ```
//!
//! Salt, marker and offset are what keeps bytes of a client from being taken for a header: salt and
//! marker are random and leave the node in nothing that a client can read, and even a true frame,
//! copied into an entry of the same segment, stands at another offset there.
//!
//! A record:
//!
//! ```text
//! byte  size  field
//!    0     1  kind, see [`Kind`]
//!    1     3  zeros
//!    4     4  length of the body in bytes
//!    8     4  CRC32C of bytes 0..8 and the body, so that one entry can be read without its frame
//!   12     n  body
//! ```
//!
//! Bodies, with `opt(x)` = length of x in bytes (u8, 0 = none) and x, and log ids and votes in
//! the encoding of [`crate::codec`]:
//!
//! | kind | name | body |
//! |---|---|---|
//! | 1 | checkpoint | first live segment (u64), opt(vote), opt(committed), opt(purged), opt(last) |
//! | 2 | entry | the encoded entry |
//! | 3 | vote | the encoded vote |
//! | 4 | truncate | opt(last log id that stays) |
//! | 5 | purge | first live segment (u64), opt(last log id that goes) |
//! | 6 | committed | opt(committed log id) |
//! | 7 | seal | empty |
//!
//! The first record of a segment is a checkpoint, and nowhere else is there one. It holds
//! everything that older segments say beside entries, which is why they can be dropped.

use super::error::LogError;
use super::tip::Tip;
use crate::codec::{
    CodecError, decode_log_id, decode_vote, encode_entry, encode_log_id, encode_vote,
};
use crate::raft::types::{Entry, LogId, Vote};

/// Length of a frame's header, bytes.
pub(super) const FRAME_HEADER_BYTES: usize = 32;
/// Length of a record's header, bytes.
pub(super) const RECORD_HEADER_BYTES: usize = 12;
/// Frames start at multiples of this, bytes.
pub(super) const FRAME_ALIGN_BYTES: usize = 8;
/// No record but an entry's is longer than this, bytes.
pub(super) const CHECKPOINT_BYTES_MAX: usize = 256;

/// Kind of a record. Stored; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Checkpoint = 1,
    Entry = 2,
    Vote = 3,
    Truncate = 4,
    Purge = 5,
    Committed = 6,
    Seal = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Checkpoint,
            2 => Self::Entry,
            3 => Self::Vote,
            4 => Self::Truncate,
            5 => Self::Purge,
            6 => Self::Committed,
            7 => Self::Seal,
            _ => return None,
        })
    }
}

/// What makes a segment's frames its own: random, made with the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Salt {
    /// Begins every checksum.
    pub(super) seed: [u8; 16],
    /// Stands in every header.
    pub(super) marker: u64,
}

impl Salt {
    fn header_checksum(&self, offset: u64, rest: &[u8]) -> u32 {
        let salted = crc32c::crc32c(&self.seed);
        let placed = crc32c::crc32c_append(salted, &offset.to_le_bytes());
        crc32c::crc32c_append(placed, rest)
    }

    /// Checksum of a whole payload.
    pub(super) fn payload_checksum(&self, payload: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.seed), payload)
    }
}

/// A frame's header whose checksum was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) payload_checksum: u32,
    pub(super) sequence: u64,
    pub(super) payload_bytes: u32,
    pub(super) records: u32,
}

impl FrameHeader {
    /// Reads the header at `offset`. None where there is none: zeros, damage, another's bytes.
    pub(super) fn parse(bytes: &[u8], offset: u64, salt: &Salt) -> Option<Self> {
        let header: &[u8; FRAME_HEADER_BYTES] = bytes.first_chunk()?;
        let (checksum, rest) = header.split_first_chunk::<4>()?;
        let (payload_checksum, rest4) = rest.split_first_chunk::<4>()?;
        let (marker, rest12) = rest4.split_first_chunk::<8>()?;
        if u64::from_le_bytes(*marker) != salt.marker {
            return None;
        }
        if u32::from_le_bytes(*checksum) != salt.header_checksum(offset, rest) {
            return None;
        }
        let (sequence, rest20) = rest12.split_first_chunk::<8>()?;
        let (payload_bytes, records) = rest20.split_first_chunk::<4>()?;
        Some(Self {
            payload_checksum: u32::from_le_bytes(*payload_checksum),
            sequence: u64::from_le_bytes(*sequence),
            payload_bytes: u32::from_le_bytes(*payload_bytes),
            records: u32::from_le_bytes(*records.first_chunk()?),
        })
    }

    /// Length of the whole frame with its zeros, bytes.
    pub(super) fn frame_bytes(&self) -> u64 {
        frame_bytes(self.payload_bytes as usize) as u64
    }
}

/// Length of a frame around a payload, bytes.
pub(super) fn frame_bytes(payload_bytes: usize) -> usize {
    (FRAME_HEADER_BYTES + payload_bytes).next_multiple_of(FRAME_ALIGN_BYTES)
}

/// Makes `frame`, which holds room for the header and then the payload, a frame.
pub(super) fn finish_frame(
    frame: &mut Vec<u8>,
    offset: u64,
    sequence: u64,
    records: u32,
    salt: &Salt,
) {
    let payload = frame.get(FRAME_HEADER_BYTES..).unwrap_or_default();
    let payload_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    assert!(
        payload_bytes > 0 && payload_bytes < u32::MAX && records > 0,
        "a frame holds records, and fits a segment"
    );
    let mut rest = [0; FRAME_HEADER_BYTES - 4];
    let fields: [&[u8]; 5] = [
        &salt.payload_checksum(payload).to_le_bytes(),
        &salt.marker.to_le_bytes(),
        &sequence.to_le_bytes(),
        &payload_bytes.to_le_bytes(),
        &records.to_le_bytes(),
    ];
    for (to, from) in rest.iter_mut().zip(fields.concat()) {
        *to = from;
    }
    let checksum = salt.header_checksum(offset, &rest).to_le_bytes();
    for (to, from) in frame.iter_mut().zip(checksum.iter().chain(&rest)) {
        *to = *from;
    }
    frame.resize(frame_bytes(payload_bytes as usize), 0);
}

/// A record as read: its body is not decoded yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawRecord<'a> {
    pub(super) kind: Kind,
    pub(super) body: &'a [u8],
}

impl<'a> RawRecord<'a> {
    /// Splits the first record off `bytes`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(super) fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), &'static str> {
        let header = bytes
            .first_chunk::<RECORD_HEADER_BYTES>()
            .ok_or("a record's header is cut off")?;
        let body_bytes = record_body_bytes(header);
        let (whole, rest) = bytes
            .split_at_checked(RECORD_HEADER_BYTES + body_bytes)
            .ok_or("a record is cut off")?;
        let body = whole.get(RECORD_HEADER_BYTES..).unwrap_or_default();
        if record_checksum(header, body).to_le_bytes()[..] != header[8..] {
            return Err("a record's checksum is wrong");
        }
        let kind = Kind::from_byte(header[0]).ok_or("a record is of an unknown kind")?;
        Ok((Self { kind, body }, rest))
    }
}

/// Length of the body of the record that begins with `header`, bytes.
pub(super) fn record_body_bytes(header: &[u8; RECORD_HEADER_BYTES]) -> usize {
    u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize
}

fn record_checksum(header: &[u8; RECORD_HEADER_BYTES], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..8]), body)
}

/// Appends a record whose body `write` appends. Answers the record's length, bytes.
fn put_record(out: &mut Vec<u8>, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = out.len();
    out.extend_from_slice(&[kind as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    write(out);
    let Some(record) = out.get_mut(start..) else {
        return 0;
    };
    let record_bytes = record.len();
    let body_bytes = u32::try_from(record_bytes - RECORD_HEADER_BYTES).unwrap_or(u32::MAX);
    assert!(body_bytes < u32::MAX, "a record fits a segment");
    if let Some((header, body)) = record.split_first_chunk_mut::<RECORD_HEADER_BYTES>() {
        header[4..8].copy_from_slice(&body_bytes.to_le_bytes());
        let checksum = record_checksum(header, body);
        header[8..].copy_from_slice(&checksum.to_le_bytes());
    }
    record_bytes
}

/// Appends an entry's record. Answers the record's length, bytes.
pub(super) fn put_entry(out: &mut Vec<u8>, entry: &Entry) -> usize {
    put_record(out, Kind::Entry, |out| encode_entry(entry, out))
}

/// Appends a vote's record.
pub(super) fn put_vote(out: &mut Vec<u8>, vote: &Vote) {
    put_record(out, Kind::Vote, |out| encode_vote(vote, out));
}

/// Appends a truncation's record.
pub(super) fn put_truncate(out: &mut Vec<u8>, after: Option<&LogId>) {
    put_record(out, Kind::Truncate, |out| put_opt_log_id(out, after));
}

/// Appends a purge's record.
pub(super) fn put_purge(out: &mut Vec<u8>, first_segment: u64, up_to: &LogId) {
    put_record(out, Kind::Purge, |out| {
        out.extend_from_slice(&first_segment.to_le_bytes());
        put_opt_log_id(out, Some(up_to));
    });
}

/// Appends a committed log id's record.
pub(super) fn put_committed(out: &mut Vec<u8>, committed: Option<&LogId>) {
    put_record(out, Kind::Committed, |out| put_opt_log_id(out, committed));
}

/// Appends a seal.
pub(super) fn put_seal(out: &mut Vec<u8>) {
    put_record(out, Kind::Seal, |_| ());
}

/// Appends a checkpoint's record: `tip` as it is before this frame.
pub(super) fn put_checkpoint(out: &mut Vec<u8>, first_segment: u64, tip: &Tip) {
    let record_bytes = put_record(out, Kind::Checkpoint, |out| {
        out.extend_from_slice(&first_segment.to_le_bytes());
        put_opt(out, tip.vote.as_ref(), encode_vote);
        put_opt_log_id(out, tip.committed.as_ref());
        put_opt_log_id(out, tip.purged.as_ref());
        put_opt_log_id(out, tip.last.as_ref());
    });
    assert!(
        record_bytes <= CHECKPOINT_BYTES_MAX,
        "a checkpoint holds four ids, each of at most 40 bytes"
    );
}

fn put_opt_log_id(out: &mut Vec<u8>, log_id: Option<&LogId>) {
    put_opt(out, log_id, encode_log_id);
}

/// Appends `opt(value)`. Shared with the watermark.
pub(super) fn put_opt<T>(out: &mut Vec<u8>, value: Option<&T>, encode: fn(&T, &mut Vec<u8>)) {
    let at = out.len();
    out.push(0);
    if let Some(value) = value {
        encode(value, out);
    }
    let bytes = u8::try_from(out.len() - at - 1).unwrap_or(u8::MAX);
    assert!(bytes < u8::MAX, "votes and log ids are short");
    if let Some(len) = out.get_mut(at) {
        *len = bytes;
    }
}

/// Splits `opt(value)` off `bytes`. Shared with the watermark.
///
/// # Errors
/// The bytes are cut off, or are not such a value.
pub(super) fn take_opt<T>(
    bytes: &mut &[u8],
    decode: fn(&[u8]) -> Result<T, CodecError>,
) -> Result<Option<T>, LogError> {
    let cut_off = || LogError::Record("it is cut off".to_owned());
    let (len, rest) = bytes.split_first().ok_or_else(cut_off)?;
    let (value, rest) = rest
        .split_at_checked(usize::from(*len))
        .ok_or_else(cut_off)?;
    *bytes = rest;
    if value.is_empty() {
        return Ok(None);
    }
    Ok(Some(decode(value)?))
}

fn take_u64(bytes: &mut &[u8]) -> Result<u64, LogError> {
    let (value, rest) = bytes
        .split_first_chunk()
        .ok_or_else(|| LogError::Record("it is cut off".to_owned()))?;
    *bytes = rest;
    Ok(u64::from_le_bytes(*value))
}

/// Reads a checkpoint's body: the first live segment, and the tip.
///
/// # Errors
/// The body is not a checkpoint.
pub(super) fn read_checkpoint(mut body: &[u8]) -> Result<(u64, Tip), LogError> {
    let first_segment = take_u64(&mut body)?;
    let tip = Tip {
        vote: take_opt(&mut body, decode_vote)?,
        committed: take_opt(&mut body, decode_log_id)?,
        purged: take_opt(&mut body, decode_log_id)?,
        last: take_opt(&mut body, decode_log_id)?,
    };
    Ok((first_segment, tip))
}

/// Reads the body of a purge: the first live segment, and the last log id that goes.
///
/// # Errors
/// The body is not a purge.
pub(super) fn read_purge(mut body: &[u8]) -> Result<(u64, LogId), LogError> {
    let first_segment = take_u64(&mut body)?;
    let up_to = take_opt(&mut body, decode_log_id)?
        .ok_or_else(|| LogError::Record("a purge without a log id".to_owned()))?;
    Ok((first_segment, up_to))
}

/// Reads the body of a truncation or of a committed record.
///
/// # Errors
/// The body is neither.
pub(super) fn read_opt_log_id(mut body: &[u8]) -> Result<Option<LogId>, LogError> {
    take_opt(&mut body, decode_log_id)
}
