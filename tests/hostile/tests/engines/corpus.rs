//! The table of modules that mean harm: what is refused, and what comes of the rest, on every
//! engine alike.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use raft3d_core::limits::GAS_PER_EVALUATION_MAX;
use raft3d_core::{Export, PolicyError};
use raft3d_engine::policy::inspect;
use raft3d_hostile::corpus::{self, Entry, Expected, Outcome};
use raft3d_hostile::engines::{Engines, Module, expect, plain_input};
use raft3d_sdk::wire;

/// Fewer modules than these would be another table.
const MODULES_MIN: usize = 60;

#[test]
fn the_table_holds_every_kind_of_expectation() {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    let entries = corpus::all();
    for entry in &entries {
        assert!(!entry.does.is_empty());
        let kind = match entry.expected {
            Expected::Refused(_) => "refused",
            Expected::RefusedByServer(_) => "refused by the server",
            Expected::Unbound(_) => "not bound",
            Expected::Answers(outcome) | Expected::Heavy(outcome) => outcome.recorded().0,
        };
        *kinds.entry(kind).or_default() += 1;
    }
    println!("{} modules: {kinds:?}", entries.len());
    assert!(entries.len() >= MODULES_MIN);
    let known: Vec<_> = kinds.into_keys().collect();
    let all = [
        "allow",
        "deny",
        "failed",
        "not bound",
        "pass",
        "refused",
        "refused by the server",
        "take",
    ];
    assert_eq!(known, all);
}

#[test]
fn what_the_static_check_refuses_is_refused_with_its_code() {
    let entries = corpus::all();
    let wrong: Vec<_> = entries
        .iter()
        .filter_map(|entry| static_check(entry).err())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn static_check(entry: &Entry) -> Result<(), String> {
    let name = &entry.name;
    match (entry.expected, inspect(&entry.bytes)) {
        (Expected::Refused(code), Err(problem)) if problem.code == code => {
            assert!(!problem.message.is_empty(), "{name}");
            Ok(())
        }
        (Expected::Refused(code), Ok(_)) => Err(format!("{name}: taken, not {code}")),
        (expected, Err(problem)) => Err(format!("{name}: {expected:?}, came {problem:?}")),
        (_, Ok(report)) => {
            for usage in &report.limits_used {
                assert!(usage.value <= usage.max, "{name}: {usage:?}");
            }
            Ok(())
        }
    }
}

/// Asks the taken modules, each second one of them, so that two tests share the work.
fn ask(nth: usize) {
    let all = Engines::all();
    // What is hard to compile is compiled once: its hook is the plain one.
    let shipped = Engines::and([]);
    let (mut slowest, mut wrong) = ((Duration::ZERO, String::new()), Vec::new());
    let taken = corpus::all();
    let taken = taken
        .into_iter()
        .filter(|entry| !matches!(entry.expected, Expected::Refused(_)));
    for entry in taken.skip(nth).step_by(2) {
        let started = Instant::now();
        let engines = match entry.expected {
            Expected::Heavy(_) => &shipped,
            _ => &all,
        };
        wrong.extend(ask_one(engines, &entry).err());
        slowest = slowest.max((started.elapsed(), entry.name));
    }
    println!("slowest on all engines: {slowest:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_taken_answers_the_same_on_every_engine() {
    ask(0);
}

#[test]
fn what_is_taken_answers_the_same_on_every_engine_second_half() {
    ask(1);
}

fn ask_one(engines: &Engines, entry: &Entry) -> Result<(), String> {
    let name = &entry.name;
    let module = Module::new(entry.bytes.clone());
    let checked = engines.agree(&module, Export::CheckConfig, wire::EMPTY_CONFIG);
    let verdict = checked
        .output
        .and_then(|bytes| wire::decode_config_verdict(&bytes).map_err(|_| PolicyError::BadOutput));
    let good = matches!(&verdict, Ok(verdict) if verdict.problem.is_none());
    let expected = match entry.expected {
        Expected::Unbound(Some(error)) => verdict == Err(error),
        Expected::Unbound(None) => verdict.is_ok() && !good,
        _ => good,
    };
    if !expected {
        return Err(format!(
            "{name}: {:?}, but its check_config is {good}",
            entry.expected
        ));
    }
    let Some(outcome) = entry.outcome() else {
        return Ok(());
    };
    let input = plain_input(entry.hook);
    let answer = engines.agree(&module, Export::Hook(entry.hook), &input);
    let again = engines.agree(&module, Export::Hook(entry.hook), &input);
    assert_eq!(again, answer, "{name}: a second time");
    if outcome == Outcome::Fails(PolicyError::OutOfGas) {
        assert_eq!(answer.gas, GAS_PER_EVALUATION_MAX, "{name}");
    }
    expect(name, entry.hook, &answer, outcome)
}
