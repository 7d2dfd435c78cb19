//! What a manifest may say about the names in its module's configuration.

use raft3d_sdk::manifest::{ConfigName, Hook, Manifest, NameKind};

use super::names::tokens;
use crate::limits::{
    CONFIG_NAMES_MAX, DEFAULT_NAMES_MAX, POINTER_BYTES_MAX, STATE_NAME_BYTES_MAX, STATES_MAX,
    TEXT_BYTES_MAX,
};

/// What is wrong with what `manifest` says about names, if anything. An upload is refused for it
/// where it is proposed and where it is applied.
#[must_use]
pub fn problem(manifest: &Manifest) -> Option<String> {
    let names = &manifest.config_names;
    if names.len() > CONFIG_NAMES_MAX {
        return Some(format!(
            "config_names has {} items, above the limit of {CONFIG_NAMES_MAX}",
            names.len()
        ));
    }
    if let Some(problem) = names.iter().find_map(|name| name_problem(name, manifest)) {
        return Some(problem);
    }
    if let Some(problem) = met(names) {
        return Some(problem);
    }
    let states = &manifest.decides;
    if states.len() > STATES_MAX || states.iter().any(|name| name.len() > STATE_NAME_BYTES_MAX) {
        return Some(format!(
            "decides has at most {STATES_MAX} names of states of at most {STATE_NAME_BYTES_MAX} \
             bytes"
        ));
    }
    (!states.is_empty() && !manifest.hooks.contains(Hook::Deduction))
        .then(|| "decides is of use with the hook deduction alone".to_owned())
}

/// Two that say what one text is: only one of them could count.
fn met(names: &[ConfigName]) -> Option<String> {
    let all: Vec<_> = names.iter().map(|it| (it, tokens(&it.pointer))).collect();
    all.iter().enumerate().find_map(|(place, (one, at))| {
        let others = all.get(place + 1..).unwrap_or_default();
        let (other, _) = others
            .iter()
            .find(|(other, there)| other.keys == one.keys && meet(at, there))?;
        Some(format!(
            "config_names: {} and {} are one place, and each place has one kind of names: leave \
             one of them out",
            one.pointer, other.pointer
        ))
    })
}

/// Whether one value can be at both: `*` is any.
fn meet(one: &[String], other: &[String]) -> bool {
    let mut tokens = one.iter().zip(other);
    one.len() == other.len() && tokens.all(|(a, b)| a == b || a == "*" || b == "*")
}

fn name_problem(name: &ConfigName, manifest: &Manifest) -> Option<String> {
    let pointer = &name.pointer;
    if !pointer.starts_with('/') || pointer.len() > POINTER_BYTES_MAX {
        return Some(format!(
            "a pointer in config_names begins with '/' and has at most {POINTER_BYTES_MAX} bytes"
        ));
    }
    let defaults = &name.default;
    if defaults.len() > DEFAULT_NAMES_MAX || defaults.iter().any(|it| it.len() > TEXT_BYTES_MAX) {
        return Some(format!(
            "config_names: {pointer}: default has at most {DEFAULT_NAMES_MAX} names of at most \
             {TEXT_BYTES_MAX} bytes"
        ));
    }
    let deducts = name.kind == NameKind::State && manifest.hooks.contains(Hook::Deduction);
    (name.decides && !deducts).then(|| {
        format!("config_names: {pointer}: decides is for states, and for the hook deduction")
    })
}
