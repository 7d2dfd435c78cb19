//! The engine epoch: in force by the log alone, and never under a program that does not know it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed test is to panic"
)]

mod common;

use common::*;
use raft3d_core::apply::deny;
use raft3d_core::command::RaiseEpoch;
use raft3d_core::event::EventKind;
use raft3d_core::state::{decisions, meta};
use raft3d_core::{Accepted, Command, Epochs, LocalFault, RejectionKind, Revision};

const OLD: Epochs = Epochs {
    oldest: 1,
    newest: 1,
};
const NEW: Epochs = Epochs {
    oldest: 1,
    newest: 2,
};
const LATER: Epochs = Epochs {
    oldest: 2,
    newest: 3,
};

fn raise(to: u32) -> Command {
    Command::RaiseEpoch(RaiseEpoch { to })
}

fn shop(epochs: Epochs) -> Machine {
    let mut machine = Machine::with_shop();
    machine.epochs = epochs;
    machine
}

#[test]
fn an_epoch_is_in_force_from_the_next_entry_on() {
    let mut machine = shop(NEW);
    assert_eq!(meta::epoch(&machine.rows).unwrap(), 1);
    machine.accept(job("before", 10));
    let outcome = machine.run(raise(2));
    let kinds: Vec<_> = outcome.events.into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::EpochRaised(2)]);
    assert_eq!(meta::epoch(&machine.rows).unwrap(), 2);
    machine.accept(job("after", 10));
    let records = decisions::list(&machine.rows, None, 10).unwrap();
    let epochs: Vec<_> = records
        .iter()
        .map(|record| (record.job.as_str(), record.epoch))
        .collect();
    assert_eq!(epochs, [("before", 1), ("after", 2)]);
}

#[test]
fn an_epoch_is_raised_by_one_and_once() {
    let mut machine = shop(NEW);
    // Also those that this program does not support: every program says the same.
    for to in [0, 1, 3, u32::MAX] {
        let rejection = machine.reject(raise(to));
        assert_eq!(rejection.kind, RejectionKind::RevisionMismatch, "{to}");
    }
    assert_eq!(machine.accept(raise(2)), Accepted::Done);
    // A second leader's, for the same step.
    machine.reject(raise(2));
    assert_eq!(meta::epoch(&machine.rows).unwrap(), 2);
}

#[test]
fn a_program_stops_before_an_epoch_that_it_does_not_support() {
    let mut machine = shop(OLD);
    let before = (machine.rows.clone(), machine.digest);
    let fault = machine.try_apply(&machine.envelope(raise(2))).unwrap_err();
    assert!(
        matches!(fault, LocalFault::Epoch { epoch: 2, supported } if supported == OLD),
        "{fault}"
    );
    assert_eq!((machine.rows.clone(), machine.digest), before);
    let text = fault.to_string();
    assert!(
        text.contains("supports epoch 1: run a newer version"),
        "{text}"
    );
}

#[test]
fn a_program_applies_nothing_under_an_epoch_that_it_does_not_support() {
    let mut machine = shop(NEW);
    machine.accept(raise(2));
    let too_new = Epochs {
        oldest: 3,
        newest: 4,
    };
    for epochs in [OLD, too_new] {
        machine.epochs = epochs;
        for command in [job("j", 1), Command::Checkpoint, raise(3)] {
            let envelope = machine.envelope(command);
            let index = Revision(machine.index + 1);
            let fault = machine.apply_with(index, &envelope, &NativeHost);
            assert!(matches!(fault, Err(LocalFault::Epoch { epoch: 2, .. })));
            // Nor passes it over, as the operators may ask for.
            let mut totals = meta::totals(&machine.rows).unwrap();
            let rows = &mut machine.rows.clone();
            let denied = deny(rows, &mut totals, index, &envelope, epochs);
            assert!(matches!(denied, Err(LocalFault::Epoch { .. })));
        }
    }
    let fault = LocalFault::Epoch {
        epoch: 1,
        supported: LATER,
    };
    let text = fault.to_string();
    assert!(
        text.contains("supports epochs 2 to 3: run an older version"),
        "{text}"
    );
}

#[test]
fn a_cluster_begins_with_the_epoch_of_its_bootstrap() {
    let found = |epoch, epochs| {
        let Command::Bootstrap(bootstrap) = bootstrap() else {
            unreachable!("a bootstrap")
        };
        let mut machine = Machine {
            epochs,
            ..Machine::default()
        };
        let command = Command::Bootstrap(raft3d_core::command::Bootstrap { epoch, ..bootstrap });
        let envelope = machine.envelope(command);
        let outcome = machine.try_apply(&envelope);
        outcome.map(|outcome| (outcome.response, meta::epoch(&machine.rows).unwrap()))
    };
    assert_eq!(found(2, LATER).unwrap().1, 2);
    assert!(matches!(found(1, LATER), Err(LocalFault::Epoch { .. })));
    assert!(matches!(found(2, OLD), Err(LocalFault::Epoch { .. })));
    let (response, epoch) = found(0, OLD).unwrap();
    assert!(matches!(response, raft3d_core::Response::Rejected(_)));
    assert_eq!(epoch, 0, "before a bootstrap there is none");
}
