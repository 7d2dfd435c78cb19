//! What `exclusive-printer` must answer. Run natively here, and as WebAssembly by the engine.

use raft3d_sdk::DenyClass;
use raft3d_sdk::testkit::{self, Case, Expected, Value};

/// Every case of this policy.
#[must_use]
pub fn cases() -> Vec<Case> {
    let default = testkit::no_config();
    let two = testkit::config([("states", ["Running", "Paused"].into())]);
    let other = testkit::config([("states", ["Printing"].into())]);
    let one = busy("Printer p1 is occupied by 1 other job");
    let three = busy("Printer p1 is occupied by 3 other jobs");
    let allow = Expected::Allow;
    let mut cases = vec![
        start("a free printer takes a job", "Running", 0, &default, &allow),
        start("an occupied one does not", "Running", 1, &default, &one),
        start("nor one with several", "Running", 3, &default, &three),
        start("states have no case", "RUNNING", 1, &default, &one),
        start("a job may be canceled", "Canceled", 1, &default, &allow),
        start("a job may be done", "Done", 1, &default, &allow),
        start("each listed state counts", "Paused", 1, &two, &one),
        start("no other does", "Running", 1, &other, &allow),
    ];
    let mut waiting = testkit::transition("Queued", "Running");
    waiting.printer.open_jobs = 5;
    cases.push(Case::transition(
        "jobs that wait do not occupy",
        &waiting,
        &default,
        Expected::Allow,
    ));
    let states = |value: Value| testkit::config([("states", value)]);
    let checks = [
        ("the default is good", default, Expected::Good),
        ("a list is good", two, Expected::Good),
        (
            "an empty list is no rule",
            states(Value::List(Vec::new())),
            Expected::Bad("/states"),
        ),
        (
            "a state has a name",
            states(["Running", ""].into()),
            Expected::Bad("/states/1"),
        ),
        (
            "and stands there once",
            states(["Running", "running"].into()),
            Expected::Bad("/states/1"),
        ),
        (
            "an unknown field is named",
            testkit::config([("state", ["Running"].into())]),
            Expected::Bad("/state"),
        ),
    ];
    cases.extend(checks.map(|(name, config, is)| Case::check_config(name, &config, is)));
    cases
}

fn busy(message: &'static str) -> Expected {
    Expected::Deny(DenyClass::Denied, "printer_busy", Some(message))
}

fn start(name: &str, to: &str, occupying: u64, config: &[u8], expected: &Expected) -> Case {
    let mut input = testkit::transition("Queued", to);
    input.printer.open_jobs = occupying;
    input.printer.occupying_jobs = occupying;
    Case::transition(name, &input, config, expected.clone())
}
