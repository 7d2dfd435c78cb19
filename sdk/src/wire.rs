//! The bytes between host and guest. `ABI.md` is the normative text.

use alloc::vec::Vec;
use core::fmt;

use minicbor::{Decode, Encode};

use crate::distinct::keys_are_distinct;
use crate::limits::{
    CODE_BYTES_MAX, MESSAGE_BYTES_MAX, OUTPUT_BYTES_MAX, POINTER_BYTES_MAX, TEXT_BYTES_MAX,
    WARNINGS_MAX,
};
use crate::quantity::Grams;
use crate::text::is_pointer;
use crate::verdict::{ConfigVerdict, DeductionOutput, RuleOutput};

/// Name of the exported function that marks the ABI version: `() -> ()`, never called.
pub const ABI_MARKER: &str = "raft3d_abi_1";
/// Name of the exported allocation function: `(len: i32) -> ptr: i32`.
pub const ALLOC: &str = "raft3d_alloc";
/// Name of the exported memory.
pub const MEMORY: &str = "memory";
/// Name of the exported function that checks a configuration: `(ptr: i32, len: i32) -> i64`.
pub const CHECK_CONFIG: &str = "check_config";

/// Name of the exported function, which a module may have, that tells after a panic what was wrong:
/// `() -> i64`, the packed place of a text. Nothing that decides ever calls it.
pub const PANIC: &str = "raft3d_panic";

/// Name of the exported function, which a module may have, that is called first in every call:
/// `() -> ()`. Compilers write one where a program's globals are not constants.
pub const INITIALIZE: &str = "_initialize";

/// What a hook is called with: its input and the binding's configuration.
///
/// `check_config` is called with the configuration's bytes alone.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Call<'a, T> {
    /// The hook's input.
    #[n(0)]
    pub input: T,
    /// The configuration: one CBOR map with text keys.
    #[cbor(b(1), with = "minicbor::bytes")]
    pub config: &'a [u8],
}

/// Packs the place of an answer: pointer in the upper half, length in the lower half.
#[must_use]
pub const fn pack(ptr: u32, len: u32) -> u64 {
    ((ptr as u64) << 32) | len as u64
}

/// The pointer and the length that [`pack`] put together.
#[must_use]
pub const fn unpack(packed: u64) -> (u32, u32) {
    ((packed >> 32) as u32, (packed & 0xffff_ffff) as u32)
}

/// Encodes what a hook is called with.
///
/// `config` is one CBOR map with text keys; [`EMPTY_CONFIG`] where there is nothing to say.
#[must_use]
pub fn encode_call<T: Encode<()>>(input: T, config: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512 + config.len());
    // Writing into a `Vec` cannot fail, and no input type has an encoder that does. If one ever
    // did, the cut-off bytes would not decode in the guest, which denies.
    let _ = minicbor::encode(Call { input, config }, &mut bytes);
    bytes
}

/// The configuration that says nothing: an empty CBOR map.
pub const EMPTY_CONFIG: &[u8] = &[0xa0];

/// Why an answer's bytes are not an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputProblem {
    /// Longer than [`OUTPUT_BYTES_MAX`].
    TooLong,
    /// Not the CBOR that `ABI.md` asks for, or something follows it, or a map has a key twice.
    Malformed,
    /// A code that is empty, too long, or has other characters than `a-z`, `0-9` and `_`.
    Code,
    /// A text that is too long or has control characters (a message is one line).
    Text,
    /// A field that is no JSON Pointer (RFC 6901), or too long for one.
    Pointer,
    /// More than [`WARNINGS_MAX`] warnings.
    Warnings,
    /// A weight above [`Grams::MAX`].
    Weight,
}

impl fmt::Display for OutputProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the answer is longer than 16384 bytes",
            Self::Malformed => "the answer is not the CBOR that the ABI asks for",
            Self::Code => "a code must be 1 to 64 bytes of a-z, 0-9 and _",
            Self::Text => "a text is too long or has control characters",
            Self::Pointer => {
                "a field is not a JSON Pointer of at most 256 bytes, such as /labels/0"
            }
            Self::Warnings => "there are more than 8 warnings",
            Self::Weight => "the weight is above 1000000000 grams",
        })
    }
}

impl core::error::Error for OutputProblem {}

/// Reads an answer of `admission` or `transition`, and checks every limit of its fields.
///
/// # Errors
/// The bytes are not such an answer.
pub fn decode_rule_output(bytes: &[u8]) -> Result<RuleOutput, OutputProblem> {
    let output: RuleOutput = decode_all(bytes)?;
    if let Some(deny) = &output.deny {
        check_code(&deny.code)?;
        check_text(&deny.message, MESSAGE_BYTES_MAX)?;
        check_pointer(deny.field.as_deref())?;
    }
    if output.warnings.len() > WARNINGS_MAX {
        return Err(OutputProblem::Warnings);
    }
    for warning in &output.warnings {
        check_code(&warning.code)?;
        check_text(&warning.message, MESSAGE_BYTES_MAX)?;
    }
    Ok(output)
}

/// Reads an answer of `deduction`, and checks every limit of its fields.
///
/// # Errors
/// The bytes are not such an answer.
pub fn decode_deduction_output(bytes: &[u8]) -> Result<DeductionOutput, OutputProblem> {
    let output: DeductionOutput = decode_all(bytes)?;
    // The derived decoder takes any 64-bit number for a weight.
    if output.take.is_some_and(|grams| grams > Grams::MAX) {
        return Err(OutputProblem::Weight);
    }
    check_text(&output.reason, TEXT_BYTES_MAX)?;
    Ok(output)
}

/// Reads an answer of `check_config`, and checks every limit of its fields.
///
/// # Errors
/// The bytes are not such an answer.
pub fn decode_config_verdict(bytes: &[u8]) -> Result<ConfigVerdict, OutputProblem> {
    let verdict: ConfigVerdict = decode_all(bytes)?;
    check_text(
        verdict.problem.as_deref().unwrap_or_default(),
        MESSAGE_BYTES_MAX,
    )?;
    check_pointer(verdict.pointer.as_deref())?;
    Ok(verdict)
}

fn decode_all<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, OutputProblem> {
    if bytes.len() > OUTPUT_BYTES_MAX {
        return Err(OutputProblem::TooLong);
    }
    let mut decoder = minicbor::Decoder::new(bytes);
    let value = decoder.decode().map_err(|_| OutputProblem::Malformed)?;
    if decoder.position() == bytes.len() && keys_are_distinct(bytes) {
        Ok(value)
    } else {
        Err(OutputProblem::Malformed)
    }
}

fn check_code(code: &str) -> Result<(), OutputProblem> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let fits = (1..=CODE_BYTES_MAX).contains(&code.len());
    if fits && code.bytes().all(good) {
        Ok(())
    } else {
        Err(OutputProblem::Code)
    }
}

fn check_text(text: &str, bytes_max: usize) -> Result<(), OutputProblem> {
    let fits = text.len() <= bytes_max && !text.chars().any(char::is_control);
    if fits {
        Ok(())
    } else {
        Err(OutputProblem::Text)
    }
}

fn check_pointer(pointer: Option<&str>) -> Result<(), OutputProblem> {
    let pointer = pointer.unwrap_or_default();
    let fits = pointer.len() <= POINTER_BYTES_MAX && !pointer.chars().any(char::is_control);
    if fits && is_pointer(pointer) {
        Ok(())
    } else {
        Err(OutputProblem::Pointer)
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
