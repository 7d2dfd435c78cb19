//! A hook's input in JSON: the one place that knows this shape, for given and for recorded ones.
//!
//! Names and units are those of the API. What policies are sent of it is CBOR (`sdk/ABI.md`).

use raft3d_engine::core::command::Labels;
use raft3d_engine::sdk::{
    ActorView, AdmissionInput, FilamentView, Grams, Hook, JobView, Label, PrinterStatus,
    PrinterView, Reported, TransitionInput, wire,
};
use serde::{Serialize, Serializer};

use super::GramsOut;
use crate::http::fields::{Door, Fields};
use crate::http::problem::Problem;

/// Range of the times and sums.
const U64: &str = "from 0 to 18446744073709551615";

/// What a hook is asked, without a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct HookInput {
    now_ms: u64,
    actor: String,
    job: JobPart,
    printer: PrinterPart,
    filament: FilamentPart,
    creator: CreatorPart,
    /// There for `transition` and `deduction`.
    #[serde(flatten)]
    moves: Option<MovePart>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct JobPart {
    id: String,
    printer_id: String,
    filament_id: String,
    filepath: String,
    #[serde(serialize_with = "show_grams")]
    print_weight_in_grams: Grams,
    status: String,
    priority: i32,
    labels: Labels,
    created_by: String,
    created_at_ms: u64,
    #[serde(serialize_with = "show_grams")]
    deducted_weight_in_grams: Grams,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct PrinterPart {
    id: String,
    company: String,
    model: String,
    #[serde(serialize_with = "show_status")]
    status: PrinterStatus,
    labels: Labels,
    open_jobs: u64,
    occupying_jobs: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct FilamentPart {
    id: String,
    #[serde(rename = "type")]
    material: String,
    color: String,
    #[serde(serialize_with = "show_grams")]
    total_weight_in_grams: Grams,
    #[serde(serialize_with = "show_grams")]
    remaining_weight_in_grams: Grams,
    #[serde(serialize_with = "show_grams")]
    reserved_by_others_in_grams: Grams,
    archived: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct CreatorPart {
    open_jobs: u64,
    reserved_in_mg: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct MovePart {
    to: String,
    reported: ReportedPart,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct ReportedPart {
    #[serde(serialize_with = "show_some_grams")]
    used_weight_in_grams: Option<Grams>,
    reason: Option<String>,
    #[serde(rename = "override")]
    wants_override: bool,
}

fn show_grams<S: Serializer>(grams: &Grams, serializer: S) -> Result<S::Ok, S::Error> {
    GramsOut(*grams).serialize(serializer)
}

#[allow(clippy::ref_option, reason = "the signature that serde asks for")]
fn show_some_grams<S: Serializer>(grams: &Option<Grams>, serializer: S) -> Result<S::Ok, S::Error> {
    grams.map(GramsOut).serialize(serializer)
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn show_status<S: Serializer>(status: &PrinterStatus, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match status {
        PrinterStatus::Active => "active",
        PrinterStatus::Maintenance => "maintenance",
        PrinterStatus::Retired => "retired",
    })
}

impl HookInput {
    /// Reads the input of `hook`. Labels and what is reported may be left out.
    pub(crate) fn read(hook: Hook, mut body: Fields<'_>) -> Result<Self, Problem> {
        let input = Self {
            now_ms: body.required_integer("now_ms", U64)?,
            actor: body.required_text("actor")?,
            job: read_job(body.required_nested("job")?)?,
            printer: read_printer(body.required_nested("printer")?)?,
            filament: read_filament(body.required_nested("filament")?)?,
            creator: read_creator(body.required_nested("creator")?)?,
            moves: match hook {
                Hook::Admission => None,
                Hook::Transition | Hook::Deduction => Some(MovePart {
                    to: body.required_text("to")?,
                    reported: body
                        .optional_nested("reported")?
                        .map(read_reported)
                        .transpose()?
                        .unwrap_or_default(),
                }),
            },
        };
        body.finish(Door::V1)?;
        Ok(input)
    }

    /// Reads what policies were sent.
    ///
    /// # Errors
    /// The bytes are not the input of `hook`.
    pub(crate) fn from_cbor(hook: Hook, bytes: &[u8]) -> Result<Self, minicbor::decode::Error> {
        Ok(match hook {
            Hook::Admission => Self::from(&minicbor::decode::<AdmissionInput<'_>>(bytes)?),
            Hook::Transition | Hook::Deduction => {
                Self::from(&minicbor::decode::<TransitionInput<'_>>(bytes)?)
            }
        })
    }

    /// What policies are sent, without a configuration.
    pub(crate) fn to_cbor(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Writing to memory cannot fail, and no input type has an encoder that does.
        let _ = match &self.moves {
            None => minicbor::encode(self.admission(), &mut bytes),
            Some(moves) => minicbor::encode(self.transition(moves), &mut bytes),
        };
        bytes
    }

    /// What a policy with this configuration is called with.
    pub(crate) fn call(&self, config: &[u8]) -> Vec<u8> {
        match &self.moves {
            None => wire::encode_call(self.admission(), config),
            Some(moves) => wire::encode_call(self.transition(moves), config),
        }
    }

    fn admission(&self) -> AdmissionInput<'_> {
        AdmissionInput {
            now_ms: self.now_ms,
            actor: &self.actor,
            job: self.job.view(),
            printer: self.printer.view(),
            filament: self.filament.view(),
            creator: self.creator.view(),
        }
    }

    fn transition<'a>(&'a self, moves: &'a MovePart) -> TransitionInput<'a> {
        TransitionInput {
            now_ms: self.now_ms,
            actor: &self.actor,
            job: self.job.view(),
            printer: self.printer.view(),
            filament: self.filament.view(),
            to: &moves.to,
            reported: Reported {
                used: moves.reported.used_weight_in_grams,
                reason: moves.reported.reason.as_deref(),
                wants_override: moves.reported.wants_override,
            },
            creator: self.creator.view(),
        }
    }
}

impl From<&AdmissionInput<'_>> for HookInput {
    fn from(input: &AdmissionInput<'_>) -> Self {
        Self {
            now_ms: input.now_ms,
            actor: input.actor.to_owned(),
            job: JobPart::from(&input.job),
            printer: PrinterPart::from(&input.printer),
            filament: FilamentPart::from(&input.filament),
            creator: CreatorPart::from(input.creator),
            moves: None,
        }
    }
}

impl From<&TransitionInput<'_>> for HookInput {
    fn from(input: &TransitionInput<'_>) -> Self {
        Self {
            now_ms: input.now_ms,
            actor: input.actor.to_owned(),
            job: JobPart::from(&input.job),
            printer: PrinterPart::from(&input.printer),
            filament: FilamentPart::from(&input.filament),
            creator: CreatorPart::from(input.creator),
            moves: Some(MovePart {
                to: input.to.to_owned(),
                reported: ReportedPart {
                    used_weight_in_grams: input.reported.used,
                    reason: input.reported.reason.map(str::to_owned),
                    wants_override: input.reported.wants_override,
                },
            }),
        }
    }
}

fn views(labels: &Labels) -> Vec<Label<'_>> {
    labels
        .iter()
        .map(|(key, value)| Label { key, value })
        .collect()
}

fn owned(labels: &[Label<'_>]) -> Labels {
    let pair = |label: &Label<'_>| (label.key.to_owned(), label.value.to_owned());
    labels.iter().map(pair).collect()
}

impl JobPart {
    fn view(&self) -> JobView<'_> {
        JobView {
            id: &self.id,
            printer_id: &self.printer_id,
            filament_id: &self.filament_id,
            filepath: &self.filepath,
            print_weight: self.print_weight_in_grams,
            status: &self.status,
            priority: self.priority,
            labels: views(&self.labels),
            created_by: &self.created_by,
            created_at_ms: self.created_at_ms,
            deducted: self.deducted_weight_in_grams,
        }
    }
}

impl From<&JobView<'_>> for JobPart {
    fn from(view: &JobView<'_>) -> Self {
        Self {
            id: view.id.to_owned(),
            printer_id: view.printer_id.to_owned(),
            filament_id: view.filament_id.to_owned(),
            filepath: view.filepath.to_owned(),
            print_weight_in_grams: view.print_weight,
            status: view.status.to_owned(),
            priority: view.priority,
            labels: owned(&view.labels),
            created_by: view.created_by.to_owned(),
            created_at_ms: view.created_at_ms,
            deducted_weight_in_grams: view.deducted,
        }
    }
}

impl PrinterPart {
    fn view(&self) -> PrinterView<'_> {
        PrinterView {
            id: &self.id,
            company: &self.company,
            model: &self.model,
            status: self.status,
            labels: views(&self.labels),
            open_jobs: self.open_jobs,
            occupying_jobs: self.occupying_jobs,
        }
    }
}

impl From<&PrinterView<'_>> for PrinterPart {
    fn from(view: &PrinterView<'_>) -> Self {
        Self {
            id: view.id.to_owned(),
            company: view.company.to_owned(),
            model: view.model.to_owned(),
            status: view.status,
            labels: owned(&view.labels),
            open_jobs: view.open_jobs,
            occupying_jobs: view.occupying_jobs,
        }
    }
}

impl FilamentPart {
    fn view(&self) -> FilamentView<'_> {
        FilamentView {
            id: &self.id,
            material: &self.material,
            color: &self.color,
            total: self.total_weight_in_grams,
            remaining: self.remaining_weight_in_grams,
            reserved_by_others: self.reserved_by_others_in_grams,
            archived: self.archived,
        }
    }
}

impl From<&FilamentView<'_>> for FilamentPart {
    fn from(view: &FilamentView<'_>) -> Self {
        Self {
            id: view.id.to_owned(),
            material: view.material.to_owned(),
            color: view.color.to_owned(),
            total_weight_in_grams: view.total,
            remaining_weight_in_grams: view.remaining,
            reserved_by_others_in_grams: view.reserved_by_others,
            archived: view.archived,
        }
    }
}

impl CreatorPart {
    fn view(self) -> ActorView {
        ActorView {
            open_jobs: self.open_jobs,
            reserved_mg: self.reserved_in_mg,
        }
    }
}

impl From<ActorView> for CreatorPart {
    fn from(view: ActorView) -> Self {
        Self {
            open_jobs: view.open_jobs,
            reserved_in_mg: view.reserved_mg,
        }
    }
}

fn read_job(mut body: Fields<'_>) -> Result<JobPart, Problem> {
    let job = JobPart {
        id: body.required_id("id")?,
        printer_id: body.required_id("printer_id")?,
        filament_id: body.required_id("filament_id")?,
        filepath: body.required_text("filepath")?,
        print_weight_in_grams: body.required_grams("print_weight_in_grams")?,
        status: body.required_text("status")?,
        priority: body.required_integer("priority", "from -2147483648 to 2147483647")?,
        labels: body.labels("labels")?,
        created_by: body.required_text("created_by")?,
        created_at_ms: body.required_integer("created_at_ms", U64)?,
        deducted_weight_in_grams: body.required_grams("deducted_weight_in_grams")?,
    };
    body.finish(Door::V1)?;
    Ok(job)
}

fn read_printer(mut body: Fields<'_>) -> Result<PrinterPart, Problem> {
    let status_at = body.pointer("status");
    let printer = PrinterPart {
        id: body.required_id("id")?,
        company: body.required_text("company")?,
        model: body.required_text("model")?,
        status: match body.required_text("status")?.as_str() {
            "active" => PrinterStatus::Active,
            "maintenance" => PrinterStatus::Maintenance,
            "retired" => PrinterStatus::Retired,
            _ => {
                let why = "must be active, maintenance or retired";
                return Err(Problem::field(&status_at, why));
            }
        },
        labels: body.labels("labels")?,
        open_jobs: body.required_integer("open_jobs", U64)?,
        occupying_jobs: body.required_integer("occupying_jobs", U64)?,
    };
    body.finish(Door::V1)?;
    Ok(printer)
}

fn read_filament(mut body: Fields<'_>) -> Result<FilamentPart, Problem> {
    let filament = FilamentPart {
        id: body.required_id("id")?,
        material: body.required_text("type")?,
        color: body.required_text("color")?,
        total_weight_in_grams: body.required_grams("total_weight_in_grams")?,
        remaining_weight_in_grams: body.required_grams("remaining_weight_in_grams")?,
        reserved_by_others_in_grams: body.required_grams("reserved_by_others_in_grams")?,
        archived: body.flag("archived")?,
    };
    body.finish(Door::V1)?;
    Ok(filament)
}

fn read_creator(mut body: Fields<'_>) -> Result<CreatorPart, Problem> {
    let creator = CreatorPart {
        open_jobs: body.required_integer("open_jobs", U64)?,
        reserved_in_mg: body.required_integer("reserved_in_mg", U64)?,
    };
    body.finish(Door::V1)?;
    Ok(creator)
}

fn read_reported(mut body: Fields<'_>) -> Result<ReportedPart, Problem> {
    let reported = ReportedPart {
        used_weight_in_grams: body.grams("used_weight_in_grams")?,
        reason: body.text("reason")?,
        wants_override: body.flag("override")?,
    };
    body.finish(Door::V1)?;
    Ok(reported)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use raft3d_engine::sdk::testkit;
    use serde_json::{Value, json};

    use super::*;

    fn read(hook: Hook, input: &Value) -> Result<HookInput, Problem> {
        HookInput::read(hook, Fields::parse(input.to_string().as_bytes())?)
    }

    fn transition() -> HookInput {
        let mut input = testkit::transition("Running", "Done");
        input.job.labels = vec![Label {
            key: "rush",
            value: "yes",
        }];
        // More digits than a float of 32 bits has.
        input.job.print_weight = Grams::from_mg(123_456_789_123).unwrap();
        input.printer.status = PrinterStatus::Maintenance;
        input.filament.archived = true;
        input.reported = Reported {
            used: Grams::from_mg(1_500),
            reason: Some("jam"),
            wants_override: true,
        };
        input.creator = ActorView {
            open_jobs: 2,
            reserved_mg: u64::MAX,
        };
        HookInput::from(&input)
    }

    #[test]
    fn json_and_cbor_hold_the_same_both_ways() {
        let admission = HookInput::from(&testkit::admission());
        for (hook, input) in [
            (Hook::Admission, admission),
            (Hook::Transition, transition()),
            (Hook::Deduction, transition()),
        ] {
            let text = serde_json::to_string(&input).unwrap();
            let from_json = HookInput::read(hook, Fields::parse(text.as_bytes()).unwrap()).unwrap();
            assert_eq!(from_json, input, "{text}");
            let from_cbor = HookInput::from_cbor(hook, &from_json.to_cbor()).unwrap();
            assert_eq!(serde_json::to_string(&from_cbor).unwrap(), text);
        }
        let other = transition().to_cbor();
        assert!(HookInput::from_cbor(Hook::Admission, &other).is_err());
    }

    #[test]
    fn it_is_what_the_sdk_sends() {
        let sent = wire::encode_call(testkit::admission(), wire::EMPTY_CONFIG);
        let input = HookInput::from(&testkit::admission());
        assert_eq!(input.call(wire::EMPTY_CONFIG), sent);
        let moved = testkit::transition("Queued", "Running");
        let sent = wire::encode_call(&moved, wire::EMPTY_CONFIG);
        assert_eq!(HookInput::from(&moved).call(wire::EMPTY_CONFIG), sent);
    }

    #[test]
    fn what_is_missing_or_unknown_is_refused_by_its_place() {
        let whole = serde_json::to_value(transition()).unwrap();
        let with = |at: &str, value: Value| {
            let mut input = whole.clone();
            *input.pointer_mut(at).unwrap() = value;
            input
        };
        for (at, value) in [
            ("/now_ms", Value::Null),
            ("/to", Value::Null),
            ("/job", json!(5)),
            ("/job/id", Value::Null),
            ("/job/priority", json!(3_000_000_000_u64)),
            ("/job/print_weight_in_grams", json!(-1)),
            ("/job/labels", json!([])),
            ("/printer/status", json!("broken")),
            ("/filament/archived", json!("no")),
            ("/creator/open_jobs", json!(-1)),
            ("/reported/override", json!(1)),
        ] {
            let refused = read(Hook::Transition, &with(at, value)).unwrap_err();
            let named = format!("{}: ", at.trim_start_matches('/'));
            assert!(refused.detail().starts_with(&named), "{at}: {refused:?}");
        }
        let unknown = with(
            "/creator",
            json!({"open_jobs": 0, "reserved_in_mg": 0, "x": 1}),
        );
        let refused = read(Hook::Transition, &unknown).unwrap_err();
        assert_eq!(
            refused.detail(),
            "creator/x: is not a field of this request"
        );
        let refused = read(Hook::Admission, &whole).unwrap_err();
        assert!(refused.detail().contains("is not a field"), "{refused:?}");
    }
}
