//! The format of a snapshot file.
//!
//! ```text
//! "R3DSNAP\0"  version u32                     8 + 4 bytes
//! frame*       kind u8, length u32, CRC-32C u32, payload
//!   header     CBOR: cluster id, last log id, membership, digest, engine epoch
//!   rows       (key length u32, value length u32, key, value)*, keys ascending over all frames
//!   trailer    rows u64, BLAKE3 (32 bytes) of every byte before the trailer's frame
//! ```
//!
//! The first 12 bytes and the trailer, which is the last 49, are the same in every format: so a file of
//! a later version is told from a damaged one.
//!
//! Numbers are little-endian. A frame's checksum covers kind, length and payload. The file ends
//! with the trailer. Rows are read and written one frame at a time, so memory stays bounded.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use minicbor::{Decode, Encode};
use raft3d_core::ClusterId;
use raft3d_core::limits::ENVELOPE_BYTES_MAX;
use raft3d_core::state::digest::Digest;
use thiserror::Error;

use crate::codec::{
    decode_log_id, decode_stored_membership, encode_log_id, encode_stored_membership,
};
use crate::raft::types::{LogId, StoredMembership};
use crate::storage::files::Trickle;
use crate::storage::newer::NewerFormat;

/// Format version of a snapshot file.
const SNAPSHOT_FORMAT_VERSION: u32 = 5;
const MAGIC: &[u8; 8] = b"R3DSNAP\0";
/// A frame of rows is written when it holds this many bytes.
const ROWS_FRAME_BYTES: usize = 256 * 1024;
/// Longest payload that a reader accepts, in bytes: a full frame and one more row, which is no
/// longer than the entry that wrote it, and some.
const FRAME_BYTES_MAX: usize = ROWS_FRAME_BYTES + 2 * ENVELOPE_BYTES_MAX;
/// Bytes before a frame's payload.
const FRAME_HEAD_BYTES: usize = 9;
/// Bytes of the trailer: its head, the number of rows, and the hash.
const TRAILER_FRAME_BYTES: usize = FRAME_HEAD_BYTES + 8 + blake3::OUT_LEN;

/// What failed when the content of a file could not be read.
const READ: &str = "read";

const KIND_HEADER: u8 = 1;
const KIND_ROWS: u8 = 2;
const KIND_TRAILER: u8 = 3;

/// Why a snapshot file cannot be written or used.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// Reading or writing failed.
    #[error("cannot {action} the snapshot file {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// File.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The bytes are not those that were written.
    #[error("the snapshot file {path} is damaged: {detail}")]
    Damaged {
        /// File.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The file was written by a later version.
    #[error(transparent)]
    Newer(#[from] NewerFormat),
    /// The file was written by an earlier version, whose format this one does not read.
    #[error(
        "the snapshot file {path} has format {found}, and this program reads format \
         {SNAPSHOT_FORMAT_VERSION} only: run the version of raft3d that wrote it"
    )]
    WrongVersion {
        /// File.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The rows to write are not the ones that their digest says.
    #[error(
        "the rows at revision {revision} do not have the digest that was kept while they changed; \
         no snapshot is made of them. Restart this node: it rebuilds its state"
    )]
    DigestMismatch {
        /// Revision.
        revision: u64,
    },
    /// Reading the rows to write failed.
    #[error(transparent)]
    Rows(#[from] raft3d_core::LocalFault),
}

impl SnapshotError {
    /// Whether the file is of no use, now or later. A sector that cannot be read is damage too; a
    /// folder without permission is not.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Io { action, .. } => *action == READ,
            Self::Newer(_)
            | Self::WrongVersion { .. }
            | Self::DigestMismatch { .. }
            | Self::Rows(_) => false,
        }
    }
}

impl SnapshotError {
    /// Whether another version of this program is to be run on the folder.
    #[must_use]
    pub const fn is_of_other_version(&self) -> bool {
        matches!(self, Self::Newer(_) | Self::WrongVersion { .. })
    }
}

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The cluster; none before its bootstrap.
    pub cluster_id: Option<ClusterId>,
    /// The last entry that the rows reflect.
    pub last_log_id: Option<LogId>,
    /// The last membership that was applied.
    pub membership: StoredMembership,
    /// Digest of the rows.
    pub digest: Digest,
    /// Engine epoch in force; 0 before the bootstrap.
    pub engine_epoch: u32,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct StoredHeader {
    #[n(0)]
    cluster_id: Option<ClusterId>,
    #[cbor(n(1), with = "minicbor::bytes")]
    last_log_id: Option<Vec<u8>>,
    #[cbor(n(2), with = "minicbor::bytes")]
    membership: Vec<u8>,
    #[n(3)]
    digest: Digest,
    #[n(4)]
    engine_epoch: u32,
}

impl SnapshotHeader {
    fn encode(&self) -> Vec<u8> {
        let mut membership = Vec::new();
        encode_stored_membership(&self.membership, &mut membership);
        let last_log_id = self.last_log_id.as_ref().map(|log_id| {
            let mut bytes = Vec::new();
            encode_log_id(log_id, &mut bytes);
            bytes
        });
        let stored = StoredHeader {
            cluster_id: self.cluster_id,
            last_log_id,
            membership,
            digest: self.digest,
            engine_epoch: self.engine_epoch,
        };
        let mut bytes = Vec::new();
        match minicbor::encode(&stored, &mut bytes) {
            Ok(()) => bytes,
            Err(error) => unreachable!("encoding into memory failed: {error}"),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let stored: StoredHeader = minicbor::decode(bytes).map_err(|error| error.to_string())?;
        let last_log_id = stored
            .last_log_id
            .map(|bytes| decode_log_id(&bytes))
            .transpose()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            cluster_id: stored.cluster_id,
            last_log_id,
            membership: decode_stored_membership(&stored.membership)
                .map_err(|error| error.to_string())?,
            digest: stored.digest,
            engine_epoch: stored.engine_epoch,
        })
    }
}

/// Writes a snapshot file.
pub(super) struct SnapshotWriter {
    path: PathBuf,
    file: BufWriter<File>,
    trickle: Trickle,
    hasher: blake3::Hasher,
    frame: Vec<u8>,
    rows: u64,
}

impl SnapshotWriter {
    pub(super) fn create(path: &Path, header: &SnapshotHeader) -> Result<Self, SnapshotError> {
        let file = File::create(path).map_err(io_error("create", path))?;
        let trickle = Trickle::new(file.try_clone().map_err(io_error("create", path))?);
        let mut writer = Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
            trickle,
            hasher: blake3::Hasher::new(),
            frame: Vec::new(),
            rows: 0,
        };
        writer.write(MAGIC)?;
        writer.write(&SNAPSHOT_FORMAT_VERSION.to_le_bytes())?;
        writer.write_frame(KIND_HEADER, &header.encode())?;
        Ok(writer)
    }

    /// Adds a row. Keys ascend.
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        self.frame.extend(length(key).to_le_bytes());
        self.frame.extend(length(value).to_le_bytes());
        self.frame.extend(key);
        self.frame.extend(value);
        self.rows += 1;
        if self.frame.len() >= ROWS_FRAME_BYTES {
            self.write_rows()?;
        }
        Ok(())
    }

    /// Writes what is left and the trailer, and syncs the file.
    pub(super) fn finish(mut self) -> Result<(), SnapshotError> {
        if !self.frame.is_empty() {
            self.write_rows()?;
        }
        let mut trailer = self.rows.to_le_bytes().to_vec();
        trailer.extend(self.hasher.finalize().as_bytes());
        self.write_frame(KIND_TRAILER, &trailer)?;
        let path = self.path;
        let file = self.file.into_inner().map_err(|error| error.into_error());
        file.and_then(|file| file.sync_all())
            .map_err(io_error("sync", &path))
    }

    fn write_rows(&mut self) -> Result<(), SnapshotError> {
        let mut frame = std::mem::take(&mut self.frame);
        self.write_frame(KIND_ROWS, &frame)?;
        self.trickle.go_on().map_err(io_error("sync", &self.path))?;
        frame.clear();
        self.frame = frame;
        Ok(())
    }

    fn write_frame(&mut self, kind: u8, payload: &[u8]) -> Result<(), SnapshotError> {
        let mut head = [0; FRAME_HEAD_BYTES];
        frame_head(kind, payload, &mut head);
        self.write(&head)?;
        self.write(payload)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.hasher.update(bytes);
        self.file
            .write_all(bytes)
            .map_err(io_error("write", &self.path))
    }
}

/// Reads a snapshot file, and checks every byte of it on the way.
pub struct SnapshotReader {
    path: PathBuf,
    file: BufReader<File>,
    hasher: blake3::Hasher,
    header: SnapshotHeader,
    last_key: Vec<u8>,
    rows: u64,
}

impl SnapshotReader {
    /// Reads up to the header. `file` stands at its beginning.
    ///
    /// # Errors
    /// The file is not readable, or not a snapshot of this format.
    pub(super) fn open(path: &Path, file: File) -> Result<Self, SnapshotError> {
        let mut reader = Self {
            path: path.to_owned(),
            file: BufReader::new(file),
            hasher: blake3::Hasher::new(),
            header: SnapshotHeader {
                cluster_id: None,
                last_log_id: None,
                membership: StoredMembership::default(),
                digest: Digest::default(),
                engine_epoch: 0,
            },
            last_key: Vec::new(),
            rows: 0,
        };
        let mut start = [0; 12];
        reader.read(&mut start)?;
        reader.hasher.update(&start);
        let [magic @ .., v0, v1, v2, v3] = start;
        if magic != *MAGIC {
            return Err(reader.damaged("it does not begin like one"));
        }
        let found = u32::from_le_bytes([v0, v1, v2, v3]);
        if found != SNAPSHOT_FORMAT_VERSION {
            return Err(reader.of_other_format(found));
        }
        match reader.read_frame()? {
            (KIND_HEADER, payload, head) => {
                reader.hasher.update(&head);
                reader.hasher.update(&payload);
                reader.header =
                    SnapshotHeader::decode(&payload).map_err(|error| reader.damaged(&error))?;
            }
            _ => return Err(reader.damaged("it has no header")),
        }
        Ok(reader)
    }

    /// What the snapshot is of.
    pub(super) fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// Calls `row` for every row, and answers their number. That the file is whole is only known
    /// when this returns: until then the rows are checked one frame at a time.
    ///
    /// # Errors
    /// The file is damaged, or what `row` says.
    pub fn for_each_row<E: From<SnapshotError>>(
        mut self,
        mut row: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<u64, E> {
        loop {
            let (kind, payload, head) = self.read_frame()?;
            match kind {
                KIND_ROWS => {
                    self.hasher.update(&head);
                    self.hasher.update(&payload);
                    self.split_rows(&payload, &mut row)?;
                }
                KIND_TRAILER => {
                    self.check_trailer(&payload)?;
                    return Ok(self.rows);
                }
                _ => return Err(self.damaged("it has a frame of an unknown kind").into()),
            }
        }
    }

    fn split_rows<E: From<SnapshotError>>(
        &mut self,
        mut rest: &[u8],
        row: &mut impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !rest.is_empty() {
            let Some((key, value, after)) = split_row(rest) else {
                return Err(self.damaged("a row runs over its frame").into());
            };
            if key <= self.last_key.as_slice() {
                return Err(self.damaged("its keys do not ascend").into());
            }
            self.last_key.clear();
            self.last_key.extend(key);
            self.rows += 1;
            row(key, value)?;
            rest = after;
        }
        Ok(())
    }

    fn check_trailer(&mut self, payload: &[u8]) -> Result<(), SnapshotError> {
        let mut expected = self.rows.to_le_bytes().to_vec();
        expected.extend(self.hasher.finalize().as_bytes());
        if payload != expected {
            return Err(self.damaged("its bytes or rows do not add up"));
        }
        let mut more = [0];
        match self.file.read(&mut more) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.damaged("bytes follow its end")),
            Err(source) => Err(io_error(READ, &self.path)(source)),
        }
    }

    /// What a file is that says that it has the format `found`: of another version if it is whole.
    fn of_other_format(&mut self, found: u32) -> SnapshotError {
        let path = self.path.clone();
        match self.read_to_trailer() {
            Ok(true) if found > SNAPSHOT_FORMAT_VERSION => SnapshotError::Newer(NewerFormat {
                path,
                found,
                known: SNAPSHOT_FORMAT_VERSION,
            }),
            Ok(true) => SnapshotError::WrongVersion { path, found },
            Ok(false) => self.damaged("it says that it has another format, and is not whole"),
            Err(source) => io_error(READ, &path)(source),
        }
    }

    /// Reads the rest of a file of any format; whether it ends with its own hash.
    fn read_to_trailer(&mut self) -> io::Result<bool> {
        let mut tail = Vec::new();
        let mut buffer = vec![0; ROWS_FRAME_BYTES];
        loop {
            let length = self.file.read(&mut buffer)?;
            tail.extend_from_slice(buffer.get(..length).unwrap_or_default());
            let before = tail.len().saturating_sub(TRAILER_FRAME_BYTES);
            if length == 0 {
                break;
            }
            self.hasher.update(tail.get(..before).unwrap_or_default());
            tail.drain(..before);
        }
        let hash = self.hasher.finalize();
        let (kind, last) = (tail.first(), tail.last_chunk::<{ blake3::OUT_LEN }>());
        Ok(tail.len() == TRAILER_FRAME_BYTES
            && kind == Some(&KIND_TRAILER)
            && last == Some(hash.as_bytes()))
    }

    fn read_frame(&mut self) -> Result<(u8, Vec<u8>, [u8; FRAME_HEAD_BYTES]), SnapshotError> {
        let mut head = [0; FRAME_HEAD_BYTES];
        self.read(&mut head)?;
        let [kind, l0, l1, l2, l3, ..] = head;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(self.damaged("a frame is too long"));
        }
        let mut payload = vec![0; length];
        self.read(&mut payload)?;
        let mut expected = [0; FRAME_HEAD_BYTES];
        frame_head(kind, &payload, &mut expected);
        if head != expected {
            return Err(self.damaged("a frame's checksum does not match"));
        }
        Ok((kind, payload, head))
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), SnapshotError> {
        self.file.read_exact(bytes).map_err(|source| {
            if source.kind() == io::ErrorKind::UnexpectedEof {
                self.damaged("it is cut short")
            } else {
                io_error(READ, &self.path)(source)
            }
        })
    }

    fn damaged(&self, detail: &str) -> SnapshotError {
        SnapshotError::Damaged {
            path: self.path.clone(),
            detail: detail.to_owned(),
        }
    }
}

/// Fills in what stands before `payload`.
fn frame_head(kind: u8, payload: &[u8], head: &mut [u8; FRAME_HEAD_BYTES]) {
    let [l0, l1, l2, l3] = length(payload).to_le_bytes();
    let crc = crc32c::crc32c_append(crc32c::crc32c(&[kind, l0, l1, l2, l3]), payload);
    let [c0, c1, c2, c3] = crc.to_le_bytes();
    *head = [kind, l0, l1, l2, l3, c0, c1, c2, c3];
}

fn split_row(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (key_length, rest) = bytes.split_first_chunk::<4>()?;
    let (value_length, rest) = rest.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_length) as usize)?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value_length) as usize)?;
    Some((key, value, rest))
}

/// Length of a key, value or frame: all are far below 4 GiB, because entries are.
fn length(bytes: &[u8]) -> u32 {
    match u32::try_from(bytes.len()) {
        Ok(length) => length,
        Err(_) => unreachable!("{} bytes in one row or frame", bytes.len()),
    }
}

pub(super) fn io_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> SnapshotError + use<> {
    let path = path.to_owned();
    move |source| SnapshotError::Io {
        action,
        path,
        source,
    }
}
