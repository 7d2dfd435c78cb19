//! Dry runs in JSON: which rules are asked what, and what they said.

use core::str::FromStr;

use raft3d_engine::core::apply::dry_run::Answered;
use raft3d_engine::core::command::{CreateJob, SetJobStatus};
use raft3d_engine::core::limits::GAS_PER_EVALUATION_MAX;
use raft3d_engine::core::state::decisions::{Decision, Verdict};
use raft3d_engine::core::state::rulesets::Mode;
use raft3d_engine::core::{Command, JobId, ModuleDigest, Revision};
use raft3d_engine::sdk::Hook;
use serde::Serialize;
use serde_json::Value;

use super::GramsOut;
use super::config;
use super::decision::DecisionOut;
use super::hook_input::HookInput;
use super::job::read_create;
use super::time::TimeOut;
use crate::http::fields::{Door, Fields};
use crate::http::problem::Problem;

/// What is asked of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Evaluate {
    pub(crate) rules: Rules,
    pub(crate) question: Question,
    /// Which hook alone; none where the whole request is asked about.
    pub(crate) hook: Option<Hook>,
}

/// Which rules are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Those of the active ruleset.
    Active,
    /// Those of a kept revision.
    Revision(Revision),
    /// One module by itself, with this configuration.
    Module(ModuleDigest, Vec<u8>),
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// This input, whatever the rows say.
    Given(Box<HookInput>),
    /// What would be asked about this request as the rows are.
    Real(Box<Command>),
}

/// Reads the body. Exactly one of `input`, `job` and `job_id` says what is asked.
pub(crate) fn read_evaluate(mut body: Fields<'_>) -> Result<Evaluate, Problem> {
    let rules = read_rules(&mut body)?;
    let hook = read_hook(&mut body)?;
    let (given, job) = (body.optional_nested("input")?, body.optional_nested("job")?);
    let moved = body.id("job_id")?;
    let (question, hook) = match (given, job, moved) {
        (Some(input), None, None) => {
            let hook = hook.ok_or_else(|| Problem::field("/hook", "is required with input"))?;
            let input = HookInput::read(hook, input)?;
            (Question::Given(Box::new(input)), Some(hook))
        }
        (None, Some(job), None) => {
            fits(
                hook,
                &[Hook::Admission],
                "a new job is asked about admission",
            )?;
            let create: CreateJob = read_create(job, Door::V1)?;
            let hook = hook.or(rules.of_one_module().then_some(Hook::Admission));
            (Question::Real(Box::new(Command::CreateJob(create))), hook)
        }
        (None, None, Some(id)) => {
            let hooks = [Hook::Transition, Hook::Deduction];
            fits(
                hook,
                &hooks,
                "a job that moves is asked about transition or deduction",
            )?;
            if hook.is_none() && rules.of_one_module() {
                let why = "is required with module and job_id: transition or deduction";
                return Err(Problem::field("/hook", why));
            }
            let set = read_move(&mut body, id)?;
            (Question::Real(Box::new(Command::SetJobStatus(set))), hook)
        }
        _ => {
            let why = "give exactly one of input, job and job_id";
            return Err(unknown_first(body, Problem::field("/input", why)));
        }
    };
    body.finish(Door::V1)?;
    Ok(Evaluate {
        rules,
        question,
        hook,
    })
}

/// A field that nobody knows says more about a wrong body than one that is missing.
fn unknown_first(body: Fields<'_>, otherwise: Problem) -> Problem {
    body.finish(Door::V1).err().unwrap_or(otherwise)
}

impl Rules {
    const fn of_one_module(&self) -> bool {
        matches!(self, Self::Module(..))
    }
}

fn read_rules(body: &mut Fields<'_>) -> Result<Rules, Problem> {
    let module_at = body.pointer("module");
    let module = body.text("module")?;
    let revision = body.integer::<u64>("revision", "(a revision)")?;
    let config_at = body.pointer("config");
    let config = body.raw("config");
    match (module, revision) {
        (Some(_), Some(_)) => Err(Problem::field(
            "/revision",
            "is not taken with module: one module is asked by itself",
        )),
        (Some(module), None) => {
            let module = ModuleDigest::from_str(&module)
                .map_err(|_| Problem::field(&module_at, "must be a SHA-256 of 64 hex digits"))?;
            let config = match config {
                None => config::EMPTY_CONFIG.to_vec(),
                Some(raw) => config::to_cbor(&config_at, raw)?,
            };
            Ok(Rules::Module(module, config))
        }
        (None, _) if config.is_some() => {
            let why = "is taken with module alone: a ruleset has its own";
            Err(Problem::field(&config_at, why))
        }
        (None, Some(revision)) => Ok(Rules::Revision(Revision(revision))),
        (None, None) => Ok(Rules::Active),
    }
}

fn read_hook(body: &mut Fields<'_>) -> Result<Option<Hook>, Problem> {
    let Some(name) = body.text("hook")? else {
        return Ok(None);
    };
    let hook = Hook::from_name(&name);
    let why = "must be admission, transition or deduction";
    hook.map(Some).ok_or_else(|| Problem::field("/hook", why))
}

fn fits(hook: Option<Hook>, hooks: &[Hook], why: &str) -> Result<(), Problem> {
    match hook {
        Some(hook) if !hooks.contains(&hook) => Err(Problem::field("/hook", why)),
        _ => Ok(()),
    }
}

fn read_move(body: &mut Fields<'_>, id: String) -> Result<SetJobStatus, Problem> {
    let status = body.status("status")?;
    Ok(SetJobStatus {
        id: JobId::new(id),
        status: status.ok_or_else(|| Problem::field("/status", "is required with job_id"))?,
        used: body.grams("used_weight_in_grams")?,
        reason: body.text("reason")?,
        wants_override: body.flag("override")?,
    })
}

/// What they said.
#[derive(Debug, Serialize)]
pub(crate) struct EvaluateOut<'a> {
    /// Of the state that was looked at.
    pub(crate) revision: u64,
    /// That of the rules; none for a module by itself.
    pub(crate) ruleset: Option<u64>,
    /// The log's time in that state.
    pub(crate) log_time: TimeOut,
    /// Whether the request would be accepted, as far as it was asked about.
    accepted: bool,
    /// What the client would be told where not.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Value>,
    /// What would be taken of the filament, where that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    takes: Option<TakesOut<'a>>,
    evaluations: Vec<EvaluationOut<'a>>,
    gas_budget: u64,
    /// What was asked.
    input: HookInput,
}

#[derive(Debug, Serialize)]
struct TakesOut<'a> {
    grams: GramsOut,
    reason: &'a str,
}

#[derive(Debug, Serialize)]
struct EvaluationOut<'a> {
    #[serde(flatten)]
    decision: DecisionOut<'a>,
    /// What the guest said when it panicked. Never part of a record.
    #[serde(skip_serializing_if = "Option::is_none")]
    panic: Option<String>,
}

/// What an answer is about.
pub(crate) struct Asked {
    pub(crate) revision: Revision,
    pub(crate) ruleset: Option<Revision>,
    pub(crate) log_time_ms: u64,
    pub(crate) input: HookInput,
}

impl<'a> EvaluateOut<'a> {
    /// `panic_of` tells what a guest said.
    pub(crate) fn new(
        asked: Asked,
        answered: &'a Answered,
        problem: Option<&Problem>,
        panic_of: impl Fn(&Decision) -> Option<String>,
    ) -> Self {
        let evaluations = answered.decisions.iter().map(|decision| EvaluationOut {
            decision: DecisionOut::from(decision),
            panic: panic_of(decision),
        });
        Self {
            revision: asked.revision.0,
            ruleset: asked.ruleset.map(|revision| revision.0),
            log_time: TimeOut(asked.log_time_ms),
            accepted: answered.rejection.is_none(),
            problem: problem.map(Problem::value),
            takes: takes(answered),
            evaluations: evaluations.collect(),
            gas_budget: GAS_PER_EVALUATION_MAX,
            input: asked.input,
        }
    }
}

/// The first enforcing binding that does not pass decides; where all do, nothing is taken.
fn takes(answered: &Answered) -> Option<TakesOut<'_>> {
    let deciding = |d: &&Decision| d.hook == Hook::Deduction && d.mode == Mode::Enforce;
    let mut takes = None;
    for decision in answered.decisions.iter().filter(deciding) {
        takes = Some(match &decision.verdict {
            Verdict::Take { grams, reason } => {
                return Some(TakesOut {
                    grams: GramsOut(*grams),
                    reason,
                });
            }
            _ => TakesOut {
                grams: GramsOut(raft3d_engine::sdk::Grams::ZERO),
                reason: "",
            },
        });
    }
    takes.filter(|_| answered.rejection.is_none())
}
