//! The ABI between host and guest: both sides read the same in the same bytes, and whatever the
//! bytes are, an answer that leaves the SDK is one that the host takes.
//!
//! Byte 0 chooses what the rest is.

use core::fmt::Debug;

use minicbor::Encode;
use raft3d_sdk::limits::{
    CODE_BYTES_MAX, MESSAGE_BYTES_MAX, OUTPUT_BYTES_MAX, TEXT_BYTES_MAX, WARNINGS_MAX,
};
use raft3d_sdk::native::{NativeError, call_native};
use raft3d_sdk::reader::{FromWire, Reader};
use raft3d_sdk::wire::{
    self, OutputProblem, decode_config_verdict, decode_deduction_output, decode_rule_output,
};
use raft3d_sdk::{
    AdmissionInput, ConfigVerdict, DeductionOutput, FilamentView, Grams, Hook, JobView, Manifest,
    Policy, RuleOutput, TransitionInput,
};
use standard_deduction::StandardDeduction;
use standard_lifecycle::StandardLifecycle;

pub(crate) fn run(input: &[u8]) -> bool {
    let Some((kind, bytes)) = input.split_first() else {
        return false;
    };
    match kind % 8 {
        0 => answer(bytes, decode_rule_output, |output: &RuleOutput| {
            assert!(output.warnings.len() <= WARNINGS_MAX);
            for text in output.deny.iter().map(|d| (&d.code, &d.message)) {
                assert!(text.0.len() <= CODE_BYTES_MAX && text.1.len() <= MESSAGE_BYTES_MAX);
            }
        }),
        1 => answer(
            bytes,
            decode_deduction_output,
            |output: &DeductionOutput| {
                assert!(output.take.is_none_or(|take| take <= Grams::MAX));
                assert!(output.reason.len() <= TEXT_BYTES_MAX);
            },
        ),
        2 => answer(bytes, decode_config_verdict, |verdict: &ConfigVerdict| {
            assert!(verdict.problem.as_ref().map_or(0, String::len) <= MESSAGE_BYTES_MAX);
        }),
        3 => admission_input(bytes),
        4 => transition_input(bytes),
        5 => calls::<StandardLifecycle>(bytes),
        6 => calls::<StandardDeduction>(bytes),
        _ => manifest(bytes),
    }
}

/// An answer that the host takes keeps within every limit, and encodes to the same answer.
fn answer<T: Debug + PartialEq + Encode<()>>(
    bytes: &[u8],
    decode: fn(&[u8]) -> Result<T, OutputProblem>,
    check: impl Fn(&T),
) -> bool {
    let Ok(value) = decode(bytes) else {
        return false;
    };
    assert!(bytes.len() <= OUTPUT_BYTES_MAX);
    check(&value);
    let canonical = minicbor::to_vec(&value).expect("encoding into memory");
    assert_eq!(decode(&canonical), Ok(value));
    true
}

/// The guest's reader is one of its own: what the host sends, it must read as the host meant it.
macro_rules! both_sides {
    ($view:ident, $bytes:expr, $used:expr) => {{
        let by_guest = $view::read(&mut Reader::new($bytes));
        match minicbor::decode::<$view<'_>>($bytes) {
            Err(_) => false,
            Ok(by_host) => {
                if let Some(by_guest) = &by_guest {
                    assert_eq!(by_guest, &by_host, "the same bytes, read on both sides");
                }
                let sent = minicbor::to_vec(&by_host).expect("encoding into memory");
                let mut reader = Reader::new(&sent);
                let read = $view::read(&mut reader);
                // The host's type takes any number for a weight; the guest's reader does not.
                if weights_fit(&by_host.job, &by_host.filament, $used(&by_host)) {
                    assert_eq!(read.as_ref(), Some(&by_host));
                    assert!(reader.is_at_end());
                } else {
                    assert_eq!(read, None);
                }
                true
            }
        }
    }};
}

fn admission_input(bytes: &[u8]) -> bool {
    both_sides!(AdmissionInput, bytes, |_: &AdmissionInput<'_>| None)
}

fn transition_input(bytes: &[u8]) -> bool {
    let used = |input: &TransitionInput<'_>| input.reported.used;
    both_sides!(TransitionInput, bytes, used)
}

fn weights_fit(job: &JobView<'_>, filament: &FilamentView<'_>, used: Option<Grams>) -> bool {
    let FilamentView {
        total,
        remaining,
        reserved_by_others,
        ..
    } = *filament;
    let weights = [
        job.print_weight,
        job.deducted,
        total,
        remaining,
        reserved_by_others,
    ];
    weights
        .into_iter()
        .chain(used)
        .all(|weight| weight <= Grams::MAX)
}

/// A policy called with any bytes answers what the host takes, or traps as a guest would.
fn calls<P: Policy>(bytes: &[u8]) -> bool {
    let mut answered = false;
    for hook in P::HOOKS.iter() {
        let answer = match call_native::<P>(hook.name(), bytes) {
            Ok(answer) => answer,
            Err(NativeError::Call(_)) => continue,
            Err(error) => panic!("{error}"),
        };
        answered = true;
        if hook == Hook::Deduction {
            decode_deduction_output(&answer).expect("a deduction");
        } else {
            decode_rule_output(&answer).expect("a rule's answer");
        }
    }
    let verdict = call_native::<P>(wire::CHECK_CONFIG, bytes).expect("always answers");
    let verdict = decode_config_verdict(&verdict).expect("a verdict");
    answered || verdict.problem.is_none()
}

fn manifest(bytes: &[u8]) -> bool {
    let Ok(manifest) = minicbor::decode::<Manifest>(bytes) else {
        return false;
    };
    let canonical = minicbor::to_vec(&manifest).expect("encoding into memory");
    let again: Manifest = minicbor::decode(&canonical).expect("what was encoded decodes");
    assert_eq!(again, manifest);
    true
}
