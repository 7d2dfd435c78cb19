//! The last part of a table is rationed: one client that fills it does not stop everybody.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is to panic"
)]

mod common;

use common::*;
use raft3d_core::command::Actor;
use raft3d_core::state::rations::Rationed;
use raft3d_core::{Command, Envelope, RejectionKind, Response, Rows};

/// What is refused when `name` asks for it; none if it was done.
fn refusal(machine: &mut Machine, name: &str, verified: bool, command: Command) -> Option<String> {
    let envelope = Envelope {
        actor: Actor {
            name: name.to_owned(),
            verified,
        },
        ..machine.envelope(command)
    };
    match machine.apply(&envelope).response {
        Response::Accepted(_) => None,
        Response::Rejected(rejection) => {
            assert_eq!(rejection.kind, RejectionKind::LimitReached, "{rejection:?}");
            Some(rejection.message)
        }
    }
}

/// A shop that has nearly as many printers as there may be.
fn nearly_full() -> Machine {
    let mut machine = Machine::with_shop();
    let from = Rationed::Printers.rationed_from();
    change_totals(&mut machine, |totals| totals.printers = from);
    machine
}

/// Uses up the ration of that name.
fn use_up(machine: &mut Machine, name: &str, verified: bool) {
    for n in 0..Rationed::Printers.ration() {
        let command = printer(&format!("{name}-{n}"));
        assert_eq!(refusal(machine, name, verified, command), None);
    }
}

/// A million printers of one client stopped everybody else's next one, for ever.
#[test]
fn who_fills_a_table_is_stopped_before_it_is_full_and_nobody_else() {
    let mut machine = nearly_full();
    use_up(&mut machine, "greedy", false);
    let refused = refusal(&mut machine, "greedy", false, printer("one-more")).unwrap();
    assert!(refused.contains("its part, 781"), "{refused}");
    assert_eq!(refusal(&mut machine, "modest", false, printer("m1")), None);
    assert_eq!(refusal(&mut machine, "modest", true, printer("m2")), None);
    // The tables have nothing to do with one another.
    assert_eq!(refusal(&mut machine, "greedy", false, job("j1", 1)), None);
    assert_eq!(
        raft3d_core::state::digest::recompute(&machine.rows).unwrap(),
        machine.digest
    );
}

/// Rows that say how much of a ration is used.
fn rations(machine: &Machine) -> Vec<Vec<u8>> {
    let keys = machine.rows.iter().map(|(key, _)| key.to_vec());
    keys.filter(|key| key[0] == 0x72).collect()
}

#[test]
fn one_account_may_create_nearly_everything() {
    let mut machine = Machine::with_shop();
    let before = Rationed::Printers.rationed_from() - 1_000;
    change_totals(&mut machine, |totals| totals.printers = before);
    for n in 0..1_000 {
        let command = printer(&format!("s{n}"));
        assert_eq!(refusal(&mut machine, "service", false, command), None);
    }
    // And nothing is counted until then.
    assert_eq!(rations(&machine).len(), 0);
    assert_eq!(
        refusal(&mut machine, "service", false, printer("next")),
        None
    );
    assert_eq!(rations(&machine).len(), 1);
}

/// Invented names have half of the last part together.
#[test]
fn invented_names_leave_half_of_the_rest_to_verified_actors() {
    let mut machine = nearly_full();
    let mut taken = 0;
    for name in 0..1_000 {
        let (name, command) = (format!("n{name}"), printer(&format!("p-{name}")));
        taken += u64::from(refusal(&mut machine, &name, false, command).is_none());
        // As if each had used up what it has.
        for key in rations(&machine) {
            let used = minicbor::to_vec(Rationed::Printers.ration()).unwrap();
            machine.rows.put(key, used);
        }
        machine.digest = raft3d_core::state::digest::recompute(&machine.rows).unwrap();
    }
    let rest = Rationed::Printers.rows_max() - Rationed::Printers.rationed_from();
    assert_eq!(taken, 64, "whatever the names");
    assert!(taken * Rationed::Printers.ration() <= rest / 2);
    assert_eq!(refusal(&mut machine, "real", true, printer("r1")), None);
}

/// A refusal takes nothing out of a ration.
#[test]
fn what_is_refused_is_not_counted() {
    let mut machine = nearly_full();
    let again = machine.envelope(printer("p1"));
    let exists = machine.apply(&again).response;
    assert!(matches!(exists, Response::Rejected(r) if r.kind == RejectionKind::AlreadyExists));
    assert_eq!(rations(&machine).len(), 0);
}
