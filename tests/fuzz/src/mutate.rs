//! Small random changes to an input, for the ordinary test run, which has no fuzzer.

use crate::{INPUT_BYTES_MAX, Random};

/// Numbers that sit on borders.
const BORDERS: [u64; 8] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff_ffff,
    0xffff_ffff,
    u64::MAX >> 1,
    u64::MAX,
];
/// Changes to one input.
const CHANGES_MAX: usize = 4;

/// `input` with one to four changes; `other` is where parts may be taken from.
#[must_use]
pub fn mutated(random: &mut Random, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(CHANGES_MAX) {
        change(random, &mut bytes, other);
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

fn change(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = random.below(bytes.len() + 1);
    let len = (1 + random.below(16)).min(bytes.len() - at);
    match random.below(7) {
        0 => flip(bytes, at, 1 << random.below(8)),
        1 => flip(bytes, at, random.next() as u8),
        2 => drop(bytes.drain(at..at + len)),
        3 => drop(bytes.splice(at..at, [random.next() as u8])),
        4 => {
            let border = BORDERS[random.below(BORDERS.len())].to_be_bytes();
            let width = 1 << random.below(4);
            let end = (at + width).min(bytes.len());
            drop(bytes.splice(at..end, border[8 - width..].iter().copied()));
        }
        5 => {
            let copy = bytes[at..at + len].to_vec();
            let to = random.below(bytes.len() + 1);
            drop(bytes.splice(to..to, copy));
        }
        _ if other.is_empty() => bytes.truncate(at),
        _ => {
            let from = random.below(other.len());
            let to = (from + 1 + random.below(64)).min(other.len());
            drop(bytes.splice(at..at + len, other[from..to].iter().copied()));
        }
    }
}

fn flip(bytes: &mut [u8], at: usize, xor: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= xor;
    }
}
