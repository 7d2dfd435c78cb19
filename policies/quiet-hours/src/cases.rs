//! What `quiet-hours` must answer. Run natively here, and as WebAssembly by the engine.

use raft3d_sdk::testkit::{self, Case, Expected, NOW_MS, Value, object};
use raft3d_sdk::{DenyClass, Reported};

/// Every case of this policy.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = hour_cases();
    cases.extend(day_cases());
    cases.extend(zone_cases());
    cases.extend(override_cases());
    cases.extend(config_cases());
    cases
}

const NIGHT: (i64, i64) = (22 * 60, 7 * 60);

fn interval((from, to): (i64, i64)) -> Value {
    object([("from_minute", from.into()), ("to_minute", to.into())])
}

fn on_days<const N: usize>((from, to): (i64, i64), days: [&str; N]) -> Value {
    object([
        ("from_minute", from.into()),
        ("to_minute", to.into()),
        ("days", days.into()),
    ])
}

fn intervals(value: Value) -> Vec<u8> {
    testkit::config([("intervals", Value::List(vec![value]))])
}

fn quiet() -> Expected {
    Expected::Deny(DenyClass::Denied, "quiet_hours", None)
}

/// A start so many minutes after the sample time, which is midnight before a Thursday, in UTC.
fn start(name: &str, minutes: u64, config: &[u8], expected: Expected) -> Case {
    let mut input = testkit::transition("Queued", "Running");
    input.now_ms = NOW_MS + minutes * 60_000;
    Case::transition(name, &input, config, expected)
}

fn hour_cases() -> Vec<Case> {
    let night = intervals(interval(NIGHT));
    let noon = intervals(interval((720, 780)));
    let evening = intervals(interval((1_320, 1_440)));
    let both = testkit::config([(
        "intervals",
        Value::List(vec![interval((720, 780)), interval(NIGHT)]),
    )]);
    let says = "No job can move to 'running' during quiet hours, from 22:00 to 07:00";
    let night_says = Expected::Deny(DenyClass::Denied, "quiet_hours", Some(says));
    let mut cancel = testkit::transition("Queued", "Canceled");
    cancel.now_ms = NOW_MS;
    vec![
        start("at midnight", 0, &night, night_says),
        start("the last quiet minute", 419, &night, quiet()),
        start("the first that is not", 420, &night, Expected::Allow),
        start("the last before", 1_319, &night, Expected::Allow),
        start("the first quiet minute", 1_320, &night, quiet()),
        start("before noon", 719, &noon, Expected::Allow),
        start("at noon", 720, &noon, quiet()),
        start("at one", 780, &noon, Expected::Allow),
        start("until midnight", 1_439, &evening, quiet()),
        start("and no longer", 1_440, &evening, Expected::Allow),
        start("each interval counts", 750, &both, quiet()),
        Case::transition("other states are free", &cancel, &night, Expected::Allow),
    ]
}

fn day_cases() -> Vec<Case> {
    let thursday = intervals(on_days(NIGHT, ["Thu"]));
    let wednesday = intervals(on_days(NIGHT, ["wed"]));
    let sunday = intervals(on_days(NIGHT, ["sun"]));
    let day = 1_440;
    vec![
        start("Thursday's night is not yet", 0, &thursday, Expected::Allow),
        start("it begins", 1_320, &thursday, quiet()),
        start("and lasts into Friday", day + 419, &thursday, quiet()),
        start("but not Friday's", day + 1_320, &thursday, Expected::Allow),
        start("Wednesday's still lasts", 419, &wednesday, quiet()),
        start(
            "and does not come again",
            1_320,
            &wednesday,
            Expected::Allow,
        ),
        start("Sunday's lasts into Monday", 4 * day, &sunday, quiet()),
    ]
}

fn zone_cases() -> Vec<Case> {
    let zone = |offset: i64, value| {
        testkit::config([
            ("intervals", Value::List(vec![value])),
            ("utc_offset_minutes", offset.into()),
        ])
    };
    let berlin = zone(60, interval(NIGHT));
    let new_york = zone(-300, on_days(NIGHT, ["wed"]));
    vec![
        start("22:00 is 21:00 in UTC", 1_260, &berlin, quiet()),
        start("21:59 is not", 1_259, &berlin, Expected::Allow),
        start("07:00 is 06:00", 360, &berlin, Expected::Allow),
        start("19:00 on Wednesday", 0, &new_york, Expected::Allow),
        start("22:00 on Wednesday", 180, &new_york, quiet()),
        start("22:00 on Thursday", 1_620, &new_york, Expected::Allow),
    ]
}

fn override_cases() -> Vec<Case> {
    let with = |name: &str, wants_override, reason, min: Option<i64>, expected| {
        let mut input = testkit::transition("Queued", "Running");
        input.reported = Reported {
            used: None,
            reason,
            wants_override,
        };
        let night = ("intervals", Value::List(vec![interval(NIGHT)]));
        let config = match min {
            Some(min) => testkit::config([night, ("override_reason_chars_min", min.into())]),
            None => testkit::config([night]),
        };
        Case::transition(name, &input, &config, expected)
    };
    let reason = Some("größe");
    vec![
        with(
            "a reason lets a job pass",
            true,
            reason,
            Some(5),
            Expected::Allow,
        ),
        with("a short one does not", true, reason, Some(6), quiet()),
        with("nor spaces", true, Some("      "), Some(1), quiet()),
        with("nor none", true, None, Some(1), quiet()),
        with("nor one alone", false, reason, Some(5), quiet()),
        with(
            "nor where it is not configured",
            true,
            reason,
            None,
            quiet(),
        ),
    ]
}

fn config_cases() -> Vec<Case> {
    let field = |key, value: Value| {
        let night = ("intervals", Value::List(vec![interval(NIGHT)]));
        testkit::config([night, (key, value)])
    };
    let many = |count| testkit::config([("intervals", Value::List(vec![interval(NIGHT); count]))]);
    let bad = Expected::Bad;
    let checks = [
        ("a night is good", many(1), Expected::Good),
        ("so are 32", many(32), Expected::Good),
        ("33 are too many", many(33), bad("/intervals")),
        ("none is no rule", many(0), bad("/intervals")),
        ("nor is nothing", testkit::no_config(), bad("/intervals")),
        (
            "a whole day is good",
            intervals(interval((0, 1_440))),
            Expected::Good,
        ),
        (
            "an empty interval is not",
            intervals(interval((60, 60))),
            bad("/intervals/0/to_minute"),
        ),
        (
            "a day has 1440 minutes",
            intervals(interval((1_440, 60))),
            bad("/intervals/0/from_minute"),
        ),
        (
            "and no more",
            intervals(interval((60, 1_441))),
            bad("/intervals/0/to_minute"),
        ),
        (
            "a day has a short name",
            intervals(on_days(NIGHT, ["mon", "friday"])),
            bad("/intervals/0/days/1"),
        ),
        (
            "and stands there once",
            intervals(on_days(NIGHT, ["mon", "Mon"])),
            bad("/intervals/0/days/1"),
        ),
        (
            "the farthest zone",
            field("utc_offset_minutes", (-840).into()),
            Expected::Good,
        ),
        (
            "there is none beyond",
            field("utc_offset_minutes", 841.into()),
            bad("/utc_offset_minutes"),
        ),
        (
            "a reason has characters",
            field("override_reason_chars_min", 0.into()),
            bad("/override_reason_chars_min"),
        ),
        (
            "null is no override",
            field("override_reason_chars_min", Value::Null),
            Expected::Good,
        ),
        (
            "some state is concerned",
            field("states", Value::List(Vec::new())),
            bad("/states"),
        ),
    ];
    checks
        .map(|(name, config, is)| Case::check_config(name, &config, is))
        .into()
}
