//! Which bindings are never asked: of deductions the first that does not pass decides, so that one
//! behind a binding that always decides has nothing to say.

use std::collections::{BTreeMap, BTreeSet};

use raft3d_sdk::Hook;

use super::names::Deduction;
use crate::state::rulesets::{Binding, Finding, Mode, SHARE_ALL, Scope};

/// Warns of each binding whose deduction is not asked, or not for every state.
pub(super) fn warnings(bindings: &[Binding], deductions: &[Deduction]) -> Vec<Finding> {
    let mut warnings = Vec::new();
    for (place, (binding, own)) in bindings.iter().zip(deductions).enumerate() {
        if !deducts(binding) || binding.share == 0 || own.is_fallback {
            continue;
        }
        let mut decided: BTreeMap<&str, &str> = BTreeMap::new();
        for (earlier, its) in bindings.iter().zip(deductions).take(place) {
            let hides = deducts(earlier) && earlier.share == SHARE_ALL;
            if hides && covers(&earlier.scope, &binding.scope) {
                for state in its.decides.iter().flatten() {
                    decided.entry(state).or_insert(earlier.id.as_str());
                }
            }
        }
        let answers = own.decides.as_ref();
        decided.retain(|state, _| answers.is_none_or(|own| own.contains(*state)));
        if !decided.is_empty() {
            let never = answers.is_some_and(|own| own.len() == decided.len());
            let message = message(&decided, never);
            warnings.push(Finding::new(format!("/bindings/{place}"), message));
        }
    }
    warnings
}

fn message(decided: &BTreeMap<&str, &str>, never: bool) -> String {
    let states: Vec<_> = decided.keys().copied().collect();
    let who: BTreeSet<_> = decided.values().map(|id| format!("'{id}'")).collect();
    let who: Vec<_> = who.into_iter().collect();
    let (states, who) = (states.join(", "), who.join(", "));
    if never {
        format!(
            "its deduction is never asked: it answers moves to {states} alone, and {who} before it \
             decides those; put it in front"
        )
    } else {
        format!(
            "its deduction is not asked about moves to {states}: {who} before it decides those; put \
             it in front if it is to answer them"
        )
    }
}

fn deducts(binding: &Binding) -> bool {
    binding.mode == Mode::Enforce && binding.hooks.contains(Hook::Deduction)
}

/// Whether every job in the scope `inner` is in `outer`.
fn covers(outer: &Scope, inner: &Scope) -> bool {
    match (outer, inner) {
        (Scope::All, _) => true,
        (Scope::FilamentType(outer), Scope::FilamentType(inner)) => {
            outer.eq_ignore_ascii_case(inner)
        }
        (outer, inner) => outer == inner,
    }
}
