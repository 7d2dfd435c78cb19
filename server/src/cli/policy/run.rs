//! `raft3d policy run`: one question, and the answer as JSON.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use raft3d_engine::core::limits::GAS_PER_EVALUATION_MAX;
use raft3d_engine::policy::Trial;
use raft3d_engine::sdk::{DenyClass, Hook, wire};
use serde_json::{Value, json};

use super::ask::Desk;
use super::names::named;
use super::sample::{self, pretty};
use super::{check, read_module};
use crate::cli::print;
use crate::distinct::{TWICE, field_given_twice};

/// What `run` may be told.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The module
    file: PathBuf,
    /// What to ask: admission, transition or deduction
    #[arg(long, value_name = "HOOK", value_parser = hook)]
    hook: Hook,
    /// What is different from the sample, as JSON (or @FILE): `{"job":{"print_weight_in_grams":120}}`
    #[arg(long, value_name = "JSON")]
    input: Option<String>,
    /// The binding's configuration, as JSON (or @FILE)
    #[arg(long, value_name = "JSON")]
    config: Option<String>,
    /// Show the whole input, with every field that there is, instead of asking
    #[arg(long)]
    show_input: bool,
}

fn hook(name: &str) -> Result<Hook, String> {
    Hook::from_name(name).ok_or_else(|| "must be admission, transition or deduction".to_owned())
}

/// Asks, and prints the answer.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let given = match &args.input {
        Some(text) => json_argument("--input", text)?,
        None => sample::nothing(),
    };
    let input = sample::overlaid(args.hook, &given)?;
    if args.show_input {
        print(&format!("{}\n", pretty(&input)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let desk = Desk::open(&args.file, &read_module(&args.file)?)?;
    let hooks = desk.report().manifest.hooks;
    if !hooks.contains(args.hook) {
        let known: Vec<_> = hooks.iter().map(Hook::name).collect();
        bail!(
            "{}: does not answer {}; its hooks: {}",
            args.file.display(),
            args.hook.name(),
            known.join(", ")
        );
    }
    let config = check::config_or_empty(args.config.as_deref())?;
    let named = named(&desk.report().manifest, &config, None)?;
    named.warn();
    let config = named.config;
    let (verdict, _) = desk.check_config(&config)?;
    if let Some(problem) = verdict.problem {
        bail!(check::bad_config(&problem, verdict.pointer.as_deref()));
    }
    let trial = desk.ask(args.hook, &sample::encode(args.hook, &input, &config)?)?;
    let answer = answer(args.hook, &trial);
    let failed = answer.get("verdict").and_then(Value::as_str) == Some(FAILED);
    print(&format!("{}\n", pretty(&answer)))?;
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The verdict of a module that gave none.
pub(super) const FAILED: &str = "failed";

/// An evaluation as JSON: the verdict, what comes with it, and the gas.
pub(super) fn answer(hook: Hook, trial: &Trial) -> Value {
    let mut shown = match &trial.evaluation.output {
        Err(error) => json!({"verdict": FAILED, "error": error.code()}),
        Ok(bytes) => decoded(hook, bytes)
            .unwrap_or_else(|why| json!({"verdict": FAILED, "error": "bad_output", "why": why})),
    };
    if let Some(fields) = shown.as_object_mut() {
        if let Some(panic) = &trial.panic {
            fields.insert("panic".into(), panic.as_str().into());
        }
        fields.insert("gas".into(), trial.evaluation.gas.into());
        fields.insert("gas_budget".into(), GAS_PER_EVALUATION_MAX.into());
    }
    shown
}

fn decoded(hook: Hook, bytes: &[u8]) -> Result<Value, String> {
    if hook == Hook::Deduction {
        let output = wire::decode_deduction_output(bytes).map_err(|why| why.to_string())?;
        return Ok(match output.take {
            None => json!({"verdict": "pass"}),
            Some(grams) => {
                let grams: Value = serde_json::from_str(&grams.to_string()).unwrap_or_default();
                json!({"verdict": "take", "weight_in_grams": grams, "reason": output.reason})
            }
        });
    }
    let output = wire::decode_rule_output(bytes).map_err(|why| why.to_string())?;
    let warnings: Vec<_> = output
        .warnings
        .iter()
        .map(|warning| json!({"code": warning.code, "message": warning.message}))
        .collect();
    Ok(match output.deny {
        None => json!({"verdict": "allow", "warnings": warnings}),
        Some(deny) => json!({
            "verdict": "deny",
            "class": match deny.class {
                DenyClass::IllegalTransition => "illegal_transition",
                DenyClass::Denied => "denied",
            },
            "code": deny.code,
            "message": deny.message,
            "field": deny.field,
            "warnings": warnings,
        }),
    })
}

/// JSON from the command line, or from the file behind `@`.
///
/// # Errors
/// There is no such file, or it is not JSON.
pub(super) fn json_argument(name: &str, text: &str) -> Result<Value> {
    let read;
    let text = match text.strip_prefix('@') {
        None => text,
        Some(file) => {
            read = std::fs::read_to_string(file).with_context(|| format!("{name} {text}"))?;
            &read
        }
    };
    if let Some(pointer) = field_given_twice(text) {
        bail!("{name} {pointer}: {TWICE}");
    }
    serde_json::from_str(text).with_context(|| format!("{name}: is not JSON"))
}
