//! A hook's input as JSON: the SDK's sample, with what the author says instead.
//!
//! The sample is the shape: a field that it does not have is unknown. Names and units are those of
//! the HTTP API.

use anyhow::{Result, anyhow, bail};
use raft3d_engine::sdk::{Hook, testkit};
use serde_json::{Map, Value};

use crate::http::{Fields, HookInput};

/// Where a sample job moves from and to: the beginning of the default lifecycle's last step, which
/// deducts.
const SAMPLE_MOVE: (&str, &str) = ("Running", "Done");
/// Deepest object of a sample.
const DEPTH_MAX: usize = 4;

/// The sample input of a hook.
pub(super) fn sample(hook: Hook) -> Value {
    let (from, to) = SAMPLE_MOVE;
    let input = match hook {
        Hook::Admission => HookInput::from(&testkit::admission()),
        Hook::Transition | Hook::Deduction => HookInput::from(&testkit::transition(from, to)),
    };
    // It holds nothing that JSON has not: a test reads each sample back.
    serde_json::to_value(input).unwrap_or_default()
}

/// The sample of `hook` with the fields of `given` in place of its own.
///
/// # Errors
/// A field that the sample does not have, by its JSON Pointer, with those that there are.
pub(super) fn overlaid(hook: Hook, given: &Value) -> Result<Value> {
    let mut input = sample(hook);
    overlay(&mut input, given, "", DEPTH_MAX)?;
    Ok(input)
}

fn overlay(into: &mut Value, given: &Value, at: &str, depth: usize) -> Result<()> {
    // Labels are the one object whose keys are the author's.
    let is_record = into.is_object() && !at.ends_with("/labels") && depth > 0;
    let (Some(fields), true) = (into.as_object_mut(), is_record) else {
        *into = given.clone();
        return Ok(());
    };
    let Some(given) = given.as_object() else {
        bail!("input {}: must be an object", place(at));
    };
    for (name, value) in given {
        let at = format!("{at}/{name}");
        let Some(field) = fields.get_mut(name) else {
            let known: Vec<_> = fields.keys().map(String::as_str).collect();
            bail!(
                "input {at}: is not a known field; there are {}",
                known.join(", ")
            );
        };
        overlay(field, value, &at, depth - 1)?;
    }
    Ok(())
}

fn place(at: &str) -> &str {
    if at.is_empty() { "(the whole)" } else { at }
}

/// The bytes of a call of `hook` with an overlaid input.
///
/// # Errors
/// A field with a value of another type, or out of range, by its JSON Pointer.
pub(super) fn encode(hook: Hook, input: &Value, config: &[u8]) -> Result<Vec<u8>> {
    let text = input.to_string();
    let read = Fields::parse(text.as_bytes()).and_then(|fields| HookInput::read(hook, fields));
    let input = read.map_err(|problem| anyhow!("input /{}", problem.detail()))?;
    Ok(input.call(config))
}

/// Names of a record's fields, for help texts.
pub(super) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// An object, as what an author left out.
pub(super) fn nothing() -> Value {
    Value::Object(Map::new())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use raft3d_engine::sdk::wire::{EMPTY_CONFIG, encode_call};
    use raft3d_engine::sdk::{
        ActorView, FilamentView, Grams, JobView, Label, PrinterStatus, PrinterView, Reported,
        TransitionInput,
    };
    use serde_json::json;

    fn bytes(hook: Hook, given: &Value) -> Vec<u8> {
        encode(hook, &overlaid(hook, given).unwrap(), EMPTY_CONFIG).unwrap()
    }

    fn refusal(hook: Hook, given: &Value) -> String {
        let input = overlaid(hook, given);
        let encoded = input.and_then(|input| encode(hook, &input, EMPTY_CONFIG));
        encoded.unwrap_err().to_string()
    }

    #[test]
    fn without_a_word_it_is_the_sdks_sample() {
        let (from, to) = SAMPLE_MOVE;
        let sample = encode_call(testkit::admission(), EMPTY_CONFIG);
        assert_eq!(bytes(Hook::Admission, &nothing()), sample);
        let sample = encode_call(testkit::transition(from, to), EMPTY_CONFIG);
        assert_eq!(bytes(Hook::Transition, &nothing()), sample);
        assert_eq!(bytes(Hook::Deduction, &nothing()), sample);
    }

    #[test]
    fn every_field_reaches_the_guest() {
        let given = json!({
            "now_ms": 5, "actor": "bo", "to": "Failed",
            "job": {"id": "j", "printer_id": "p", "filament_id": "f", "filepath": "/x",
                "print_weight_in_grams": 12.25, "status": "Paused", "priority": -3,
                "labels": {"b": "2", "a": "1"}, "created_by": "cy", "created_at_ms": 4,
                "deducted_weight_in_grams": "0.5"},
            "printer": {"id": "p", "company": "C", "model": "M", "status": "retired",
                "labels": {"bay": "7"}, "open_jobs": 3, "occupying_jobs": 1},
            "filament": {"id": "f", "type": "ABS", "color": "Blue", "total_weight_in_grams": 9,
                "remaining_weight_in_grams": 8, "reserved_by_others_in_grams": 7,
                "archived": true},
            "creator": {"open_jobs": 2, "reserved_in_mg": 90_000},
            "reported": {"used_weight_in_grams": 1.5, "reason": "jam", "override": true},
        });
        let mg = |mg| Grams::from_mg(mg).unwrap();
        let label = |key, value| Label { key, value };
        let expected = TransitionInput {
            now_ms: 5,
            actor: "bo",
            job: JobView {
                id: "j",
                printer_id: "p",
                filament_id: "f",
                filepath: "/x",
                print_weight: mg(12_250),
                status: "Paused",
                priority: -3,
                labels: vec![label("a", "1"), label("b", "2")],
                created_by: "cy",
                created_at_ms: 4,
                deducted: mg(500),
            },
            printer: PrinterView {
                id: "p",
                company: "C",
                model: "M",
                status: PrinterStatus::Retired,
                labels: vec![label("bay", "7")],
                open_jobs: 3,
                occupying_jobs: 1,
            },
            filament: FilamentView {
                id: "f",
                material: "ABS",
                color: "Blue",
                total: mg(9_000),
                remaining: mg(8_000),
                reserved_by_others: mg(7_000),
                archived: true,
            },
            to: "Failed",
            reported: Reported {
                used: Some(mg(1_500)),
                reason: Some("jam"),
                wants_override: true,
            },
            creator: ActorView {
                open_jobs: 2,
                reserved_mg: 90_000,
            },
        };
        assert_eq!(
            bytes(Hook::Transition, &given),
            encode_call(&expected, EMPTY_CONFIG)
        );
    }

    #[test]
    fn unknown_fields_and_wrong_values_are_refused_by_name() {
        for (given, place) in [
            (json!({"jobb": {}}), "input /jobb: is not a known field"),
            (
                json!({"job": {"weight": 1}}),
                "input /job/weight: is not a known field",
            ),
            (json!({"to": "Done"}), "input /to: is not a known field"),
            (json!({"job": 5}), "input /job: must be an object"),
            (
                json!({"job": {"print_weight_in_grams": -1}}),
                "input /job/print_weight_in_grams: ",
            ),
            (
                json!({"job": {"priority": 3_000_000_000_u64}}),
                "input /job/priority: ",
            ),
            (
                json!({"job": {"labels": {"a": 1}}}),
                "input /job/labels/a: ",
            ),
            (
                json!({"printer": {"status": "broken"}}),
                "input /printer/status: ",
            ),
            (
                json!({"filament": {"archived": "no"}}),
                "input /filament/archived: ",
            ),
            (json!({"actor": null}), "input /actor: is required"),
            (json!({"actor": 5}), "input /actor: must be a string"),
            (json!([]), "input (the whole): must be an object"),
        ] {
            let text = refusal(Hook::Admission, &given);
            assert!(text.starts_with(place), "{given}: {text}");
        }
    }
}
