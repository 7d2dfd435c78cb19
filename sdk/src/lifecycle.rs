//! A lifecycle: the states that a job can be in, as data that a policy declares.

use alloc::string::String;
use alloc::vec::Vec;

use minicbor::{Decode, Encode};

/// One state of a lifecycle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct State {
    /// Display name and identity, such as `Running`. Matched without regard to ASCII case.
    #[n(0)]
    pub name: String,
    /// Other spellings that requests may use, such as `Cancelled`.
    #[n(1)]
    #[cbor(default)]
    pub aliases: Vec<String>,
    /// Jobs start here. Exactly one state is initial.
    #[n(2)]
    #[cbor(default)]
    pub initial: bool,
    /// Jobs never leave it.
    #[n(3)]
    #[cbor(default)]
    pub terminal: bool,
    /// Jobs in it reserve what they still need of their filament.
    #[n(4)]
    #[cbor(default)]
    pub reserves: bool,
    /// Jobs in it occupy their printer.
    #[n(5)]
    #[cbor(default)]
    pub occupies: bool,
}

/// The transition that claiming a job makes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Claim {
    /// Name of the state that claimable jobs are in.
    #[n(0)]
    pub from: String,
    /// Name of the state that a claimed job enters.
    #[n(1)]
    pub to: String,
}

/// The states of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Lifecycle {
    /// The states, in display order; at most [`STATES_MAX`](crate::limits::STATES_MAX).
    #[n(0)]
    pub states: Vec<State>,
    /// What claiming does, where it is possible.
    #[n(1)]
    pub claim: Option<Claim>,
    /// Statuses that a client may give to a new job and that mean the initial state, though they
    /// may name another one: `Queued` keeps clients that know the standard lifecycle alone. At most
    /// [`ALIASES_MAX`](crate::limits::ALIASES_MAX).
    #[n(2)]
    #[cbor(default)]
    pub created_as: Vec<String>,
}

impl Lifecycle {
    /// The state that `text` names, by its name or an alias, without regard to ASCII case.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<&State> {
        self.states.iter().find(|state| state.is_named(text))
    }

    /// Whether a new job may be given the status `text`: the initial state, or what means it there
    /// (`created_as`).
    #[must_use]
    pub fn starts_as(&self, text: &str) -> bool {
        let alias = |alias: &String| alias.eq_ignore_ascii_case(text);
        self.created_as.iter().any(alias) || self.find(text).is_some_and(|state| state.initial)
    }

    /// The state that jobs start in.
    #[must_use]
    pub fn initial(&self) -> Option<&State> {
        self.states.iter().find(|state| state.initial)
    }
}

impl State {
    /// Whether `text` is this state's name or alias, without regard to ASCII case.
    #[must_use]
    pub fn is_named(&self, text: &str) -> bool {
        self.name.eq_ignore_ascii_case(text)
            || self
                .aliases
                .iter()
                .any(|alias| alias.eq_ignore_ascii_case(text))
    }
}
