//! A module's manifest: a custom section of the module, read without running anything.

use alloc::string::String;
use alloc::vec::Vec;

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

/// What kind of thing a text in a configuration names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum NameKind {
    /// A state of the lifecycle. Activation puts the state's name in place of an alias.
    #[n(0)]
    State,
    /// A filament type.
    #[n(1)]
    Material,
    /// An actor.
    #[n(2)]
    Actor,
    /// The key of a label.
    #[n(3)]
    Label,
}

impl NameKind {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Material => "material",
            Self::Actor => "actor",
            Self::Label => "label",
        }
    }
}

/// Which texts of a configuration are names. Activation compares them with what they name, so that a
/// misspelt one is no rule that silently does nothing.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ConfigName {
    /// JSON Pointer (RFC 6901) within the configuration. A `*` stands for every item of a list or
    /// every value of a map.
    #[n(0)]
    pub pointer: String,
    /// What they name.
    #[n(1)]
    pub kind: NameKind,
    /// The names are the keys of the map at `pointer`, not the texts there.
    #[n(2)]
    #[cbor(default)]
    pub keys: bool,
    /// For states: the deduction never passes at a move to a state that is named here.
    #[n(3)]
    #[cbor(default)]
    pub decides: bool,
    /// The names that hold if the configuration leaves out the field that `pointer` begins with.
    #[n(4)]
    #[cbor(default)]
    pub default: Vec<String>,
}

impl ConfigName {
    const fn new(kind: NameKind) -> Self {
        Self {
            pointer: String::new(),
            kind,
            keys: false,
            decides: false,
            default: Vec::new(),
        }
    }

    /// Names of states; the pointer is empty.
    #[must_use]
    pub const fn state() -> Self {
        Self::new(NameKind::State)
    }

    /// Names of filament types; the pointer is empty.
    #[must_use]
    pub const fn material() -> Self {
        Self::new(NameKind::Material)
    }

    /// Names of actors; the pointer is empty.
    #[must_use]
    pub const fn actor() -> Self {
        Self::new(NameKind::Actor)
    }

    /// Keys of labels; the pointer is empty.
    #[must_use]
    pub const fn label() -> Self {
        Self::new(NameKind::Label)
    }

    /// The same, for the keys of a map.
    #[must_use]
    pub fn keys(mut self) -> Self {
        self.keys = true;
        self
    }

    /// The same, where the deduction never passes for the states that are named.
    #[must_use]
    pub fn decides(mut self) -> Self {
        self.decides = true;
        self
    }
}

/// What a module says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
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
    /// Which texts of the configuration are names; at most
    /// [`CONFIG_NAMES_MAX`](crate::limits::CONFIG_NAMES_MAX).
    #[n(7)]
    #[cbor(default)]
    pub config_names: Vec<ConfigName>,
    /// States at the move to which the deduction never passes, whatever the configuration; at most
    /// [`STATES_MAX`](crate::limits::STATES_MAX).
    #[n(8)]
    #[cbor(default)]
    pub decides: Vec<String>,
    /// Its deduction is for what no other binding decides: nobody is warned if it is never asked.
    #[n(9)]
    #[cbor(default)]
    pub fallback: bool,
}
