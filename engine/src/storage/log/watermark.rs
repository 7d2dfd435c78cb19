//! The watermark: how far the log was synced, kept beside the log.
//!
//! A log whose last frame is damaged looks like one whose last write was torn. The watermark
//! tells them apart: it names the last frame that was synced. The file has two slots of 4096 bytes:
//!
//! ```text
//! byte  size  field
//!    0     8  magic "R3DLOGWM"
//!    8     4  format version
//!   12     4  length n of the rest up to the checksum, bytes
//!   16     8  generation: the slot with the higher one counts
//!   24     8  sequence number of the last synced frame, 0 for an empty log
//!   32   n-16 opt(vote), opt(last log id), for whoever reads it after a loss
//! 16+n     4  CRC32C of bytes 0 .. 16+n
//! ```
//!
//! It is written after each sync of the log and synced itself every second, with each vote and
//! before a segment is dropped. A write goes to the slot that was *not* synced last: one slot always
//! holds what was synced, whatever becomes of the other in a power cut.
//!
//! Invariant (test `the_watermark_never_names_unsynced_data`): it never names a frame that is not
//! synced, because it is written only after the sync returned.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::Disk;
use super::error::LogError;
use super::frame::{put_opt, take_opt};
use super::segment::{FORMAT_VERSION, sync_dir};
use super::tip::Tip;
use crate::codec::{decode_log_id, decode_vote, encode_log_id, encode_vote};
use crate::raft::types::{LogId, Vote};

const NAME: &str = "watermark";
const UNFINISHED: &str = "watermark.new";
const MAGIC: [u8; 8] = *b"R3DLOGWM";
const SLOT_BYTES: usize = 4_096;
const FIXED_BYTES: usize = 16;

/// How far the log was synced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    generation: u64,
    /// Sequence number of the last synced frame.
    pub(super) sequence: u64,
    pub(super) vote: Option<Vote>,
    pub(super) last: Option<LogId>,
}

/// The file.
#[derive(Debug)]
pub(super) struct Watermark {
    disk: Arc<dyn Disk>,
    file: File,
    path: PathBuf,
    mark: Mark,
    /// The slot that writes go to: not the one that was synced last.
    slot: usize,
    synced: bool,
}

impl Watermark {
    /// Makes the file of an empty log. There must be no segment yet.
    ///
    /// # Errors
    /// A file operation failed.
    pub(super) fn create(dir: &Path, disk: Arc<dyn Disk>) -> Result<Self, LogError> {
        let (unfinished, path) = (dir.join(UNFINISHED), dir.join(NAME));
        let mark = Mark::default();
        let bytes = encode(&mark).repeat(2);
        fs::write(&unfinished, bytes).map_err(LogError::io("write", &unfinished))?;
        let file = open_file(&unfinished)?;
        disk.sync_data(&file, &unfinished)
            .map_err(LogError::io("sync", &unfinished))?;
        fs::rename(&unfinished, &path).map_err(LogError::io("name", &path))?;
        sync_dir(dir)?;
        Ok(Self {
            disk,
            file,
            path,
            mark,
            slot: 0,
            synced: true,
        })
    }

    /// Opens the file; none where there is none.
    ///
    /// # Errors
    /// Neither slot is valid, which no crash can do.
    pub(super) fn open(dir: &Path, disk: Arc<dyn Disk>) -> Result<Option<Self>, LogError> {
        let path = dir.join(NAME);
        if !path.exists() {
            return Ok(None);
        }
        let mut file = open_file(&path)?;
        let mut bytes = Vec::with_capacity(2 * SLOT_BYTES);
        (&mut file)
            .take(2 * SLOT_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(LogError::io("read", &path))?;
        let damaged = |offset: usize, detail: &str| LogError::Damaged {
            path: path.clone(),
            offset: offset as u64,
            detail: detail.to_owned(),
        };
        if bytes.len() != 2 * SLOT_BYTES {
            return Err(damaged(bytes.len(), "the file is not as long as it was"));
        }
        let mut newest: Option<(usize, Mark)> = None;
        for (slot, bytes) in bytes.chunks(SLOT_BYTES).enumerate() {
            let mark = decode(bytes, &path)?;
            let newer = |mark: &Mark| {
                newest
                    .as_ref()
                    .is_none_or(|(_, best)| mark.generation > best.generation)
            };
            newest = mark.filter(newer).map(|mark| (slot, mark)).or(newest);
        }
        let (slot, mark) = newest.ok_or_else(|| damaged(0, "neither of its slots is valid"))?;
        let mut watermark = Self {
            disk,
            file,
            path,
            mark,
            slot,
            synced: false,
        };
        // After a crash of the process alone the newest slot may be in the page cache only.
        watermark.sync()?;
        Ok(Some(watermark))
    }

    /// Name of the file.
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join(NAME)
    }

    /// What it says.
    pub(super) fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Whether the last write would survive a power cut.
    pub(super) fn is_synced(&self) -> bool {
        self.synced
    }

    /// Says that everything up to frame `sequence` is synced, and `tip` as of it.
    ///
    /// # Errors
    /// The write failed.
    pub(super) fn write(&mut self, sequence: u64, tip: &Tip) -> Result<(), LogError> {
        assert!(
            sequence >= self.mark.sequence,
            "the log never gets shorter: {sequence} after {}",
            self.mark.sequence
        );
        self.mark = Mark {
            generation: self.mark.generation + 1,
            sequence,
            vote: tip.vote,
            last: tip.last,
        };
        self.synced = false;
        let offset = (self.slot * SLOT_BYTES) as u64;
        self.disk
            .write_all_at(&self.file, &self.path, &encode(&self.mark), offset)
            .map_err(LogError::io("write", &self.path))
    }

    /// Makes the last write survive a power cut.
    ///
    /// # Errors
    /// The sync failed.
    pub(super) fn sync(&mut self) -> Result<(), LogError> {
        if self.synced {
            return Ok(());
        }
        self.disk
            .sync_data(&self.file, &self.path)
            .map_err(LogError::io("sync", &self.path))?;
        self.synced = true;
        self.slot = 1 - self.slot;
        Ok(())
    }
}

fn open_file(path: &Path) -> Result<File, LogError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(LogError::io("open", path))
}

fn encode(mark: &Mark) -> Vec<u8> {
    let mut rest = Vec::with_capacity(128);
    rest.extend_from_slice(&mark.generation.to_le_bytes());
    rest.extend_from_slice(&mark.sequence.to_le_bytes());
    put_opt(&mut rest, mark.vote.as_ref(), encode_vote);
    put_opt(&mut rest, mark.last.as_ref(), encode_log_id);
    let mut slot = Vec::with_capacity(SLOT_BYTES);
    slot.extend_from_slice(&MAGIC);
    slot.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    slot.extend_from_slice(&(rest.len() as u32).to_le_bytes());
    slot.extend_from_slice(&rest);
    slot.extend_from_slice(&crc32c::crc32c(&slot).to_le_bytes());
    slot.resize(SLOT_BYTES, 0);
    slot
}

/// Reads a slot; none where it is torn.
fn decode(slot: &[u8], path: &Path) -> Result<Option<Mark>, LogError> {
    let u32_at = |at: usize| {
        let bytes = slot.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    let end = FIXED_BYTES.saturating_add(u32_at(12) as usize);
    let Some(checksummed) = slot.get(..end) else {
        return Ok(None);
    };
    if !slot.starts_with(&MAGIC) || u32_at(end) != crc32c::crc32c(checksummed) {
        return Ok(None);
    }
    let found = u32_at(8);
    if found != FORMAT_VERSION {
        return Err(LogError::other_format(path, found, FORMAT_VERSION));
    }
    let Some((generation, rest)) = checksummed
        .get(FIXED_BYTES..)
        .and_then(|rest| rest.split_first_chunk())
    else {
        return Ok(None);
    };
    let Some((sequence, mut rest)) = rest.split_first_chunk() else {
        return Ok(None);
    };
    Ok(Some(Mark {
        generation: u64::from_le_bytes(*generation),
        sequence: u64::from_le_bytes(*sequence),
        vote: take_opt(&mut rest, decode_vote)?,
        last: take_opt(&mut rest, decode_log_id)?,
    }))
}
