//! Readers of events and decision records that go on from where they stopped.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is to panic"
)]

mod common;

use common::*;
use raft3d_core::command::ActivateRuleset;
use raft3d_core::event::{Event, EventKind};
use raft3d_core::state::rulesets::{DecisionsKept, Mode, Ruleset};
use raft3d_core::state::window::{Gone, ResumeError};
use raft3d_core::state::{decisions, events, meta};
use raft3d_core::{Command, EventId, JobId, Revision};

/// Activates the standard rules with `kept` decision records and a shadow binding that says no.
fn activate(machine: &mut Machine, kept: u64) {
    machine.accept(Command::UploadModule(module("no")));
    let active = raft3d_core::state::rulesets::active(&machine.rows).unwrap();
    let mut set = ruleset(&["standard", "deduction", "no"]);
    set.bindings[2].mode = Mode::Shadow;
    machine.accept(Command::ActivateRuleset(ActivateRuleset {
        ruleset: Ruleset {
            decisions_kept: DecisionsKept {
                count: kept,
                days: 30,
            },
            ..set
        },
        expected: active.map(|active| active.revision),
        force: false,
        reason: None,
    }));
}

/// A machine in which several entries emitted more than one event.
fn eventful() -> Machine {
    let mut machine = Machine::with_shop();
    activate(&mut machine, 200_000);
    for id in ["j1", "j2"] {
        machine.accept(job(id, 10));
        machine.accept(status(id, "Running"));
        machine.accept(status(id, "Done"));
    }
    machine
}

fn all(machine: &Machine) -> Vec<Event> {
    events::list(&machine.rows, None, usize::MAX).unwrap()
}

fn gone<T: core::fmt::Debug>(result: Result<T, ResumeError>) -> Gone {
    match result {
        Err(ResumeError::Gone(gone)) => gone,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_sequence_of_an_entry_s_events_begins_at_zero_and_has_no_gap() {
    let machine = eventful();
    let all = all(&machine);
    let of_entry = |revision| {
        all.iter()
            .filter(move |event| event.id.revision == revision)
    };
    let done = all.last().unwrap().id.revision;
    let kinds: Vec<_> = of_entry(done).map(|event| event.kind.clone()).collect();
    assert!(
        matches!(
            kinds.as_slice(),
            [
                EventKind::JobStatusChanged { .. },
                EventKind::FilamentDeducted { .. },
                EventKind::ShadowVerdict { .. },
                EventKind::ShadowVerdict { .. }
            ]
        ),
        "{kinds:?}"
    );
    for event in &all {
        let sequences: Vec<u32> = of_entry(event.id.revision).map(|e| e.id.sequence).collect();
        let expected: Vec<u32> = (0..).take(sequences.len()).collect();
        assert_eq!(sequences, expected, "of entry {}", event.id.revision);
    }
}

/// Wherever a reader stops, also in the middle of an entry, it goes on with the very next event, and
/// that has the same id as for one who read without a stop.
#[test]
fn a_reader_resumes_after_any_event() {
    let machine = eventful();
    let all = all(&machine);
    let in_the_middle = all
        .windows(2)
        .filter(|pair| pair[0].id.revision == pair[1].id.revision);
    assert!(in_the_middle.count() >= 6, "{all:?}");
    for (at, event) in all.iter().enumerate() {
        for limit in [1, 2, 3, usize::MAX] {
            let rest = &all[at + 1..];
            let rest = &rest[..rest.len().min(limit)];
            let page = events::list(&machine.rows, Some(event.id), limit).unwrap();
            assert_eq!(page, rest, "after {:?}, {limit} at once", event.id);
        }
    }
    // A reader may know more of an entry than it emitted: nothing of it comes again.
    let beyond = EventId {
        revision: all[0].id.revision,
        sequence: u32::MAX,
    };
    let page = events::list(&machine.rows, Some(beyond), 1).unwrap();
    assert!(page[0].id.revision > beyond.revision);
}

#[test]
fn a_reader_of_events_that_are_gone_is_told() {
    let mut machine = eventful();
    let all = all(&machine);
    let forgotten = all[all.len() - 5].id.revision;
    let of_entry = all.iter().filter(|e| e.id.revision == forgotten);
    let emitted = of_entry.count() as u64;
    assert!(emitted > 1, "{all:?}");
    change_totals(&mut machine, |totals| {
        (totals.events_deleted_to, totals.events_deleted_last) = (Some(forgotten), emitted);
    });
    let kept: Vec<_> = all.iter().filter(|e| e.id.revision > forgotten).collect();
    let oldest = Some(kept[0].id.revision);
    let ask = |id: EventId| events::list(&machine.rows, Some(id), usize::MAX);
    for event in all.iter().filter(|event| event.id.revision <= forgotten) {
        let is_last = event.id.revision == forgotten && u64::from(event.id.sequence) + 1 == emitted;
        if is_last {
            assert_eq!(ask(event.id).unwrap().len(), kept.len());
            continue;
        }
        let told = gone(ask(event.id));
        assert_eq!((told.deleted_to, told.oldest), (forgotten, oldest));
    }
    let zero = EventId {
        revision: Revision(0),
        sequence: 0,
    };
    assert_eq!(gone(ask(zero)).oldest, oldest);
    let anew = events::list(&machine.rows, None, usize::MAX).unwrap();
    assert_eq!(anew.len(), kept.len(), "who names no place begins anew");
}

#[test]
fn a_reader_of_decisions_that_are_gone_is_told() {
    let mut machine = Machine::with_shop();
    activate(&mut machine, 3);
    let mut asked = Vec::new();
    for n in 0..6 {
        machine.accept(job(&format!("j{n}"), 1));
        asked.push(machine.index);
    }
    let kept = decisions::list(&machine.rows, None, 10).unwrap();
    let oldest = kept[0].revision;
    let deleted_to = decisions::deleted_to(&machine.rows).unwrap().unwrap();
    for after in 0..=machine.index {
        let page = decisions::list(&machine.rows, Some(Revision(after)), 10);
        if after < deleted_to.0 {
            let told = gone(page);
            assert_eq!((told.oldest, told.deleted_to), (Some(oldest), deleted_to));
            continue;
        }
        let later = kept.iter().filter(|record| record.revision.0 > after);
        assert_eq!(page.unwrap().len(), later.count(), "after {after}");
    }
    // Of one job: an old one may have lost some, a young one has not.
    let of_job = |id: &str| decisions::of_job(&machine.rows, &JobId::new(id), Some(Revision(1)), 9);
    assert_eq!(gone(of_job("j0")).oldest, None);
    assert_eq!(of_job("j5").unwrap().len(), 1);
    let unread = decisions::of_job(&machine.rows, &JobId::new("j0"), None, 9).unwrap();
    assert!(unread.is_empty());
}

/// Records are bounded in bytes as well as in number: 200,000 of them may be of 6 KB each.
#[test]
fn decision_records_are_bounded_in_bytes() {
    use raft3d_core::limits::DECISIONS_BYTES_MAX;
    let mut machine = Machine::with_shop();
    activate(&mut machine, 200_000);
    for n in 0..50 {
        machine.accept(job(&format!("j{n}"), 1));
    }
    let totals = totals(&machine);
    let each = totals.decisions_bytes / totals.decisions;
    assert!((200..2_000).contains(&each), "{each} bytes each");
    let kept = decisions::list(&machine.rows, None, 100).unwrap().len();
    assert_eq!(kept, 50);
    // As if larger ones had come before.
    let large = meta::Totals {
        decisions_bytes: DECISIONS_BYTES_MAX - each,
        ..totals
    };
    put_totals(&mut machine, &large);
    machine.accept(job("k1", 1));
    machine.accept(job("k2", 1));
    let after = common::totals(&machine);
    assert!(after.decisions_bytes <= DECISIONS_BYTES_MAX);
    let left = decisions::list(&machine.rows, None, 100).unwrap();
    assert!(left.len() < 52, "the oldest went");
    assert_eq!(
        left.last().unwrap().job,
        JobId::new("k2"),
        "the newest stay"
    );
}

/// Events are bounded in bytes as well as in number.
#[test]
fn events_are_bounded_in_bytes() {
    use raft3d_core::limits::EVENTS_BYTES_MAX;
    let mut machine = Machine::with_shop();
    let names: Vec<String> = (0..40).map(|n| format!("{n:0>100}")).collect();
    for name in &names {
        machine.accept(printer(name));
    }
    let totals = totals(&machine);
    let listed = events::list(&machine.rows, None, 1_000).unwrap();
    assert_eq!(listed.len() as u64, totals.events);
    assert!(totals.events_bytes >= 40 * 100, "{totals:?}");
    // As if larger ones had come before: more is forgotten at once, and no reader misses it in silence.
    let large = meta::Totals {
        events_bytes: EVENTS_BYTES_MAX - 10,
        ..totals
    };
    put_totals(&mut machine, &large);
    machine.accept(printer("one-more"));
    let after = common::totals(&machine);
    assert!(after.events < large.events, "{after:?}");
    let left = events::list(&machine.rows, Some(listed.last().unwrap().id), 10).unwrap();
    assert_eq!(left.len(), 1, "the newest stay");
    let gone = events::list(&machine.rows, Some(listed[0].id), 10).unwrap_err();
    assert!(matches!(gone, ResumeError::Gone(_)), "{gone:?}");
}
