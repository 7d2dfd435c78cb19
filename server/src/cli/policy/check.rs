//! `raft3d policy check`: what an upload would say, and more, without a cluster.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use raft3d_engine::core::limits::GAS_PER_EVALUATION_MAX;
use raft3d_engine::policy::{LimitUse, ModuleReport};
use raft3d_engine::sdk::{Hook, Lifecycle};
use serde_json::Value;
use serde_json::value::RawValue;

use super::ask::{Desk, compile_limited, failure};
use super::names::{Named, named};
use super::run::{self, FAILED, json_argument};
use super::{per_cent, read_module, sample};
use crate::cli::print;
use crate::config_schema::{BAD_SCHEMA, ConfigSchema};
use crate::http::{EMPTY_CONFIG, config_to_cbor, config_to_json};

/// What is said of a module whose instances are not put back.
const NEW_EACH_TIME: &str = "each call makes a new instance, which takes some microseconds more than \
    to put one back; that is done with one page of memory (64 KiB) and without passive data segments \
    (sdk/ABI.md, section 1)";

/// What `check` may be told.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The module
    file: PathBuf,
    /// A configuration to check and to run the hooks with, as JSON (or @FILE)
    #[arg(long, value_name = "JSON")]
    config: Option<String>,
}

/// Checks it, and prints what was found.
pub(super) fn run(args: &Args) -> Result<()> {
    let bytes = read_module(&args.file)?;
    let desk = Desk::open(&args.file, &bytes)?;
    let report = desk.report();
    print(&about(report))?;
    print(&table(&report.limits_used))?;
    if !desk.puts_instances_back() {
        print(&format!("\nwarning: {NEW_EACH_TIME}\n"))?;
    }
    let schema = config_schema(&args.file, report)?;
    let code_bytes = compile_limited(&args.file, &bytes)?;
    print(&format!(
        "\ncompiles within the limits of an upload, to {code_bytes} bytes\n"
    ))?;
    let config = config_or_empty(args.config.as_deref())?;
    if let (Some(schema), Some(_)) = (&schema, &args.config) {
        against_schema(schema, &config)?;
    }
    let named = named(&report.manifest, &config, None)?;
    say_names(&named)?;
    let config = named.config;
    let (verdict, gas) = desk.check_config(&config)?;
    if let (None, Some(schema)) = (&verdict.problem, &schema) {
        // The module takes it: a schema that does not would refuse what is good.
        against_schema(schema, &config).context(
            "check_config takes a configuration that the schema in the manifest refuses",
        )?;
    }
    match (verdict.problem, &args.config) {
        (None, _) => print(&format!("configuration: good ({gas} gas)\n"))?,
        (Some(problem), Some(_)) => bail!(bad_config(&problem, verdict.pointer.as_deref())),
        (Some(problem), None) => {
            return print(&format!(
                "it needs a configuration ({problem}): give --config JSON to run its hooks\n"
            ));
        }
    }
    run_hooks(&desk, &config)
}

/// Says what activation would say to the names in the configuration.
///
/// # Errors
/// It would refuse one, whatever cluster it is: the module brings its own states.
fn say_names(named: &Named) -> Result<()> {
    if named.is_certain && !named.problems.is_empty() {
        bail!("{}", named.problems.join("\n"));
    }
    let lines = named.lines();
    lines
        .iter()
        .try_for_each(|line| print(&format!("{line}\n")))
}

/// The schema of the module's configuration, which an upload would take.
fn config_schema(file: &Path, report: &ModuleReport) -> Result<Option<ConfigSchema>> {
    let text = report.manifest.config_schema.as_deref();
    let schema = text.map(ConfigSchema::parse).transpose();
    schema.map_err(|error| anyhow!("{}: {BAD_SCHEMA}: {error}", file.display()))
}

/// Refuses a configuration with every place that the schema does not allow.
fn against_schema(schema: &ConfigSchema, config: &[u8]) -> Result<()> {
    let failures = schema.failures(&config_to_json(config));
    if failures.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = failures
        .iter()
        .map(|failure| format!("--config {failure}"))
        .collect();
    bail!("{}", lines.join("\n"))
}

/// Asks every hook with its sample, and says what came.
fn run_hooks(desk: &Desk, config: &[u8]) -> Result<()> {
    let mut failures = Vec::new();
    for hook in desk.report().manifest.hooks.iter() {
        let call = sample::encode(hook, &sample::sample(hook), config)?;
        let trial = desk.ask(hook, &call)?;
        let answer = run::answer(hook, &trial);
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        let gas = trial.evaluation.gas;
        print(&format!(
            "{:<12}{} on the sample input, {gas} gas of {GAS_PER_EVALUATION_MAX} ({} %)\n",
            hook.name(),
            text("verdict"),
            per_cent(gas, GAS_PER_EVALUATION_MAX),
        ))?;
        if text("verdict") == FAILED {
            failures.push(format!(
                "{}: {}",
                hook.name(),
                failure(text("error"), &trial)
            ));
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!(
        "no answer to a sample input, which would deny every request: {} (`raft3d policy run` asks \
         again)",
        failures.join("; ")
    )
}

/// The least gas left after the sample inputs, and the budget; none where the module takes no such
/// configuration, or answers no hook.
///
/// # Errors
/// A hook gives no answer at all on this machine.
pub(super) fn gas_left(desk: &Desk, config: &[u8]) -> Result<Option<(u64, u64)>> {
    if desk.check_config(config)?.0.problem.is_some() {
        return Ok(None);
    }
    let mut most = None;
    for hook in desk.report().manifest.hooks.iter() {
        let call = sample::encode(hook, &sample::sample(hook), config)?;
        most = most.max(Some(desk.ask(hook, &call)?.evaluation.gas));
    }
    let left = |gas| GAS_PER_EVALUATION_MAX.saturating_sub(gas);
    Ok(most.map(|gas| (left(gas), GAS_PER_EVALUATION_MAX)))
}

/// A configuration's bytes; the empty one where none is given.
///
/// # Errors
/// It is not JSON, or holds what no configuration may hold.
pub(super) fn config_or_empty(text: Option<&str>) -> Result<Vec<u8>> {
    let Some(text) = text else {
        return Ok(EMPTY_CONFIG.to_vec());
    };
    let value = json_argument("--config", text)?;
    let raw = RawValue::from_string(value.to_string())?;
    config_to_cbor("", &raw).map_err(|problem| anyhow!("--config {}", problem.detail()))
}

/// What the module's own check found, with its place. The SDK begins its sentences with the place,
/// others need not.
pub(super) fn bad_config(problem: &str, pointer: Option<&str>) -> String {
    match pointer {
        Some(at) if !at.is_empty() && !problem.starts_with(at) => {
            format!("--config {at}: {problem}")
        }
        _ => format!("--config: {problem}"),
    }
}

fn about(report: &ModuleReport) -> String {
    let manifest = &report.manifest;
    let hooks: Vec<_> = manifest.hooks.iter().map(Hook::name).collect();
    let mut text = format!(
        "{} {}: {}\nsha256 {}\nhooks: {}\n",
        manifest.name,
        manifest.version,
        manifest.description,
        report.digest,
        if hooks.is_empty() {
            "none".to_owned()
        } else {
            hooks.join(", ")
        },
    );
    if let Some(lifecycle) = &manifest.lifecycle {
        text += &format!("lifecycle: {}\n", states(lifecycle));
    }
    text + "\n"
}

fn states(lifecycle: &Lifecycle) -> String {
    let state = |state: &raft3d_engine::sdk::State| {
        let flags = [
            (state.initial, "initial"),
            (state.terminal, "terminal"),
            (state.reserves, "reserves"),
            (state.occupies, "occupies"),
        ];
        let flags: Vec<_> = flags
            .iter()
            .filter(|flag| flag.0)
            .map(|flag| flag.1)
            .collect();
        if flags.is_empty() {
            state.name.clone()
        } else {
            format!("{} ({})", state.name, flags.join(", "))
        }
    };
    lifecycle
        .states
        .iter()
        .map(state)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Each figure beside its limit.
fn table(uses: &[LimitUse]) -> String {
    let mut table = format!(
        "{:<26}{:>10}{:>12}{:>8}\n",
        "limit", "value", "at most", "used"
    );
    for used in uses {
        let share = format!("{} %", per_cent(used.value, used.max));
        // Writing to a text cannot fail.
        let _ = writeln!(
            table,
            "{:<26}{:>10}{:>12}{share:>8}",
            used.limit, used.value, used.max
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_in_a_configuration_is_told_once() {
        let told = [
            ("/a is required", Some("/a"), "--config: /a is required"),
            ("is required", Some("/a"), "--config /a: is required"),
            ("must be an object", Some(""), "--config: must be an object"),
            ("no", None, "--config: no"),
        ];
        for (problem, pointer, text) in told {
            assert_eq!(bad_config(problem, pointer), text);
        }
    }

    #[test]
    fn the_table_has_each_figure_beside_its_limit() {
        let uses = [LimitUse {
            limit: "globals",
            value: 3,
            max: 64,
        }];
        let table = table(&uses);
        let row: Vec<_> = table
            .lines()
            .last()
            .into_iter()
            .flat_map(str::split_whitespace)
            .collect();
        assert_eq!(row, ["globals", "3", "64", "5", "%"]);
    }
}
