//! What of a ruleset can have no effect: names in configurations that match nothing, and bindings
//! that are never asked.
//!
//! A pure function of the ruleset, the manifests and the lifecycle. Activation decides by it on
//! every replica, and the command line shows the same before anything is sent. What a configuration
//! names is said by its module's manifest (`sdk/ABI.md`, section 7); a module that says nothing is
//! not looked into.
//!
//! Whether there is a filament of a material, or an actor of a name, is not asked: both may come
//! tomorrow, and a rule for them may be there first. For the same reason a material is not compared
//! with those that another binding admits: only that binding's module knows what its list means.

mod declared;
mod names;
mod reach;

use raft3d_sdk::Manifest;
use raft3d_sdk::lifecycle::Lifecycle;

pub use declared::problem as manifest_problem;

use crate::limits::FINDINGS_MAX;
use crate::state::rulesets::{Binding, Finding, Mode, Ruleset, SHARE_ALL, Scope};
use crate::{BindingId, ModuleDigest};
use names::{CONFIG, Deduction, Names, States, spaced};

/// A ruleset, looked at before it becomes the active one.
#[derive(Clone, Debug)]
pub struct Review {
    /// The ruleset, with each state under its name where a configuration gives an alias.
    pub ruleset: Ruleset,
    /// Names that can match nothing; at most [`FINDINGS_MAX`], and a line that there are more.
    pub problems: Vec<Finding>,
    /// What has no effect, or less than one may think; as many.
    pub warnings: Vec<Finding>,
}

/// A configuration, looked at by itself.
#[derive(Clone, Debug)]
pub struct ReviewedConfig {
    /// With each state under its name.
    pub config: Vec<u8>,
    /// Names that can match nothing: activation would refuse them.
    pub problems: Vec<Finding>,
    /// What has no effect, or less than one may think.
    pub warnings: Vec<Finding>,
}

/// Reviews `ruleset` under `lifecycle`. `manifests` are those of its bindings, in their order; a
/// binding without one is not looked into.
#[must_use]
pub fn review(ruleset: &Ruleset, manifests: &[Option<&Manifest>], lifecycle: &Lifecycle) -> Review {
    let states = States::of(lifecycle);
    let mut ruleset = ruleset.clone();
    let (mut problems, mut warnings, mut deductions) = (Vec::new(), Vec::new(), Vec::new());
    for (place, binding) in ruleset.bindings.iter_mut().enumerate() {
        let at = format!("/bindings/{place}");
        problems.extend(scope_problem(&at, binding));
        if binding.share == 0 {
            let message = "is 0: the binding is never asked";
            warnings.push(Finding::new(format!("{at}/percentage"), message));
        }
        let Some(manifest) = manifests.get(place).copied().flatten() else {
            deductions.push(Deduction::default());
            continue;
        };
        let names = Names::find(&at, binding, manifest, &states);
        binding.config = names.config;
        problems.extend(names.problems);
        warnings.extend(names.warnings);
        deductions.push(names.deduction);
    }
    warnings.extend(reach::warnings(&ruleset.bindings, &deductions));
    Review {
        ruleset,
        problems: bounded(problems),
        warnings: bounded(warnings),
    }
}

/// Reviews one binding by itself: module and configuration as somebody tries them out.
///
/// The places of what is found begin with the configuration's own fields: `/done_states/0`.
#[must_use]
pub fn review_config(config: &[u8], manifest: &Manifest, lifecycle: &Lifecycle) -> ReviewedConfig {
    let binding = Binding {
        id: BindingId::new(""),
        module: ModuleDigest([0; 32]),
        hooks: manifest.hooks,
        scope: Scope::All,
        mode: Mode::Enforce,
        share: SHARE_ALL,
        lifecycle: false,
        config: config.to_vec(),
    };
    let names = Names::find("", &binding, manifest, &States::of(lifecycle));
    let within = |findings: Vec<Finding>| {
        let own = findings.into_iter().map(|mut finding| {
            let pointer = finding.pointer.strip_prefix(CONFIG);
            finding.pointer = pointer.map(str::to_owned).unwrap_or(finding.pointer);
            finding
        });
        bounded(own.collect())
    };
    ReviewedConfig {
        problems: within(names.problems),
        warnings: within(names.warnings),
        config: names.config,
    }
}

/// A scope that no printer and no filament can have.
fn scope_problem(at: &str, binding: &Binding) -> Option<Finding> {
    let (field, problem) = match &binding.scope {
        Scope::All => return None,
        Scope::PrinterLabel { key, value } => match (spaced(key), spaced(value)) {
            (Some(problem), _) => ("printer_label/key", problem),
            (None, Some(problem)) => ("printer_label/value", problem),
            (None, None) => return None,
        },
        Scope::FilamentType(material) => ("filament_type", spaced(material)?),
    };
    Some(Finding::new(format!("{at}/scope/{field}"), problem))
}

/// Answers and rows are bounded, however long a list of misspelt names is.
pub(crate) fn bounded(mut findings: Vec<Finding>) -> Vec<Finding> {
    let more = findings.len().saturating_sub(FINDINGS_MAX);
    if more > 0 {
        findings.truncate(FINDINGS_MAX);
        findings.push(Finding::new("", format!("and at least {more} more")));
    }
    findings
}
