//! The static check: what this engine epoch takes as a module, decided from the bytes alone.
//!
//! It runs before anything is compiled, on upload, in the command line tool without a server, and
//! once more when a replica evaluates a module for the first time: a module that breaks a limit
//! denies everywhere, and no compiler ever sees it.

mod code;
mod exports;
mod manifest;
mod sections;

use raft3d_core::ModuleDigest;
use raft3d_sdk::Manifest;
use wasmparser::{Validator, WasmFeatures};

use super::limits::{self, Limit, LimitUse};
use super::{instrument, module_digest};

/// What the static check found out about a module that passed it.
#[derive(Clone, Debug)]
pub struct ModuleReport {
    /// SHA-256 of the bytes.
    pub digest: ModuleDigest,
    /// The manifest.
    pub manifest: Manifest,
    /// Each limit with its name, the module's value and the limit itself, for people.
    pub limits_used: Vec<LimitUse>,
}

/// Why a module is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ModuleProblem {
    /// Stable code, such as `too_many_functions`, `imports`, `float_instruction`, `not_wasm`.
    pub code: &'static str,
    /// One sentence with the limit, the value and the place.
    pub message: String,
    /// The place in the module, such as `function 12` or `offset 0x1a2`.
    pub place: Option<String>,
    /// The limit that is broken and the module's value, where it is about a limit.
    pub limit: Option<LimitUse>,
}

/// What a WebAssembly module may use: nothing but this.
///
/// `REFERENCE_TYPES` stands here for one thing alone: LLVM writes the table index of
/// `call_indirect` as a five-byte LEB128, which is legal only with that proposal. Its types and
/// instructions have no price in the gas table, and so are refused.
const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::REFERENCE_TYPES)
    // The validator ties reference types to this one; it allows no instruction by itself.
    .union(WasmFeatures::GC_TYPES);

/// Checks a module against every static limit of this engine epoch.
///
/// # Errors
/// The first problem found: a broken limit, a feature that is not allowed, a missing export, a
/// manifest that is absent or wrong. The same for the same bytes on every machine.
pub fn inspect(bytes: &[u8]) -> Result<ModuleReport, ModuleProblem> {
    Ok(check(bytes)?.report)
}

/// A module that passed the static check, and its instrumented form.
pub(crate) struct Checked {
    /// What was found out.
    pub(crate) report: ModuleReport,
    /// The module with its counters: what is compiled.
    pub(crate) instrumented: Vec<u8>,
}

/// As [`inspect`], and keeps the instrumented module that the check had to make.
pub(crate) fn check(bytes: &[u8]) -> Result<Checked, ModuleProblem> {
    let mut meter = Meter::default();
    meter.note(limits::MODULE_BYTES, bytes.len() as u64, || {
        "the module".into()
    })?;
    if !bytes.starts_with(b"\0asm") {
        return Err(ModuleProblem::new(
            "not_wasm",
            "the bytes are not a WebAssembly module",
        ));
    }
    if !wasmparser::Parser::is_core_wasm(bytes) {
        return Err(ModuleProblem::new(
            "not_core_module",
            "only core modules of version 1 are taken, not components",
        ));
    }
    let module = sections::walk(bytes, &mut meter)?;
    Validator::new_with_features(FEATURES)
        .validate_all(bytes)
        .map_err(ModuleProblem::malformed)?;
    let manifest = manifest::read(&module.manifest)?;
    exports::check(&module, &manifest)?;
    let instrumented = instrument::instrument(bytes, &mut meter)?;
    let report = ModuleReport {
        digest: module_digest(bytes),
        manifest,
        limits_used: meter.into_uses(),
    };
    Ok(Checked {
        report,
        instrumented,
    })
}

impl ModuleProblem {
    /// A problem that has no place of its own.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            place: None,
            limit: None,
        }
    }

    /// A problem at a place.
    pub(crate) fn at(code: &'static str, place: impl Into<String>, what: &str) -> Self {
        let place = place.into();
        Self {
            code,
            message: format!("{place}: {what}"),
            place: Some(place),
            limit: None,
        }
    }

    /// Bytes that do not parse, or do not type-check.
    pub(crate) fn malformed(error: wasmparser::BinaryReaderError) -> Self {
        Self::at(
            "malformed",
            format!("offset {:#x}", error.offset()),
            error.message(),
        )
    }
}

/// Compares a module's values with the limits, and keeps the largest of each.
#[derive(Default)]
pub(crate) struct Meter {
    uses: Vec<LimitUse>,
}

impl Meter {
    /// Notes `value` for `limit`.
    ///
    /// # Errors
    /// The problem, where the value is above the limit.
    pub(crate) fn note(
        &mut self,
        limit: Limit,
        value: u64,
        place: impl FnOnce() -> String,
    ) -> Result<(), ModuleProblem> {
        if value > limit.max {
            let place = place();
            return Err(ModuleProblem {
                code: limit.code,
                message: format!(
                    "{place}: {} is {value}, above the limit of {}",
                    limit.name, limit.max
                ),
                place: Some(place),
                limit: Some(LimitUse {
                    limit: limit.name,
                    value,
                    max: limit.max,
                }),
            });
        }
        match self.uses.iter_mut().find(|known| known.limit == limit.name) {
            Some(known) => known.value = known.value.max(value),
            None => self.uses.push(LimitUse {
                limit: limit.name,
                value,
                max: limit.max,
            }),
        }
        Ok(())
    }

    fn into_uses(self) -> Vec<LimitUse> {
        self.uses
    }
}
