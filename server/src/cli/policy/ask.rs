//! A module that is asked questions here, without a cluster.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use raft3d_engine::core::Export;
use raft3d_engine::policy::{
    CompileLimits, Compiler, ModuleProblem, ModuleReport, Trial, Workbench, WorkbenchError,
};
use raft3d_engine::sdk::{ConfigVerdict, Hook, wire};

use crate::module::{check_schema, compiler};

/// A module on the desk.
pub(super) struct Desk {
    bench: Workbench,
}

impl Desk {
    /// Checks the module, compiles it within the limits of an upload, and makes it ready.
    ///
    /// # Errors
    /// A cluster would refuse it too; the error names the file.
    pub(super) fn open(file: &Path, bytes: &[u8]) -> Result<Self> {
        let bench = Workbench::new(bytes).map_err(|error| match error {
            WorkbenchError::Refused(problem) => refused(file, &problem),
            other => anyhow!("{}: {other}", file.display()),
        })?;
        check_schema(&bench.report().manifest).map_err(|problem| refused(file, &problem))?;
        Ok(Self { bench })
    }

    /// What the static check found out.
    pub(super) const fn report(&self) -> &ModuleReport {
        self.bench.report()
    }

    /// Whether its instances are put back between calls.
    pub(super) const fn puts_instances_back(&self) -> bool {
        self.bench.puts_instances_back()
    }

    /// Asks one hook.
    ///
    /// # Errors
    /// This machine could not do it.
    pub(super) fn ask(&self, hook: Hook, call: &[u8]) -> Result<Trial> {
        Ok(self.bench.evaluate(Export::Hook(hook), call)?)
    }

    /// Asks the module's own check of a configuration; answers the gas used too.
    ///
    /// # Errors
    /// The module gives no answer.
    pub(super) fn check_config(&self, config: &[u8]) -> Result<(ConfigVerdict, u64)> {
        let trial = self.bench.evaluate(Export::CheckConfig, config)?;
        match &trial.evaluation.output {
            Ok(bytes) => {
                let verdict = wire::decode_config_verdict(bytes)
                    .map_err(|problem| anyhow!("check_config: bad_output: {problem}"))?;
                Ok((verdict, trial.evaluation.gas))
            }
            Err(error) => bail!(
                "check_config gave no answer: {}",
                failure(error.code(), &trial)
            ),
        }
    }
}

/// Compiles the module as an upload does: in a child process, within an upload's limits.
///
/// # Errors
/// It takes too much, or does not compile.
pub(super) fn compile_limited(file: &Path, bytes: &[u8]) -> Result<usize> {
    let code = compiler()
        .compile(bytes, CompileLimits::UPLOAD)
        .with_context(|| {
            format!(
                "{}: a node would not take it; smaller functions compile faster",
                file.display()
            )
        })?;
    Ok(code.len())
}

/// A failed evaluation as one line: the code, and what the guest said.
pub(super) fn failure(code: &str, trial: &Trial) -> String {
    match &trial.panic {
        Some(panic) => format!("{code}: the policy panicked: {panic}"),
        None => code.to_owned(),
    }
}

/// A module that breaks a rule: file, rule, value, and what to do.
pub(super) fn refused(file: &Path, problem: &ModuleProblem) -> anyhow::Error {
    anyhow!(
        "{}: {}: {}\n  what to do: {}",
        file.display(),
        problem.code,
        problem.message,
        what_to_do(problem)
    )
}

fn what_to_do(problem: &ModuleProblem) -> &'static str {
    match problem.code {
        "not_wasm" | "not_core_module" => {
            "give the .wasm file that `raft3d policy build` wrote, or another core module"
        }
        "no_manifest" | "bad_manifest" => {
            "build with `raft3d policy build`, which writes the manifest; sdk/ABI.md, section 7, is \
             for other languages"
        }
        "float_instruction" => {
            "use whole numbers (milligrams, per mille), and nothing that formats or parses floats"
        }
        "imports" => "a policy sees nothing but its input: take the imported function out",
        "undeclared_hook" | "missing_export" | "wrong_signature" => {
            "list the same hooks in `export!` and `Policy::HOOKS`; sdk/ABI.md, section 1, is for \
             other languages"
        }
        _ if problem.limit.is_some() => {
            "make it smaller: split the function, drop a dependency, move data to the configuration"
        }
        _ => "see sdk/ABI.md, section 8: what a module may be made of",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use raft3d_engine::policy::inspect;

    #[test]
    fn a_refusal_names_file_rule_and_way_out() {
        let problem = inspect(b"#!/bin/sh").unwrap_err();
        let text = refused(Path::new("a.wasm"), &problem).to_string();
        assert!(text.starts_with("a.wasm: not_wasm: "), "{text}");
        assert!(text.contains("what to do: give the .wasm file"), "{text}");
    }
}
