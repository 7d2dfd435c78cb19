//! The clock's offset: the way back where log time lies in the future.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test is to panic"
)]

mod common;

use common::*;
use raft3d_core::command::{AdjustClock, RequestOrigin};
use raft3d_core::event::EventKind;
use raft3d_core::limits::CLOCK_OFFSET_MS_MAX;
use raft3d_core::state::meta;
use raft3d_core::{Accepted, Command, Envelope, RejectionKind, RequestId, Revision};

const DAY_MS: u64 = 86_400_000;

fn adjust(offset_ms: u64, expected: u64) -> Command {
    Command::AdjustClock(AdjustClock {
        offset_ms,
        expected: Revision(expected),
        reason: Some("the clock of node 2 was three days ahead".to_owned()),
    })
}

/// A stamp as a leader makes it, whose clock shows `clock_ms`.
fn stamp(machine: &Machine, clock_ms: u64) -> u64 {
    let log = meta::log_time(&machine.rows).unwrap();
    log.now_ms.max(clock_ms + log.offset.ms)
}

#[test]
fn an_adjustment_is_a_row_and_an_event_and_moves_no_time() {
    let mut machine = Machine::with_shop();
    machine.now_ms += 3 * DAY_MS;
    machine.accept(printer("poisoned"));
    let before = meta::log_time(&machine.rows).unwrap();
    assert_eq!(before.offset, meta::ClockOffset::default());
    let outcome = machine.run(adjust(3 * DAY_MS, 0));
    let kinds: Vec<_> = outcome.events.into_iter().map(|event| event.kind).collect();
    let (from_ms, to_ms) = (0, 3 * DAY_MS);
    let by = actor().name;
    let reason = Some("the clock of node 2 was three days ahead".to_owned());
    assert_eq!(
        kinds,
        [EventKind::ClockAdjusted {
            from_ms,
            to_ms,
            by,
            reason
        }]
    );
    let after = meta::log_time(&machine.rows).unwrap();
    assert_eq!(after.now_ms, before.now_ms);
    assert_eq!(
        (after.offset.ms, after.offset.revision),
        (to_ms, Revision(machine.index))
    );
    let last = meta::clock_adjustment(&machine.rows).unwrap().unwrap();
    assert_eq!((last.from_ms, last.to_ms), (0, to_ms));
    assert_eq!(
        (last.revision, last.at_ms),
        (Revision(machine.index), before.now_ms)
    );
    assert_eq!(last.by, actor());
    assert!(last.reason.is_some_and(|why| why.contains("node 2")));
}

#[test]
fn an_adjustment_names_the_last_one_and_stays_in_bounds() {
    let mut machine = Machine::new();
    assert_eq!(meta::clock_adjustment(&machine.rows).unwrap(), None);
    assert_eq!(
        machine.reject(adjust(1, 7)).kind,
        RejectionKind::RevisionMismatch
    );
    let refused = machine.reject(adjust(CLOCK_OFFSET_MS_MAX + 1, 0));
    assert_eq!(refused.kind, RejectionKind::InvalidField);
    assert_eq!(refused.field.as_deref(), Some("/offset_ms"));
    machine.accept(adjust(CLOCK_OFFSET_MS_MAX, 0));
    let last = machine.index;
    assert_eq!(
        machine.reject(adjust(0, 0)).kind,
        RejectionKind::RevisionMismatch
    );
    machine.accept(adjust(0, last));
    assert_eq!(meta::log_time(&machine.rows).unwrap().offset.ms, 0);
}

/// Log time goes on at the clock's pace, deadlines are kept, and a retry makes nothing twice.
#[test]
fn after_an_adjustment_time_goes_on_and_a_retry_is_a_retry() {
    let mut machine = Machine::with_shop();
    let mut clock_ms = machine.now_ms;
    machine.now_ms += 3 * DAY_MS;
    machine.accept(printer("poisoned"));
    machine.accept(adjust(3 * DAY_MS, 0));
    clock_ms += 5_000;
    machine.now_ms = stamp(&machine, clock_ms);
    assert_eq!(machine.now_ms, clock_ms + 3 * DAY_MS);
    let keyed = |machine: &Machine| {
        let command = job("once", 10);
        Envelope {
            request_id: RequestId::new("key"),
            request_origin: RequestOrigin::Client,
            ..machine.envelope(command)
        }
    };
    let first = machine.apply(&keyed(&machine));
    clock_ms += DAY_MS - 1_000;
    machine.now_ms = stamp(&machine, clock_ms);
    let again = machine.apply(&keyed(&machine));
    assert!(again.replayed && again.revision == first.revision);
    // Back to the clock itself: log time waits for it.
    let adjusted_at = meta::log_time(&machine.rows).unwrap().offset.revision;
    let Accepted::Done = machine.accept(adjust(0, adjusted_at.0)) else {
        panic!("an adjustment has nothing to show");
    };
    let stands_at = meta::log_time_ms(&machine.rows).unwrap();
    assert_eq!(stamp(&machine, clock_ms), stands_at);
    assert_eq!(
        stamp(&machine, clock_ms + 4 * DAY_MS),
        clock_ms + 4 * DAY_MS
    );
}
