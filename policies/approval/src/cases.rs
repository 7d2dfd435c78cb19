//! What `approval` must answer. Run natively here, and as WebAssembly by the engine.

use raft3d_sdk::DenyClass;
use raft3d_sdk::testkit::{self, Case, Expected, Value};

use crate::{AWAITING, CANCELED, DONE, QUEUED, REJECTED, RUNNING};

/// Every case of this policy.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = step_cases();
    cases.extend(approver_cases());
    cases.extend(stranded_cases());
    cases.extend(config_cases());
    cases
}

/// Bob and Ada approve; the sample job is Ada's.
fn approvers() -> Vec<u8> {
    testkit::config([("approvers", ["bob", "ada"].into())])
}

fn moves(name: &str, actor: &str, from: &str, to: &str, expected: Expected) -> Case {
    let mut input = testkit::transition(from, to);
    input.actor = actor;
    Case::transition(name, &input, &approvers(), expected)
}

fn denied(code: &'static str, message: &'static str) -> Expected {
    Expected::Deny(DenyClass::Denied, code, Some(message))
}

/// What an approver may do with a job of another.
fn step_cases() -> Vec<Case> {
    let illegal = |message| {
        Expected::Deny(
            DenyClass::IllegalTransition,
            "illegal_transition",
            Some(message),
        )
    };
    let states = [AWAITING, QUEUED, RUNNING, DONE, REJECTED, CANCELED];
    let mut cases = Vec::new();
    for from in states {
        for to in states {
            let expected = match (from, to) {
                (AWAITING, QUEUED | REJECTED)
                | (QUEUED, RUNNING)
                | (RUNNING, DONE)
                | (AWAITING | QUEUED | RUNNING, CANCELED) => Expected::Allow,
                (_, AWAITING) => illegal("Cannot move to 'awaitingapproval'"),
                (_, QUEUED) => illegal("Can only move to 'queued' from 'awaitingapproval'"),
                (_, REJECTED) => illegal("Can only move to 'rejected' from 'awaitingapproval'"),
                (_, RUNNING) => illegal("Can only move to 'running' from 'queued'"),
                (_, DONE) => illegal("Can only move to 'done' from 'running'"),
                (..) => illegal(
                    "Can only move to 'canceled' from 'awaitingapproval', 'queued' or 'running'",
                ),
            };
            cases.push(moves(&format!("{from} to {to}"), "bob", from, to, expected));
        }
    }
    cases
}

fn approver_cases() -> Vec<Case> {
    let mut own = testkit::transition(AWAITING, QUEUED);
    own.actor = "ada";
    let trusting = testkit::config([("approvers", ["ada"].into()), ("own_jobs", true.into())]);
    vec![
        moves(
            "who is no approver does not approve",
            "eve",
            AWAITING,
            QUEUED,
            denied(
                "not_an_approver",
                "Only an approver can move a job to 'queued', and eve is none",
            ),
        ),
        moves(
            "nor reject",
            "eve",
            AWAITING,
            REJECTED,
            denied(
                "not_an_approver",
                "Only an approver can move a job to 'rejected', and eve is none",
            ),
        ),
        moves(
            "actors have case",
            "Bob",
            AWAITING,
            QUEUED,
            Expected::Deny(DenyClass::Denied, "not_an_approver", None),
        ),
        moves(
            "everybody may cancel",
            "eve",
            AWAITING,
            CANCELED,
            Expected::Allow,
        ),
        moves("and start", "eve", QUEUED, RUNNING, Expected::Allow),
        moves("and finish", "eve", RUNNING, DONE, Expected::Allow),
        moves(
            "nobody approves their own job",
            "ada",
            AWAITING,
            QUEUED,
            denied(
                "own_job",
                "Job job1 was created by ada, so that another approver must approve it",
            ),
        ),
        moves(
            "but may reject it",
            "ada",
            AWAITING,
            REJECTED,
            Expected::Allow,
        ),
        Case::transition("unless it is configured", &own, &trusting, Expected::Allow),
    ]
}

fn stranded_cases() -> Vec<Case> {
    let stranded = |name: &str, actor: &'static str, to, expected| {
        let mut input = testkit::transition("Paused", to);
        input.actor = actor;
        input.reported.wants_override = true;
        Case::transition(name, &input, &approvers(), expected)
    };
    let denied = || Expected::Deny(DenyClass::Denied, "not_an_approver", None);
    vec![
        stranded(
            "an approver's override sends a stranded job on",
            "bob",
            RUNNING,
            Expected::Allow,
        ),
        stranded("no other's does", "eve", RUNNING, denied()),
        stranded("everybody's cancels it", "eve", CANCELED, Expected::Allow),
        moves(
            "without an override it stays",
            "bob",
            "Paused",
            CANCELED,
            Expected::Deny(DenyClass::IllegalTransition, "illegal_transition", None),
        ),
        {
            let mut skips = testkit::transition(AWAITING, RUNNING);
            skips.actor = "bob";
            skips.reported.wants_override = true;
            Case::transition(
                "an override does not skip the approval",
                &skips,
                &approvers(),
                Expected::Deny(DenyClass::IllegalTransition, "illegal_transition", None),
            )
        },
    ]
}

fn config_cases() -> Vec<Case> {
    let list = |value: Value| testkit::config([("approvers", value)]);
    let checks = [
        ("approvers are good", approvers(), Expected::Good),
        (
            "two spellings are two",
            list(["ada", "Ada"].into()),
            Expected::Good,
        ),
        (
            "somebody must approve",
            testkit::no_config(),
            Expected::Bad("/approvers"),
        ),
        (
            "an empty list is nobody",
            list(Value::List(Vec::new())),
            Expected::Bad("/approvers"),
        ),
        (
            "an approver has a name",
            list(["ada", " "].into()),
            Expected::Bad("/approvers/1"),
        ),
        (
            "and stands there once",
            list(["ada", "ada"].into()),
            Expected::Bad("/approvers/1"),
        ),
        (
            "own_jobs is yes or no",
            testkit::config([("approvers", ["ada"].into()), ("own_jobs", 1.into())]),
            Expected::Bad("/own_jobs"),
        ),
    ];
    checks
        .map(|(name, config, is)| Case::check_config(name, &config, is))
        .into()
}
