//! Damaged copies of a log: unsynced bytes may be anything, synced ones nothing but what they were.
//! Every test prints its seed.

use std::sync::Arc;

use openraft::storage::RaftLogStorage;
use raft3d_engine::raft::types::Entry;
use raft3d_engine::storage::log::LogError;

use crate::random::Random;
use crate::support::{
    Content, Image, TestDisk, Write, append, append_only, entry, log_id, open, open_on, vote,
};

const COPIES: u64 = 120;
const PAGE: u64 = 4_096;
const SECTOR: u64 = 512;

/// A log with synced batches and one that was written but not synced.
struct Sample {
    image: Image,
    /// What was acknowledged.
    synced: Content,
    /// The same with the batch in flight.
    with_unsynced: Content,
    /// Frames that were synced, of segments that are there.
    frames: Vec<Write>,
    unsynced: Write,
}

/// One batch of 1 to 4 entries.
fn batch(random: &mut Random, term: u64, next: &mut u64) -> Vec<Entry> {
    (0..=random.below(4))
        .map(|_| {
            let length = random.below(3_000);
            let made = entry(term, *next, random.bytes(length));
            *next += 1;
            made
        })
        .collect()
}

/// More than 40 synced frames over several segments: batches, votes, a truncation and a purge.
/// With `rolls`, the batch in flight is the first of a new segment.
async fn sample(random: &mut Random, rolls: bool) -> Sample {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(TestDisk::default()));
    let mut store = open_on(dir.path(), &disk);
    let mut next = 1;
    store.save_vote(&vote(1)).await.unwrap();
    for nth in 0..40 {
        append(&mut store, batch(random, 1 + nth / 10, &mut next)).await;
        match nth {
            15 => {
                next -= 2;
                store
                    .truncate_after(Some(log_id(2, next - 1)))
                    .await
                    .unwrap();
            }
            25 => store.purge(log_id(1, 12)).await.unwrap(),
            30 => store.save_vote(&vote(4)).await.unwrap(),
            35 => store.save_committed(Some(log_id(3, 30))).await.unwrap(),
            _ => {}
        }
    }
    let big = 3_500;
    while rolls && disk.writes().last().unwrap().end() + big < 64 << 10 {
        append(&mut store, vec![entry(4, next, random.bytes(1_000))]).await;
        next += 1;
    }
    if !rolls && disk.writes().last().unwrap().end() + 2 * big > 64 << 10 {
        append(&mut store, vec![entry(4, next, random.bytes(8_000))]).await;
        next += 1;
    }
    store.synced().await.unwrap();
    let synced = Content::of(&store).await;
    let frames = disk.writes();
    disk.hold();
    let answer = append_only(&mut store, vec![entry(4, next, random.bytes(big))]).await;
    disk.wait_for_sync();
    let image = Image::of(dir.path());
    let unsynced = disk.writes().last().unwrap().clone();
    assert_eq!(
        unsynced.offset == PAGE,
        rolls,
        "whether it begins a segment"
    );
    let with_unsynced = Content::of(&store).await;
    disk.release();
    answer.await.unwrap();
    let frames: Vec<_> = frames
        .into_iter()
        .filter(|frame| image.0.contains_key(&frame.file))
        .collect();
    assert!(frames.len() > 20 && image.0.len() > 3, "several segments");
    Sample {
        image,
        synced,
        with_unsynced,
        frames,
        unsynced,
    }
}

/// Damages bytes of `write` and no others. Answers what was done.
fn tear(random: &mut Random, image: &mut Image, write: &Write) -> String {
    let length = write.bytes;
    let block = |random: &mut Random, size: u64| {
        let at = write.offset + random.below(length);
        let start = (at - at % size).max(write.offset);
        let end = (at - at % size + size).min(write.end());
        (start - write.offset, end - write.offset)
    };
    let at = random.below(length);
    let (what, from, to) = match random.below(6) {
        0 => ("bit flipped", at, at),
        1 => ("cut off", at, length),
        2 => ("lost its beginning", 0, at + 1),
        3 => (
            "filled with garbage",
            at,
            (at + 1 + random.below(length)).min(length),
        ),
        4 => {
            let (from, to) = block(random, SECTOR);
            ("sector zeroed", from, to)
        }
        _ => {
            let (from, to) = block(random, PAGE);
            ("page zeroed", from, to)
        }
    };
    let garbage = random.bytes(to - from);
    let bytes = image.bytes(write);
    let range = from as usize..to as usize;
    match what {
        "bit flipped" => bytes[at as usize] ^= 1 << random.below(8),
        "filled with garbage" => bytes[range].copy_from_slice(&garbage),
        _ => bytes[range].fill(0),
    }
    format!("{what} at {from}..{to} of {length}")
}

async fn torn_tail(test: &str, rolls: bool) {
    let mut random = Random::seeded(test);
    let sample = sample(&mut random, rolls).await;
    let mut cut = 0;
    for _ in 0..COPIES {
        let mut image = sample.image.clone();
        let what = tear(&mut random, &mut image, &sample.unsynced);
        let copy = image.write();
        let mut store = open(copy.path()).unwrap_or_else(|e| panic!("{what}: {e}"));
        let found = Content::of(&store).await;
        assert!(
            found == sample.synced || found == sample.with_unsynced,
            "{what}: neither with nor without the batch in flight"
        );
        cut += u64::from(found == sample.synced);
        // The log goes on, and what it then writes is there the next time.
        let index = found.last.unwrap().index + 1;
        append(&mut store, vec![entry(9, index, vec![9; 2_000])]).await;
        drop(store);
        let again = Content::of(&open(copy.path()).unwrap()).await;
        assert_eq!(again.last, Some(log_id(9, index)), "{what}");
        assert_eq!(
            again.entries[..found.entries.len()],
            found.entries[..],
            "{what}"
        );
    }
    assert!(
        cut > COPIES / 2,
        "damage was done: {cut} of {COPIES} copies were cut"
    );
}

#[tokio::test]
async fn a_torn_tail_is_cut() {
    torn_tail("a_torn_tail_is_cut", false).await;
}

#[tokio::test]
async fn a_torn_first_frame_of_a_segment_is_cut() {
    torn_tail("a_torn_first_frame_of_a_segment_is_cut", true).await;
}

/// The write in flight reaches the disk up to any byte: each of them opens.
#[tokio::test]
async fn a_write_that_ends_anywhere_is_cut() {
    let mut random = Random::seeded("a_write_that_ends_anywhere_is_cut");
    let sample = sample(&mut random, false).await;
    for keep in (0..sample.unsynced.bytes).step_by(37).chain(0..64) {
        let mut image = sample.image.clone();
        image.bytes(&sample.unsynced)[keep as usize..].fill(0);
        let copy = image.write();
        let found = Content::of(&open(copy.path()).unwrap()).await;
        assert_eq!(found, sample.synced, "{keep} bytes");
    }
}

/// Does `damage` to copies, and wants each refused.
async fn refused(test: &str, mut damage: impl FnMut(&mut Random, &mut Image, &Sample) -> String) {
    let mut random = Random::seeded(test);
    for rolls in [false, true] {
        let sample = sample(&mut random, rolls).await;
        for _ in 0..COPIES {
            let mut image = sample.image.clone();
            let what = damage(&mut random, &mut image, &sample);
            let copy = image.write();
            let before = Image::of(copy.path());
            match open(copy.path()) {
                Ok(_) => panic!("{what}: opened"),
                Err(
                    LogError::Damaged { .. } | LogError::Missing { .. } | LogError::Lost { .. },
                ) => {}
                Err(error) => panic!("{what}: {error}"),
            }
            assert_eq!(
                Image::of(copy.path()).0,
                before.0,
                "{what}: a refusal changes nothing"
            );
        }
    }
}

#[tokio::test]
async fn a_synced_page_that_is_zeroed_is_refused() {
    refused(
        "a_synced_page_that_is_zeroed_is_refused",
        |random, image, sample| {
            let frame = &sample.frames[random.below(sample.frames.len() as u64) as usize];
            let at = frame.offset + random.below(frame.bytes);
            let page = (at - at % PAGE) as usize;
            image.0.get_mut(&frame.file).unwrap()[page..page + PAGE as usize].fill(0);
            format!("page at {page} of {}", frame.file)
        },
    )
    .await;
}

#[tokio::test]
async fn a_bit_flipped_in_a_synced_frame_is_refused() {
    refused(
        "a_bit_flipped_in_a_synced_frame_is_refused",
        |random, image, sample| {
            let frame = &sample.frames[random.below(sample.frames.len() as u64) as usize];
            // The last bytes of a frame are padding and say nothing.
            let at = random.below(frame.bytes - 8);
            image.bytes(frame)[at as usize] ^= 1 << random.below(8);
            format!("byte {at} of {frame:?}")
        },
    )
    .await;
}

#[tokio::test]
async fn a_bit_flipped_in_framing_is_refused() {
    refused(
        "a_bit_flipped_in_framing_is_refused",
        |random, image, sample| {
            let frame = &sample.frames[random.below(sample.frames.len() as u64) as usize];
            let at = random.below(32);
            if random.below(8) == 0 {
                // The segment's own header.
                let at = random.below(60) as usize;
                image.0.get_mut(&frame.file).unwrap()[at] ^= 1 << random.below(8);
                return format!("byte {at} of {}", frame.file);
            }
            image.bytes(frame)[at as usize] ^= 1 << random.below(8);
            format!("header byte {at} of {frame:?}")
        },
    )
    .await;
}

#[tokio::test]
async fn a_segment_that_is_cut_off_is_refused() {
    refused(
        "a_segment_that_is_cut_off_is_refused",
        |random, image, sample| {
            let frame = &sample.frames[random.below(sample.frames.len() as u64) as usize];
            let file = image.0.get_mut(&frame.file).unwrap();
            let keep = random.below(file.len() as u64);
            file.truncate(keep as usize);
            format!("{} cut off at {keep}", frame.file)
        },
    )
    .await;
}

#[tokio::test]
async fn a_segment_that_is_missing_is_refused() {
    refused(
        "a_segment_that_is_missing_is_refused",
        |random, image, sample| {
            let frame = &sample.frames[random.below(sample.frames.len() as u64) as usize];
            image.0.remove(&frame.file);
            if random.below(4) == 0 {
                // With everything after it.
                image
                    .0
                    .retain(|name, _| name == "watermark" || *name < frame.file);
            }
            format!("{} removed", frame.file)
        },
    )
    .await;
}

#[tokio::test]
async fn a_damaged_watermark_is_refused() {
    refused(
        "a_damaged_watermark_is_refused",
        |random, image, _| match random.below(3) {
            0 => {
                image.0.remove("watermark");
                "removed".to_owned()
            }
            1 => {
                let keep = random.below(8_192);
                image
                    .0
                    .get_mut("watermark")
                    .unwrap()
                    .truncate(keep as usize);
                format!("cut off at {keep}")
            }
            _ => {
                let file = image.0.get_mut("watermark").unwrap();
                for slot in [0, 4_096] {
                    file[slot + random.below(32) as usize] ^= 1 << random.below(8);
                }
                "both slots".to_owned()
            }
        },
    )
    .await;
}

/// One slot torn is what a power cut does: the other one counts.
#[tokio::test]
async fn a_torn_slot_of_the_watermark_is_harmless() {
    let mut random = Random::seeded("a_torn_slot_of_the_watermark_is_harmless");
    let sample = sample(&mut random, false).await;
    for _ in 0..COPIES {
        let mut image = sample.image.clone();
        let file = image.0.get_mut("watermark").unwrap();
        let slot = 4_096 * random.below(2) as usize;
        file[slot + random.below(32) as usize] ^= 1 << random.below(8);
        let copy = image.write();
        let found = Content::of(&open(copy.path()).unwrap()).await;
        assert_eq!(found, sample.with_unsynced);
    }
}
