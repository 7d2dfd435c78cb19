//! The policy host: modules are validated, instrumented, compiled and run here.

use raft3d_core::ModuleDigest;
use raft3d_sdk::Manifest;

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

/// One static limit and how much of it a module uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitUse {
    /// Stable name, such as `function_body_bytes`.
    pub limit: &'static str,
    /// The module's value.
    pub value: u64,
    /// The limit.
    pub max: u64,
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
}
