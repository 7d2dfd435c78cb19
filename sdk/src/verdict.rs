//! What a policy answers.

use alloc::string::String;
use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::config::ConfigError;
use crate::limits::{
    CODE_BYTES_MAX, MESSAGE_BYTES_MAX, POINTER_BYTES_MAX, TEXT_BYTES_MAX, WARNINGS_MAX,
};
use crate::quantity::Grams;
use crate::text::{concat, tidy, tidy_pointer};

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
    /// Stable code for programs, such as `weight_exceeds_available`: `a-z`, `0-9` and `_`,
    /// at most [`CODE_BYTES_MAX`] bytes.
    #[n(1)]
    pub code: String,
    /// One sentence for people;
    /// at most [`MESSAGE_BYTES_MAX`] bytes.
    #[n(2)]
    pub message: String,
    /// JSON Pointer (RFC 6901) of the field that is at fault, such as `/print_weight_in_grams`, at
    /// most [`POINTER_BYTES_MAX`] bytes.
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
    /// At most [`WARNINGS_MAX`] remarks.
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

impl Deny {
    /// A rule says no (class [`DenyClass::Denied`]).
    #[must_use]
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            class: DenyClass::Denied,
            code: code.into(),
            message: message.into(),
            field: None,
        }
    }

    /// The lifecycle has no such transition (class [`DenyClass::IllegalTransition`]).
    #[must_use]
    pub fn illegal_transition(message: impl Into<String>) -> Self {
        Self {
            class: DenyClass::IllegalTransition,
            ..Self::new("illegal_transition", message)
        }
    }

    /// The same with the JSON Pointer of the field that is at fault.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

impl RuleOutput {
    /// Allowed, without a remark.
    #[must_use]
    pub const fn allow() -> Self {
        Self {
            deny: None,
            warnings: Vec::new(),
        }
    }

    /// The same with a remark more.
    #[must_use]
    pub fn warn(mut self, code: impl Into<String>, message: impl Into<String>) -> Self {
        self.warnings.push(Warning {
            code: code.into(),
            message: message.into(),
        });
        self
    }

    /// The answer with every field cut to its limit, so that a long id in a message does not turn
    /// a denial with a reason into one without.
    #[must_use]
    pub(crate) fn tidy(mut self) -> Self {
        if let Some(deny) = &mut self.deny {
            tidy(&mut deny.code, CODE_BYTES_MAX);
            tidy(&mut deny.message, MESSAGE_BYTES_MAX);
            tidy_pointer(&mut deny.field, POINTER_BYTES_MAX);
        }
        self.warnings.truncate(WARNINGS_MAX);
        for warning in &mut self.warnings {
            tidy(&mut warning.code, CODE_BYTES_MAX);
            tidy(&mut warning.message, MESSAGE_BYTES_MAX);
        }
        self
    }
}

impl From<Deny> for RuleOutput {
    fn from(deny: Deny) -> Self {
        Self {
            deny: Some(deny),
            warnings: Vec::new(),
        }
    }
}

/// Lets a rule be a chain of checks with `?`.
impl From<Result<(), Deny>> for RuleOutput {
    fn from(result: Result<(), Deny>) -> Self {
        result.map_or_else(Self::from, |()| Self::allow())
    }
}

impl DeductionOutput {
    /// Leaves it to the next binding.
    #[must_use]
    pub const fn pass() -> Self {
        Self {
            take: None,
            reason: String::new(),
        }
    }

    /// Takes `grams`, which may be zero, and ends the question.
    #[must_use]
    pub fn take(grams: Grams, reason: impl Into<String>) -> Self {
        Self {
            take: Some(grams),
            reason: reason.into(),
        }
    }

    /// The answer with its reason cut to the limit.
    #[must_use]
    pub(crate) fn tidy(mut self) -> Self {
        tidy(&mut self.reason, TEXT_BYTES_MAX);
        self
    }
}

impl ConfigVerdict {
    /// Nothing is wrong.
    #[must_use]
    pub const fn good() -> Self {
        Self {
            problem: None,
            pointer: None,
        }
    }

    /// The field at `pointer` (RFC 6901; empty for the whole) is not good.
    #[must_use]
    pub fn bad(pointer: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            problem: Some(problem.into()),
            pointer: Some(pointer.into()),
        }
    }

    /// The answer with every field cut to its limit.
    #[must_use]
    pub(crate) fn tidy(mut self) -> Self {
        if let Some(problem) = &mut self.problem {
            tidy(problem, MESSAGE_BYTES_MAX);
        }
        tidy_pointer(&mut self.pointer, POINTER_BYTES_MAX);
        self
    }
}

/// Lets `check_config` be a chain of checks with `?`.
impl From<Result<(), ConfigError>> for ConfigVerdict {
    fn from(result: Result<(), ConfigError>) -> Self {
        result.map_or_else(Self::from, |()| Self::good())
    }
}

impl From<ConfigError> for ConfigVerdict {
    fn from(error: ConfigError) -> Self {
        let field = if error.pointer.is_empty() {
            "the configuration"
        } else {
            &error.pointer
        };
        let problem = concat(&[field, " ", error.problem]);
        Self::bad(error.pointer, problem)
    }
}
