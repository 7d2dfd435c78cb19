//! Reading a snapshot file that a script wrote, and then damaged.
//!
//! The writer here is one of its own, made after the format's documentation. A file is taken if,
//! and only if, it is whole and its rows have the digest that it says: then they are exactly the
//! rows that were written.

use std::fs;

use openraft::vote::RaftLeaderId;
use raft3d_core::ClusterId;
use raft3d_core::state::digest::Digest;
use raft3d_engine::codec::{encode_log_id, encode_stored_membership};
use raft3d_engine::raft::types::{LeaderId, LogId, StoredMembership};
use raft3d_engine::storage::snapshot::{SnapshotError, SnapshotHandle};

use crate::input::Input;

/// Steps of a script: the low three bits of a byte, and what follows it.
pub(crate) mod op {
    /// A row: length of key and value, key, value. Bit 3: the value is 256 times as long.
    pub(crate) const ROW: u8 = 0;
    /// A frame ends.
    pub(crate) const FRAME: u8 = 1;
    /// A frame of any kind: kind, length, payload.
    pub(crate) const FOREIGN: u8 = 2;
    /// Bytes without a frame: length, bytes.
    pub(crate) const RAW: u8 = 3;
    /// The trailer is not the right one: a byte to change it with.
    pub(crate) const TRAILER: u8 = 4;
    /// The header says another digest: a byte to change it with.
    pub(crate) const DIGEST: u8 = 5;
    /// The script ends; what follows is damage: place (3 bytes) and xor. Bit 3: the file is cut
    /// off at a place first (3 bytes).
    pub(crate) const DAMAGE: u8 = 6;
}

const KIND_HEADER: u8 = 1;
const KIND_ROWS: u8 = 2;
const KIND_TRAILER: u8 = 3;

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

pub(crate) fn run(input: &[u8]) -> bool {
    let file = File::written_by(&mut Input::new(input));
    let dir = crate::scratch_dir();
    let path = dir.path().join("1.snapshot");
    fs::write(&path, &file.bytes).expect("the file");
    let found = SnapshotHandle::open(&path).map(|handle| {
        assert_eq!(handle.size_bytes(), file.bytes.len() as u64);
        let (mut rows, mut digest) = (Rows::new(), Digest::default());
        let reader = handle.reader().expect("the same file");
        let read = reader.for_each_row(|key, value| {
            digest.add(key, value);
            rows.push((key.to_vec(), value.to_vec()));
            Ok::<_, SnapshotError>(())
        });
        assert_eq!(read.expect("verified before"), rows.len() as u64);
        // Opening compares bytes; whoever loads the rows compares their digest.
        (rows, digest == handle.header().digest)
    });
    match found {
        Ok((rows, is_taken)) => {
            assert_eq!(is_taken, file.is_whole, "a damaged file was taken");
            assert!(!is_taken || rows == file.rows);
            is_taken
        }
        Err(error) => {
            assert!(!file.is_whole, "{error}");
            false
        }
    }
}

#[derive(Default)]
struct File {
    bytes: Vec<u8>,
    rows: Rows,
    frame: Vec<u8>,
    is_whole: bool,
}

impl File {
    fn written_by(input: &mut Input<'_>) -> Self {
        let mut file = Self {
            is_whole: true,
            ..Self::default()
        };
        let (mut digest_xor, mut trailer_xor, mut damage) = (0, 0, None);
        while !input.is_empty() {
            let step = input.u8();
            let flag = step >> 3 & 1 == 1;
            match step & 7 {
                op::ROW => file.row(input, flag),
                op::FRAME => file.end_frame(),
                op::FOREIGN => {
                    let (kind, length) = (input.u8(), input.u8());
                    let payload = input.take(usize::from(length));
                    file.end_frame();
                    file.foreign(kind, payload);
                }
                op::RAW => {
                    let length = input.u8();
                    let bytes = input.take(usize::from(length));
                    file.end_frame();
                    file.is_whole &= bytes.is_empty();
                    file.bytes.extend_from_slice(bytes);
                }
                op::TRAILER => trailer_xor = input.u8(),
                op::DIGEST => digest_xor = input.u8(),
                _ => {
                    damage = Some(flag);
                    break;
                }
            }
        }
        file.end_frame();
        file.close(digest_xor, trailer_xor);
        if let Some(is_cut) = damage {
            file.damage(input, is_cut);
        }
        file
    }

    fn row(&mut self, input: &mut Input<'_>, is_long: bool) {
        let (key_bytes, value_bytes) = (input.u8(), input.u8());
        let key = input.take(usize::from(key_bytes)).to_vec();
        let mut value = input.take(usize::from(value_bytes)).to_vec();
        if is_long {
            value = value.repeat(256);
        }
        let last = self.rows.last().map_or(&[][..], |(key, _)| key);
        self.is_whole &= key.as_slice() > last;
        self.frame.extend((key.len() as u32).to_le_bytes());
        self.frame.extend((value.len() as u32).to_le_bytes());
        self.frame.extend_from_slice(&key);
        self.frame.extend_from_slice(&value);
        self.rows.push((key, value));
    }

    fn end_frame(&mut self) {
        if !self.frame.is_empty() {
            let payload = std::mem::take(&mut self.frame);
            self.put_frame(KIND_ROWS, &payload);
        }
    }

    /// A frame of rows without a row says nothing; every other one does not belong there.
    fn foreign(&mut self, kind: u8, payload: &[u8]) {
        self.is_whole &= kind == KIND_ROWS && payload.is_empty();
        self.put_frame(kind, payload);
    }

    fn put_frame(&mut self, kind: u8, payload: &[u8]) {
        let mut checked = vec![kind];
        checked.extend((payload.len() as u32).to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&checked), payload);
        self.bytes.extend(checked);
        self.bytes.extend(crc.to_le_bytes());
        self.bytes.extend_from_slice(payload);
    }

    /// Puts the beginning before the rows, which say what is in it, and the trailer behind them.
    fn close(&mut self, digest_xor: u8, trailer_xor: u8) {
        let rows = std::mem::take(&mut self.bytes);
        self.bytes.extend(b"R3DSNAP\0");
        self.bytes.extend(5_u32.to_le_bytes());
        let header = self.header(digest_xor);
        self.put_frame(KIND_HEADER, &header);
        self.bytes.extend(rows);
        let mut trailer = (self.rows.len() as u64).to_le_bytes().to_vec();
        trailer.extend(blake3::hash(&self.bytes).as_bytes());
        trailer[usize::from(trailer_xor) % 40] ^= trailer_xor;
        self.put_frame(KIND_TRAILER, &trailer);
        self.is_whole &= digest_xor == 0 && trailer_xor == 0;
    }

    fn header(&self, digest_xor: u8) -> Vec<u8> {
        let mut digest = Digest::default();
        for (key, value) in &self.rows {
            digest.add(key, value);
        }
        let mut digest = digest.to_bytes();
        digest[usize::from(digest_xor) % 16] ^= digest_xor;
        let last = LogId::new(LeaderId::new(3, 1), 900);
        let (mut log_id, mut membership) = (Vec::new(), Vec::new());
        encode_log_id(&last, &mut log_id);
        encode_stored_membership(&StoredMembership::default(), &mut membership);
        let mut header = Vec::new();
        let mut e = minicbor::Encoder::new(&mut header);
        let written = (|| {
            e.map(5)?.u8(0)?.encode(ClusterId([7; 16]))?;
            e.u8(1)?.bytes(&log_id)?.u8(2)?.bytes(&membership)?;
            e.u8(3)?.bytes(&digest)?.u8(4)?.u32(1)?;
            Ok::<_, minicbor::encode::Error<core::convert::Infallible>>(())
        })();
        written.expect("encoding into memory");
        header
    }

    fn damage(&mut self, input: &mut Input<'_>, is_cut: bool) {
        let before = self.bytes.clone();
        let place = |input: &mut Input<'_>, len: usize| {
            let place = usize::from(input.u16()) | usize::from(input.u8()) << 16;
            place % len.max(1)
        };
        if is_cut {
            let end = place(input, self.bytes.len());
            self.bytes.truncate(end);
        }
        while !input.is_empty() && !self.bytes.is_empty() {
            let at = place(input, self.bytes.len());
            self.bytes[at] ^= input.u8();
        }
        self.is_whole &= self.bytes == before;
    }
}
