//! Damaging the files of a node that does not run, as disks and power cuts do.
//!
//! Knows of the log's format only where frames begin and end (`engine/src/storage/log/frame.rs`
//! and `segment.rs` describe it): enough to tell bytes that were written from bytes that never were.

use std::fs::{self, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use folders::files;

#[path = "../../../engine/tests/common/folders.rs"]
mod folders;

/// Where a segment's frames begin, bytes.
const SEGMENT_HEADER_BYTES: usize = 4_096;
/// Where the segment's marker stands in its header; each frame of it repeats the marker.
const SEGMENT_MARKER: Range<usize> = 48..56;
/// Length of a frame's header, bytes.
const FRAME_HEADER_BYTES: usize = 32;
/// Where the marker stands in a frame's header.
const FRAME_MARKER: Range<usize> = 8..16;
/// Where the payload's length stands in a frame's header.
const FRAME_LENGTH: Range<usize> = 24..28;
/// Frames begin at multiples of this, bytes.
const FRAME_ALIGN_BYTES: usize = 8;
/// A page, as disks and kernels tear writes, bytes.
const PAGE_BYTES: usize = 4_096;

/// A segment file of a Raft log and the frames in it.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The file.
    pub path: PathBuf,
    /// Its bytes.
    bytes: Vec<u8>,
    /// Where its frames are, in order.
    pub frames: Vec<Range<usize>>,
}

/// The newest segment with frames in it.
///
/// # Panics
/// Where there is none.
#[must_use]
#[track_caller]
pub fn newest_segment(data: &Path) -> Segment {
    let mut paths = files(&data.join("log"));
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    let segments = paths.into_iter().rev().map(read_segment);
    segments
        .into_iter()
        .find(|segment| !segment.frames.is_empty())
        .expect("a segment with frames")
}

fn read_segment(path: PathBuf) -> Segment {
    let bytes = fs::read(&path).expect("a segment");
    let frames = frames(&bytes);
    Segment {
        path,
        bytes,
        frames,
    }
}

fn frames(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = SEGMENT_HEADER_BYTES;
    while let Some(header) = bytes.get(at..at + FRAME_HEADER_BYTES) {
        if header[FRAME_MARKER] != bytes[SEGMENT_MARKER] {
            break;
        }
        let length = u32::from_le_bytes(header[FRAME_LENGTH].try_into().expect("four bytes"));
        let end = at + FRAME_HEADER_BYTES + length as usize;
        found.push(at..end);
        at = end.next_multiple_of(FRAME_ALIGN_BYTES);
    }
    found
}

/// What a disk may do to bytes that were synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// One bit of a frame's payload is another.
    FlippedBit,
    /// One bit of a frame's length is another.
    FlippedFraming,
    /// A page reads as zeros.
    ZeroedPage,
    /// The file ends too soon.
    Truncated,
    /// The file is not there.
    Missing,
    /// The last frame is zeros: only the watermark knows that it was there.
    LastFrameZeroed,
}

impl Damage {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::FlippedBit,
        Self::FlippedFraming,
        Self::ZeroedPage,
        Self::Truncated,
        Self::Missing,
        Self::LastFrameZeroed,
    ];
}

/// Damages the synced part of a stopped node's log.
///
/// # Panics
/// Where the log is too short to be damaged in its middle.
#[track_caller]
pub fn damage_log(data: &Path, damage: Damage) {
    let segment = newest_segment(data);
    let frames = &segment.frames;
    assert!(
        frames.len() >= 5,
        "{} has {} frames",
        segment.path.display(),
        frames.len()
    );
    let middle = frames[frames.len() / 2].clone();
    let last = frames[frames.len() - 1].clone();
    let file = OpenOptions::new()
        .write(true)
        .open(&segment.path)
        .expect("the segment");
    let write = |at: usize, bytes: &[u8]| file.write_all_at(bytes, at as u64).expect("damage");
    let flip = |at: usize| write(at, &[segment.bytes[at] ^ 0x10]);
    match damage {
        Damage::FlippedBit => flip(middle.end - 1),
        Damage::FlippedFraming => flip(middle.start + FRAME_LENGTH.start),
        Damage::ZeroedPage => write(middle.start / PAGE_BYTES * PAGE_BYTES, &[0; PAGE_BYTES]),
        Damage::Truncated => file.set_len(middle.start as u64).expect("damage"),
        Damage::Missing => fs::remove_file(&segment.path).expect("damage"),
        Damage::LastFrameZeroed => write(last.start, &vec![0; last.len()]),
    }
}

/// What a power cut may leave of a write that was never synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TornTail {
    /// A frame whose header came through and whose payload did not.
    HeaderOnly,
    /// A frame whose payload came through and whose header did not.
    PayloadOnly,
    /// A frame with one other bit.
    FlippedBit,
    /// Bytes of something else.
    Garbage,
}

/// Leaves a torn write behind the last frame of a killed node's log. Bytes of whole frames are not
/// touched: every one of them may have been synced and acknowledged.
///
/// # Panics
/// Where there is no log.
#[track_caller]
pub fn tear_tail(data: &Path, torn: TornTail) {
    let segment = newest_segment(data);
    let last = segment.frames.last().expect("a frame").clone();
    let at = last.end.next_multiple_of(FRAME_ALIGN_BYTES);
    // A frame of the same segment looks most like the one that was to come.
    let mut bytes = segment.bytes[last].to_vec();
    let last_byte = bytes.len() - 1;
    match torn {
        TornTail::HeaderOnly => bytes[FRAME_HEADER_BYTES..].fill(0),
        TornTail::PayloadOnly => bytes[..FRAME_HEADER_BYTES].fill(0),
        TornTail::FlippedBit => bytes[last_byte] ^= 1,
        TornTail::Garbage => bytes = b"\xde\xad\xbe\xef".repeat(PAGE_BYTES / 4),
    }
    bytes.truncate(segment.bytes.len().saturating_sub(at));
    let file = OpenOptions::new()
        .write(true)
        .open(&segment.path)
        .expect("the segment");
    file.write_all_at(&bytes, at as u64).expect("a torn write");
}

/// Flips one bit in the middle of every file of a folder and its folders. Answers how many files.
pub fn flip_in_every_file(folder: &Path) -> usize {
    let files = files(folder);
    for path in &files {
        let mut bytes = fs::read(path).expect("a file");
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle) {
            *byte ^= 0x10;
        }
        fs::write(path, bytes).expect("damage");
    }
    files.len()
}

/// Copies a folder with everything in it.
pub fn copy_folder(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).expect("a path below"));
        fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        fs::copy(&path, &target).expect("a copy");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment with frames of these payload lengths.
    fn segment(lengths: &[usize]) -> Vec<u8> {
        let mut bytes = vec![0; SEGMENT_HEADER_BYTES];
        bytes[SEGMENT_MARKER].copy_from_slice(b"a-marker");
        for length in lengths {
            let mut frame = vec![0; FRAME_HEADER_BYTES];
            frame[FRAME_MARKER].copy_from_slice(b"a-marker");
            frame[FRAME_LENGTH].copy_from_slice(&u32::try_from(*length).unwrap().to_le_bytes());
            frame.extend(vec![7; *length]);
            frame.resize(frame.len().next_multiple_of(FRAME_ALIGN_BYTES), 0);
            bytes.extend(frame);
        }
        bytes.resize(bytes.len() + 64 * 1024, 0);
        bytes
    }

    fn folder(name: &str, lengths: &[usize]) -> PathBuf {
        let folder = crate::cluster::scratch_folder(name);
        fs::create_dir_all(folder.join("log")).unwrap();
        fs::write(folder.join("log/0000000000000001.seg"), segment(lengths)).unwrap();
        // The next segment is made in the background, before anything is in it.
        fs::write(folder.join("log/0000000000000002.seg"), segment(&[])).unwrap();
        folder
    }

    #[test]
    fn frames_are_found_and_the_zeros_behind_them_are_not() {
        let folder = folder("damage-frames", &[8, 13, 100]);
        let segment = newest_segment(&folder);
        assert_eq!(segment.frames, [4096..4136, 4136..4181, 4184..4316]);
        assert!(segment.path.ends_with("0000000000000001.seg"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_torn_tail_touches_no_whole_frame() {
        for torn in [
            TornTail::HeaderOnly,
            TornTail::PayloadOnly,
            TornTail::FlippedBit,
            TornTail::Garbage,
        ] {
            let folder = folder("damage-tail", &[8, 13, 100]);
            let before = newest_segment(&folder);
            tear_tail(&folder, torn);
            let after = fs::read(&before.path).unwrap();
            let end = before
                .frames
                .last()
                .unwrap()
                .end
                .next_multiple_of(FRAME_ALIGN_BYTES);
            assert_eq!(before.bytes[..end], after[..end], "{torn:?}");
            assert_ne!(before.bytes[end..], after[end..], "{torn:?}");
            assert_eq!(before.bytes.len(), after.len(), "{torn:?}");
            fs::remove_dir_all(folder).unwrap();
        }
    }

    #[test]
    fn every_damage_changes_the_written_part() {
        for damage in Damage::ALL {
            let folder = folder("damage-log", &[20; 9]);
            let before = newest_segment(&folder);
            let end = before.frames.last().unwrap().end;
            damage_log(&folder, damage);
            let after = fs::read(&before.path).unwrap_or_default();
            assert_ne!(Some(&before.bytes[..end]), after.get(..end), "{damage:?}");
            fs::remove_dir_all(folder).unwrap();
        }
    }
}
