//! What stands in the way of a ruleset, and making it the active one.

use std::collections::BTreeSet;
use std::mem;

use raft3d_sdk::{ConfigVerdict, Lifecycle};

use super::tx::{Stop, Tx};
use super::{config, lifecycle, policies};
use crate::command::check;
use crate::error::LocalFault;
use crate::event::EventKind;
use crate::ids::{BindingId, Revision};
use crate::limits::{
    BINDINGS_ENFORCING_MAX, BINDINGS_SHADOW_MAX, DECISIONS_DAYS_MAX, DECISIONS_KEPT_MAX,
    ID_BYTES_MAX, LABEL_BYTES_MAX, TEXT_BYTES_MAX,
};
use crate::policy::PolicyHost;
use crate::rejection::{Rejection, RejectionKind};
use crate::review::{Review, bounded, review};
use crate::state::modules::ModuleInfo;
use crate::state::rows::ReadRows;
use crate::state::rulesets::{
    Binding, DecisionsKept, Finding, Mode, Ruleset, RulesetRevision, SHARE_ALL, Scope,
};
use crate::state::{jobs, modules, rulesets};

/// One activation, however it was asked for.
pub(super) struct Activation<'a> {
    pub(super) ruleset: &'a Ruleset,
    /// Strands open jobs in states that the new lifecycle does not know, and takes names in
    /// configurations that match nothing.
    pub(super) force: bool,
    pub(super) reason: Option<&'a str>,
    pub(super) rollback_of: Option<Revision>,
}

/// Compares the revision that the client expects with the active one.
pub(super) fn check_expected(active: Revision, expected: Option<Revision>) -> Result<(), Stop> {
    if expected.is_none_or(|expected| expected == active) {
        return Ok(());
    }
    let message = format!("the active ruleset has revision {active}");
    Err(Rejection::new(RejectionKind::RevisionMismatch, message).into())
}

/// Makes the ruleset the active one, or says all that stands in the way.
pub(super) fn activate(
    tx: &mut Tx<'_>,
    activation: &Activation<'_>,
    host: &dyn PolicyHost,
) -> Result<RulesetRevision, Stop> {
    check::reason(activation.reason)?;
    let ruleset = activation.ruleset;
    let mut details = count_problems(ruleset);
    details.extend(kept_problems(ruleset.decisions_kept));
    if !details.is_empty() {
        return Err(blocked(details).into());
    }
    let known = ruleset.bindings.iter();
    let known = known.map(|binding| modules::get(&tx.rows, binding.module));
    let known: Vec<Option<ModuleInfo>> = known.collect::<Result<_, _>>()?;
    let unsound = bindings_problems(ruleset, &known);
    details.extend(unsound.iter().flatten().cloned());
    let lifecycle = provided(ruleset, &known).unwrap_or_else(|problem| {
        details.push(problem);
        None
    });
    let mut reviewed = reviewed(ruleset, &known, lifecycle.as_ref());
    let unmatched = mem::take(&mut reviewed.problems);
    let field = unmatched.first().map(|finding| finding.pointer.clone());
    // A name must not close the way back: the earlier ruleset was active with it.
    if activation.force || activation.rollback_of.is_some() {
        reviewed.warnings.splice(0..0, unmatched);
    } else {
        details.extend(unmatched.iter().map(Finding::to_string));
    }
    for (place, binding) in reviewed.ruleset.bindings.iter().enumerate() {
        if unsound.get(place).is_some_and(Vec::is_empty) {
            let problem = config_problem(tx, binding, host)?;
            details.extend(problem.map(|problem| line(place, binding, &problem)));
        }
    }
    if let Some(lifecycle) = &lifecycle {
        let stranded = stranded(&tx.rows, lifecycle)?;
        if activation.force {
            // In front: jobs that cannot go on matter more than a name, and the list is bounded.
            let warn = |line| Finding::new("", format!("{line}: they are stranded"));
            reviewed
                .warnings
                .splice(0..0, stranded.into_iter().map(warn));
        } else {
            details.extend(stranded);
        }
    }
    match lifecycle {
        Some(lifecycle) if details.is_empty() => write(tx, activation, lifecycle, reviewed),
        _ => {
            let mut rejection = blocked(details);
            rejection.field = field;
            Err(rejection.into())
        }
    }
}

/// One line about a binding. What is stored is bounded: an id above the limit is not repeated.
fn line(place: usize, binding: &Binding, problem: &str) -> String {
    let name = match binding.id.as_str() {
        id if id.len() > ID_BYTES_MAX => String::new(),
        id => format!(" ('{id}')"),
    };
    format!("/bindings/{place}{name}: {problem}")
}

/// What stands against each binding by itself.
fn bindings_problems(ruleset: &Ruleset, known: &[Option<ModuleInfo>]) -> Vec<Vec<String>> {
    let mut ids = BTreeSet::new();
    let bindings = ruleset.bindings.iter().zip(known).enumerate();
    bindings
        .map(|(place, (binding, known))| {
            let problems = binding_problems(binding, known.as_ref(), &mut ids);
            let lines = problems.iter();
            lines.map(|problem| line(place, binding, problem)).collect()
        })
        .collect()
}

/// The review, as far as there is a lifecycle to compare with.
fn reviewed(
    ruleset: &Ruleset,
    known: &[Option<ModuleInfo>],
    lifecycle: Option<&Lifecycle>,
) -> Review {
    let manifests: Vec<_> = known
        .iter()
        .map(|known| known.as_ref().map(|info| &info.manifest))
        .collect();
    match lifecycle {
        Some(lifecycle) => review(ruleset, &manifests, lifecycle),
        None => Review {
            ruleset: ruleset.clone(),
            problems: Vec::new(),
            warnings: Vec::new(),
        },
    }
}

/// The lifecycle of the one binding that provides it; none if its module declares none, which is
/// said of that binding.
fn provided(ruleset: &Ruleset, known: &[Option<ModuleInfo>]) -> Result<Option<Lifecycle>, String> {
    let bindings = ruleset.bindings.iter().zip(known);
    let providers: Vec<_> = bindings.filter(|(binding, _)| binding.lifecycle).collect();
    match providers.as_slice() {
        [(_, known)] => Ok(known.as_ref().and_then(|it| it.manifest.lifecycle.clone())),
        other => Err(format!(
            "exactly one binding must provide the lifecycle, not {}",
            other.len()
        )),
    }
}

fn write(
    tx: &mut Tx<'_>,
    activation: &Activation<'_>,
    lifecycle: Lifecycle,
    reviewed: Review,
) -> Result<RulesetRevision, Stop> {
    let revision = RulesetRevision {
        revision: tx.revision,
        ruleset: reviewed.ruleset,
        lifecycle,
        activated_by: tx.actor.clone(),
        activated_at_ms: tx.now_ms(),
        reason: activation.reason.map(str::to_owned),
        rollback_of: activation.rollback_of,
        warnings: bounded(reviewed.warnings),
    };
    rulesets::activate(&mut tx.rows, &mut tx.totals, &revision)?;
    tx.emit(EventKind::RulesetActivated(tx.revision));
    Ok(revision)
}

fn blocked(details: Vec<String>) -> Rejection {
    let message = format!("the ruleset cannot be activated: {}", details.join("; "));
    let mut rejection = Rejection::new(RejectionKind::ActivationBlocked, message);
    rejection.details = details;
    rejection
}

/// Too many bindings are refused before any of them is looked at: the list below stays short.
fn count_problems(ruleset: &Ruleset) -> Vec<String> {
    let of_mode = |mode| {
        ruleset
            .bindings
            .iter()
            .filter(|binding| binding.mode == mode)
            .count()
    };
    [
        ("enforcing", of_mode(Mode::Enforce), BINDINGS_ENFORCING_MAX),
        ("shadow", of_mode(Mode::Shadow), BINDINGS_SHADOW_MAX),
    ]
    .into_iter()
    .filter(|(_, count, max)| count > max)
    .map(|(mode, count, max)| format!("{count} {mode} bindings; at most {max} are allowed"))
    .collect()
}

fn kept_problems(kept: DecisionsKept) -> Vec<String> {
    [
        ("count", kept.count, DECISIONS_KEPT_MAX),
        ("days", kept.days, DECISIONS_DAYS_MAX),
    ]
    .into_iter()
    .filter(|(_, value, max)| !(1..=*max).contains(value))
    .map(|(field, value, max)| {
        format!("/decisions_kept/{field}: {value}; from 1 to {max} is allowed")
    })
    .collect()
}

fn binding_problems<'a>(
    binding: &'a Binding,
    known: Option<&ModuleInfo>,
    ids: &mut BTreeSet<&'a BindingId>,
) -> Vec<String> {
    let mut problems = Vec::new();
    let id = binding.id.as_str();
    if id.is_empty() || id.len() > ID_BYTES_MAX || id.chars().any(char::is_control) {
        problems.push(format!(
            "an id has 1 to {ID_BYTES_MAX} bytes and no control characters"
        ));
    }
    if !ids.insert(&binding.id) {
        problems.push("another binding has the same id".to_owned());
    }
    let scope_fits = match &binding.scope {
        Scope::All => true,
        Scope::PrinterLabel { key, value } => {
            !key.is_empty() && key.len() <= LABEL_BYTES_MAX && value.len() <= LABEL_BYTES_MAX
        }
        Scope::FilamentType(material) => !material.is_empty() && material.len() <= TEXT_BYTES_MAX,
    };
    if !scope_fits {
        problems.push("its scope is empty or too long".to_owned());
    }
    if binding.share > SHARE_ALL {
        problems.push("its share of jobs exceeds the whole".to_owned());
    }
    if binding.hooks.is_empty() && !binding.lifecycle {
        problems.push("it answers no hook".to_owned());
    }
    problems.extend(config::problem(&binding.config).map(|what| format!("configuration: {what}")));
    match known {
        None => problems.push(format!("there is no module {}", binding.module)),
        Some(info) if !info.manifest.hooks.contains_all(binding.hooks) => {
            problems.push(format!(
                "module '{}' does not answer all its hooks",
                info.manifest.name
            ));
        }
        Some(_) => {}
    }
    if binding.lifecycle {
        problems.extend(provider_problems(binding, known));
    }
    problems
}

fn provider_problems(binding: &Binding, known: Option<&ModuleInfo>) -> Vec<String> {
    let mut problems = Vec::new();
    let everywhere = binding.scope == Scope::All && binding.share == SHARE_ALL;
    if binding.mode != Mode::Enforce || !everywhere {
        problems.push("who provides the lifecycle must enforce it for all jobs".to_owned());
    }
    let Some(info) = known else { return problems };
    match &info.manifest.lifecycle {
        None => problems.push(format!(
            "module '{}' declares no lifecycle",
            info.manifest.name
        )),
        Some(declared) => problems.extend(lifecycle::problems(declared)),
    }
    problems
}

/// What the module itself says to the configuration: the check that decides.
fn config_problem(
    tx: &Tx<'_>,
    binding: &Binding,
    host: &dyn PolicyHost,
) -> Result<Option<String>, LocalFault> {
    let verdict = policies::check_config(host, &tx.rows, &tx.gas, binding)?;
    Ok(match verdict {
        Ok(ConfigVerdict { problem: None, .. }) => None,
        Ok(ConfigVerdict {
            problem: Some(problem),
            pointer,
        }) => Some(format!("/config{}: {problem}", pointer.unwrap_or_default())),
        Err(error) => Some(format!("check_config failed: {}", error.code())),
    })
}

/// Open jobs in states that the lifecycle does not know, from the sums: no job is looked at.
fn stranded(rows: &dyn ReadRows, lifecycle: &Lifecycle) -> Result<Vec<String>, LocalFault> {
    let known = |name: &str| {
        lifecycle
            .states
            .iter()
            .any(|state| state.name.eq_ignore_ascii_case(name))
    };
    let counts = jobs::open_by_state(rows)?;
    let unknown = counts.iter().filter(|count| !known(&count.state));
    Ok(unknown
        .map(|count| {
            let (jobs, state) = (count.jobs, &count.state);
            format!("{jobs} open jobs are '{state}', which the new lifecycle does not know")
        })
        .collect())
}
