//! Random histories against a plain model: maps and naive sums, written from the rules and not from
//! the code. Each entry's response, all that can be read, and the digest are compared.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is to panic"
)]

#[path = "../common/mod.rs"]
mod common;
mod shop;
mod steps;

use common::*;
use proptest::collection::vec;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use raft3d_core::command::RequestOrigin;
use raft3d_core::state::memory::MemoryRows;
use raft3d_core::state::rulesets;
use raft3d_core::{Envelope, RejectionKind, RequestId};

use shop::{Shop, Verdict};
use steps::{Ask, Step, command, step};

/// Entries from one comparison of everything to the next.
const COMPARE_EVERY: u64 = 16;

/// The entry that a step proposes; a retry is an earlier one with the clock of now.
fn envelope(machine: &Machine, step: &Step, log: &[(Envelope, Ask)]) -> (Envelope, Ask) {
    let active = rulesets::active(&machine.rows).unwrap().unwrap().revision;
    if let Some((earlier, ask)) = step
        .retry_of
        .filter(|_| !log.is_empty())
        .map(|i| i.get(log))
    {
        // With the deadline of then, or a new one.
        let mut again = earlier.clone();
        again.proposed_at_ms = machine.now_ms;
        if step.span_ms > 0 {
            again.deadline_ms = machine.now_ms + 10_000;
        }
        return (again, ask.clone());
    }
    let mut envelope = machine.envelope(command(&step.ask, active.0));
    envelope.deadline_ms = machine.now_ms.saturating_add_signed(step.span_ms);
    envelope.actor.name = step.actor.to_owned();
    if let Some(key) = step.key {
        envelope.request_id = RequestId::new(key);
        envelope.request_origin = RequestOrigin::Client;
    }
    (envelope, step.ask.clone())
}

/// Rows that a rejected entry must leave alone: all but the totals, the exactly-once records and
/// what entries came to.
fn domain(rows: &MemoryRows) -> MemoryRows {
    let bookkeeping =
        |key: &[u8]| key == [0x01, 0x00] || matches!(key[0], 0x60..=0x64 | 0x70 | 0x71);
    let rows = rows.iter().filter(|(key, _)| !bookkeeping(key));
    rows.map(|(key, value)| (key.to_vec(), value.to_vec()))
        .collect()
}

fn run_history(steps: &[Step]) {
    let mut machine = Machine::new();
    machine.epochs = ANY_EPOCH;
    let mut shop = Shop::new();
    let mut log = Vec::new();
    for step in steps {
        machine.now_ms = machine
            .now_ms
            .saturating_add_signed(step.elapsed_ms)
            .max(START_MS);
        let (envelope, ask) = envelope(&machine, step, &log);
        // Comparing everything costs more than applying: now and then, and at the end.
        let before = machine
            .index
            .is_multiple_of(4)
            .then(|| domain(&machine.rows));
        let outcome = machine.apply(&envelope);
        let index = machine.index;
        let (verdict, revision, replayed) = shop.expect(index, &envelope, &ask);
        let context = || format!("entry {index}: {envelope:?}\n-> {outcome:?}");
        assert_eq!(Verdict::of(&outcome.response), verdict, "{}", context());
        assert_eq!(
            (outcome.revision.0, outcome.replayed),
            (revision, replayed),
            "{}",
            context()
        );
        let key = (envelope.actor.name.clone(), envelope.request_id.to_string());
        let forgotten = matches!(
            verdict,
            Verdict::Rejected(RejectionKind::DeadlineExceeded | RejectionKind::RequestMismatch)
        );
        if replayed {
            assert_eq!(
                outcome.response,
                shop.records[&key].response,
                "{}",
                context()
            );
        } else if !forgotten && !matches!(ask, Ask::Checkpoint) {
            shop.remember(index, &envelope, &verdict, &outcome.response);
        }
        if replayed || matches!(verdict, Verdict::Rejected(_)) {
            assert!(outcome.events.is_empty());
            if let Some(before) = before {
                assert_eq!(domain(&machine.rows), before, "{}", context());
            }
        }
        log.push((envelope, ask));
        if index.is_multiple_of(COMPARE_EVERY) {
            shop.compare(&machine.rows);
        }
    }
    shop.compare(&machine.rows);
}

fn check(cases: u32, length: usize, test: impl Fn(&[Step])) {
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(seed("model")),
        failure_persistence: None,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&vec(step(), 1..length), |steps| {
        test(&steps);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn histories_go_as_the_model_says() {
    check(2_000, 60, run_history);
}

/// The clock stands, and then more records have expired than go at once.
#[test]
fn crowds_of_records_go_as_the_model_says() {
    check(50, 600, |steps| {
        let crowded = steps.iter().enumerate().map(|(at, step)| Step {
            elapsed_ms: if at % 150 == 149 { 20_001 } else { 0 },
            // Answers go in the order of the entries: a late one would keep those behind it, and then
            // more of them than the oldest decisions are looked for among.
            span_ms: step.span_ms.min(10_000),
            ..step.clone()
        });
        run_history(&crowded.collect::<Vec<_>>());
    });
}

/// One machine goes on; the other is read back from its bytes after each entry.
#[test]
fn a_replica_that_restarts_has_the_same_digest() {
    check(200, 60, |steps| {
        let mut log = Vec::new();
        let mut steady = Machine::new();
        steady.epochs = ANY_EPOCH;
        let mut restarted = steady.clone();
        for step in steps {
            steady.now_ms = steady
                .now_ms
                .saturating_add_signed(step.elapsed_ms)
                .max(START_MS);
            let (envelope, ask) = envelope(&steady, step, &log);
            let stored: Vec<_> = restarted
                .rows
                .iter()
                .map(|(k, v)| (k.to_vec(), v.to_vec()))
                .collect();
            let digest = raft3d_core::state::digest::recompute(&restarted.rows).unwrap();
            let rows = stored.into_iter().collect();
            restarted = Machine {
                rows,
                digest,
                ..restarted
            };
            assert_eq!(steady.apply(&envelope), restarted.apply(&envelope));
            assert_eq!(steady.digest, restarted.digest);
            log.push((envelope, ask));
        }
    });
}
