//! A short nemesis: every kind of fault at least once, on real processes of the build under test.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests report by panicking"
)]

use raft3d_cluster_tests::cluster::scratch_folder;
use raft3d_nemesis::faults::{KINDS, Kind, kind};
use raft3d_nemesis::fleet::Tools;
use raft3d_nemesis::rng::Rng;
use raft3d_nemesis::round::{Plan, play};

/// The seed; `NEMESIS_SEED` gives another.
const SEED: u64 = 1;

fn seed() -> u64 {
    std::env::var("NEMESIS_SEED").map_or(SEED, |seed| seed.parse().unwrap())
}

/// Plays one round with these kinds, in an order that follows from the seed.
fn check(name: &str, mut kinds: Vec<Kind>) {
    let seed = seed();
    let tools = Tools::find();
    kinds.retain(|kind| match kind.missing(&tools) {
        Some(why) => {
            eprintln!("NOT RUN: {}: {why}", kind.name);
            false
        }
        None => true,
    });
    // Without the tools of any of them a round would be played with no fault, and prove nothing.
    assert!(
        !kinds.is_empty(),
        "{name}: this machine can do none of its faults; install what is said above"
    );
    Rng::part(seed, 1).shuffle(&mut kinds);
    let folder = scratch_folder(&format!("nemesis-{name}"));
    let plan = Plan {
        seed,
        size: 3,
        kinds,
        folder: folder.clone(),
        tools,
        sabotage: None,
        in_time: false,
    };
    let outcome = play(&plan, &|_| {});
    for healed in &outcome.healed {
        println!(
            "{:16} {:>8.2?}  {}",
            healed.kind, healed.recovery, healed.what
        );
    }
    println!("{:?}", outcome.answers);
    println!(
        "longest outage {:?}, {:?}",
        outcome.longest_outage, outcome.taken
    );
    println!(
        "{:?} {:?}, {} jobs, {:?}",
        outcome.disks, outcome.net, outcome.jobs, outcome.took
    );
    println!("{:?}", outcome.judged);
    for line in &outcome.undecided {
        println!("undecided: {line}");
    }
    let replay = format!("NEMESIS_SEED={seed} cargo test --workspace --test short {name}");
    assert!(
        outcome.violations.is_empty(),
        "{}\nreplay: {replay}\nkept: {}",
        outcome.violations.join("\n"),
        folder.display()
    );
    assert!(
        outcome
            .answers
            .get("write accepted")
            .is_some_and(|many| *many > 0)
    );
}

fn named(names: &[&str]) -> Vec<Kind> {
    names.iter().map(|name| kind(name).unwrap()).collect()
}

/// Those that cut the network, kill and stop.
const PROCESSES: [&str; 10] = [
    "kill-one",
    "kill-leader",
    "kill-minority",
    "kill-all",
    "pause-one",
    "pause-leader",
    "cut-symmetric",
    "cut-one-way",
    "cut-bridge",
    "slow-network",
];

/// Those of disks and clocks.
const MACHINES: [&str; 7] = [
    "disk-full",
    "disk-slow",
    "disk-fails",
    "power-cut-one",
    "power-cut-all",
    "bit-rot",
    "clock-jump",
];

/// What operators do.
const OPERATORS: [&str; 6] = [
    "restart-all",
    "restart-rolling",
    "membership",
    "wiped-node",
    "policy",
    "leader-transfer",
];

#[test]
fn processes_and_network() {
    check("processes_and_network", named(&PROCESSES));
}

#[test]
fn disks_and_clocks() {
    check("disks_and_clocks", named(&MACHINES));
}

#[test]
fn operators() {
    check("operators", named(&OPERATORS));
}

#[test]
fn no_kind_is_forgotten() {
    let mut all: Vec<&str> = [&PROCESSES[..], &MACHINES, &OPERATORS].concat();
    let mut kinds: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    all.sort_unstable();
    kinds.sort_unstable();
    assert_eq!(all, kinds);
}
