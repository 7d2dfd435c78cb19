//! Scripts for the targets that write files.

use super::{Seed, seed};
use crate::log::op as log;
use crate::snapshot::op as snapshot;

/// Ends a frame of the log, and with it the segment.
const ROLL: u8 = log::FRAME | 1 << 4;

fn entry(payload: &[u8]) -> Vec<u8> {
    let mut step = vec![log::ENTRY, payload.len() as u8];
    step.extend_from_slice(payload);
    step
}

/// Frames of a vote and entries.
fn plain() -> Vec<u8> {
    let mut script = vec![log::VOTE | 1 << 4, 1, log::FRAME];
    for text in ["first", "second", "third", "fourth"] {
        script.extend(entry(text.as_bytes()));
        script.push(log::FRAME);
    }
    script
}

/// Everything that a log may hold, over three segments.
fn rich() -> Vec<u8> {
    let mut script = plain();
    for nth in 0..6_u8 {
        script.extend(entry(&[nth; 200]));
    }
    script.extend([log::FRAME, log::TRUNCATE, 2, log::FRAME]);
    script.extend([log::ENTRY | 1 << 4, 3, b'n', b'e', b'w', log::VOTE, 2]);
    script.extend([log::FRAME, log::COMMITTED, 1, ROLL]);
    script.extend(entry(b"in the second segment"));
    script.extend([log::ENTRY | 1 << 5, 0, log::PURGE, 3, log::FRAME]);
    script.extend([log::SEAL, ROLL, log::PURGE, 40]);
    script.extend(entry(b"after a snapshot"));
    script.push(log::FRAME);
    script
}

fn damaged(mut script: Vec<u8>, unsynced: u8, slots: u8, blows: &[[u8; 4]]) -> Vec<u8> {
    script.extend([log::DAMAGE, unsynced, slots]);
    script.extend(blows.concat());
    script
}

/// A blow to the bytes from `at` on.
fn blow(at: u16, length: u8, xor: u8) -> [u8; 4] {
    let [low, high] = at.to_le_bytes();
    [low, high, length - 1, xor]
}

pub(super) fn log() -> Vec<Seed> {
    let mut foreign = plain();
    foreign.extend([log::FOREIGN, 9, 2, 1, 2, log::FRAME, log::FOREIGN, 5, 0]);
    // Its frames stand at 4096, 4192 and so on.
    vec![
        seed("empty", []),
        seed("plain", plain()),
        seed("rich", rich()),
        seed("foreign", foreign),
        seed(
            "last-frame-torn",
            damaged(plain(), 1, 0, &[blow(4_368, 8, 0)]),
        ),
        seed(
            "first-frame-flipped",
            damaged(plain(), 5, 0, &[blow(4_100, 1, 1)]),
        ),
        seed(
            "synced-page-zeroed",
            damaged(rich(), 0, 0, &[blow(4_200, 255, 0)]),
        ),
        seed("one-slot", damaged(plain(), 0, 2, &[])),
        seed("both-slots", damaged(plain(), 0, 3, &[])),
        seed(
            "segment-header",
            damaged(rich(), 0, 0, &[blow(16_384, 4, 7)]),
        ),
        seed(
            "garbage-behind-the-end",
            damaged(plain(), 0, 0, &[blow(9_000, 200, 0x5a)]),
        ),
    ]
}

fn row(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut step = vec![snapshot::ROW, key.len() as u8, value.len() as u8];
    step.extend_from_slice(key);
    step.extend_from_slice(value);
    step
}

fn rows() -> Vec<u8> {
    let mut script = row(b"a", b"1");
    script.extend(row(b"b", b""));
    script.push(snapshot::FRAME);
    script.extend(row(b"bb", b"a longer value"));
    script
}

fn then(mut script: Vec<u8>, steps: &[u8]) -> Vec<u8> {
    script.extend_from_slice(steps);
    script
}

pub(super) fn snapshot() -> Vec<Seed> {
    let mut long = row(b"long", &[7; 200]);
    long[0] |= 1 << 3;
    let cut = snapshot::DAMAGE | 1 << 3;
    vec![
        seed("empty", []),
        seed("rows", rows()),
        seed("long-rows", [long, row(b"longer", &[8; 255])].concat()),
        seed("keys-do-not-ascend", [rows(), row(b"a", b"2")].concat()),
        seed("empty-frame", then(rows(), &[snapshot::FOREIGN, 2, 0])),
        seed(
            "second-header",
            then(rows(), &[snapshot::FOREIGN, 1, 1, 0xa0]),
        ),
        seed(
            "early-trailer",
            then(rows(), &[snapshot::FOREIGN, 3, 2, 0, 0]),
        ),
        seed(
            "row-over-its-frame",
            then(rows(), &[snapshot::FOREIGN, 2, 8, 9, 0, 0, 0, 1, 0, 0, 0]),
        ),
        seed("raw-bytes", then(rows(), &[snapshot::RAW, 3, 2, 0, 0])),
        seed("wrong-trailer", then(rows(), &[snapshot::TRAILER, 3])),
        seed("wrong-digest", then(rows(), &[snapshot::DIGEST, 3])),
        seed("flipped", then(rows(), &[snapshot::DAMAGE, 130, 0, 0, 1])),
        seed("cut-off", then(rows(), &[cut, 100, 0, 0])),
    ]
}
