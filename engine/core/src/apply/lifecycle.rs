//! Whether a lifecycle is sound.

use std::collections::BTreeMap;

use raft3d_sdk::{Lifecycle, State};

use crate::limits::{ALIASES_MAX, STATE_NAME_BYTES_MAX, STATES_MAX};

/// What is wrong with `lifecycle`, one line each; empty where it is sound.
pub(super) fn problems(lifecycle: &Lifecycle) -> Vec<String> {
    let states = &lifecycle.states;
    if states.len() > STATES_MAX {
        return vec![format!(
            "a lifecycle has at most {STATES_MAX} states, not {}",
            states.len()
        )];
    }
    // First what bounds the rest: the lines below repeat names, and count as many as there are.
    if let Some(problem) = states.iter().find_map(oversize) {
        return vec![problem];
    }
    let mut problems: Vec<String> = states.iter().flat_map(state_problems).collect();
    let initial = states.iter().filter(|state| state.initial).count();
    if initial != 1 {
        problems.push(format!("exactly one state must be initial, not {initial}"));
    }
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for state in states {
        for name in core::iter::once(&state.name).chain(&state.aliases) {
            if let Some(owner) = owners.insert(name.to_ascii_lowercase(), &state.name) {
                problems.push(format!(
                    "'{name}' names both '{owner}' and '{}'",
                    state.name
                ));
            }
        }
    }
    let is_no_status =
        |text: &String| text.is_empty() || is_too_long(text) || text.chars().any(char::is_control);
    let created_as = &lifecycle.created_as;
    if created_as.len() > ALIASES_MAX || created_as.iter().any(is_no_status) {
        problems.push(format!(
            "created_as has at most {ALIASES_MAX} statuses of 1 to {STATE_NAME_BYTES_MAX} bytes, \
             without control characters"
        ));
    }
    if let Some(claim) = &lifecycle.claim {
        if [&claim.from, &claim.to]
            .iter()
            .any(|name| is_too_long(name))
        {
            return vec![format!(
                "claim names a state of more than {STATE_NAME_BYTES_MAX} bytes"
            )];
        }
        problems.extend(claim_problems(lifecycle, &claim.from, &claim.to));
    }
    problems
}

fn is_too_long(name: &str) -> bool {
    name.len() > STATE_NAME_BYTES_MAX
}

/// What makes a state too large to be looked at closer. A name that is too long is not repeated.
fn oversize(state: &State) -> Option<String> {
    let name = &state.name;
    if is_too_long(name) || state.aliases.iter().any(|alias| is_too_long(alias)) {
        return Some(format!(
            "names and aliases of states have 1 to {STATE_NAME_BYTES_MAX} bytes"
        ));
    }
    (state.aliases.len() > ALIASES_MAX)
        .then(|| format!("state '{name}' has more than {ALIASES_MAX} aliases"))
}

fn state_problems(state: &State) -> Vec<String> {
    let mut problems = Vec::new();
    let name = &state.name;
    let bad = |text: &String| text.is_empty() || text.chars().any(char::is_control);
    if bad(name) || state.aliases.iter().any(bad) {
        problems.push(format!(
            "names and aliases have 1 to {STATE_NAME_BYTES_MAX} bytes and no control characters: \
             state '{name}'"
        ));
    }
    if state.terminal && state.initial {
        problems.push(format!("the initial state '{name}' must not be terminal"));
    }
    // A finished job that reserves or occupies would do so for ever.
    if state.terminal && (state.reserves || state.occupies) {
        problems.push(format!(
            "the terminal state '{name}' must not reserve or occupy"
        ));
    }
    problems
}

fn claim_problems(lifecycle: &Lifecycle, from: &str, to: &str) -> Vec<String> {
    let find = |name: &str| lifecycle.states.iter().find(|state| state.name == name);
    let mut problems: Vec<String> = [from, to]
        .into_iter()
        .filter(|name| find(name).is_none())
        .map(|name| format!("claim names '{name}', which is no state"))
        .collect();
    if from == to {
        problems.push(format!("claim moves from '{from}' to itself"));
    }
    if find(from).is_some_and(|state| state.terminal) {
        problems.push(format!("claim moves out of the terminal state '{from}'"));
    }
    problems
}
