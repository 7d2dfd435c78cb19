//! The check of what a module exports against the ABI (`sdk/ABI.md`) and its own manifest.

use raft3d_sdk::{Hook, Manifest, wire};
use wasmparser::{ExternalKind, ValType};

use super::ModuleProblem;
use super::sections::{Module, shown};

/// Names that start so belong to Raft3D; the counters that the host injects are among them.
const RESERVED_PREFIX: &str = "raft3d";
/// Every ABI marker starts so.
const MARKER_PREFIX: &str = "raft3d_abi_";

use ValType::{I32, I64};

pub(super) fn check(module: &Module<'_>, manifest: &Manifest) -> Result<(), ModuleProblem> {
    memory(module)?;
    marker(module)?;
    function(module, wire::ALLOC, &[I32], &[I32])?;
    function(module, wire::CHECK_CONFIG, &[I32, I32], &[I64])?;
    for hook in Hook::ALL {
        if manifest.hooks.contains(hook) {
            function(module, hook.name(), &[I32, I32], &[I64])?;
        } else if find(module, hook.name()).is_some() {
            return Err(ModuleProblem::at(
                "undeclared_hook",
                format!("export {}", hook.name()),
                "the hook is exported but not listed in the manifest",
            ));
        }
    }
    if find(module, wire::INITIALIZE).is_some() {
        function(module, wire::INITIALIZE, &[], &[])?;
    }
    // For authors alone, so a module need not have it.
    if find(module, wire::PANIC).is_some() {
        function(module, wire::PANIC, &[], &[I64])?;
    }
    reserved(module)
}

fn find(module: &Module<'_>, name: &str) -> Option<(ExternalKind, u32)> {
    module
        .exports
        .iter()
        .find(|export| export.0 == name)
        .map(|export| (export.1, export.2))
}

fn memory(module: &Module<'_>) -> Result<(), ModuleProblem> {
    match find(module, wire::MEMORY) {
        Some((ExternalKind::Memory, _)) => Ok(()),
        _ => Err(missing(wire::MEMORY, "the memory")),
    }
}

fn missing(name: &str, what: &str) -> ModuleProblem {
    ModuleProblem::at(
        "missing_export",
        format!("export {name}"),
        &format!("{what} is missing"),
    )
}

/// Exactly one marker, and the one that this engine speaks.
fn marker(module: &Module<'_>) -> Result<(), ModuleProblem> {
    let mut markers = module
        .exports
        .iter()
        .filter(|export| export.0.starts_with(MARKER_PREFIX));
    let Some(first) = markers.next() else {
        return Err(missing(wire::ABI_MARKER, "the ABI marker"));
    };
    if let Some(second) = markers.next() {
        return Err(ModuleProblem::at(
            "several_abi_markers",
            format!("export {}", shown(second.0)),
            "a module has exactly one ABI marker",
        ));
    }
    if first.0 != wire::ABI_MARKER {
        return Err(ModuleProblem::at(
            "unknown_abi",
            format!("export {}", shown(first.0)),
            &format!("this engine speaks {}", wire::ABI_MARKER),
        ));
    }
    function(module, wire::ABI_MARKER, &[], &[])
}

fn function(
    module: &Module<'_>,
    name: &str,
    params: &[ValType],
    results: &[ValType],
) -> Result<(), ModuleProblem> {
    let Some((ExternalKind::Func, index)) = find(module, name) else {
        return Err(missing(name, "the function"));
    };
    let ty = module
        .functions
        .get(index as usize)
        .and_then(|ty| module.types.get(*ty as usize))
        .ok_or_else(|| missing(name, "the function"))?;
    if ty.0 == params && ty.1 == results {
        return Ok(());
    }
    Err(ModuleProblem::at(
        "wrong_signature",
        format!("export {name}"),
        &format!(
            "the signature is {:?} -> {:?}, not {params:?} -> {results:?}",
            ty.0, ty.1
        ),
    ))
}

fn reserved(module: &Module<'_>) -> Result<(), ModuleProblem> {
    let known = [wire::ABI_MARKER, wire::ALLOC, wire::PANIC];
    let taken = |name: &str| name.starts_with(RESERVED_PREFIX) && !known.contains(&name);
    match module.exports.iter().find(|export| taken(export.0)) {
        None => Ok(()),
        Some(export) => Err(ModuleProblem::at(
            "reserved_export",
            format!("export {}", shown(export.0)),
            "names that start with raft3d are reserved",
        )),
    }
}
