//! Events: what a reader of the stream is told about the change that an entry made.

use minicbor::{Decode, Encode};
use raft3d_sdk::{Grams, Hook};

use crate::ids::{BindingId, EventId, FilamentId, JobId, ModuleDigest, PrinterId, Revision};

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Event {
    /// (log index, sequence).
    #[n(0)]
    pub id: EventId,
    /// Log time, milliseconds since the Unix epoch.
    #[n(1)]
    pub at_ms: u64,
    /// What happened.
    #[n(2)]
    pub kind: EventKind,
}

/// What an event takes in its entry's row beside the texts in it, in bytes, at the most.
const EVENT_BYTES: usize = 48;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum EventKind {
    /// A printer was added.
    #[n(0)]
    PrinterCreated(#[n(0)] PrinterId),
    /// A filament was added.
    #[n(1)]
    FilamentCreated(#[n(0)] FilamentId),
    /// A job was added.
    #[n(2)]
    JobCreated(#[n(0)] JobId),
    /// A job changed its state.
    #[n(3)]
    JobStatusChanged {
        /// Job.
        #[n(0)]
        id: JobId,
        /// State that it left.
        #[n(1)]
        from: String,
        /// State that it entered.
        #[n(2)]
        to: String,
    },
    /// Filament was taken.
    #[n(4)]
    FilamentDeducted {
        /// Filament.
        #[n(0)]
        id: FilamentId,
        /// For this job.
        #[n(1)]
        job: JobId,
        /// How much.
        #[n(2)]
        amount: Grams,
    },
    /// A module was added.
    #[n(5)]
    ModuleUploaded(#[n(0)] ModuleDigest),
    /// A module was removed.
    #[n(6)]
    ModuleDeleted(#[n(0)] ModuleDigest),
    /// Another ruleset is active.
    #[n(7)]
    RulesetActivated(#[n(0)] Revision),
    /// A shadow binding would have decided so.
    #[n(8)]
    ShadowVerdict {
        /// Binding.
        #[n(0)]
        binding: BindingId,
        /// Job that it was asked about.
        #[n(1)]
        job: JobId,
        /// Hook.
        #[n(2)]
        hook: Hook,
        /// The code of its denial or failure; none where it would have allowed.
        #[n(3)]
        code: Option<String>,
    },
    /// Another engine epoch is in force.
    #[n(9)]
    EpochRaised(#[n(0)] u32),
    /// An operator adjusted the clock.
    #[n(30)]
    ClockAdjusted {
        /// How far log time was set ahead of the leaders' clocks, in milliseconds.
        #[n(0)]
        from_ms: u64,
        /// How far it is now.
        #[n(1)]
        to_ms: u64,
        /// Who asked for it.
        #[n(2)]
        by: String,
        /// Why.
        #[n(3)]
        reason: Option<String>,
    },
}

impl EventKind {
    /// How many bytes it takes in its entry's row, about.
    pub(crate) fn bytes(&self) -> u64 {
        let texts = match self {
            Self::PrinterCreated(id) => id.as_str().len(),
            Self::FilamentCreated(id) => id.as_str().len(),
            Self::JobCreated(id) => id.as_str().len(),
            Self::JobStatusChanged { id, from, to } => id.as_str().len() + from.len() + to.len(),
            Self::FilamentDeducted { id, job, .. } => id.as_str().len() + job.as_str().len(),
            Self::ShadowVerdict {
                binding, job, code, ..
            } => {
                let code = code.as_ref().map_or(0, String::len);
                binding.as_str().len() + job.as_str().len() + code
            }
            Self::ClockAdjusted { by, reason, .. } => {
                by.len() + reason.as_ref().map_or(0, String::len)
            }
            Self::ModuleUploaded(_)
            | Self::ModuleDeleted(_)
            | Self::RulesetActivated(_)
            | Self::EpochRaised(_) => 0,
        };
        u64::try_from(EVENT_BYTES + texts).unwrap_or(u64::MAX)
    }
}
