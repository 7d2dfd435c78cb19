//! The check of a module's manifest.

use raft3d_sdk::distinct::keys_are_distinct;
use raft3d_sdk::limits::{
    ALIASES_MAX, CODE_BYTES_MAX, STATE_NAME_BYTES_MAX, STATES_MAX, TEXT_BYTES_MAX,
};
use raft3d_sdk::manifest::{ABI_VERSION, SECTION};
use raft3d_sdk::{HookSet, Lifecycle, Manifest};

use raft3d_core::review::manifest_problem;

use super::ModuleProblem;
use crate::policy::limits::{self, LimitUse};

const BAD: &str = "bad_manifest";

/// Reads and checks the manifest among the custom sections of that name.
pub(super) fn read(sections: &[&[u8]]) -> Result<Manifest, ModuleProblem> {
    let place = format!("custom section {SECTION}");
    let bytes = match sections {
        [one] => *one,
        [] => {
            return Err(ModuleProblem::at(
                "no_manifest",
                place,
                "the section is missing",
            ));
        }
        _ => {
            return Err(ModuleProblem::at(
                BAD,
                place,
                "the section is there more than once",
            ));
        }
    };
    let max = limits::MANIFEST_BYTES;
    if bytes.len() as u64 > max.max {
        let value = bytes.len() as u64;
        return Err(ModuleProblem {
            limit: Some(LimitUse {
                limit: max.name,
                value,
                max: max.max,
            }),
            ..ModuleProblem::at(
                max.code,
                place,
                &format!("{} is {value}, above the limit of {}", max.name, max.max),
            )
        });
    }
    let mut decoder = minicbor::Decoder::new(bytes);
    let manifest: Manifest = decoder
        .decode()
        .map_err(|error| ModuleProblem::at(BAD, place.clone(), &format!("bad CBOR: {error}")))?;
    if decoder.position() != bytes.len() {
        return Err(ModuleProblem::at(
            BAD,
            place,
            "bytes are left over after the manifest",
        ));
    }
    if !keys_are_distinct(bytes) {
        return Err(ModuleProblem::at(
            BAD,
            place,
            "a map of the manifest has a key more than once",
        ));
    }
    check(&manifest).map_err(|problem| ModuleProblem::at(BAD, place, &problem))?;
    Ok(manifest)
}

fn check(manifest: &Manifest) -> Result<(), String> {
    if manifest.abi != ABI_VERSION {
        return Err(format!(
            "it is for ABI {}, this engine speaks {ABI_VERSION}",
            manifest.abi
        ));
    }
    text("name", &manifest.name, 1, CODE_BYTES_MAX)?;
    text("version", &manifest.version, 1, CODE_BYTES_MAX)?;
    text("description", &manifest.description, 0, TEXT_BYTES_MAX)?;
    let known: Vec<_> = manifest.hooks.iter().collect();
    if manifest.hooks.is_empty() && manifest.lifecycle.is_none() {
        return Err("it lists no hook and declares no lifecycle".into());
    }
    if manifest.hooks != HookSet::of(&known) {
        return Err("it lists a hook that this engine does not know".into());
    }
    manifest_problem(manifest).map_or(Ok(()), Err)?;
    manifest.lifecycle.as_ref().map_or(Ok(()), lifecycle)
}

fn text(field: &str, value: &str, min: usize, max: usize) -> Result<(), String> {
    let len = value.len();
    if len < min || len > max {
        return Err(format!(
            "{field} has {len} bytes; {min} to {max} are allowed"
        ));
    }
    if value.chars().any(char::is_control) {
        return Err(format!("{field} holds a control character"));
    }
    Ok(())
}

fn lifecycle(lifecycle: &Lifecycle) -> Result<(), String> {
    let states = &lifecycle.states;
    if states.is_empty() || states.len() > STATES_MAX {
        return Err(format!(
            "the lifecycle has {} states; 1 to {STATES_MAX}",
            states.len()
        ));
    }
    let mut names: Vec<String> = Vec::new();
    for state in states {
        if state.aliases.len() > ALIASES_MAX {
            return Err(format!(
                "a state has {} aliases; 0 to {ALIASES_MAX}",
                state.aliases.len()
            ));
        }
        for name in std::iter::once(&state.name).chain(&state.aliases) {
            text("a state's name", name, 1, STATE_NAME_BYTES_MAX)?;
            let name = name.to_ascii_lowercase();
            if names.contains(&name) {
                return Err(format!("two states answer to the name {name:?}"));
            }
            names.push(name);
        }
        if state.initial && state.terminal {
            return Err(format!(
                "the state {:?} is initial and terminal at once",
                state.name
            ));
        }
    }
    let initial = states.iter().filter(|state| state.initial).count();
    if initial != 1 {
        return Err(format!("{initial} states are initial; exactly one must be"));
    }
    if lifecycle.created_as.len() > ALIASES_MAX {
        return Err(format!(
            "created_as has {} statuses; 0 to {ALIASES_MAX}",
            lifecycle.created_as.len()
        ));
    }
    for status in &lifecycle.created_as {
        text("a status in created_as", status, 1, STATE_NAME_BYTES_MAX)?;
    }
    let Some(claim) = &lifecycle.claim else {
        return Ok(());
    };
    let named = |name: &str| states.iter().find(|state| state.name == name);
    match (named(&claim.from), named(&claim.to)) {
        (Some(from), Some(to)) if !from.terminal && from.name != to.name => Ok(()),
        _ => Err("claim must lead from one state, which is not terminal, to another".into()),
    }
}
