//! Running a policy natively, with exactly the bytes that a guest would see.
//!
//! For tests: production answers only through WebAssembly.

use alloc::vec::Vec;
use core::fmt;

use crate::manifest::Hook;
use crate::policy::{self, CallError, Policy};
use crate::wire;

/// Why a native call gave no answer, where a module would have trapped or had no such export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NativeError {
    /// The policy does not export this.
    MissingExport,
    /// The bytes are not what the export takes. A guest traps with `unreachable`.
    Call(CallError),
}

impl fmt::Display for NativeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingExport => f.write_str("the policy has no such export"),
            Self::Call(CallError::Input) => f.write_str("the input is not a call of this hook"),
            Self::Call(CallError::Config(error)) => {
                write!(f, "configuration: {} {}", error.pointer, error.problem)
            }
        }
    }
}

impl core::error::Error for NativeError {}

/// Calls `export` (a hook's name or `check_config`) of `P` with the bytes that a module would get,
/// and gives the bytes that a module would answer. A panic of the policy is a panic here.
///
/// # Errors
/// The policy has no such export, or the bytes are not what it takes.
pub fn call_native<P: Policy>(export: &str, input: &[u8]) -> Result<Vec<u8>, NativeError> {
    if export == wire::CHECK_CONFIG {
        return Ok(policy::check_config::<P>(input));
    }
    let hook = Hook::from_name(export).filter(|hook| P::HOOKS.contains(*hook));
    let answer = match hook.ok_or(NativeError::MissingExport)? {
        Hook::Admission => policy::admission::<P>(input),
        Hook::Transition => policy::transition::<P>(input),
        Hook::Deduction => policy::deduction::<P>(input),
    };
    answer.map_err(NativeError::Call)
}
