//! The nemesis is itself tested: nodes run with a known bug, and the judges must see it.
//!
//! `vote-before-sync` needs a power cut within the milliseconds of an election, and
//! `guest-memory-reused` a policy that counts in its memory: those two are for the simulation.
#![cfg(debug_assertions)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests report by panicking"
)]

use raft3d_cluster_tests::cluster::scratch_folder;
use raft3d_nemesis::faults::kind;
use raft3d_nemesis::fleet::Tools;
use raft3d_nemesis::round::{Outcome, Plan, play};

/// Rounds until a bug that needs luck must have been seen.
const ROUNDS_MAX: u64 = 5;

fn round(bug: &str, kinds: &[&str], seed: u64) -> Option<Outcome> {
    let tools = Tools::find();
    let kinds: Vec<_> = kinds.iter().map(|name| kind(name).unwrap()).collect();
    if let Some(why) = kinds.iter().find_map(|kind| kind.missing(&tools)) {
        eprintln!("NOT RUN: {bug}: {why}");
        return None;
    }
    let folder = scratch_folder(&format!("sabotage-{bug}-{seed}"));
    let plan = Plan {
        seed,
        size: 3,
        kinds,
        folder: folder.clone(),
        tools,
        sabotage: Some(bug.to_owned()),
        in_time: false,
    };
    let outcome = play(&plan, &|_| {});
    let _ = std::fs::remove_dir_all(folder);
    Some(outcome)
}

/// Plays rounds with `bug` until one of `judges` blames the cluster.
fn must_be_caught(bug: &str, kinds: &[&str], judges: &[&str]) {
    let mut last = Outcome::default();
    for seed in 1..=ROUNDS_MAX {
        let Some(outcome) = round(bug, kinds, seed) else {
            return;
        };
        for healed in &outcome.healed {
            println!("{bug}, round {seed}: {}", healed.what);
        }
        let by = outcome
            .blamed_by
            .iter()
            .find(|judge| judges.contains(judge));
        if let Some(judge) = by {
            println!("{bug}: round {seed}, blamed by {judge}");
            return;
        }
        last = outcome;
    }
    let said = last.violations.join("\n");
    panic!("{bug} was not caught in {ROUNDS_MAX} rounds; the last one said: {said}");
}

#[test]
fn a_reply_before_the_sync_is_caught_by_a_power_cut() {
    let judges = ["linearizable", "replay", "lost", "once", "digests"];
    must_be_caught(
        "reply-before-fsync",
        &["power-cut-all", "power-cut-all"],
        &judges,
    );
}

#[test]
fn a_stale_read_on_a_follower_is_caught_by_a_cut() {
    let kinds = [
        "cut-symmetric",
        "cut-one-way",
        "slow-network",
        "cut-symmetric",
    ];
    must_be_caught("stale-follower-read", &kinds, &["linearizable", "replay"]);
}

#[test]
fn a_read_index_that_nobody_confirmed_is_caught_by_a_cut() {
    let kinds = ["cut-symmetric", "cut-symmetric", "pause-leader"];
    must_be_caught(
        "unconfirmed-read-index",
        &kinds,
        &["linearizable", "replay"],
    );
}

#[test]
fn a_deduction_outside_apply_is_caught() {
    let judges = ["digests", "grams", "linearizable", "replay"];
    must_be_caught("deduction-outside-apply", &["leader-transfer"], &judges);
}

#[test]
fn a_retry_without_its_record_is_caught() {
    let judges = ["once", "linearizable", "replay"];
    must_be_caught("retry-without-dedup", &["kill-leader"], &judges);
}

#[test]
fn a_clock_in_apply_is_caught_by_a_clock_that_jumps() {
    must_be_caught(
        "clock-in-apply",
        &["clock-jump"],
        &["digests", "replay", "linearizable"],
    );
}

/// A replica that differs goes on serving where nobody fences it, and only there.
#[test]
fn a_fence_that_is_off_is_caught() {
    must_be_caught("fencing-off,deduction-outside-apply", &[], &["fence"]);
    if let Some(fenced) = round("deduction-outside-apply", &[], 1) {
        let said = fenced.violations.join("\n");
        assert!(!fenced.blamed_by.contains(&"fence"), "{said}");
    }
}

/// The same rounds without a bug are clean: it is the bug that is seen.
#[test]
fn without_a_bug_nobody_is_blamed() {
    let kinds = [
        "power-cut-all",
        "cut-symmetric",
        "clock-jump",
        "kill-leader",
    ];
    let Some(outcome) = round("", &kinds, 1) else {
        return;
    };
    assert_eq!(outcome.violations, Vec::<String>::new());
}
