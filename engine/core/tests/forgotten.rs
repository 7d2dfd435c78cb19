//! Keys that carry their time and were forgotten by a way of their own: they are not run again
//! either.
#![allow(clippy::unwrap_used, reason = "a failed test is to panic")]

mod common;

use common::*;
use raft3d_core::command::{Actor, RequestOrigin};
use raft3d_core::limits::{KEYED_ACTORS_MAX, KEYED_RECORDS_GUARANTEED, KEYED_RECORDS_MAX};
use raft3d_core::{Command, Envelope, Outcome, RejectionKind, RequestId, Response};

const SECOND_MS: u64 = 1_000;
const FLOOR_MS: u64 = 15 * 60 * SECOND_MS;

/// A request of `name` under a key of its own.
fn keyed(machine: &Machine, name: &str, key: &str, command: Command) -> Envelope {
    Envelope {
        actor: Actor {
            name: name.to_owned(),
            verified: false,
        },
        request_id: RequestId::new(key),
        request_origin: RequestOrigin::Client,
        ..machine.envelope(command)
    }
}

fn is_accepted(outcome: &Outcome) -> bool {
    matches!(outcome.response, Response::Accepted(_))
}

fn refused_as(outcome: &Outcome) -> Option<RejectionKind> {
    match &outcome.response {
        Response::Rejected(rejection) => Some(rejection.kind),
        Response::Accepted(_) => None,
    }
}

/// An operator's command is made although there is no room for its answer in the operator's share.
#[test]
fn an_operator_s_key_without_room_in_its_share_is_not_run_twice() {
    let mut machine = Machine::with_shop();
    // So many others are said to have records that every share is the guaranteed part.
    change_totals(&mut machine, |totals| {
        totals.keys_unverified.crowds = KEYED_RECORDS_MAX / KEYED_RECORDS_GUARANTEED;
    });
    for n in 0..KEYED_RECORDS_GUARANTEED {
        let envelope = keyed(&machine, "ann", &format!("k{n}"), printer("a/b"));
        machine.apply(&envelope);
    }
    let key = uuid7(machine.now_ms, 1);
    let upload = || Command::UploadModule(module("no"));
    let full = keyed(&machine, "ann", "one-more", printer("a/b"));
    let full = machine.apply(&full);
    assert_eq!(refused_as(&full), Some(RejectionKind::TooManyRequests));
    let envelope = keyed(&machine, "ann", &key, upload());
    assert!(is_accepted(&machine.apply(&envelope)));
    assert!(machine.apply(&envelope).replayed);
    for n in 0..20 {
        machine.now_ms += 10 * SECOND_MS;
        machine.accept(printer(&format!("p{}", n + 2)));
    }
    let again = keyed(&machine, "ann", &key, upload());
    let again = machine.apply(&again);
    assert_eq!(refused_as(&again), Some(RejectionKind::KeyTooOld));
}

/// Its answer was kept, and forgotten, in the crowd; then the actor has a share of its own, which
/// knows nothing of that.
#[test]
fn what_the_crowd_forgot_of_an_actor_is_not_run_again_in_its_own_share() {
    let mut machine = Machine::with_shop();
    change_totals(&mut machine, |totals| {
        totals.keys_unverified.actors = KEYED_ACTORS_MAX;
    });
    let key = uuid7(machine.now_ms, 1);
    let envelope = keyed(&machine, "late", &key, printer("x1"));
    assert!(is_accepted(&machine.apply(&envelope)));
    assert_eq!(totals(&machine).keys_unverified.crowds, 1);
    for n in 0..100 {
        machine.now_ms += FLOOR_MS;
        machine.accept(printer(&format!("p{}", n + 2)));
    }
    assert_eq!(totals(&machine).keys_unverified.records, 0);
    change_totals(&mut machine, |totals| totals.keys_unverified.actors = 0);
    let again = keyed(&machine, "late", &key, printer("x2"));
    let again = machine.apply(&again);
    assert_eq!(refused_as(&again), Some(RejectionKind::KeyTooOld));
    // An opaque key says nothing of when it was made.
    let opaque = keyed(&machine, "late", "opaque", printer("x3"));
    assert!(is_accepted(&machine.apply(&opaque)));
}
