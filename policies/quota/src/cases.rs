//! What `quota` must answer. Run natively here, and as WebAssembly by the engine.

use raft3d_sdk::testkit::{self, Case, Expected, Value, grams, object};
use raft3d_sdk::{ActorView, DenyClass};

/// Every case of this policy.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = admission_cases();
    cases.extend(transition_cases());
    cases.extend(config_cases());
    cases
}

fn limits(open_jobs_max: i64, reserved_mg_max: i64) -> Value {
    object([
        ("open_jobs_max", open_jobs_max.into()),
        ("reserved_mg_max", reserved_mg_max.into()),
    ])
}

/// Three jobs and 500 g; Bob none, and Eve as many as she likes of up to 200 g.
fn quotas() -> Vec<u8> {
    testkit::config([
        ("default", limits(3, 500_000)),
        (
            "actors",
            object([
                ("bob", object([("open_jobs_max", 0.into())])),
                ("eve", object([("reserved_mg_max", 200_000.into())])),
            ]),
        ),
        ("states", ["Queued"].into()),
    ])
}

fn jobs(message: &'static str) -> Expected {
    Expected::Deny(DenyClass::Denied, "too_many_open_jobs", Some(message))
}

fn reserved(message: &'static str) -> Expected {
    Expected::Deny(DenyClass::Denied, "too_much_reserved", Some(message))
}

/// The sample job of 120 g, from an actor whose other jobs are these.
fn admission(
    name: &str,
    actor: &'static str,
    open_jobs: u64,
    reserved_mg: u64,
    expected: Expected,
) -> Case {
    let mut input = testkit::admission();
    input.actor = actor;
    input.job.created_by = actor;
    input.creator = ActorView {
        open_jobs,
        reserved_mg,
    };
    Case::admission(name, &input, &quotas(), expected)
}

fn admission_cases() -> Vec<Case> {
    let allow = || Expected::Allow;
    vec![
        admission("a first job", "ada", 0, 0, allow()),
        admission("the last that is allowed", "ada", 2, 0, allow()),
        admission(
            "one more",
            "ada",
            3,
            0,
            jobs("Actor ada has 3 other open jobs, and may have 3 in all"),
        ),
        admission("all grams that are allowed", "ada", 1, 380_000, allow()),
        admission(
            "a milligram more",
            "ada",
            1,
            380_001,
            reserved("The open jobs of ada would reserve 500.001 g, and may reserve 500 g"),
        ),
        admission(
            "who may have no job",
            "bob",
            0,
            0,
            jobs("Actor bob has 0 other open jobs, and may have 0 in all"),
        ),
        admission(
            "an exception replaces the default",
            "eve",
            9,
            80_000,
            allow(),
        ),
        admission(
            "and has limits of its own",
            "eve",
            0,
            80_001,
            reserved("The open jobs of eve would reserve 200.001 g, and may reserve 200 g"),
        ),
        admission("actors have case", "Bob", 0, 0, allow()),
        admission(
            "more than one weight can be",
            "ada",
            0,
            1_000_000_000_000_000_000,
            reserved(
                "The open jobs of ada would reserve 1000000000000120 g, and may reserve 500 g",
            ),
        ),
        admission(
            "more than a number holds",
            "ada",
            0,
            u64::MAX,
            Expected::Deny(DenyClass::Denied, "too_much_reserved", None),
        ),
    ]
}

fn transition_cases() -> Vec<Case> {
    let approve = |name: &str, to, reserved_mg, expected| {
        let mut input = testkit::transition("AwaitingApproval", to);
        // Who asks is somebody else, who may have no job.
        input.actor = "bob";
        input.creator.reserved_mg = reserved_mg;
        Case::transition(name, &input, &quotas(), expected)
    };
    let mut half = testkit::transition("AwaitingApproval", "Queued");
    half.job.deducted = grams("100");
    half.creator.reserved_mg = 480_000;
    let over = "The open jobs of ada would reserve 501 g, and may reserve 500 g";
    vec![
        approve(
            "who created the job counts",
            "Queued",
            380_000,
            Expected::Allow,
        ),
        approve("and what they reserve", "queued", 381_000, reserved(over)),
        approve("other states do not", "Running", 381_000, Expected::Allow),
        Case::transition(
            "a job needs what it did not take yet",
            &half,
            &quotas(),
            Expected::Allow,
        ),
    ]
}

fn config_cases() -> Vec<Case> {
    let actors = |value| testkit::config([("actors", value)]);
    let bad = Expected::Bad;
    let checks = [
        ("all fields are good", quotas(), Expected::Good),
        (
            "a limit for one alone is good",
            actors(object([("eve", limits(1, 0))])),
            Expected::Good,
        ),
        ("no limit is no rule", testkit::no_config(), bad("/default")),
        (
            "nor is an exception without one",
            actors(object([("eve", object([]))])),
            bad("/default"),
        ),
        (
            "an actor has a name",
            actors(object([(" ", limits(1, 0))])),
            bad("/actors/ "),
        ),
        (
            "a limit is not negative",
            testkit::config([("default", limits(-1, 0))]),
            bad("/default/open_jobs_max"),
        ),
        (
            "a state has a name",
            testkit::config([("default", limits(1, 0)), ("states", [""].into())]),
            bad("/states/0"),
        ),
    ];
    checks
        .map(|(name, config, is)| Case::check_config(name, &config, is))
        .into()
}
