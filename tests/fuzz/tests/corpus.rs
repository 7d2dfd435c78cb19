//! Replays the corpus of every target, and tries small changes to it.
//!
//! After a deliberate change of an encoding: `RAFT3D_BLESS=1 cargo test --workspace --test corpus
//! seeds`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is to panic"
)]

use std::env;
use std::fs;
use std::path::PathBuf;

use raft3d_fuzz::{Random, TARGETS, Target, corpus_dir, mutate::mutated, seeds};

/// The whole corpus, in bytes: it is cloned with the sources.
const CORPUS_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// Seed of the changes; another one by `RAFT3D_FUZZ_SEED`.
const SEED: u64 = 1;
/// Changed inputs of a target; ten times as many, and so on, by `RAFT3D_FUZZ_RUNS`.
const RUNS: usize = 1_000;
/// The same for modules: each that is taken is compiled twice.
const MODULE_RUNS: usize = 100;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn target(name: &str) -> Target {
    let found = TARGETS.into_iter().find(|target| target.name == name);
    found.expect("a target of that name")
}

/// The files of a corpus, by name.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(corpus_dir(target)).expect("the corpus");
    let paths = files.map(|file| file.unwrap().path());
    let mut corpus: Vec<_> = paths
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    corpus.sort();
    corpus
}

/// Runs one input; a failure says which it was.
fn run(target: Target, what: &str, input: &[u8]) -> bool {
    let result = std::panic::catch_unwind(|| (target.run)(input));
    result.unwrap_or_else(|_| {
        let path = env::temp_dir().join(format!("raft3d-fuzz-{}", target.name));
        fs::write(&path, input).unwrap();
        panic!(
            "{}: {what} breaks a property; the input is in {}: put it into {}",
            target.name,
            path.display(),
            corpus_dir(target.name).display()
        )
    })
}

/// A corpus that is refused as a whole would test nothing.
fn replay(name: &str) {
    let (target, corpus) = (target(name), corpus(name));
    let mut taken = 0;
    for (path, input) in &corpus {
        taken += usize::from(run(target, &path.display().to_string(), input));
    }
    println!("{name}: {taken} of {} inputs were taken", corpus.len());
    assert!(taken > 0, "no input gets past the first check");
    assert!(taken < corpus.len(), "no input is refused");
}

fn change(name: &str) {
    let (target, corpus) = (target(name), corpus(name));
    let seed = number("RAFT3D_FUZZ_SEED", SEED);
    println!("replay: RAFT3D_FUZZ_SEED={seed} cargo test --workspace --test corpus changed_{name}");
    let runs = if name == "module" { MODULE_RUNS } else { RUNS };
    let runs = runs * usize::try_from(number("RAFT3D_FUZZ_RUNS", 1)).unwrap();
    let mut random = Random::new(seed);
    for nth in 0..runs {
        let (input, other) = (random.below(corpus.len()), random.below(corpus.len()));
        let bytes = mutated(&mut random, &corpus[input].1, &corpus[other].1);
        run(target, &format!("change {nth} of seed {seed}"), &bytes);
    }
}

macro_rules! targets {
    ($($name:ident: $changed:ident),+) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }

            #[test]
            fn $changed() {
                change(stringify!($name));
            }
        )+

        #[test]
        fn every_target_is_tested() {
            let tested = [$(stringify!($name)),+];
            assert_eq!(TARGETS.map(|target| target.name), tested);
        }
    };
}

targets!(
    log: changed_log,
    snapshot: changed_snapshot,
    codec: changed_codec,
    module: changed_module,
    abi: changed_abi,
    envelope: changed_envelope,
    peer: changed_peer,
    http: changed_http
);

#[test]
fn seeds_are_what_the_encoders_make() {
    for target in TARGETS {
        let dir = corpus_dir(target.name);
        for (name, bytes) in seeds::of(target.name) {
            let path = dir.join(&name);
            if env::var_os("RAFT3D_BLESS").is_some() {
                fs::create_dir_all(&dir).unwrap();
                fs::write(&path, &bytes).unwrap();
            }
            let kept = fs::read(&path).unwrap_or_default();
            assert_eq!(kept, bytes, "{}: an encoding changed", path.display());
        }
    }
}

#[test]
fn the_corpus_stays_small() {
    let files = TARGETS.iter().flat_map(|target| corpus(target.name));
    let bytes: u64 = files.map(|(_, input)| input.len() as u64).sum();
    println!("{bytes} bytes");
    assert!(bytes <= CORPUS_BYTES_MAX, "{bytes} bytes in all");
}
