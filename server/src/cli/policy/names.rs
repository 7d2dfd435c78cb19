//! What activation says to the names in a configuration, asked where a module is tried out: one
//! function for `check`, `run` and `backtest`, by the review that activation itself goes by.

use anyhow::{Result, anyhow};
use raft3d_engine::core::review::{ReviewedConfig, review_config};
use raft3d_engine::core::state::rulesets::Finding;
use raft3d_engine::policy::inspect;
use raft3d_engine::sdk::{Lifecycle, Manifest};

use crate::library;

/// A configuration as activation would store it, and what it would say.
pub(super) struct Named {
    /// Each state under its own name, whichever alias was given.
    pub(super) config: Vec<u8>,
    /// Names that match nothing, a line each.
    pub(super) problems: Vec<String>,
    /// What else has no effect, a line each.
    pub(super) warnings: Vec<String>,
    /// Whether these states are those that will be active, as far as can be known.
    pub(super) is_certain: bool,
}

/// Compares the names in `config` with the states that the module brings, with those that are
/// `active` on a cluster, or else with the standard ones.
///
/// # Errors
/// A shipped module does not read.
pub(super) fn named(
    manifest: &Manifest,
    config: &[u8],
    active: Option<&Lifecycle>,
) -> Result<Named> {
    let known = manifest.lifecycle.as_ref().or(active);
    let standard = match known {
        Some(_) => None,
        None => Some(standard()?),
    };
    let Some(lifecycle) = known.or(standard.as_ref()) else {
        return Err(anyhow!("there are no states to compare with"));
    };
    let ReviewedConfig {
        config,
        problems,
        warnings,
    } = review_config(config, manifest, lifecycle);
    let lines = |findings: Vec<Finding>| findings.iter().map(line).collect();
    Ok(Named {
        config,
        problems: lines(problems),
        warnings: lines(warnings),
        is_certain: known.is_some(),
    })
}

/// The states of the ruleset that a new cluster begins with.
fn standard() -> Result<Lifecycle> {
    let modules = library::DEFAULT_MODULES.iter();
    let mut manifests = modules.filter_map(|bytes| inspect(bytes).ok());
    let lifecycle = manifests.find_map(|report| report.manifest.lifecycle);
    lifecycle.ok_or_else(|| anyhow!("no shipped module has a lifecycle"))
}

fn line(finding: &Finding) -> String {
    match finding.pointer.as_str() {
        "" => finding.message.clone(),
        at => format!("--config {at}: {}", finding.message),
    }
}

impl Named {
    /// Everything, as warnings: a line each, that of a problem with what becomes of it.
    pub(super) fn lines(&self) -> Vec<String> {
        let refused = if self.is_certain {
            "activation would refuse it without force"
        } else {
            "under the standard lifecycle, activation would refuse it without force"
        };
        let problems = self.problems.iter();
        let problems = problems.map(|problem| format!("warning: {problem} ({refused})"));
        let warnings = self.warnings.iter().map(|it| format!("warning: {it}"));
        problems.chain(warnings).collect()
    }

    /// Says all of it on standard error, so that the answer stays what is read by programs.
    pub(super) fn warn(&self) {
        for line in self.lines() {
            eprintln!("{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::cli::policy::check::config_or_empty;
    use crate::http::config_to_json;
    use raft3d_engine::sdk::State;

    fn manifest(name: &str) -> Manifest {
        let reports = library::modules().map(|bytes| inspect(bytes).unwrap());
        let mut manifests = reports.map(|report| report.manifest);
        manifests.find(|manifest| manifest.name == name).unwrap()
    }

    fn named_as(config: &str, active: Option<&Lifecycle>) -> (String, Vec<String>) {
        let config = config_or_empty(Some(config)).unwrap();
        let named = named(&manifest("waste-factor"), &config, active).unwrap();
        (config_to_json(&named.config).to_string(), named.lines())
    }

    #[test]
    fn aliases_are_states_and_the_unknown_is_warned_of() {
        let (config, lines) = named_as(r#"{"partial_states":{"Cancelled":250,"Done":1}}"#, None);
        assert_eq!(config, r#"{"partial_states":{"Canceled":250,"Done":1}}"#);
        assert_eq!(lines, Vec::<String>::new());
        let (_, lines) = named_as(r#"{"done_states":["Finished"]}"#, None);
        assert_eq!(
            lines,
            [
                "warning: --config /done_states/0: names 'Finished', which is no state of the \
              lifecycle (Queued, Running, Done, Canceled) (under the standard lifecycle, \
              activation would refuse it without force)"
            ]
        );
    }

    #[test]
    fn the_states_of_the_cluster_are_compared_with_if_they_are_known() {
        let state = |name: &str, alias: &str| State {
            name: name.to_owned(),
            aliases: vec![alias.to_owned()],
            ..State::default()
        };
        let active = Lifecycle {
            states: vec![state("Finished", "Fertig"), state("Dropped", "Weg")],
            ..Lifecycle::default()
        };
        let given = r#"{"done_states":["fertig"],"partial_states":{"weg":1}}"#;
        let (config, lines) = named_as(given, Some(&active));
        let stored = r#"{"done_states":["Finished"],"partial_states":{"Dropped":1}}"#;
        assert_eq!((config.as_str(), lines), (stored, vec![]));
        let (_, lines) = named_as(r#"{"done_states":["Done"]}"#, Some(&active));
        assert!(
            lines
                .iter()
                .any(|it| it.ends_with("(activation would refuse it without force)")),
            "{lines:?}"
        );
    }
}
