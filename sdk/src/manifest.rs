//! A module's manifest: a custom section of the module, read without running anything.

use alloc::string::String;

use minicbor::{Decode, Encode};

use crate::lifecycle::Lifecycle;

/// Name of the custom section that holds the manifest as CBOR.
pub const SECTION: &str = "raft3d:manifest";

/// The ABI that this SDK speaks.
pub const ABI_VERSION: u32 = 1;

/// A question that a policy answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Hook {
    /// May this job be created?
    #[n(0)]
    Admission,
    /// May this job's status change so?
    #[n(1)]
    Transition,
    /// How much filament does this transition take?
    #[n(2)]
    Deduction,
}

impl Hook {
    /// Every hook, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Admission, Self::Transition, Self::Deduction];

    /// Name of the hook and of the module's export that answers it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::Transition => "transition",
            Self::Deduction => "deduction",
        }
    }

    /// The hook of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.name() == name)
    }
}

/// A set of hooks. Encoded as a bit set: bit 0 admission, bit 1 transition, bit 2 deduction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct HookSet(#[n(0)] u8);

impl HookSet {
    /// The set of `hooks`.
    #[must_use]
    pub const fn of(hooks: &[Hook]) -> Self {
        let mut bits = 0;
        let mut rest = hooks;
        while let [first, tail @ ..] = rest {
            bits |= 1 << (*first as u8);
            rest = tail;
        }
        Self(bits)
    }

    /// The bit set, as it is encoded.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether `hook` is in the set.
    #[must_use]
    pub const fn contains(self, hook: Hook) -> bool {
        self.0 & (1 << (hook as u8)) != 0
    }

    /// Whether no hook is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether every hook of `other` is in the set.
    #[must_use]
    pub const fn contains_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The hooks in the set.
    pub fn iter(self) -> impl Iterator<Item = Hook> {
        Hook::ALL
            .into_iter()
            .filter(move |hook| self.contains(*hook))
    }
}

/// What a module says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Manifest {
    /// ABI version, [`ABI_VERSION`] today.
    #[n(0)]
    pub abi: u32,
    /// Name, such as `standard-lifecycle`.
    #[n(1)]
    pub name: String,
    /// Version, such as `1.0.0`.
    #[n(2)]
    pub version: String,
    /// One sentence.
    #[n(3)]
    pub description: String,
    /// The hooks that the module exports.
    #[n(4)]
    pub hooks: HookSet,
    /// JSON Schema (2020-12) of the configuration, as JSON text; none where it takes none.
    #[n(5)]
    pub config_schema: Option<String>,
    /// The lifecycle that the module declares, if any.
    #[n(6)]
    pub lifecycle: Option<Lifecycle>,
}
