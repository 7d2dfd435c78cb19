//! Opening a log: reading all of it, and telling a torn end from damage.
//!
//! One batch is in flight at a time and the next is written only after the sync of the one before
//! has returned. So a frame that is not whole is a torn end if, and only if, no valid frame comes
//! after it: then it was never synced, and it is cut off. A valid frame behind it proves that it had
//! been synced: this is damage, and a replica that goes on without it could take part in losing
//! acknowledged data. Damage to the very last frame has nothing behind it; the watermark and the
//! seal that follows a pause are there for that.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::disk::Disk;
use super::error::LogError;
use super::frame::{
    FRAME_ALIGN_BYTES, FRAME_HEADER_BYTES, FrameHeader, Kind, RawRecord, read_checkpoint,
    read_opt_log_id, read_purge,
};
use super::index::{Index, Location};
use super::options::LogOptions;
use super::segment::{self, SEGMENT_HEADER_BYTES, Segment, segment_path};
use super::settle::settle;
use super::tip::{Tip, next_index};
use super::watermark::Watermark;
use super::window::{Window, leading_zeros};
use crate::codec::{decode_entry, decode_vote};

/// How much is read at once, bytes.
pub(super) const READ_STEP_BYTES: usize = 1 << 20;

/// A log that was read whole.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) tip: Tip,
    pub(super) index: Index,
    pub(super) segments: BTreeMap<u64, Arc<Segment>>,
    /// Highest index of an entry that was ever written to a segment, by ordinal.
    pub(super) highest: BTreeMap<u64, Option<u64>>,
    /// Oldest segment that is needed.
    pub(super) first_segment: u64,
    /// The segment to write to.
    pub(super) active: Arc<Segment>,
    /// Where in it, bytes.
    pub(super) end: u64,
    /// Segments after the active one, empty, oldest first.
    pub(super) prepared: Vec<Segment>,
    /// Sequence number of the last frame.
    pub(super) sequence: u64,
    pub(super) watermark: Watermark,
    /// How many bytes of a torn end were cut off.
    pub(super) torn_bytes: u64,
}

/// Opens the log in `dir`, or makes one where there is none.
///
/// # Errors
/// See [`LogError`]. Nothing is changed on the disk where the log is refused.
pub(super) fn recover(
    dir: &Path,
    options: &LogOptions,
    disk: &Arc<dyn Disk>,
) -> Result<Recovered, LogError> {
    fs::create_dir_all(dir).map_err(LogError::io("create", dir))?;
    let ordinals = segment::list(dir)?;
    let watermark = match Watermark::open(dir, Arc::clone(disk))? {
        Some(watermark) => watermark,
        None if ordinals.is_empty() && !options.must_exist => {
            Watermark::create(dir, Arc::clone(disk))?
        }
        None => {
            return Err(LogError::Missing {
                path: Watermark::path(dir),
                detail: "this folder held a log before".to_owned(),
            });
        }
    };
    if ordinals.is_empty() {
        if watermark.mark().sequence > 0 {
            return Err(LogError::Missing {
                path: segment_path(dir, 1),
                detail: "there is no segment at all, and the watermark names one".to_owned(),
            });
        }
        return start_empty(dir, options, watermark);
    }
    let replay = Replay::of(dir, &ordinals)?;
    check(dir, &replay, &watermark)?;
    if replay.sequence == 0 {
        // No frame was ever synced: what there is was made for the first one.
        for ordinal in ordinals.iter().rev() {
            let path = segment_path(dir, *ordinal);
            fs::remove_file(&path).map_err(LogError::io("remove", &path))?;
        }
        return start_empty(dir, options, watermark);
    }
    settle(dir, &ordinals, replay, watermark, options, disk)
}

/// A log without a frame.
fn start_empty(
    dir: &Path,
    options: &LogOptions,
    watermark: Watermark,
) -> Result<Recovered, LogError> {
    let active = Arc::new(Segment::create(dir, 1, options.segment_bytes)?);
    Ok(Recovered {
        tip: Tip::default(),
        index: Index::default(),
        segments: BTreeMap::from([(1, Arc::clone(&active))]),
        highest: BTreeMap::from([(1, None)]),
        first_segment: 1,
        active,
        end: SEGMENT_HEADER_BYTES,
        prepared: Vec::new(),
        sequence: 0,
        watermark,
        torn_bytes: 0,
    })
}

/// What reading the frames in order came to.
pub(super) struct Replay {
    pub(super) segments: Vec<Segment>,
    pub(super) tip: Tip,
    pub(super) index: Index,
    pub(super) highest: BTreeMap<u64, Option<u64>>,
    pub(super) first_segment: u64,
    pub(super) sequence: u64,
    /// Last log id before the first segment that was read.
    before: Option<crate::raft::types::LogId>,
    /// Position in `segments` of the last one with a frame, and where its frames end.
    pub(super) active: usize,
    pub(super) end: u64,
    /// Where a frame was expected and is not valid, not yet known to be harmless.
    gap: Option<(usize, u64)>,
}

impl Replay {
    /// Reads the segments after the last gap in their numbers. Those before it are leftovers of a
    /// purge whose removals reached the disk out of order; `check` makes sure of that.
    fn of(dir: &Path, ordinals: &[u64]) -> Result<Self, LogError> {
        let mut segments = Vec::new();
        for ordinal in ordinals.iter().rev() {
            let next = segments.last().map(|next: &Segment| next.ordinal);
            if next.is_some_and(|next| ordinal + 1 != next) {
                break;
            }
            segments.push(Segment::open(dir, *ordinal)?);
        }
        segments.reverse();
        let mut replay = Self {
            segments: Vec::new(),
            tip: Tip::default(),
            index: Index::default(),
            highest: BTreeMap::new(),
            first_segment: 1,
            sequence: 0,
            before: None,
            active: 0,
            end: SEGMENT_HEADER_BYTES,
            gap: None,
        };
        for (nth, segment) in segments.iter().enumerate() {
            replay.segment(nth, segment).map_err(|bad| match bad {
                Bad::Stop(error) => error,
                Bad::Proven => replay.damaged(&segments),
            })?;
        }
        replay.segments = segments;
        Ok(replay)
    }

    /// The error of a frame that is not valid although a later one is.
    fn damaged(&self, segments: &[Segment]) -> LogError {
        let (nth, offset) = self.gap.unwrap_or((0, SEGMENT_HEADER_BYTES));
        LogError::Damaged {
            path: segments
                .get(nth)
                .map(|s| s.path.clone())
                .unwrap_or_default(),
            offset,
            detail: format!(
                "frame {} is not valid, and a later one is: it had been synced",
                self.sequence + 1
            ),
        }
    }

    /// Reads the frames of one segment.
    fn segment(&mut self, nth: usize, segment: &Segment) -> Result<(), Bad> {
        let mut window = Window::new(segment, READ_STEP_BYTES);
        let mut offset = SEGMENT_HEADER_BYTES;
        // The first frame that is read says where the sequence begins. Where it is missing in an
        // older segment, a later frame has nothing to continue and is taken for proof of damage.
        let begins = nth == 0;
        while let Some(header) = self.frame(&mut window, offset, begins)? {
            self.gap = None;
            self.active = nth;
            offset += header.frame_bytes();
            self.end = offset;
            self.sequence = header.sequence;
        }
        let gap = *self.gap.get_or_insert((nth, offset));
        if later_frame(&mut window, offset, self.sequence)? {
            self.gap = Some(gap);
            return Err(Bad::Proven);
        }
        Ok(())
    }

    /// Reads and applies the frame at `offset`; none where there is no valid next one.
    fn frame(
        &mut self,
        window: &mut Window<'_>,
        offset: u64,
        begins: bool,
    ) -> Result<Option<FrameHeader>, Bad> {
        let segment = window.segment();
        let first = offset == SEGMENT_HEADER_BYTES;
        let bytes = window.at(offset, FRAME_HEADER_BYTES)?;
        let Some(header) = FrameHeader::parse(bytes, offset, &segment.salt) else {
            return Ok(None);
        };
        let expected = self.sequence + 1;
        let begins_anywhere = begins && first && segment.ordinal > 1;
        if header.sequence != expected && !begins_anywhere {
            return Ok(None);
        }
        if offset + header.frame_bytes() > segment.bytes {
            return Ok(None);
        }
        let frame = window.at(offset, header.frame_bytes() as usize)?;
        let whole = FRAME_HEADER_BYTES + header.payload_bytes as usize;
        let Some(payload) = frame.get(FRAME_HEADER_BYTES..whole) else {
            return Ok(None);
        };
        if segment.salt.payload_checksum(payload) != header.payload_checksum {
            return Ok(None);
        }
        let payload = Bytes::copy_from_slice(payload);
        self.payload(&payload, &header, segment, offset, begins)
            .map_err(|detail| LogError::Damaged {
                path: segment.path.clone(),
                offset,
                detail,
            })?;
        Ok(Some(header))
    }

    /// Applies the records of a frame.
    fn payload(
        &mut self,
        payload: &Bytes,
        header: &FrameHeader,
        segment: &Segment,
        frame_offset: u64,
        begins: bool,
    ) -> Result<(), String> {
        let first_frame = frame_offset == SEGMENT_HEADER_BYTES;
        let mut rest: &[u8] = payload;
        let mut records = 0;
        self.highest.entry(segment.ordinal).or_default();
        while !rest.is_empty() {
            let at = payload.len() - rest.len();
            let (record, after) = RawRecord::split(rest)?;
            rest = after;
            if (record.kind == Kind::Checkpoint) != (first_frame && records == 0) {
                return Err("its checkpoint is not where it belongs".to_owned());
            }
            records += 1;
            if record.kind == Kind::Checkpoint {
                self.checkpoint(record.body, begins)?;
                continue;
            }
            let offset = frame_offset + (FRAME_HEADER_BYTES + at) as u64;
            let location = Location {
                segment: segment.ordinal,
                offset: u32::try_from(offset).map_err(|e| e.to_string())?,
            };
            self.record(&record, payload, location)?;
        }
        if records != header.records {
            return Err(format!(
                "it holds {records} records and says {}",
                header.records
            ));
        }
        Ok(())
    }

    fn checkpoint(&mut self, body: &[u8], begins: bool) -> Result<(), String> {
        let (first_segment, tip) = read_checkpoint(body).map_err(|e| e.to_string())?;
        if begins {
            self.before = tip.last;
            self.first_segment = first_segment;
            self.tip = tip;
            return Ok(());
        }
        if (first_segment, &tip) != (self.first_segment, &self.tip) {
            return Err("its checkpoint contradicts the segments before it".to_owned());
        }
        Ok(())
    }

    fn record(
        &mut self,
        record: &RawRecord<'_>,
        payload: &Bytes,
        location: Location,
    ) -> Result<(), String> {
        let text = |e: LogError| e.to_string();
        match record.kind {
            Kind::Entry => {
                let body = payload.slice_ref(record.body);
                let log_id = decode_entry(&body).map_err(|e| e.to_string())?.log_id;
                if self
                    .tip
                    .next_index()
                    .is_some_and(|next| next != log_id.index)
                {
                    return Err(format!("entry {} does not follow the last", log_id.index));
                }
                self.index.push(log_id.index, location);
                let highest = self.highest.entry(location.segment).or_default();
                *highest = (*highest).max(Some(log_id.index));
                self.tip.last = Some(log_id);
            }
            Kind::Vote => {
                self.tip.vote = Some(decode_vote(record.body).map_err(|e| e.to_string())?);
            }
            Kind::Truncate => {
                self.tip
                    .truncate_after(read_opt_log_id(record.body).map_err(text)?);
                self.index.truncate_from(next_index(self.tip.last));
            }
            Kind::Purge => {
                let (first_segment, up_to) = read_purge(record.body).map_err(text)?;
                self.first_segment = self.first_segment.max(first_segment);
                self.tip.purge(up_to);
                self.index.drop_below(self.tip.first_index());
            }
            Kind::Committed => {
                self.tip.commit(read_opt_log_id(record.body).map_err(text)?);
            }
            Kind::Checkpoint | Kind::Seal => {}
        }
        Ok(())
    }
}

/// Why a segment is not read further.
enum Bad {
    /// A later frame proves the damage at `Replay::gap`.
    Proven,
    Stop(LogError),
}

impl From<LogError> for Bad {
    fn from(error: LogError) -> Self {
        Self::Stop(error)
    }
}

/// Whether a header stands anywhere from `from` on that is newer than the frame after `sequence`,
/// which is the one that may have been in flight, its header whole and its payload torn.
fn later_frame(window: &mut Window<'_>, from: u64, sequence: u64) -> Result<bool, LogError> {
    let segment = window.segment();
    let marker = segment.salt.marker.to_le_bytes();
    let mut offset = from;
    while offset < segment.bytes {
        let bytes = window.at(offset, FRAME_HEADER_BYTES)?;
        let zeros = leading_zeros(bytes).saturating_sub(FRAME_HEADER_BYTES);
        let mut at = zeros - zeros % FRAME_ALIGN_BYTES;
        while let Some(header) = bytes.get(at..at + FRAME_HEADER_BYTES) {
            if header.get(8..16) == Some(marker.as_slice()) {
                let found = FrameHeader::parse(header, offset + at as u64, &segment.salt);
                if found.is_some_and(|found| found.sequence > sequence + 1) {
                    return Ok(true);
                }
            }
            at += FRAME_ALIGN_BYTES;
        }
        if at == 0 {
            break;
        }
        offset += at as u64;
    }
    Ok(false)
}

/// Refuses a log of which something is missing.
fn check(dir: &Path, replay: &Replay, watermark: &Watermark) -> Result<(), LogError> {
    let first = replay.segments.first().map_or(1, |s| s.ordinal);
    let missing = |detail: &str| LogError::Missing {
        path: segment_path(dir, first.saturating_sub(1)),
        detail: detail.to_owned(),
    };
    if replay.sequence == 0 && first > 1 {
        return Err(missing("later segments are there and hold nothing"));
    }
    if replay.first_segment < first {
        return Err(missing("it had not been purged"));
    }
    if next_index(replay.tip.purged) < next_index(replay.before) {
        return Err(missing("entries of it are not purged"));
    }
    let mark = watermark.mark();
    if replay.sequence < mark.sequence {
        let last = mark.last.map_or("none".to_owned(), |id| id.to_string());
        return Err(LogError::Lost {
            found: replay.sequence,
            expected: mark.sequence,
            last,
        });
    }
    let (index, tip) = (&replay.index, &replay.tip);
    let begin_fits = index
        .first_index()
        .is_none_or(|first| tip.purged.is_none() || first == tip.first_index());
    let end_fits = match index.end_index() {
        Some(end) => end == next_index(tip.last),
        None => next_index(tip.last) == next_index(tip.purged),
    };
    if !begin_fits || !end_fits {
        return Err(LogError::Record(format!(
            "the entries are not those between purge and end ({tip:?})"
        )));
    }
    Ok(())
}
