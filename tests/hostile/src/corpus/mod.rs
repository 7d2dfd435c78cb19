//! Modules that mean harm, each with what must become of it.
//!
//! One table, for the engine's tests and for real clusters: a module is refused at upload with its
//! code, or stands in the way of an activation, or is asked and answers as it stands here, on every
//! engine and every node alike.

mod allocations;
mod answers;
mod bytes;
mod compiling;
mod features;
mod interface;
mod keeping;
mod manifests;
mod memory;
mod shapes;
mod time;
mod traps;

use std::collections::BTreeSet;

use raft3d_core::PolicyError;
use raft3d_sdk::Hook;

use crate::guest::Guest;

/// One module.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name, which no other has; also the one in its manifest, where it has one.
    pub name: String,
    /// What it does.
    pub does: &'static str,
    /// The module.
    pub bytes: Vec<u8>,
    /// The hook that is asked.
    pub hook: Hook,
    /// What must become of it.
    pub expected: Expected,
}

/// What must become of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The static check refuses it, with this code.
    Refused(&'static str),
    /// The static check takes it, and the server refuses it at upload, with this code.
    RefusedByServer(&'static str),
    /// It is taken, and no ruleset with it can be activated: its `check_config` fails so, or says
    /// that no configuration is good.
    Unbound(Option<PolicyError>),
    /// It is taken, can be bound, and this comes of asking it.
    Answers(Outcome),
    /// As [`Answers`](Self::Answers), where it could be compiled within the limits of an upload:
    /// how much that takes depends on the machine.
    Heavy(Outcome),
}

/// What comes of asking a module.
#[derive(Clone, Debug, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It allows.
    Allows,
    /// It denies, with this code.
    Denies(&'static str),
    /// It passes.
    Passes,
    /// It takes so many milligrams.
    Takes(u64),
    /// It gives no usable answer.
    Fails(PolicyError),
}

impl Outcome {
    /// As decision records have it: kind and code.
    #[must_use]
    pub const fn recorded(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Allows => ("allow", None),
            Self::Denies(code) => ("deny", Some(code)),
            Self::Passes => ("pass", None),
            Self::Takes(_) => ("take", None),
            Self::Fails(error) => ("failed", Some(error.code())),
        }
    }
}

impl Entry {
    /// Of a guest whose manifest tells the truth.
    fn new(name: &str, does: &'static str, guest: Guest, expected: Expected) -> Self {
        let bytes = guest.bytes(name);
        Self {
            hook: guest.hook,
            ..Self::raw(name, does, bytes, expected)
        }
    }

    fn refused(name: &str, does: &'static str, guest: Guest, code: &'static str) -> Self {
        Self::new(name, does, guest, Expected::Refused(code))
    }

    fn fails(name: &str, does: &'static str, guest: Guest, error: PolicyError) -> Self {
        Self::new(name, does, guest, Expected::Answers(Outcome::Fails(error)))
    }

    fn allows(name: &str, does: &'static str, guest: Guest) -> Self {
        Self::new(name, does, guest, Expected::Answers(Outcome::Allows))
    }

    /// Of any bytes.
    fn raw(name: &str, does: &'static str, bytes: Vec<u8>, expected: Expected) -> Self {
        Self {
            name: name.to_owned(),
            does,
            bytes,
            hook: Hook::Admission,
            expected,
        }
    }

    /// What comes of asking it; none where it cannot come to that.
    #[must_use]
    pub const fn outcome(&self) -> Option<Outcome> {
        match self.expected {
            Expected::Answers(outcome) | Expected::Heavy(outcome) => Some(outcome),
            _ => None,
        }
    }
}

/// A body of `raft3d_alloc` that does `alloc` for inputs alone, so that the module can be bound: an
/// empty configuration is one byte.
fn for_inputs(alloc: &str) -> String {
    format!(
        "(if (result i32) (i32.gt_u (local.get 0) (i32.const 1))
           (then {alloc}) (else (i32.const 1024)))"
    )
}

/// Every module.
///
/// # Panics
/// Two have one name.
#[must_use]
pub fn all() -> Vec<Entry> {
    let parts = [
        time::entries(),
        memory::entries(),
        shapes::entries(),
        features::entries(),
        interface::entries(),
        manifests::entries(),
        allocations::entries(),
        answers::entries(),
        traps::entries(),
        keeping::entries(),
        bytes::entries(),
        compiling::entries(),
    ];
    let all: Vec<_> = parts.into_iter().flatten().collect();
    let mut names = BTreeSet::new();
    for entry in &all {
        assert!(names.insert(&entry.name), "two modules are {}", entry.name);
    }
    all
}
