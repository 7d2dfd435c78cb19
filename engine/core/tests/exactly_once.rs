//! Exactly once: retries, mismatches, deadlines, expiry and the cap.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is to panic"
)]

mod common;

use common::*;
use raft3d_core::command::{ActivateRuleset, Actor, AdjustClock, RequestOrigin};
use raft3d_core::limits::ID_BYTES_MAX;
use raft3d_core::state::rulesets::SHARE_ALL;
use raft3d_core::state::{meta, requests};
use raft3d_core::{
    BindingId, Command, Envelope, LocalFault, RejectionKind, RequestId, Response, Revision,
};
use raft3d_sdk::HookSet;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

fn by_client(machine: &Machine, key: &str, command: Command) -> Envelope {
    let request_id = RequestId::new(key);
    let request_origin = RequestOrigin::Client;
    Envelope {
        request_id,
        request_origin,
        ..machine.envelope(command)
    }
}

fn rejected(response: &Response) -> RejectionKind {
    match response {
        Response::Rejected(rejection) => rejection.kind,
        Response::Accepted(accepted) => panic!("accepted: {accepted:?}"),
    }
}

fn records(machine: &Machine) -> u64 {
    totals(machine).requests
}

#[test]
fn a_retry_gets_the_stored_answer() {
    let mut machine = Machine::with_shop();
    let first = by_client(&machine, "k", job("j1", 10));
    let done = machine.apply(&first);
    machine.accept(status("j1", "Running"));
    let again = machine.apply(&first);
    assert!(again.replayed && again.events.is_empty());
    assert_eq!(
        (again.revision, &again.response),
        (done.revision, &done.response)
    );
    // A rejection is remembered as well, though the reason has gone.
    let refused = by_client(&machine, "k2", job("j2", 5_000));
    let no = machine.apply(&refused);
    machine.accept(filament("f2", 9_000));
    let again = machine.apply(&refused);
    assert_eq!((again.replayed, &again.response), (true, &no.response));
}

#[test]
fn an_id_is_the_actors_own() {
    let mut machine = Machine::new();
    let ann = by_client(&machine, "k", printer("p1"));
    machine.apply(&ann);
    for (name, verified) in [("ann", false), ("bob", true)] {
        let actor = Actor {
            name: name.to_owned(),
            verified,
        };
        let other = Envelope {
            actor,
            ..ann.clone()
        };
        assert_eq!(
            rejected(&machine.apply(&other).response),
            RejectionKind::AlreadyExists
        );
    }
}

#[test]
fn another_request_under_the_same_id_is_refused() {
    let mut machine = Machine::new();
    let first = by_client(&machine, "k", printer("p1"));
    machine.apply(&first);
    let other = by_client(&machine, "k", printer("p2"));
    assert_eq!(
        rejected(&machine.apply(&other).response),
        RejectionKind::RequestMismatch
    );
    // And the first answer is still there.
    assert!(machine.apply(&first).replayed);
}

#[test]
fn a_late_entry_does_not_run() {
    let mut machine = Machine::new();
    let late = machine.envelope(printer("p1"));
    machine.now_ms += 10_001;
    machine.run(Command::Checkpoint);
    let before = records(&machine);
    assert_eq!(
        rejected(&machine.apply(&late).response),
        RejectionKind::DeadlineExceeded
    );
    assert!(records(&machine) <= before, "it is not remembered");
    // With a new deadline the same request runs.
    let again = Envelope {
        deadline_ms: machine.now_ms,
        ..late
    };
    assert!(matches!(
        machine.apply(&again).response,
        Response::Accepted(_)
    ));
}

#[test]
fn no_deadline_is_later_than_the_limit() {
    let mut machine = Machine::new();
    let forever = Envelope {
        deadline_ms: u64::MAX,
        ..machine.envelope(printer("p1"))
    };
    machine.now_ms += 60_001;
    machine.run(Command::Checkpoint);
    assert_eq!(
        rejected(&machine.apply(&forever).response),
        RejectionKind::DeadlineExceeded
    );
}

/// However a copy of an entry is delayed, it does not run twice: not a millisecond lies between
/// "remembered" and "too late".
#[test]
fn a_copy_never_runs_twice() {
    for delay_ms in [
        0, 1, 9_999, 10_000, 10_001, 19_999, 20_000, 20_001, 20_002, DAY_MS,
    ] {
        let mut machine = Machine::with_shop();
        let first = machine.envelope(job("j1", 10));
        machine.apply(&first);
        machine.now_ms += delay_ms;
        machine.run(Command::Checkpoint);
        let copy = machine.apply(&first);
        let refused = matches!(
            &copy.response,
            Response::Rejected(rejection) if rejection.kind == RejectionKind::DeadlineExceeded
        );
        assert!(copy.replayed || refused, "after {delay_ms} ms: {copy:?}");
        assert_eq!(copy.replayed, delay_ms <= 20_000);
    }
}

/// Time goes on, and entries come all the while.
fn wait(machine: &mut Machine, ms: u64) {
    let until_ms = machine.now_ms + ms;
    while machine.now_ms < until_ms {
        machine.now_ms = until_ms.min(machine.now_ms + 15 * 60 * 1_000);
        machine.run(Command::Checkpoint);
    }
}

#[test]
fn a_client_s_id_is_kept_a_day() {
    let mut machine = Machine::new();
    let first = by_client(&machine, "k", printer("p1"));
    machine.apply(&first);
    wait(&mut machine, DAY_MS - 1);
    let same = |machine: &Machine| Envelope {
        proposed_at_ms: machine.now_ms,
        deadline_ms: machine.now_ms + 10_000,
        ..first.clone()
    };
    let retry = same(&machine);
    assert!(machine.apply(&retry).replayed);
    machine.now_ms += 1;
    let forgotten = same(&machine);
    let response = machine.apply(&forgotten);
    assert!(!response.replayed);
    assert_eq!(rejected(&response.response), RejectionKind::AlreadyExists);
    let record = requests::get(&machine.rows, &actor(), &RequestId::new("k"));
    assert_eq!(record.unwrap().unwrap().revision.0, machine.index);
}

/// Answers in entries' rows and answers under their ids go alike.
#[test]
fn expired_records_go_sixty_four_at_a_time() {
    for (origin, kept_ms) in [
        (RequestOrigin::Node, 20_000),
        (RequestOrigin::Client, DAY_MS),
    ] {
        let mut machine = Machine::new();
        machine.now_ms += 20_001;
        machine.run(Command::Checkpoint);
        let ask = |machine: &mut Machine, id: &str, command| {
            let envelope = Envelope {
                request_id: RequestId::new(id),
                request_origin: origin,
                ..machine.envelope(command)
            };
            let response = machine.apply(&envelope).response;
            assert!(matches!(response, Response::Accepted(_)), "{response:?}");
        };
        for n in 0..136 {
            ask(&mut machine, &format!("k{n:03}"), printer(&format!("p{n}")));
        }
        assert_eq!(records(&machine), 136, "that of the bootstrap has gone");
        wait(&mut machine, kept_ms + 1);
        ask(&mut machine, "q1", printer("q1"));
        assert_eq!(records(&machine), 136 - 64 + 1);
        // An expired record that is still there counts as absent, and is replaced, not counted
        // twice.
        ask(&mut machine, "k135", printer("q2"));
        assert_eq!(records(&machine), 136 - 128 + 1);
        ask(&mut machine, "q3", printer("q3"));
        assert_eq!(records(&machine), 3, "the rest of the old ones is gone");
        let of_table = |tag| machine.rows.iter().filter(|(key, _)| key[0] == tag).count();
        let in_shares = if origin == RequestOrigin::Client {
            3
        } else {
            0
        };
        assert_eq!((of_table(0x60), of_table(0x61)), (3, in_shares));
        let replaced = requests::get(&machine.rows, &actor(), &RequestId::new("k135"));
        assert_eq!(replaced.unwrap().unwrap().revision.0, machine.index - 1);
    }
}

/// A row goes with the last part of what its entry came to.
#[test]
fn what_an_entry_came_to_is_kept_until_nobody_asks_for_it() {
    let mut machine = Machine::with_shop();
    machine.reject(printer("a/b"));
    let nothing_else = machine.index;
    machine.accept(job("j1", 10));
    let decided = machine.index;
    let entries = |machine: &Machine| {
        let rows = machine.rows.iter().filter(|(key, _)| key[0] == 0x70);
        let revision = |key: &[u8]| u64::from_be_bytes(*key.last_chunk().unwrap());
        rows.map(|(key, _)| revision(key)).collect::<Vec<_>>()
    };
    assert_eq!(entries(&machine), (1..=decided).collect::<Vec<_>>());
    machine.now_ms += 20_001;
    let first = by_client(&machine, "k", printer("p9"));
    machine.apply(&first);
    let kept: Vec<u64> = (1..=decided + 1).filter(|n| *n != nothing_else).collect();
    assert_eq!(entries(&machine), kept, "it had an answer, and no events");
    // Its answer lies under its id, so the record of its entry is for the event alone.
    assert!(machine.apply(&first).replayed);
}

#[test]
fn who_asks_and_the_id_have_limits() {
    let mut machine = Machine::new();
    let good = machine.envelope(printer("p1"));
    let actor = |name: String| Envelope {
        actor: Actor {
            name,
            verified: true,
        },
        ..good.clone()
    };
    let id = |id: String| Envelope {
        request_id: RequestId::new(id),
        ..good.clone()
    };
    let before = records(&machine);
    for bad in [
        actor(String::new()),
        actor("x".repeat(129)),
        actor("a\nb".to_owned()),
        id(String::new()),
        id("x".repeat(129)),
        id("\u{7}".to_owned()),
    ] {
        assert_eq!(
            rejected(&machine.apply(&bad).response),
            RejectionKind::InvalidField
        );
    }
    assert_eq!(records(&machine), before);
}

#[test]
fn log_time_never_runs_back() {
    let mut machine = Machine::new();
    machine.now_ms += 5_000;
    machine.accept(printer("p1"));
    machine.now_ms -= 3_000;
    let outcome = machine.run(printer("p2"));
    assert_eq!(outcome.events[0].at_ms, START_MS + 5_000);
    assert_eq!(meta::log_time_ms(&machine.rows).unwrap(), START_MS + 5_000);
}

/// A leader that does not know yet that the clock was adjusted stamps by its clock alone.
#[test]
fn log_time_does_not_run_back_after_an_adjustment_either() {
    const AHEAD_MS: u64 = 3 * 86_400_000;
    let adjust = |offset_ms, expected| {
        Command::AdjustClock(AdjustClock {
            offset_ms,
            expected,
            reason: None,
        })
    };
    let mut machine = Machine::with_shop();
    machine.accept(adjust(AHEAD_MS, Revision(0)));
    machine.now_ms = START_MS + AHEAD_MS;
    machine.accept(printer("p2"));
    let adjusted_at = meta::log_time(&machine.rows).unwrap().offset.revision;
    machine.accept(adjust(0, adjusted_at));
    for stamp_ms in [START_MS, START_MS + AHEAD_MS / 2, 0] {
        let earlier = Envelope {
            proposed_at_ms: stamp_ms,
            ..machine.envelope(printer("p3"))
        };
        machine.apply(&earlier);
        let log_time_ms = meta::log_time_ms(&machine.rows).unwrap();
        assert_eq!(log_time_ms, START_MS + AHEAD_MS, "stamped {stamp_ms}");
    }
}

#[test]
fn an_envelope_of_another_version_is_a_fault() {
    let mut machine = Machine::new();
    let before = machine.clone();
    let envelope = Envelope {
        version: 2,
        ..machine.envelope(printer("p1"))
    };
    let fault = machine.apply_with(raft3d_core::Revision(2), &envelope, &NativeHost);
    assert!(matches!(
        fault,
        Err(LocalFault::CorruptEntry { index: 2, .. })
    ));
    assert_eq!(
        (&machine.rows, machine.digest),
        (&before.rows, before.digest)
    );
}

/// Refusals cost whoever asks nothing, so what is kept of one is bounded, however long its answer is.
#[test]
fn a_refusal_with_a_long_answer_leaves_a_small_row() {
    let mut machine = Machine::with_shop();
    let mut set = ruleset(&["standard", "deduction"]);
    for binding in &mut set.bindings {
        binding.hooks = HookSet::default();
        binding.share = SHARE_ALL + 1;
        binding.id = BindingId::new("x".repeat(ID_BYTES_MAX));
        binding.config.clear();
    }
    let long = by_client(
        &machine,
        "k",
        Command::ActivateRuleset(ActivateRuleset {
            ruleset: set,
            expected: None,
            force: false,
            reason: None,
        }),
    );
    let before = machine.rows.clone();
    let Response::Rejected(told) = machine.apply(&long).response else {
        panic!("accepted");
    };
    assert!(told.message.len() > 1_000, "{told:?}");
    assert!(told.details.len() > 5, "{told:?}");
    let is_new = |key: &[u8]| before.iter().all(|(known, _)| known != key);
    let new = machine.rows.iter().filter(|(key, _)| is_new(key));
    let largest = new.map(|(_, value)| value.len()).max();
    assert!(largest.is_some_and(|bytes| bytes < 500), "{largest:?}");
    // The retry is told the same, in short.
    let again = machine.apply(&long);
    assert!(again.replayed);
    assert_eq!(rejected(&again.response), told.kind);
}
