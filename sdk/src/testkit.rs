//! For authors: a policy's unit tests are ordinary `cargo test` on the host.
//!
//! ```
//! use raft3d_sdk::testkit::{self, grams};
//! # use raft3d_sdk::{AdmissionInput, Deny, Hook, HookSet, NoConfig, Policy, RuleOutput};
//! # struct SmallJobs;
//! # impl Policy for SmallJobs {
//! #     const NAME: &'static str = "small-jobs";
//! #     const VERSION: &'static str = "1.0.0";
//! #     const DESCRIPTION: &'static str = "Denies jobs of more than 100 g.";
//! #     const HOOKS: HookSet = HookSet::of(&[Hook::Admission]);
//! #     type Config = NoConfig;
//! #     fn admission(input: &AdmissionInput<'_>, _: &NoConfig) -> RuleOutput {
//! #         if input.job.print_weight <= grams("100") { return RuleOutput::allow(); }
//! #         Deny::new("too_heavy", "At most 100 g.").into()
//! #     }
//! # }
//! let mut input = testkit::admission();
//! input.job.print_weight = grams("100.001");
//! let answer = testkit::admit::<SmallJobs>(&input, &testkit::no_config());
//! assert_eq!(answer.deny.unwrap().code, "too_heavy");
//! ```
//!
//! Every call goes through the bytes that the module would see, limits included.
#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "A test kit fails a test by panicking, and says why."
)]

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use minicbor::{Encode, Encoder};

use crate::manifest::Hook;
use crate::model::{
    ActorView, AdmissionInput, DeductionInput, FilamentView, JobView, PrinterStatus, PrinterView,
    Reported, TransitionInput,
};
use crate::native::call_native;
use crate::policy::Policy;
use crate::quantity::Grams;
use crate::verdict::{ConfigVerdict, DeductionOutput, DenyClass, RuleOutput};
use crate::wire;

/// Log time of the sample inputs: 2026-01-01 00:00:00 UTC, in milliseconds since the Unix epoch.
pub const NOW_MS: u64 = 1_767_225_600_000;

/// A weight from text such as `120.25`.
///
/// # Panics
/// The text is not a weight.
#[must_use]
pub fn grams(text: &str) -> Grams {
    text.parse()
        .unwrap_or_else(|error| panic!("{text:?} {error}"))
}

/// A job of 120 g, queued on `p1` with `f1`.
#[must_use]
pub fn job() -> JobView<'static> {
    JobView {
        id: "job1",
        printer_id: "p1",
        filament_id: "f1",
        filepath: "/models/sample.stl",
        print_weight: grams("120"),
        status: "Queued",
        priority: 0,
        labels: Vec::new(),
        created_by: "ada",
        created_at_ms: NOW_MS - 60_000,
        deducted: Grams::ZERO,
    }
}

/// An active printer without jobs.
#[must_use]
pub fn printer() -> PrinterView<'static> {
    PrinterView {
        id: "p1",
        company: "HP",
        model: "DeskJet 123",
        status: PrinterStatus::Active,
        labels: Vec::new(),
        open_jobs: 0,
        occupying_jobs: 0,
    }
}

/// A red PLA spool with 800 of 1000 g left and nothing reserved.
#[must_use]
pub fn filament() -> FilamentView<'static> {
    FilamentView {
        id: "f1",
        material: "PLA",
        color: "Red",
        total: grams("1000"),
        remaining: grams("800"),
        reserved_by_others: Grams::ZERO,
        archived: false,
    }
}

/// The sample job is to be created, the only one of its actor.
#[must_use]
pub fn admission() -> AdmissionInput<'static> {
    AdmissionInput {
        now_ms: NOW_MS,
        actor: "ada",
        job: job(),
        printer: printer(),
        filament: filament(),
        creator: ActorView::default(),
    }
}

/// The sample job, the only one of its actor, is to move from one state to another.
#[must_use]
pub fn transition<'a>(from: &'a str, to: &'a str) -> TransitionInput<'a> {
    TransitionInput {
        now_ms: NOW_MS,
        actor: "ada",
        job: JobView {
            status: from,
            ..job()
        },
        printer: printer(),
        filament: filament(),
        to,
        reported: Reported::default(),
        creator: ActorView::default(),
    }
}

/// A configuration that says nothing.
#[must_use]
pub fn no_config() -> Vec<u8> {
    wire::EMPTY_CONFIG.to_vec()
}

/// A value in a configuration, as a client would write it in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// An object.
    Object(Vec<(String, Value)>),
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<Grams> for Value {
    fn from(value: Grams) -> Self {
        // No weight is above `i64::MAX` milligrams.
        Self::Integer(i64::try_from(value.mg()).unwrap_or(i64::MAX))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_string())
    }
}

impl<T: Into<Self>, const N: usize> From<[T; N]> for Value {
    fn from(values: [T; N]) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

impl<C> Encode<C> for Value {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        match self {
            Self::Null => e.null()?.ok(),
            Self::Bool(value) => e.bool(*value)?.ok(),
            Self::Integer(value) => e.i64(*value)?.ok(),
            Self::Text(value) => e.str(value)?.ok(),
            Self::List(values) => {
                e.array(values.len() as u64)?;
                values.iter().try_for_each(|value| value.encode(e, ctx))
            }
            Self::Object(fields) => {
                e.map(fields.len() as u64)?;
                fields.iter().try_for_each(|(key, value)| {
                    e.str(key)?;
                    value.encode(e, ctx)
                })
            }
        }
    }
}

/// An object in a configuration: `object([("factor_per_mille", 1_050.into())])`.
#[must_use]
pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let fields = fields
        .into_iter()
        .map(|(key, value)| (key.to_string(), value));
    Value::Object(fields.collect())
}

/// The bytes of a configuration with these fields: `config([("materials", ["PLA"].into())])`.
#[must_use]
pub fn config<const N: usize>(fields: [(&str, Value); N]) -> Vec<u8> {
    minicbor::to_vec(object(fields)).expect("writing into memory cannot fail")
}

/// What `P` answers to `admission`.
///
/// # Panics
/// `P` gives no valid answer.
#[must_use]
pub fn admit<P: Policy>(input: &AdmissionInput<'_>, config: &[u8]) -> RuleOutput {
    let bytes = answer::<P>(Hook::Admission.name(), &wire::encode_call(input, config));
    wire::decode_rule_output(&bytes).unwrap_or_else(|problem| panic!("{problem}"))
}

/// What `P` answers to `transition`.
///
/// # Panics
/// `P` gives no valid answer.
#[must_use]
pub fn move_to<P: Policy>(input: &TransitionInput<'_>, config: &[u8]) -> RuleOutput {
    let bytes = answer::<P>(Hook::Transition.name(), &wire::encode_call(input, config));
    wire::decode_rule_output(&bytes).unwrap_or_else(|problem| panic!("{problem}"))
}

/// What `P` answers to `deduction`.
///
/// # Panics
/// `P` gives no valid answer.
#[must_use]
pub fn deduct<P: Policy>(input: &DeductionInput<'_>, config: &[u8]) -> DeductionOutput {
    let bytes = answer::<P>(Hook::Deduction.name(), &wire::encode_call(input, config));
    wire::decode_deduction_output(&bytes).unwrap_or_else(|problem| panic!("{problem}"))
}

/// What `P` says about a configuration.
///
/// # Panics
/// `P` gives no valid answer.
#[must_use]
pub fn check<P: Policy>(config: &[u8]) -> ConfigVerdict {
    let bytes = answer::<P>(wire::CHECK_CONFIG, config);
    wire::decode_config_verdict(&bytes).unwrap_or_else(|problem| panic!("{problem}"))
}

fn answer<P: Policy>(export: &str, input: &[u8]) -> Vec<u8> {
    call_native::<P>(export, input).unwrap_or_else(|error| panic!("{export}: {error}"))
}

/// One call with the answer that is expected, whoever gives it: the native policy, or its module in
/// a host. A policy crate offers its table as `cases()`, and both are held to it.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it shows, as a sentence.
    pub name: String,
    /// Export to call: a hook's name or `check_config`.
    pub export: &'static str,
    /// The bytes to call it with.
    pub input: Vec<u8>,
    /// What must come back.
    pub expected: Expected,
}

/// What a [`Case`] must be answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// `admission`, `transition`: allowed.
    Allow,
    /// `admission`, `transition`: denied so. The message is compared where it is given.
    Deny(DenyClass, &'static str, Option<&'static str>),
    /// `deduction`: left to the next binding.
    Pass,
    /// `deduction`: this much.
    Take(Grams),
    /// `check_config`: good.
    Good,
    /// `check_config`: bad, at this JSON Pointer.
    Bad(&'static str),
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.export)
    }
}

impl Case {
    /// A call of `admission` with these bytes of configuration.
    #[must_use]
    pub fn admission(
        name: &str,
        input: &AdmissionInput<'_>,
        config: &[u8],
        expected: Expected,
    ) -> Self {
        Self::of(
            name,
            Hook::Admission.name(),
            wire::encode_call(input, config),
            expected,
        )
    }

    /// A call of `transition` with these bytes of configuration.
    #[must_use]
    pub fn transition(
        name: &str,
        input: &TransitionInput<'_>,
        config: &[u8],
        expected: Expected,
    ) -> Self {
        Self::of(
            name,
            Hook::Transition.name(),
            wire::encode_call(input, config),
            expected,
        )
    }

    /// A call of `deduction` with these bytes of configuration.
    #[must_use]
    pub fn deduction(
        name: &str,
        input: &DeductionInput<'_>,
        config: &[u8],
        expected: Expected,
    ) -> Self {
        Self::of(
            name,
            Hook::Deduction.name(),
            wire::encode_call(input, config),
            expected,
        )
    }

    /// A call of `check_config`.
    #[must_use]
    pub fn check_config(name: &str, config: &[u8], expected: Expected) -> Self {
        Self::of(name, wire::CHECK_CONFIG, config.to_vec(), expected)
    }

    fn of(name: &str, export: &'static str, input: Vec<u8>, expected: Expected) -> Self {
        Self {
            name: name.to_string(),
            export,
            input,
            expected,
        }
    }

    /// Holds an answer against what is expected.
    ///
    /// # Errors
    /// One sentence that shows the case, what was expected and what came.
    pub fn check(&self, answer: &[u8]) -> Result<(), String> {
        let came = self
            .read(answer)
            .map_err(|problem| format_mismatch(self, &problem))?;
        let same = match (&self.expected, &came) {
            (Expected::Deny(class, code, None), Came::Deny(c, k, _)) => class == c && code == k,
            (Expected::Deny(class, code, Some(message)), Came::Deny(c, k, m)) => {
                class == c && code == k && message == m
            }
            (Expected::Allow, Came::Allow)
            | (Expected::Pass, Came::Pass)
            | (Expected::Good, Came::Good) => true,
            (Expected::Take(grams), Came::Take(g)) => grams == g,
            (Expected::Bad(pointer), Came::Bad(p)) => pointer == p,
            _ => false,
        };
        if same {
            Ok(())
        } else {
            Err(format_mismatch(self, &came))
        }
    }

    /// Runs the case natively.
    ///
    /// # Errors
    /// As [`check`](Self::check), or there is no answer.
    pub fn run<P: Policy>(&self) -> Result<(), String> {
        let answer = call_native::<P>(self.export, &self.input);
        self.check(&answer.map_err(|error| format_mismatch(self, &error))?)
    }

    fn read(&self, answer: &[u8]) -> Result<Came, wire::OutputProblem> {
        Ok(match self.export {
            wire::CHECK_CONFIG => {
                let verdict = wire::decode_config_verdict(answer)?;
                match verdict.problem {
                    None => Came::Good,
                    Some(_) => Came::Bad(verdict.pointer.unwrap_or_default()),
                }
            }
            "deduction" => match wire::decode_deduction_output(answer)?.take {
                None => Came::Pass,
                Some(grams) => Came::Take(grams),
            },
            _ => match wire::decode_rule_output(answer)?.deny {
                None => Came::Allow,
                Some(deny) => Came::Deny(deny.class, deny.code, deny.message),
            },
        })
    }
}

/// What came back.
#[derive(Debug)]
enum Came {
    Allow,
    Deny(DenyClass, String, String),
    Pass,
    Take(Grams),
    Good,
    Bad(String),
}

fn format_mismatch(case: &Case, came: &dyn fmt::Debug) -> String {
    alloc::format!("{case}: expected {:?}, came {came:?}", case.expected)
}

/// Runs a table of cases natively, and fails with all that differ.
///
/// # Panics
/// A case differs.
pub fn run_cases<P: Policy>(cases: &[Case]) {
    let failures: Vec<_> = cases
        .iter()
        .filter_map(|case| case.run::<P>().err())
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
