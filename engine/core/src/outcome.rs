//! What applying an entry came to.

use minicbor::{Decode, Encode};

use crate::event::Event;
use crate::ids::{ModuleDigest, Revision};
use crate::rejection::Rejection;
use crate::state::filaments::Filament;
use crate::state::jobs::Job;
use crate::state::modules::ModuleInfo;
use crate::state::printers::Printer;
use crate::state::rulesets::RulesetRevision;

/// What the client is told. Stored with the request id, so that a retry is told the same.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Response {
    /// It was done.
    #[n(0)]
    Accepted(#[n(0)] Accepted),
    /// It was refused; nothing changed.
    #[n(1)]
    Rejected(#[n(0)] Rejection),
}

impl Response {
    /// What is kept of it for retries under a client's key.
    #[must_use]
    pub(crate) fn remembered(&self) -> Self {
        match self {
            Self::Accepted(accepted) => Self::Accepted(accepted.clone()),
            Self::Rejected(rejection) => Self::Rejected(rejection.remembered()),
        }
    }
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Accepted {
    /// The printer as it is now.
    #[n(0)]
    Printer(#[n(0)] Printer),
    /// The filament as it is now.
    #[n(1)]
    Filament(#[n(0)] Filament),
    /// The job as it is now.
    #[n(2)]
    Job(#[n(0)] Job),
    /// The module, and whether it was new.
    #[n(3)]
    Module(#[n(0)] ModuleInfo, #[n(1)] bool),
    /// The module is gone.
    #[n(4)]
    ModuleDeleted(#[n(0)] ModuleDigest),
    /// The ruleset that is active now.
    #[n(5)]
    Ruleset(#[n(0)] RulesetRevision),
    /// Nothing to show.
    #[n(6)]
    Done,
}

/// What applying one entry came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Log index of the entry that did it: of the first one, where this was a retry.
    pub revision: Revision,
    /// Whether the answer was stored from an earlier entry with the same request id.
    pub replayed: bool,
    /// For the client.
    pub response: Response,
    /// For the event stream; none for a retry.
    pub events: Vec<Event>,
    /// Since when this actor's keys are certain, log time in milliseconds: what was asked under one then
    /// or later is remembered. 0 since ever; none if a node chose the request's id.
    pub certain_since_ms: Option<u64>,
}
