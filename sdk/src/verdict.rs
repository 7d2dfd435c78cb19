//! What a policy answers.

use alloc::string::String;
use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::quantity::Grams;

/// What kind of denial it is; decides the HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum DenyClass {
    /// The lifecycle has no such transition (409).
    #[n(0)]
    IllegalTransition,
    /// A rule says no (422).
    #[n(1)]
    Denied,
}

/// A denial.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Deny {
    /// Class.
    #[n(0)]
    pub class: DenyClass,
    /// Stable code for programs, such as `weight_exceeds_available`;
    /// at most [`CODE_BYTES_MAX`](crate::limits::CODE_BYTES_MAX) bytes.
    #[n(1)]
    pub code: String,
    /// One sentence for people;
    /// at most [`MESSAGE_BYTES_MAX`](crate::limits::MESSAGE_BYTES_MAX) bytes.
    #[n(2)]
    pub message: String,
    /// JSON Pointer of the field that is at fault, such as `/print_weight_in_grams`.
    #[n(3)]
    pub field: Option<String>,
}

/// A remark that changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Warning {
    /// Stable code for programs.
    #[n(0)]
    pub code: String,
    /// One sentence for people.
    #[n(1)]
    pub message: String,
}

/// Answer of `admission` and `transition`: allowed unless `deny` is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RuleOutput {
    /// The denial, if any.
    #[n(0)]
    pub deny: Option<Deny>,
    /// At most [`WARNINGS_MAX`](crate::limits::WARNINGS_MAX) remarks.
    #[n(1)]
    #[cbor(default)]
    pub warnings: Vec<Warning>,
}

/// Answer of `deduction`: passes (leaves it to the next binding) unless `take` is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeductionOutput {
    /// What to take; zero is an answer too, and ends the question.
    #[n(0)]
    pub take: Option<Grams>,
    /// Why, for the ledger.
    #[n(1)]
    #[cbor(default)]
    pub reason: String,
}

/// Answer of `check_config`: good unless `problem` is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ConfigVerdict {
    /// One sentence that says what is wrong.
    #[n(0)]
    pub problem: Option<String>,
    /// JSON Pointer into the configuration.
    #[n(1)]
    pub pointer: Option<String>,
}
