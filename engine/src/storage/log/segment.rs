//! Segment files: `0000000000000001.seg`, `0000000000000002.seg`, … of one fixed size each.
//!
//! ```text
//! byte   size  field
//!    0      8  magic "R3DLOGSG"
//!    8      4  format version
//!   12      4  zeros
//!   16      8  ordinal of this segment, as in its name
//!   24      8  size of the file in bytes
//!   32     16  salt
//!   48      8  marker
//!   56      4  CRC32C of bytes 0..56
//!   60   4036  zeros: frames never share a page with the header
//! 4096      …  frames, then zeros
//! ```
//!
//! A segment is made under another name, written full of zeros (so that a sync of a frame has no
//! file metadata to write), synced, renamed, and its folder synced, all before the first frame.
//! Its header is never written again: damage to bytes that were never synced cannot touch it. The
//! number of a segment's first frame is therefore not in it; it is in that frame.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::LogError;
use super::frame::Salt;

/// Format of segments, frames, records and watermark together.
pub(super) const FORMAT_VERSION: u32 = 1;
/// Where a segment's frames begin, bytes.
pub(super) const SEGMENT_HEADER_BYTES: u64 = 4_096;

const MAGIC: [u8; 8] = *b"R3DLOGSG";
const CHECKSUMMED_BYTES: usize = 56;
const EXTENSION: &str = "seg";
const UNFINISHED: &str = "segment.new";
/// How many zeros go out in one write, bytes.
const ZEROS_BYTES: usize = 1 << 20;

/// A segment that is open for reading and writing.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) ordinal: u64,
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// Size of the file, bytes.
    pub(super) bytes: u64,
    pub(super) salt: Salt,
}

/// Name of a segment's file.
pub(super) fn segment_path(dir: &Path, ordinal: u64) -> PathBuf {
    dir.join(format!("{ordinal:016}.{EXTENSION}"))
}

/// Where a segment is made, under another name.
pub(super) fn unfinished_path(dir: &Path) -> PathBuf {
    dir.join(UNFINISHED)
}

/// Ordinals of the segments in `dir`, ascending. Removes what an unfinished creation left.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, LogError> {
    let unfinished = unfinished_path(dir);
    if unfinished.exists() {
        fs::remove_file(&unfinished).map_err(LogError::io("remove", &unfinished))?;
    }
    let mut ordinals = Vec::new();
    for entry in fs::read_dir(dir).map_err(LogError::io("list", dir))? {
        let path = entry.map_err(LogError::io("list", dir))?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let ordinal = stem.and_then(|stem| stem.parse::<u64>().ok());
        if path.extension().is_some_and(|e| e == EXTENSION) {
            ordinals.extend(ordinal);
        }
    }
    ordinals.sort_unstable();
    Ok(ordinals)
}

/// Makes the names in `dir` survive a power cut.
///
/// # Errors
/// The folder cannot be synced.
pub(super) fn sync_dir(dir: &Path) -> Result<(), LogError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(LogError::io("sync", dir))
}

impl Segment {
    /// Makes a segment of `bytes` bytes.
    ///
    /// # Errors
    /// A file operation failed.
    pub(super) fn create(dir: &Path, ordinal: u64, bytes: u64) -> Result<Self, LogError> {
        let unfinished = unfinished_path(dir);
        let path = segment_path(dir, ordinal);
        let salt = random_salt(&unfinished)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&unfinished)
            .map_err(LogError::io("create", &unfinished))?;
        let failed = |error| LogError::Io {
            what: "fill",
            path: unfinished.clone(),
            error,
        };
        file.write_all(&encode_header(ordinal, bytes, &salt))
            .map_err(failed)?;
        let zeros = vec![0; ZEROS_BYTES];
        let mut left = usize::try_from(bytes - SEGMENT_HEADER_BYTES).unwrap_or(usize::MAX);
        while left > 0 {
            let chunk = zeros.get(..left).unwrap_or(&zeros);
            file.write_all(chunk).map_err(failed)?;
            // Left to one sync at the end, what is written to the log waits behind all of it.
            file.sync_data().map_err(failed)?;
            left -= chunk.len();
        }
        file.sync_all().map_err(failed)?;
        fs::rename(&unfinished, &path).map_err(LogError::io("name", &path))?;
        sync_dir(dir)?;
        Ok(Self {
            ordinal,
            path,
            file,
            bytes,
            salt,
        })
    }

    /// Opens a segment and checks its header and its size.
    ///
    /// # Errors
    /// It is damaged, short or of another format.
    pub(super) fn open(dir: &Path, ordinal: u64) -> Result<Self, LogError> {
        let path = segment_path(dir, ordinal);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(LogError::io("open", &path))?;
        let damaged = |offset, detail: &str| LogError::Damaged {
            path: path.clone(),
            offset,
            detail: detail.to_owned(),
        };
        let length = file.metadata().map_err(LogError::io("read", &path))?.len();
        if length < SEGMENT_HEADER_BYTES {
            return Err(damaged(length, "the file is cut off within its header"));
        }
        let mut header = [0; SEGMENT_HEADER_BYTES as usize];
        file.read_exact(&mut header)
            .map_err(LogError::io("read", &path))?;
        let (found, bytes, salt) =
            decode_header(&header, &path)?.ok_or_else(|| damaged(0, "its header is not valid"))?;
        if found != ordinal {
            return Err(damaged(16, "it is another segment under this name"));
        }
        if bytes != length {
            return Err(damaged(
                length.min(bytes),
                "the file is not as long as it was",
            ));
        }
        Ok(Self {
            ordinal,
            path,
            file,
            bytes,
            salt,
        })
    }

    /// Reads exactly `bytes.len()` bytes at `offset`.
    ///
    /// # Errors
    /// The read failed.
    pub(super) fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), LogError> {
        self.file
            .read_exact_at(bytes, offset)
            .map_err(LogError::io("read", &self.path))
    }
}

fn random_salt(path: &Path) -> Result<Salt, LogError> {
    let mut random = [0; 24];
    getrandom::fill(&mut random)
        .map_err(|e| LogError::io("get random bytes for", path)(e.into()))?;
    let (seed, marker) = random.split_at(16);
    let mut salt = Salt {
        seed: [0; 16],
        marker: 0,
    };
    salt.seed.copy_from_slice(seed);
    let mut marker_bytes = [0; 8];
    marker_bytes.copy_from_slice(marker);
    // Zeros must never look like the beginning of a header.
    salt.marker = u64::from_le_bytes(marker_bytes) | 1;
    Ok(salt)
}

fn encode_header(ordinal: u64, bytes: u64, salt: &Salt) -> Vec<u8> {
    let mut header = Vec::with_capacity(SEGMENT_HEADER_BYTES as usize);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    header.extend_from_slice(&[0; 4]);
    header.extend_from_slice(&ordinal.to_le_bytes());
    header.extend_from_slice(&bytes.to_le_bytes());
    header.extend_from_slice(&salt.seed);
    header.extend_from_slice(&salt.marker.to_le_bytes());
    debug_assert_eq!(header.len(), CHECKSUMMED_BYTES);
    header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
    header.resize(SEGMENT_HEADER_BYTES as usize, 0);
    header
}

type Header = (u64, u64, Salt);

/// Ordinal, size and salt; none where the bytes are not a header.
fn decode_header(header: &[u8], path: &Path) -> Result<Option<Header>, LogError> {
    let Some((checksummed, rest)) = header.split_at_checked(CHECKSUMMED_BYTES) else {
        return Ok(None);
    };
    let checksum = rest.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    if checksum != Some(crc32c::crc32c(checksummed)) || !checksummed.starts_with(&MAGIC) {
        return Ok(None);
    }
    let u64_at = |at: usize| {
        let bytes = checksummed.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    let found = u64_at(8) as u32;
    if found != FORMAT_VERSION {
        return Err(LogError::other_format(path, found, FORMAT_VERSION));
    }
    let mut salt = Salt {
        seed: [0; 16],
        marker: u64_at(48),
    };
    for (to, from) in salt.seed.iter_mut().zip(checksummed.iter().skip(32)) {
        *to = *from;
    }
    Ok(Some((u64_at(16), u64_at(24), salt)))
}
