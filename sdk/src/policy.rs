//! What an author implements, and how a call's bytes become an answer's bytes.

use alloc::vec::Vec;

use minicbor::Encode;

use crate::config::{ConfigError, PolicyConfig};
use crate::lifecycle::Lifecycle;
use crate::manifest::HookSet;
use crate::model::{AdmissionInput, DeductionInput, TransitionInput};
use crate::reader::{self, FromWire};
use crate::verdict::{ConfigVerdict, DeductionOutput, RuleOutput};

/// A policy: a set of pure functions over what they are given.
///
/// Only the hooks in [`HOOKS`](Self::HOOKS) are exported and ever asked. A panic is a trap, and a
/// trap denies.
pub trait Policy {
    /// Name in the manifest, such as `standard-lifecycle`.
    const NAME: &'static str;
    /// Version in the manifest, such as `1.0.0`.
    const VERSION: &'static str;
    /// One sentence in the manifest.
    const DESCRIPTION: &'static str;
    /// The hooks that this policy answers; the list in [`export!`](crate::export) must equal it.
    const HOOKS: HookSet;
    /// States at the move to which [`deduction`](Self::deduction) never passes, whatever the
    /// configuration. Activation warns of a binding behind this one that is then never asked. For
    /// states that the configuration names there is `#[names(state, decides)]`.
    const DECIDES: &'static [&'static str] = &[];
    /// Whether the deduction is for what no other binding decides: activation does not warn if it
    /// is never asked.
    const FALLBACK: bool = false;

    /// Its configuration: a [`config!`](crate::config!) struct, or
    /// [`NoConfig`](crate::config::NoConfig).
    type Config: PolicyConfig;

    /// May this job be created?
    fn admission(input: &AdmissionInput<'_>, config: &Self::Config) -> RuleOutput {
        let _ = (input, config);
        RuleOutput::allow()
    }

    /// May this job's status change so?
    fn transition(input: &TransitionInput<'_>, config: &Self::Config) -> RuleOutput {
        let _ = (input, config);
        RuleOutput::allow()
    }

    /// How much filament does this transition, which was allowed, take?
    fn deduction(input: &DeductionInput<'_>, config: &Self::Config) -> DeductionOutput {
        let _ = (input, config);
        DeductionOutput::pass()
    }

    /// Is this configuration good? Types and unknown fields were checked before.
    fn check_config(config: &Self::Config) -> ConfigVerdict {
        let _ = config;
        ConfigVerdict::good()
    }

    /// The lifecycle that this policy declares, if any. Read when the manifest is made; a guest
    /// does not carry it.
    #[must_use]
    fn lifecycle() -> Option<Lifecycle> {
        None
    }
}

/// Why there is no answer. A guest traps instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The input is not what `ABI.md` says it is.
    Input,
    /// The binding's configuration does not decode; `check_config` would have said so.
    Config(ConfigError),
}

/// Answers `admission` for the bytes of a [`Call`](crate::wire::Call).
///
/// # Errors
/// The bytes are not a call, or its configuration is not `P`'s.
pub fn admission<P: Policy>(call: &[u8]) -> Result<Vec<u8>, CallError> {
    let (input, config) = read_call::<AdmissionInput<'_>, P::Config>(call)?;
    Ok(to_bytes(&P::admission(&input, &config).tidy()))
}

/// Answers `transition` for the bytes of a [`Call`](crate::wire::Call).
///
/// # Errors
/// The bytes are not a call, or its configuration is not `P`'s.
pub fn transition<P: Policy>(call: &[u8]) -> Result<Vec<u8>, CallError> {
    let (input, config) = read_call::<TransitionInput<'_>, P::Config>(call)?;
    Ok(to_bytes(&P::transition(&input, &config).tidy()))
}

/// Answers `deduction` for the bytes of a [`Call`](crate::wire::Call).
///
/// # Errors
/// The bytes are not a call, or its configuration is not `P`'s.
pub fn deduction<P: Policy>(call: &[u8]) -> Result<Vec<u8>, CallError> {
    let (input, config) = read_call::<DeductionInput<'_>, P::Config>(call)?;
    Ok(to_bytes(&P::deduction(&input, &config).tidy()))
}

/// Answers `check_config` for the bytes of a configuration. Always answers: bytes that do not
/// decode are what it is there to report.
#[must_use]
pub fn check_config<P: Policy>(config: &[u8]) -> Vec<u8> {
    let verdict = match P::Config::from_cbor(config) {
        Ok(config) => P::check_config(&config),
        Err(error) => ConfigVerdict::from(error),
    };
    to_bytes(&verdict.tidy())
}

fn read_call<'b, T, C>(bytes: &'b [u8]) -> Result<(T, C), CallError>
where
    T: FromWire<'b>,
    C: PolicyConfig,
{
    let (input, config) = reader::read_call(bytes).ok_or(CallError::Input)?;
    Ok((input, C::from_cbor(config).map_err(CallError::Config)?))
}

fn to_bytes<T: Encode<()>>(answer: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    // Writing into a `Vec` cannot fail, and no answer type has an encoder that does. If one ever
    // did, the cut-off bytes would not decode, which denies.
    let _ = minicbor::encode(answer, &mut bytes);
    bytes
}
