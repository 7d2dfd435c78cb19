//! A hook's input as JSON: the SDK's sample, with what the author says instead.
//!
//! The sample is the shape: a field that it does not have is unknown. Names and units are those of
//! the HTTP API.

use anyhow::{Context, Result, bail};
use raft3d_engine::sdk::testkit;
use raft3d_engine::sdk::{
    ActorView, AdmissionInput, FilamentView, Grams, Hook, JobView, Label, PrinterStatus,
    PrinterView, Reported, TransitionInput, wire,
};
use serde_json::{Map, Value, json};

/// Where a sample job moves from and to: the beginning of the default lifecycle's last step, which
/// deducts.
const SAMPLE_MOVE: (&str, &str) = ("Running", "Done");
/// Deepest object of a sample.
const DEPTH_MAX: usize = 4;

/// The sample input of a hook.
pub(super) fn sample(hook: Hook) -> Value {
    let (from, to) = SAMPLE_MOVE;
    let input = testkit::transition(from, to);
    let mut fields = json!({
        "now_ms": input.now_ms,
        "actor": input.actor,
        "job": job(&input.job),
        "printer": printer(&input.printer),
        "filament": filament(&input.filament),
        "creator": {
            "open_jobs": input.creator.open_jobs, "reserved_in_mg": input.creator.reserved_mg,
        },
        "to": input.to,
        "reported": {"used_weight_in_grams": null, "reason": null, "override": false},
    });
    if hook == Hook::Admission
        && let Some(fields) = fields.as_object_mut()
    {
        // A job that is to be created is in the lifecycle's first state, and moves nowhere.
        fields.remove("to");
        fields.remove("reported");
        fields.insert("job".into(), job(&testkit::job()));
    }
    fields
}

fn job(job: &JobView<'_>) -> Value {
    json!({
        "id": job.id, "printer_id": job.printer_id, "filament_id": job.filament_id,
        "filepath": job.filepath, "print_weight_in_grams": grams(job.print_weight),
        "status": job.status, "priority": job.priority, "labels": {},
        "created_by": job.created_by, "created_at_ms": job.created_at_ms,
        "deducted_weight_in_grams": grams(job.deducted),
    })
}

fn printer(printer: &PrinterView<'_>) -> Value {
    json!({
        "id": printer.id, "company": printer.company, "model": printer.model, "status": "active",
        "labels": {}, "open_jobs": printer.open_jobs, "occupying_jobs": printer.occupying_jobs,
    })
}

fn filament(filament: &FilamentView<'_>) -> Value {
    json!({
        "id": filament.id, "type": filament.material, "color": filament.color,
        "total_weight_in_grams": grams(filament.total),
        "remaining_weight_in_grams": grams(filament.remaining),
        "reserved_by_others_in_grams": grams(filament.reserved_by_others),
        "archived": filament.archived,
    })
}

/// A weight as JSON: its text is a number.
fn grams(weight: Grams) -> Value {
    serde_json::from_str(&weight.to_string()).unwrap_or_default()
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
    let root = Part {
        at: String::new(),
        value: input,
    };
    let (job, printer, filament) = (
        root.part("job")?,
        root.part("printer")?,
        root.part("filament")?,
    );
    let (job, printer, filament) = (
        read_job(&job)?,
        read_printer(&printer)?,
        read_filament(&filament)?,
    );
    let (now_ms, actor) = (root.number("now_ms")?, root.text("actor")?);
    let creator = root.part("creator")?;
    let creator = ActorView {
        open_jobs: creator.number("open_jobs")?,
        reserved_mg: creator.number("reserved_in_mg")?,
    };
    if hook == Hook::Admission {
        let input = AdmissionInput {
            now_ms,
            actor,
            job,
            printer,
            filament,
            creator,
        };
        return Ok(wire::encode_call(&input, config));
    }
    let reported = root.part("reported")?;
    let input = TransitionInput {
        now_ms,
        actor,
        job,
        printer,
        filament,
        to: root.text("to")?,
        reported: Reported {
            used: reported
                .given("used_weight_in_grams")
                .then(|| reported.weight("used_weight_in_grams"))
                .transpose()?,
            reason: reported
                .given("reason")
                .then(|| reported.text("reason"))
                .transpose()?,
            wants_override: reported.flag("override")?,
        },
        creator,
    };
    Ok(wire::encode_call(&input, config))
}

fn read_job<'a>(job: &Part<'a>) -> Result<JobView<'a>> {
    Ok(JobView {
        id: job.text("id")?,
        printer_id: job.text("printer_id")?,
        filament_id: job.text("filament_id")?,
        filepath: job.text("filepath")?,
        print_weight: job.weight("print_weight_in_grams")?,
        status: job.text("status")?,
        priority: job.number("priority")?,
        labels: job.labels("labels")?,
        created_by: job.text("created_by")?,
        created_at_ms: job.number("created_at_ms")?,
        deducted: job.weight("deducted_weight_in_grams")?,
    })
}

fn read_printer<'a>(printer: &Part<'a>) -> Result<PrinterView<'a>> {
    Ok(PrinterView {
        id: printer.text("id")?,
        company: printer.text("company")?,
        model: printer.text("model")?,
        status: match printer.text("status")? {
            "active" => PrinterStatus::Active,
            "maintenance" => PrinterStatus::Maintenance,
            "retired" => PrinterStatus::Retired,
            _ => bail!(printer.wrong("status", "must be active, maintenance or retired")),
        },
        labels: printer.labels("labels")?,
        open_jobs: printer.number("open_jobs")?,
        occupying_jobs: printer.number("occupying_jobs")?,
    })
}

fn read_filament<'a>(filament: &Part<'a>) -> Result<FilamentView<'a>> {
    Ok(FilamentView {
        id: filament.text("id")?,
        material: filament.text("type")?,
        color: filament.text("color")?,
        total: filament.weight("total_weight_in_grams")?,
        remaining: filament.weight("remaining_weight_in_grams")?,
        reserved_by_others: filament.weight("reserved_by_others_in_grams")?,
        archived: filament.flag("archived")?,
    })
}

/// An object of the input, and its place there.
struct Part<'a> {
    at: String,
    value: &'a Value,
}

impl<'a> Part<'a> {
    fn get(&self, name: &str) -> &'a Value {
        self.value.get(name).unwrap_or(&Value::Null)
    }

    fn given(&self, name: &str) -> bool {
        !self.get(name).is_null()
    }

    fn wrong(&self, name: &str, why: &str) -> String {
        format!("input {}/{name}: {why}, not {}", self.at, self.get(name))
    }

    fn part(&self, name: &str) -> Result<Self> {
        let at = format!("{}/{name}", self.at);
        let value = self.get(name);
        value
            .is_object()
            .then_some(Self { at, value })
            .with_context(|| self.wrong(name, "must be an object"))
    }

    fn text(&self, name: &str) -> Result<&'a str> {
        let text = self.get(name).as_str();
        text.with_context(|| self.wrong(name, "must be text"))
    }

    fn flag(&self, name: &str) -> Result<bool> {
        let flag = self.get(name).as_bool();
        flag.with_context(|| self.wrong(name, "must be true or false"))
    }

    fn number<N: TryFrom<i128>>(&self, name: &str) -> Result<N> {
        let value = self.get(name);
        let number = value
            .as_i64()
            .map(i128::from)
            .or_else(|| value.as_u64().map(i128::from));
        number
            .and_then(|number| N::try_from(number).ok())
            .with_context(|| self.wrong(name, "must be a whole number in range"))
    }

    /// Grams, as a number or as text, read without floats where they have at most three decimals.
    fn weight(&self, name: &str) -> Result<Grams> {
        let text = match self.get(name) {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => bail!(self.wrong(name, "must be a number of grams")),
        };
        text.parse::<Grams>()
            .map_err(|error| anyhow::anyhow!(self.wrong(name, &error.to_string())))
    }

    /// Labels, sorted by key as a guest gets them (a JSON object's keys are sorted here).
    fn labels(&self, name: &str) -> Result<Vec<Label<'a>>> {
        let why = "must be an object of texts";
        let labels = self
            .get(name)
            .as_object()
            .with_context(|| self.wrong(name, why))?;
        let label = |(key, value): (&'a String, &'a Value)| {
            let value = value.as_str().with_context(|| self.wrong(name, why))?;
            Ok(Label { key, value })
        };
        labels.iter().map(label).collect()
    }
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
            (json!({"job": {"labels": {"a": 1}}}), "input /job/labels: "),
            (
                json!({"printer": {"status": "broken"}}),
                "input /printer/status: ",
            ),
            (
                json!({"filament": {"archived": "no"}}),
                "input /filament/archived: ",
            ),
            (
                json!({"actor": null}),
                "input /actor: must be text, not null",
            ),
            (json!([]), "input (the whole): must be an object"),
        ] {
            let text = refusal(Hook::Admission, &given);
            assert!(text.starts_with(place), "{given}: {text}");
        }
    }
}
