//! The schedules of every test run: 120 seeds, and proof that a seed is a run, byte for byte.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed test is to panic"
)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use raft3d_simulation::policies::Policies;
use raft3d_simulation::run::{self, Options, Outcome};
use raft3d_simulation::stats::Stats;

/// Seeds of one test: the runner has several at once.
const SEEDS_PER_TEST: u64 = 30;

/// Every kind of fault, by the name that it is counted under.
const FAULTS: [&str; 22] = [
    "bridge",
    "clock beyond the limit",
    "clock within the limit",
    "delay",
    "full disk",
    "hold",
    "join",
    "kill",
    "kill of a majority",
    "leader transfer",
    "loss",
    "one-way partition",
    "partition",
    "power cut",
    "power cut of all",
    "power cut of voters",
    "remove",
    "slow disk",
    "slow disks",
    "states are copied",
    "stop",
    "upgrade",
];

/// What faults must have led to.
const EVENTS: [&str; 15] = [
    "datagrams lost",
    "engine epochs raised",
    "leader transfers done",
    "leaders",
    "log writes lost",
    "nodes closed by a full disk",
    "promotions done",
    "reads that waited for their revision",
    "removals done",
    "snapshots installed",
    "snapshots seen",
    "states kept over a power cut",
    "states lost in a power cut",
    "states set back by a power cut",
    "writes refused over a full disk",
];

/// What reads that want to see a revision must have come to.
const READS: [&str; 2] = ["read: behind", "read: not before a revision"];

/// Runs seeds from `from` on; they must be clean, and all faults must have been among them.
fn seeds(from: u64) {
    let policies = Policies::compile();
    let mut all = Stats::default();
    let mut failed = Vec::new();
    for seed in from..from + SEEDS_PER_TEST {
        let options = Options::of(seed, None);
        let outcome = run::run(&options, &policies);
        all.add(&outcome.stats);
        if !outcome.violations.is_empty() {
            failed.push(describe(&options, &outcome));
        }
    }
    println!("{all:#?}");
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    for kind in FAULTS {
        assert!(all.faults.contains_key(kind), "no {kind}: {:?}", all.faults);
    }
    for kind in EVENTS {
        assert!(all.events.contains_key(kind), "no {kind}: {:?}", all.events);
    }
    for kind in READS {
        assert!(
            all.operations.contains_key(kind),
            "no {kind}: {:?}",
            all.operations
        );
    }
}

fn describe(options: &Options, outcome: &Outcome) -> String {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = run::write_history(target, options, &outcome.records).unwrap();
    let violations: Vec<String> = outcome.violations.iter().map(ToString::to_string).collect();
    format!(
        "{}\nreplay: {}\nhistory: {}",
        violations.join("\n"),
        options.replay(),
        file.display()
    )
}

#[test]
fn seeds_are_clean_1_of_4() {
    seeds(0);
}

#[test]
fn seeds_are_clean_2_of_4() {
    seeds(SEEDS_PER_TEST);
}

#[test]
fn seeds_are_clean_3_of_4() {
    seeds(2 * SEEDS_PER_TEST);
}

#[test]
fn seeds_are_clean_4_of_4() {
    seeds(3 * SEEDS_PER_TEST);
}

fn trace(options: &Options, policies: &Arc<Policies>) -> String {
    let outcome = run::run(options, policies);
    format!("trace {} over {} events", outcome.trace, outcome.events)
}

#[test]
fn a_seed_is_a_run_byte_for_byte() {
    let policies = Policies::compile();
    for (seed, nodes) in [(1_001, 3), (1_002, 5), (1_003, 3), (1_004, 5)] {
        let options = Options::of(seed, Some(nodes));
        let first = trace(&options, &policies);
        assert_eq!(first, trace(&options, &policies), "{}", options.replay());
        // Another process has other addresses, other hash keys and another clock.
        let output = Command::new(env!("CARGO_BIN_EXE_raft3d-simulate"))
            .args(["--seed", &seed.to_string(), "--nodes", &nodes.to_string()])
            .args(["--target", env!("CARGO_TARGET_TMPDIR")])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(&first), "{first}\n{said}");
    }
}

#[test]
fn another_seed_is_another_run() {
    let policies = Policies::compile();
    let one = trace(&Options::of(1_001, Some(3)), &policies);
    assert_ne!(one, trace(&Options::of(1_002, Some(3)), &policies));
}
