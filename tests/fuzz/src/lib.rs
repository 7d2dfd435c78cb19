//! What is fuzzed: every place where bytes from outside are read, each as a function of bytes.
//!
//! A target does more than not panic: it says what must hold of whatever the bytes are, where it
//! can against a second reader of its own (the log, the snapshot file) or against the same thing
//! done twice in another way (a module on two differently configured engines, a request sent
//! twice). Where checksums would keep a fuzzer out, the input is a script: the target frames and
//! checksums it, and damages the result as the script says.
//!
//! `cargo xtask fuzz` runs the targets under libFuzzer (`fuzz/`); `corpus/` holds what is worth
//! keeping, made by [`seeds`] or found by the fuzzer, and the ordinary test run replays it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a target panics where a property does not hold: that is how a fuzzer sees it"
)]

mod abi;
mod codec;
mod envelope;
mod http;
mod input;
mod log;
mod module;
pub mod mutate;
mod peer;
mod random;
pub mod seeds;
mod shop;
pub mod smith;
mod snapshot;

use std::path::{Path, PathBuf};

pub use random::Random;

/// Longest input that is worth trying, in bytes: a request's largest body and some.
pub const INPUT_BYTES_MAX: usize = 80 * 1024;

/// One thing that is fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of the fuzzer's binary and of the corpus' folder.
    pub name: &'static str,
    /// What it reads.
    pub what: &'static str,
    /// Runs one input. Answers whether the bytes were taken for what they are meant to be, so that
    /// a test can see that a corpus reaches beyond the first check.
    ///
    /// # Panics
    /// A property does not hold.
    pub run: fn(&[u8]) -> bool,
}

/// Every target.
pub const TARGETS: [Target; 8] = [
    Target {
        name: "log",
        what: "opening a Raft log: segments, frames, records, watermark",
        run: log::run,
    },
    Target {
        name: "snapshot",
        what: "reading a snapshot file: header, rows, trailer",
        run: snapshot::run,
    },
    Target {
        name: "codec",
        what: "Raft's own types: entries, votes, log ids, memberships",
        run: codec::run,
    },
    Target {
        name: "module",
        what: "policy modules: static check, instrumentation, evaluation",
        run: module::run,
    },
    Target {
        name: "abi",
        what: "the ABI between host and guest, read on both sides",
        run: abi::run,
    },
    Target {
        name: "envelope",
        what: "envelopes of commands, and what applying them does",
        run: envelope::run,
    },
    Target {
        name: "peer",
        what: "messages and frames between nodes",
        run: peer::run,
    },
    Target {
        name: "http",
        what: "requests of clients: paths, headers, JSON bodies",
        run: http::run,
    },
];

/// Runs one input of a target.
///
/// # Panics
/// There is no such target, or a property of it does not hold.
pub fn run(target: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|known| known.name == target);
    (target.expect("a target of that name").run)(input);
}

/// For the fuzzer, whose hook ends the process at any panic: a panic that the code under test
/// catches (the analysis of a module) is its own affair. One that gets out still ends the run.
pub fn report_panics_only() {
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
}

/// The folder of a target's inputs.
#[must_use]
pub fn corpus_dir(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target)
}

/// A folder in memory where the machine has one: inputs are written to files and read back.
pub(crate) fn scratch_dir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("a temporary folder")
}
