//! Operations: what a client asked, when, of whom, and what it was told.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::facts::{EventFacts, FilamentFacts, JobFacts, PrinterFacts};

/// Nanoseconds of one monotonic clock that all clients of a history share.
pub type Nanos = u64;

/// A point of a history's clock that prints as seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub Nanos);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 1_000);
        write!(f, "{seconds}.{micros:06}s")
    }
}

/// Id of a node.
pub type NodeName = u64;

/// One attempt of one client. A client has one attempt under way at a time; a retry under the same
/// request key is an operation of its own with the next `attempt`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Who.
    pub client: u32,
    /// The node that was asked, where it is known.
    pub node: Option<NodeName>,
    /// When it was sent.
    pub invoked: Nanos,
    /// When the answer came; none where none came.
    pub returned: Option<Nanos>,
    /// Of a write: its exactly-once id.
    pub request: Option<RequestKey>,
    /// What was asked.
    pub op: Op,
    /// What came of it.
    pub answer: Answer,
}

/// The id under which a write is done once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestKey {
    /// Who asks: ids of different actors have nothing to do with each other.
    pub actor: String,
    /// The id (`Idempotency-Key`).
    pub id: String,
    /// Which try it is, from 0.
    pub attempt: u32,
}

/// What is asked. Ids that are left out are made by the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Op {
    /// Adds a printer.
    CreatePrinter {
        /// Its id.
        id: Option<String>,
    },
    /// Adds a filament.
    CreateFilament {
        /// Its id.
        id: Option<String>,
        /// Weight when full, in milligrams.
        total_mg: u64,
        /// Weight that is left, in milligrams.
        remaining_mg: u64,
    },
    /// Adds a job.
    CreateJob {
        /// Its id.
        id: Option<String>,
        /// Its printer.
        printer: String,
        /// Its filament.
        filament: String,
        /// What it weighs, in milligrams.
        weight_mg: u64,
        /// Its priority.
        priority: i32,
        /// A text that no other request of the history has: the path of the model file. It tells
        /// the effects of requests apart where the cluster makes the ids.
        tag: String,
    },
    /// Asks for a job's transition.
    SetStatus {
        /// The job.
        job: String,
        /// State asked for, by its display name.
        to: String,
        /// Milligrams really used, where they are reported.
        used_mg: Option<u64>,
        /// Asks to go past a rule that allows it.
        wants_override: bool,
    },
    /// Takes the next queued job of a printer.
    Claim {
        /// The printer.
        printer: String,
    },
    /// Corrects what is left of a filament.
    AdjustFilament {
        /// The filament.
        filament: String,
        /// By how much, in milligrams; negative takes away.
        delta_mg: i64,
    },
    /// Changes a job's priority.
    SetPriority {
        /// The job.
        job: String,
        /// The new priority.
        priority: i32,
    },
    /// Deletes a job.
    DeleteJob {
        /// The job.
        job: String,
    },
    /// Uploads a module.
    UploadPolicy {
        /// SHA-256 of the module, in hexadecimal.
        module: String,
    },
    /// Makes a ruleset the active one.
    ActivateRuleset {
        /// What the ruleset is, in a word that no other activation of the history has.
        name: String,
        /// Compare-and-set: the revision that must be active.
        expected: Option<u64>,
    },
    /// Reads one job.
    ReadJob {
        /// The job.
        job: String,
        /// How fresh.
        consistency: Consistency,
    },
    /// Reads one filament.
    ReadFilament {
        /// The filament.
        filament: String,
        /// How fresh.
        consistency: Consistency,
    },
    /// Reads one printer.
    ReadPrinter {
        /// The printer.
        printer: String,
        /// How fresh.
        consistency: Consistency,
    },
    /// Reads which ruleset is active.
    ReadRuleset {
        /// How fresh.
        consistency: Consistency,
    },
    /// Lists jobs.
    ListJobs {
        /// How fresh.
        consistency: Consistency,
        /// Whether the answer holds every job there is: no filter and no further page.
        complete: bool,
    },
    /// Reads events after a place.
    ReadEvents {
        /// (log index, sequence) after which to begin; from the oldest that is kept where it is
        /// left out.
        after: Option<(u64, u32)>,
    },
}

impl Op {
    /// How fresh a read must be; none for a write.
    #[must_use]
    pub fn consistency(&self) -> Option<Consistency> {
        match self {
            Self::ReadJob { consistency, .. }
            | Self::ReadFilament { consistency, .. }
            | Self::ReadPrinter { consistency, .. }
            | Self::ReadRuleset { consistency }
            | Self::ListJobs { consistency, .. } => Some(*consistency),
            Self::ReadEvents { .. } => Some(Consistency::Stale { min_revision: None }),
            _ => None,
        }
    }

    /// Whether it asks for a change.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.consistency().is_none()
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// Sees every write acknowledged before the read began.
    Linearizable,
    /// What the replica has.
    Stale {
        /// At least this revision.
        min_revision: Option<u64>,
    },
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was done, or read.
    Accepted {
        /// Of a write: the log index of the entry that did it. Of a read: the applied index.
        revision: u64,
        /// Whether it is the stored answer of an earlier attempt.
        replayed: bool,
        /// What the answer shows.
        facts: Facts,
    },
    /// It was refused by the rules; nothing changed. A read of what is not there is not refused:
    /// it shows [`Facts::Absent`].
    Rejected {
        /// Why.
        why: Refusal,
        /// The code that a policy gave, where one refused: `weight_exceeds_available`.
        code: Option<String>,
        /// Log index of the entry that was refused, where the answer names it.
        revision: Option<u64>,
        /// Whether it is the stored answer of an earlier attempt.
        replayed: bool,
    },
    /// It may have happened, may yet happen at any later time, or never.
    Unknown,
    /// It certainly did not happen, and will not.
    Never,
}

impl Answer {
    /// A first answer that shows `facts`.
    #[must_use]
    pub const fn accepted(revision: u64, facts: Facts) -> Self {
        Self::Accepted {
            revision,
            replayed: false,
            facts,
        }
    }

    /// The revision, where it names one.
    #[must_use]
    pub fn revision(&self) -> Option<u64> {
        match self {
            Self::Accepted { revision, .. } => Some(*revision),
            Self::Rejected { revision, .. } => *revision,
            Self::Unknown | Self::Never => None,
        }
    }

    /// Whether it is the stored answer of an earlier attempt.
    #[must_use]
    pub fn replayed(&self) -> bool {
        match self {
            Self::Accepted { replayed, .. } | Self::Rejected { replayed, .. } => *replayed,
            Self::Unknown | Self::Never => false,
        }
    }
}

/// What an accepted answer shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Facts {
    /// Nothing that the judges look at.
    None,
    /// What was read is not there, or there is nothing to claim.
    Absent,
    /// A printer.
    Printer(PrinterFacts),
    /// A filament.
    Filament(FilamentFacts),
    /// A job.
    Job(JobFacts),
    /// Jobs, by id.
    Jobs(Vec<JobFacts>),
    /// Events, oldest first.
    Events(Vec<EventFacts>),
    /// The active ruleset: the name that its activation had, empty for the one of the bootstrap.
    Ruleset(String),
}

/// Why something was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// A field's value is not acceptable.
    InvalidField,
    /// What is addressed is not there.
    NotFound,
    /// The id is taken.
    AlreadyExists,
    /// A field names something that is not there.
    UnknownReference,
    /// No lifecycle has that state.
    UnknownState,
    /// The job cannot go there from where it is.
    IllegalTransition,
    /// A policy denied.
    PolicyDenied,
    /// A policy gave no usable answer.
    PolicyFailed,
    /// More than is left would be taken.
    DeductionExceedsRemaining,
    /// More than is available would be reserved.
    ReservationExceedsAvailable,
    /// Another revision than the expected one is active.
    RevisionMismatch,
    /// The same request id with another request.
    RequestMismatch,
    /// Older than its deadline when its turn came. Not remembered.
    DeadlineExceeded,
    /// Too many requests are remembered or wait. Not remembered.
    TooManyRequests,
    /// The key may have been used before, and its answer be forgotten. Not remembered, and not run: it
    /// says nothing of earlier attempts.
    KeyTooOld,
    /// The cluster has no rules yet. Not remembered.
    NotBootstrapped,
    /// Another refusal, by its name.
    Other(String),
}

impl Refusal {
    /// The refusal with the name that the HTTP API gives it (the last part of a problem's `type`,
    /// such as `illegal-transition`).
    #[must_use]
    pub fn from_slug(slug: &str) -> Self {
        match slug {
            "invalid-field" => Self::InvalidField,
            "not-found" => Self::NotFound,
            "already-exists" => Self::AlreadyExists,
            "unknown-reference" => Self::UnknownReference,
            "unknown-state" => Self::UnknownState,
            "illegal-transition" => Self::IllegalTransition,
            "policy-denied" => Self::PolicyDenied,
            "policy-failed" => Self::PolicyFailed,
            "deduction-exceeds-remaining" => Self::DeductionExceedsRemaining,
            "reservation-exceeds-available" => Self::ReservationExceedsAvailable,
            "revision-mismatch" => Self::RevisionMismatch,
            "request-mismatch" => Self::RequestMismatch,
            "deadline-exceeded" => Self::DeadlineExceeded,
            "overloaded" | "too-many-keys" => Self::TooManyRequests,
            "key-too-old" => Self::KeyTooOld,
            "not-bootstrapped" => Self::NotBootstrapped,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Whether the answer is kept with the request id: a later attempt is then told the same.
    #[must_use]
    pub fn is_remembered(&self) -> bool {
        !matches!(
            self,
            Self::RequestMismatch
                | Self::DeadlineExceeded
                | Self::TooManyRequests
                | Self::KeyTooOld
                | Self::NotBootstrapped
        )
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            client,
            node,
            invoked,
            returned,
            request,
            op,
            answer,
        } = self;
        write!(f, "client {client}")?;
        if let Some(node) = node {
            write!(f, " at node {node}")?;
        }
        match returned {
            Some(returned) => write!(f, " [{} .. {}]", Moment(*invoked), Moment(*returned))?,
            None => write!(f, " [{} .. no answer]", Moment(*invoked))?,
        }
        if let Some(RequestKey { id, attempt, .. }) = request {
            write!(f, " {id}#{attempt}")?;
        }
        write!(f, ": {op:?} -> {answer:?}")
    }
}
