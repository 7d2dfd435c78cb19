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
    if let Some(claim) = &lifecycle.claim {
        problems.extend(claim_problems(lifecycle, &claim.from, &claim.to));
    }
    problems
}

fn state_problems(state: &State) -> Vec<String> {
    let mut problems = Vec::new();
    let name = &state.name;
    let bad = |text: &String| {
        text.is_empty() || text.len() > STATE_NAME_BYTES_MAX || text.chars().any(char::is_control)
    };
    if state.aliases.len() > ALIASES_MAX {
        problems.push(format!(
            "state '{name}' has more than {ALIASES_MAX} aliases"
        ));
    }
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
