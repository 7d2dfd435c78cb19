//! The last step of opening a log: the only one that changes the disk, once the log is accepted.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::disk::Disk;
use super::error::LogError;
use super::options::LogOptions;
use super::recovery::{READ_STEP_BYTES, Recovered, Replay};
use super::segment::{self, SEGMENT_HEADER_BYTES, Segment, segment_path};
use super::watermark::Watermark;
use super::window::{Window, leading_zeros};

/// Makes a log that was read whole ready for writing.
pub(super) fn settle(
    dir: &Path,
    ordinals: &[u64],
    mut replay: Replay,
    mut watermark: Watermark,
    options: &LogOptions,
    disk: &Arc<dyn Disk>,
) -> Result<Recovered, LogError> {
    let mut torn_bytes = 0;
    for (nth, segment) in replay.segments.iter().enumerate().skip(replay.active) {
        let end = if nth == replay.active {
            replay.end
        } else {
            SEGMENT_HEADER_BYTES
        };
        torn_bytes += zero_from(segment, end, disk)?;
        // What a crash of the process alone left in the page cache counts from here on.
        disk.sync_data(&segment.file, &segment.path)
            .map_err(LogError::io("sync", &segment.path))?;
    }
    watermark.write(replay.sequence, &replay.tip)?;
    watermark.sync()?;
    let mut removed = false;
    for ordinal in ordinals.iter().filter(|o| **o < replay.first_segment) {
        let path = segment_path(dir, *ordinal);
        fs::remove_file(&path).map_err(LogError::io("remove", &path))?;
        replay.highest.remove(ordinal);
        removed = true;
    }
    if removed {
        segment::sync_dir(dir)?;
    }
    let mut live = replay.segments;
    let mut prepared = live.split_off((replay.active + 1).min(live.len()));
    if prepared.iter().any(|s| s.bytes != options.segment_bytes) {
        // They were made under another option, and a batch may not fit them.
        for segment in prepared.drain(..).rev() {
            let path = &segment.path;
            fs::remove_file(path).map_err(LogError::io("remove", path))?;
        }
        segment::sync_dir(dir)?;
    }
    let segments: BTreeMap<_, _> = live
        .into_iter()
        .filter(|segment| segment.ordinal >= replay.first_segment)
        .map(|segment| (segment.ordinal, Arc::new(segment)))
        .collect();
    let Some(active) = segments.last_key_value().map(|(_, s)| Arc::clone(s)) else {
        unreachable!("a purge never names a segment after the active one");
    };
    replay.highest.entry(active.ordinal).or_default();
    Ok(Recovered {
        tip: replay.tip,
        index: replay.index,
        segments,
        highest: replay.highest,
        first_segment: replay.first_segment,
        active,
        end: replay.end,
        prepared,
        sequence: replay.sequence,
        watermark,
        torn_bytes,
    })
}

/// Overwrites what stands from `from` on with zeros. Answers how many bytes were not zero's.
fn zero_from(segment: &Segment, from: u64, disk: &Arc<dyn Disk>) -> Result<u64, LogError> {
    let mut window = Window::new(segment, READ_STEP_BYTES);
    let mut offset = from;
    let mut end = from;
    while offset < segment.bytes {
        let bytes = window.at(offset, 1)?;
        let zeros = leading_zeros(bytes);
        let part = bytes.get(zeros..).unwrap_or_default();
        if let Some(last) = part.iter().rposition(|byte| *byte != 0) {
            end = offset + (zeros + last) as u64 + 1;
        }
        offset += (zeros + part.len()) as u64;
    }
    let zeros = vec![
        0;
        usize::try_from(end - from)
            .unwrap_or(0)
            .min(READ_STEP_BYTES)
    ];
    let mut at = from;
    while at < end {
        let left = usize::try_from(end - at).unwrap_or(usize::MAX);
        let chunk = zeros.get(..left).unwrap_or(&zeros);
        disk.write_all_at(&segment.file, &segment.path, chunk, at)
            .map_err(LogError::io("write", &segment.path))?;
        at += chunk.len() as u64;
    }
    Ok(end - from)
}
