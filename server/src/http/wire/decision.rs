//! Decision records in JSON.

use raft3d_engine::core::state::decisions::{Decision, DecisionRecord, Verdict};
use raft3d_engine::core::state::rulesets::Mode;
use raft3d_engine::sdk::{DenyClass, Hook};
use serde::Serialize;
use serde_json::Value;

use super::GramsOut;
use super::hook_input::HookInput;
use super::time::TimeOut;
use crate::http::extract::Params;
use crate::http::problem::Problem;

/// How a record's input is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputShown {
    /// Not at all.
    Left,
    /// With the names and units of this API.
    Json,
    /// As the policies were sent it, in hex: for programs that ask other policies the same.
    Cbor,
}

impl InputShown {
    /// Takes the parameter `input`.
    pub(crate) fn take(params: &mut Params, default: Self) -> Result<Self, Problem> {
        match params.take("input")?.as_deref() {
            None => Ok(default),
            Some("none") => Ok(Self::Left),
            Some("json") => Ok(Self::Json),
            Some("cbor") => Ok(Self::Cbor),
            Some(_) => Err(Problem::parameter("input", "must be none, json or cbor")),
        }
    }
}

/// What one entry asked the policies, and what they said.
#[derive(Debug, Serialize)]
pub(crate) struct DecisionRecordV1<'a> {
    pub(crate) revision: u64,
    at: TimeOut,
    engine_epoch: u32,
    ruleset: u64,
    job_id: &'a str,
    decisions: Vec<DecisionOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<HookInput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_cbor: Option<String>,
}

impl<'a> DecisionRecordV1<'a> {
    pub(crate) fn new(row: &'a DecisionRecord, input: InputShown) -> Result<Self, Problem> {
        Ok(Self {
            revision: row.revision.0,
            at: TimeOut(row.at_ms),
            engine_epoch: row.epoch,
            ruleset: row.ruleset.0,
            job_id: row.job.as_str(),
            decisions: row.decisions.iter().map(DecisionOut::from).collect(),
            input: (input == InputShown::Json)
                .then(|| recorded(row))
                .transpose()?,
            input_cbor: (input == InputShown::Cbor).then(|| hex::encode(&row.input)),
        })
    }
}

/// The input of a record: every hook that was asked got the same.
fn recorded(row: &DecisionRecord) -> Result<HookInput, Problem> {
    // A record without a decision is never written.
    let hook = row.decisions.first().map_or(Hook::Admission, |d| d.hook);
    HookInput::from_cbor(hook, &row.input).map_err(|error| {
        let revision = row.revision;
        Problem::internal(format!(
            "the input recorded at {revision} is damaged: {error}"
        ))
    })
}

#[derive(Debug, Serialize)]
pub(crate) struct DecisionOut<'a> {
    binding: &'a str,
    module: String,
    abi: u32,
    hook: &'static str,
    mode: &'static str,
    /// BLAKE3 of what the module was sent.
    input_blake3: String,
    verdict: VerdictOut<'a>,
    warnings: Vec<WarningOut<'a>>,
    gas: u64,
}

impl<'a> From<&'a Decision> for DecisionOut<'a> {
    fn from(row: &'a Decision) -> Self {
        let warnings = row.warnings.iter();
        Self {
            binding: row.binding.as_str(),
            module: row.module.to_string(),
            abi: row.abi,
            hook: row.hook.name(),
            mode: match row.mode {
                Mode::Enforce => "enforce",
                Mode::Shadow => "shadow",
            },
            input_blake3: hex::encode(row.input_digest),
            verdict: VerdictOut::from(&row.verdict),
            warnings: warnings
                .map(|warning| WarningOut {
                    code: &warning.code,
                    message: &warning.message,
                })
                .collect(),
            gas: row.gas,
        }
    }
}

#[derive(Debug, Serialize)]
struct WarningOut<'a> {
    code: &'a str,
    message: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum VerdictOut<'a> {
    Allow,
    Deny {
        class: &'static str,
        code: &'a str,
        message: &'a str,
    },
    Pass,
    Take {
        grams: GramsOut,
        reason: &'a str,
    },
    Failed {
        code: &'static str,
    },
}

/// A verdict as records show it.
pub(crate) fn verdict_to_json(verdict: &Verdict) -> Value {
    // Nothing in it that JSON has not.
    serde_json::to_value(VerdictOut::from(verdict)).unwrap_or_default()
}

/// A record as the API shows it to programs.
#[cfg(test)]
pub(crate) fn record_to_json(row: &DecisionRecord) -> String {
    let shown = DecisionRecordV1::new(row, InputShown::Cbor);
    serde_json::to_string(&shown.ok()).unwrap_or_default()
}

impl<'a> From<&'a Verdict> for VerdictOut<'a> {
    fn from(verdict: &'a Verdict) -> Self {
        match verdict {
            Verdict::Allow => Self::Allow,
            Verdict::Deny {
                class,
                code,
                message,
            } => Self::Deny {
                class: match class {
                    DenyClass::IllegalTransition => "illegal_transition",
                    DenyClass::Denied => "denied",
                },
                code,
                message,
            },
            Verdict::Pass => Self::Pass,
            Verdict::Take { grams, reason } => Self::Take {
                grams: GramsOut(*grams),
                reason,
            },
            Verdict::Failed(error) => Self::Failed { code: error.code() },
        }
    }
}
