//! Remembered keys: fair shares, what makes room, who is refused, and keys that are too old.
//!
//! A share is the pool divided by those that have one. Tests that need small shares say in the totals
//! that there are many.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is to panic"
)]

mod common;

use common::*;
use raft3d_core::command::{Actor, RequestOrigin, RollbackRuleset};
use raft3d_core::limits::{
    KEYED_ACTORS_MAX, KEYED_BYTES_MAX, KEYED_RECORDS_GUARANTEED, KEYED_RECORDS_MAX,
};
use raft3d_core::state::meta::{KeyPool, Totals};
use raft3d_core::state::requests;
use raft3d_core::state::shares::{ShareMax, shown};
use raft3d_core::{Command, Envelope, Outcome, Rejection, RejectionKind, RequestId, Response};

const MINUTE_MS: u64 = 60 * 1_000;
const FLOOR_MS: u64 = 15 * MINUTE_MS;
const SHARE_MIN: u64 = KEYED_RECORDS_GUARANTEED;

fn named(name: &str) -> Actor {
    Actor {
        name: name.to_owned(),
        verified: false,
    }
}

fn keyed(machine: &Machine, actor: &Actor, key: &str, command: Command) -> Envelope {
    Envelope {
        actor: actor.clone(),
        request_id: RequestId::new(key),
        request_origin: RequestOrigin::Client,
        ..machine.envelope(command)
    }
}

/// One keyed write that does little.
fn ask(machine: &mut Machine, name: &str, key: &str) -> Outcome {
    let envelope = keyed(machine, &named(name), key, printer("a/b"));
    machine.apply(&envelope)
}

/// So many others are said to have records that every share is the guaranteed part.
fn crowded() -> Machine {
    let mut machine = Machine::with_shop();
    change_totals(&mut machine, |totals| {
        totals.keys_unverified.crowds = KEYED_RECORDS_MAX / SHARE_MIN;
    });
    machine
}

/// The refusal for want of room; none if it was taken.
fn refusal(outcome: &Outcome) -> Option<&Rejection> {
    match &outcome.response {
        Response::Rejected(rejection) if rejection.kind == RejectionKind::TooManyRequests => {
            Some(rejection)
        }
        _ => None,
    }
}

fn is_too_old(outcome: &Outcome) -> bool {
    matches!(&outcome.response, Response::Rejected(r) if r.kind == RejectionKind::KeyTooOld)
}

/// A ULID that was made then.
fn ulid(at_ms: u64, n: u64) -> String {
    let digits = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let text = |value: u64, len: u32| -> String {
        let digit = |at| char::from(digits[usize::try_from((value >> (5 * at)) & 31).unwrap()]);
        (0..len).rev().map(digit).collect()
    };
    text(at_ms, 10) + "0000" + &text(n, 12)
}

#[test]
fn an_actor_that_fills_its_share_is_refused_and_nobody_else() {
    let mut machine = crowded();
    for n in 0..SHARE_MIN {
        assert_eq!(
            refusal(&ask(&mut machine, "greedy", &format!("k{n}"))),
            None
        );
    }
    machine.now_ms += 2 * MINUTE_MS;
    let before = totals(&machine).requests;
    let outcome = ask(&mut machine, "greedy", "one-more");
    let refused = refusal(&outcome).unwrap();
    let wait_ms = refused.retry_after_ms.unwrap();
    assert!(
        (12 * MINUTE_MS..=13 * MINUTE_MS + 1_000).contains(&wait_ms),
        "{wait_ms}"
    );
    assert!(
        totals(&machine).requests <= before,
        "a refusal is not remembered"
    );
    // Its retries are answered, and its writes without a key are made.
    let retry = ask(&mut machine, "greedy", "k0");
    assert!(retry.replayed);
    let unkeyed = Envelope {
        actor: named("greedy"),
        ..machine.envelope(printer("p7"))
    };
    assert!(matches!(
        machine.apply(&unkeyed).response,
        Response::Accepted(_)
    ));
    // Other actors are not refused: newcomers, nor verified ones of the same name.
    for n in 0..SHARE_MIN {
        assert_eq!(
            refusal(&ask(&mut machine, "modest", &format!("k{n}"))),
            None
        );
    }
    let verified = Actor {
        verified: true,
        ..named("greedy")
    };
    let envelope = keyed(&machine, &verified, "one-more", printer("p8"));
    assert!(matches!(
        machine.apply(&envelope).response,
        Response::Accepted(_)
    ));
    // Nor is what operators do, even by the one who is.
    let rollback = Command::RollbackRuleset(RollbackRuleset {
        to: Some(raft3d_core::Revision(1)),
        expected: None,
        force: false,
        reason: None,
    });
    for (key, command) in [
        ("upload", Command::UploadModule(module("no"))),
        ("rollback", rollback),
    ] {
        let envelope = keyed(&machine, &named("greedy"), key, command);
        let done = machine.apply(&envelope);
        assert!(
            matches!(done.response, Response::Accepted(_)),
            "{key}: {done:?}"
        );
        let again = machine.apply(&envelope);
        assert!(
            again.replayed,
            "{key} is remembered for as long as copies may come"
        );
    }
}

#[test]
fn the_wait_that_a_refusal_names_is_long_enough_and_not_too_long() {
    for (idle, steps) in [(true, 1), (false, 13)] {
        let mut machine = crowded();
        for n in 0..SHARE_MIN {
            ask(&mut machine, "greedy", &format!("k{n}"));
        }
        machine.now_ms += MINUTE_MS;
        let outcome = ask(&mut machine, "greedy", "late");
        let wait_ms = refusal(&outcome).unwrap().retry_after_ms.unwrap();
        // Others write meanwhile, or nobody does.
        let began_ms = machine.now_ms;
        for step in 1..steps {
            machine.now_ms = began_ms + (wait_ms - 2_000) * step / (steps - 1);
            machine.accept(printer(&format!("p{step}-{idle}")));
        }
        if !idle {
            assert!(refusal(&ask(&mut machine, "greedy", "late")).is_some());
        }
        machine.now_ms = began_ms + wait_ms;
        assert_eq!(refusal(&ask(&mut machine, "greedy", "late")), None);
        // The oldest gave way, and nobody is refused as long as they are old enough.
        assert!(!ask(&mut machine, "greedy", "k0").replayed);
    }
}

/// For 15 minutes every answer is there, whatever its actor does.
#[test]
fn an_answer_is_remembered_for_fifteen_minutes_however_many_come_after_it() {
    let mut machine = crowded();
    let mut asked: Vec<(u64, String)> = Vec::new();
    for n in 0..600 {
        machine.now_ms += 10_000;
        let key = format!("k{n}");
        if refusal(&ask(&mut machine, "greedy", &key)).is_none() {
            asked.push((machine.now_ms, key));
        }
        let now_ms = machine.now_ms;
        for (at_ms, key) in asked.iter().rev().take(70) {
            let actor = named("greedy");
            let record = requests::get(&machine.rows, &actor, &RequestId::new(key)).unwrap();
            assert!(
                record.is_some() || at_ms + FLOOR_MS <= now_ms,
                "{key} of {at_ms} is forgotten at {now_ms}"
            );
        }
    }
    let share = |totals: Totals| totals.keys_unverified.records;
    assert!(share(totals(&machine)) <= SHARE_MIN);
    assert!(asked.len() > 300, "{} were taken", asked.len());
}

/// Names are invented until no share is left: further ones have a place in the crowd.
#[test]
fn a_newcomer_gets_in_when_names_are_invented() {
    let mut machine = Machine::with_shop();
    change_totals(&mut machine, |totals| {
        totals.keys_unverified.actors = KEYED_ACTORS_MAX
    });
    let mut refused = 0;
    for n in 0..200 {
        refused += u64::from(refusal(&ask(&mut machine, &format!("n{n}"), "k")).is_some());
    }
    assert_eq!(refused, 0);
    let pool = totals(&machine).keys_unverified;
    assert_eq!(
        pool.actors, KEYED_ACTORS_MAX,
        "no more have a share of their own"
    );
    assert!(pool.crowds > 32, "{} places are used", pool.crowds);
    assert_eq!(pool.records, 200);
    // Retries find the answers.
    for n in 0..200 {
        assert!(ask(&mut machine, &format!("n{n}"), "k").replayed);
    }
    // A name that comes back to a share of its own has the same keys.
    change_totals(&mut machine, |totals| totals.keys_unverified.actors = 7);
    assert!(ask(&mut machine, "n0", "k").replayed);
    assert_eq!(refusal(&ask(&mut machine, "n0", "k2")), None);
    assert_eq!(totals(&machine).keys_unverified.actors, 8);
}

#[test]
fn a_full_pool_takes_from_the_largest_share_and_never_what_is_guaranteed() {
    let mut machine = Machine::with_shop();
    for n in 0..2 * SHARE_MIN {
        ask(&mut machine, "giant", &format!("k{n}"));
    }
    let dwarf = |machine: &mut Machine, n: u64| ask(machine, "dwarf", &format!("k{n}"));
    for n in 0..SHARE_MIN {
        dwarf(&mut machine, n);
    }
    let fill = |totals: &mut Totals| totals.keys_unverified.records = KEYED_RECORDS_MAX;
    // As long as all is young, the dwarf has its guaranteed part, and that is full.
    change_totals(&mut machine, fill);
    let outcome = dwarf(&mut machine, 1_000);
    assert!(refusal(&outcome).unwrap().retry_after_ms.unwrap() <= FLOOR_MS + 1);
    assert_eq!(refusal(&ask(&mut machine, "newcomer", "k")), None);
    machine.now_ms += FLOOR_MS;
    change_totals(&mut machine, fill);
    assert_eq!(refusal(&dwarf(&mut machine, 1_001)), None);
    assert!(
        !ask(&mut machine, "giant", "k0").replayed,
        "the giant gave way"
    );
    for n in 0..SHARE_MIN {
        assert!(dwarf(&mut machine, n).replayed, "the dwarf did not");
    }
    // Down to the guaranteed part, and no further.
    for n in 0..20 {
        change_totals(&mut machine, fill);
        dwarf(&mut machine, 2_000 + n);
    }
    let giant = shown::largest(&machine.rows, false, 10).unwrap();
    let records = giant
        .iter()
        .find(|large| large.actor == Some(named("giant")))
        .map_or(SHARE_MIN, |large| large.share.records);
    assert!(records >= SHARE_MIN - 1, "{giant:?}");
}

#[test]
fn shares_are_divided_among_all_and_one_more() {
    let pool = |actors, crowds| KeyPool {
        actors,
        crowds,
        ..KeyPool::default()
    };
    let max = |actors, crowds| ShareMax::of(&pool(actors, crowds));
    assert_eq!(max(0, 0).records, KEYED_RECORDS_MAX);
    assert_eq!(
        max(1, 0).records,
        KEYED_RECORDS_MAX / 2,
        "a newcomer has as much"
    );
    assert_eq!(max(2, 1).bytes, KEYED_BYTES_MAX / 4);
    assert_eq!(max(u64::MAX, 9).records, KEYED_RECORDS_GUARANTEED);
}

#[test]
fn a_share_is_bounded_in_bytes_too() {
    let mut machine = Machine::with_shop();
    let labels = (0..32)
        .map(|n| (format!("{n:064}"), "v".repeat(64)))
        .collect();
    let Command::CreatePrinter(small) = printer("x") else {
        panic!()
    };
    let large = raft3d_core::command::CreatePrinter {
        labels,
        model: "m".repeat(1_000),
        ..small
    };
    // As many actors as make a share of 64 KiB; then records are not what fills it.
    change_totals(&mut machine, |totals| {
        totals.keys_unverified.crowds = KEYED_BYTES_MAX / (64 * 1024);
    });
    let mut taken = 0;
    for n in 0..SHARE_MIN {
        let mut command = large.clone();
        command.id = Some(raft3d_core::PrinterId::new(format!("l{n}")));
        let command = Command::CreatePrinter(command);
        let envelope = keyed(&machine, &named("greedy"), &format!("k{n}"), command);
        taken += u64::from(refusal(&machine.apply(&envelope)).is_none());
    }
    assert!((8..20).contains(&taken), "{taken} of 5 KiB each");
    let bytes = totals(&machine).keys_unverified.bytes;
    assert!((64 * 1024..80 * 1024).contains(&bytes), "{bytes}");
}

/// A refusal did nothing, so it is not to cost much; a retry is told the same.
#[test]
fn a_remembered_refusal_is_small() {
    let mut machine = Machine::with_shop();
    let long = printer(&"x".repeat(10_000));
    let envelope = keyed(&machine, &named("a"), "k", long);
    let first = machine.apply(&envelope);
    let again = machine.apply(&envelope);
    assert!(again.replayed);
    let (Response::Rejected(first), Response::Rejected(again)) = (first.response, again.response)
    else {
        panic!("accepted");
    };
    assert_eq!((again.kind, &again.field), (first.kind, &first.field));
    let long = Rejection {
        details: vec!["d".repeat(5_000); 10],
        ..Rejection::new(RejectionKind::ActivationBlocked, "ä".repeat(5_000))
    };
    let kept = long.remembered();
    assert!(
        kept.message.len() <= 200 && kept.message.ends_with('…'),
        "{kept:?}"
    );
    assert!(kept.details.is_empty() && kept.kind == long.kind);
    assert!(totals(&machine).keys_unverified.bytes < 500);
}

#[test]
fn a_key_that_carries_its_time_is_never_run_twice() {
    for make in [uuid7, ulid] {
        let mut machine = crowded();
        let made_ms = machine.now_ms;
        for n in 0..SHARE_MIN {
            ask(&mut machine, "greedy", &make(made_ms + n, n));
        }
        machine.now_ms += FLOOR_MS;
        // The share is full and the oldest go.
        for n in 0..4 {
            let key = make(machine.now_ms, 100 + n);
            assert_eq!(refusal(&ask(&mut machine, "greedy", &key)), None);
        }
        let mut old = 0;
        for n in 0..SHARE_MIN {
            let again = ask(&mut machine, "greedy", &make(made_ms + n, n));
            assert!(again.replayed ^ is_too_old(&again), "{n}: {again:?}");
            old += u64::from(is_too_old(&again));
        }
        assert!(old > 0 && old < SHARE_MIN, "{old}");
        // One that was never used but could have been is not run either; a younger one is.
        assert!(is_too_old(&ask(
            &mut machine,
            "greedy",
            &make(made_ms - 1, 7_777)
        )));
        let young = make(machine.now_ms, 8_888);
        assert!(!is_too_old(&ask(&mut machine, "greedy", &young)));
        // Others' keys of that age are new.
        assert!(!is_too_old(&ask(&mut machine, "modest", &make(made_ms, 0))));
    }
}

/// Also after a day, when nothing of the actor is left, and whatever the clock says.
#[test]
fn an_old_key_is_refused_when_nothing_of_its_actor_is_left() {
    let mut machine = Machine::with_shop();
    let key = uuid7(machine.now_ms, 1);
    ask(&mut machine, "ann", &key);
    for n in 0..100 {
        machine.now_ms += FLOOR_MS;
        machine.accept(printer(&format!("p{}", n + 2)));
    }
    assert_eq!(totals(&machine).keys_unverified.records, 0);
    assert_eq!(totals(&machine).keys_unverified.actors, 0);
    let of_share = |tag: u8| machine.rows.iter().any(|(key, _)| key[0] == tag);
    assert!(
        ![0x61, 0x62, 0x63, 0x64].into_iter().any(of_share),
        "rows are left"
    );
    assert!(is_too_old(&ask(&mut machine, "ann", &key)));
    assert!(
        is_too_old(&ask(&mut machine, "ben", &key)),
        "nothing is known of ben's keys"
    );
    let opaque = ask(&mut machine, "ann", "opaque");
    assert!(!is_too_old(&opaque));
    let since_ms = opaque.certain_since_ms.unwrap();
    assert!(
        since_ms > START_MS && since_ms < machine.now_ms,
        "{since_ms}"
    );
}

/// An expired answer that is not deleted yet: an opaque key runs again, one with a time does not.
#[test]
fn an_expired_answer_counts_as_absent() {
    let mut machine = Machine::with_shop();
    let timed = uuid7(machine.now_ms, 1);
    for n in 0..200 {
        ask(&mut machine, "ann", &format!("k{n}"));
    }
    ask(&mut machine, "ann", &timed);
    for _ in 0..97 {
        machine.now_ms += FLOOR_MS;
        machine.run(Command::Checkpoint);
    }
    assert_eq!(totals(&machine).keys_unverified.records, 201);
    assert!(is_too_old(&ask(&mut machine, "ann", &timed)));
    let again = ask(&mut machine, "ann", "k199");
    assert!(!again.replayed);
    for _ in 0..3 {
        machine.run(printer("a/b"));
    }
    assert_eq!(totals(&machine).keys_unverified.records, 1);
    assert!(ask(&mut machine, "ann", "k199").replayed);
    assert!(is_too_old(&ask(&mut machine, "ann", &timed)));
}

/// A leader whose clock is a year ahead stamps one entry: no answer is forgotten by that.
#[test]
fn a_clock_that_jumps_ahead_forgets_nothing_at_once() {
    let mut machine = Machine::with_shop();
    ask(&mut machine, "ann", "k");
    machine.now_ms += 365 * 24 * 60 * MINUTE_MS;
    machine.accept(printer("p2"));
    assert!(ask(&mut machine, "ann", "k").replayed);
    // Keys that clients make by sound clocks are not too old for that.
    let key = uuid7(START_MS + 5_000, 9);
    assert!(!is_too_old(&ask(&mut machine, "ann", &key)));
    // And once they are forgotten, they are.
    for n in 0..100 {
        machine.now_ms += FLOOR_MS;
        machine.accept(printer(&format!("q{n}")));
    }
    assert!(is_too_old(&ask(&mut machine, "ann", &key)));
    assert!(!ask(&mut machine, "ann", "k").replayed);
}

/// Log time stands still: answers go all the same, by the log's index.
#[test]
fn a_clock_that_stands_still_frees_memory_all_the_same() {
    let mut machine = Machine::with_shop();
    let minted = |at_ms: u64| RequestId::minted(at_ms, [7; 10]);
    let by_node = Envelope {
        request_id: minted(machine.now_ms),
        ..machine.envelope(printer("p2"))
    };
    machine.apply(&by_node);
    ask(&mut machine, "ann", "k");
    // 24 h at 50 us an entry.
    let entries = 24 * 60 * MINUTE_MS * 1_000 / 50;
    change_totals(&mut machine, |totals| {
        totals.record_time_us += (entries - 2) * 50
    });
    assert!(ask(&mut machine, "ann", "k").replayed);
    machine.accept(printer("p3"));
    machine.accept(printer("p4"));
    assert!(!ask(&mut machine, "ann", "k").replayed);
    // Ids that nodes minted: a million entries.
    let records = totals(&machine).requests;
    machine.index += 1_000_001;
    machine.accept(printer("p5"));
    assert!(
        totals(&machine).requests < records,
        "answers of nodes' ids are freed"
    );
    // A copy of that entry, which is within its deadline, does not run.
    let mut copy = by_node.clone();
    copy.command = printer("p6");
    let copied = machine.apply(&copy);
    assert!(
        matches!(copied.response, Response::Rejected(_)),
        "{copied:?}"
    );
    // Nor does a client who was told the id, and asks too late.
    let by_client = Envelope {
        request_origin: RequestOrigin::Client,
        ..copy
    };
    assert!(is_too_old(&machine.apply(&by_client)));
}

/// A client was told the id that a node minted, and asks again under it: within its time it gets the
/// answer, later it is told that nobody knows.
#[test]
fn an_id_that_a_node_minted_is_not_run_again_when_it_was_forgotten() {
    let mut machine = Machine::with_shop();
    let first = Envelope {
        request_id: RequestId::minted(machine.now_ms, [7; 10]),
        ..machine.envelope(printer("p2"))
    };
    machine.apply(&first);
    let again = |machine: &Machine| Envelope {
        request_origin: RequestOrigin::Client,
        proposed_at_ms: machine.now_ms,
        deadline_ms: machine.now_ms + 10_000,
        ..first.clone()
    };
    machine.now_ms += 15_000;
    let retry = again(&machine);
    assert!(machine.apply(&retry).replayed);
    machine.now_ms += 6_000;
    machine.accept(printer("p3"));
    let late = again(&machine);
    assert!(is_too_old(&machine.apply(&late)));
    // A node's own request, and a client's key that only looks so, are not concerned.
    let fresh = Envelope {
        request_id: RequestId::minted(machine.now_ms, [8; 10]),
        ..machine.envelope(printer("p4"))
    };
    assert!(matches!(
        machine.apply(&fresh).response,
        Response::Accepted(_)
    ));
    let random = keyed(
        &machine,
        &named("a"),
        "d41d8cd98f00b204e9800998ecf8427e",
        printer("p5"),
    );
    assert!(matches!(
        machine.apply(&random).response,
        Response::Accepted(_)
    ));
}

/// Every sum over the shares is that of the rows, and no more than the rule allows.
#[test]
fn sums_of_shares_are_those_of_the_rows() {
    let mut machine = Machine::with_shop();
    let names = ["ann", "ben", "a\0b"];
    for n in 0..400_u64 {
        machine.now_ms += if n % 97 == 96 { 20 * FLOOR_MS } else { 20_000 };
        let name = names[usize::try_from(n * n % 3).unwrap()];
        ask(&mut machine, name, &format!("k{}", n * 31 % 150));
        let rows = |tag: u8| machine.rows.iter().filter(move |(key, _)| key[0] == tag);
        let pool = totals(&machine).keys_unverified;
        assert_eq!(rows(0x61).count() as u64, pool.records);
        assert_eq!(rows(0x62).count() as u64, pool.actors + pool.crowds);
        assert_eq!(rows(0x63).count() as u64, pool.actors);
        assert_eq!(rows(0x60).count() as u64, totals(&machine).requests);
    }
}
