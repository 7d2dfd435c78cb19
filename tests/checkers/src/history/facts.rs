//! Rows, ledger lines and events as the judges see them.

use serde::{Deserialize, Serialize};

use super::ops::NodeName;

/// A printer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PrinterFacts {
    /// Id.
    pub id: String,
}

/// A filament.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FilamentFacts {
    /// Id.
    pub id: String,
    /// Weight when full, in milligrams.
    pub total_mg: u64,
    /// Weight that is left, in milligrams.
    pub remaining_mg: u64,
    /// What open jobs reserve, in milligrams.
    pub reserved_mg: u64,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct JobFacts {
    /// Id.
    pub id: String,
    /// Its printer.
    pub printer: String,
    /// Its filament.
    pub filament: String,
    /// What it weighs, in milligrams.
    pub weight_mg: u64,
    /// Display name of its state.
    pub status: String,
    /// Priority.
    pub priority: i32,
    /// What it has taken from the filament so far, in milligrams.
    pub deducted_mg: u64,
    /// The path of its model file: the tag of the request that made it.
    pub tag: String,
    /// Log index of its last change.
    pub revision: u64,
    /// What must differ between two requests and be the same on all replicas: its times of creation
    /// and change, in milliseconds of log time, where the answer shows them.
    pub stamps_ms: Option<(u64, u64)>,
}

/// Which way grams went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerWay {
    /// What remained when the filament was added.
    Loaded,
    /// Taken by a job.
    Deducted,
    /// Added by an adjustment.
    AdjustedUp,
    /// Taken by an adjustment.
    AdjustedDown,
}

/// A line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LedgerFacts {
    /// The filament.
    pub filament: String,
    /// Log index of the entry that wrote it.
    pub revision: u64,
    /// Which way.
    pub way: LedgerWay,
    /// How much, in milligrams.
    pub amount_mg: u64,
    /// For which job.
    pub job: Option<String>,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventFacts {
    /// Log index of the entry that emitted it.
    pub revision: u64,
    /// Its place among that entry's events, from 0.
    pub sequence: u32,
    /// Log time, in milliseconds.
    pub at_ms: u64,
    /// What happened.
    pub what: EventWhat,
}

/// What an event tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventWhat {
    /// A printer was added.
    PrinterCreated(String),
    /// A filament was added.
    FilamentCreated(String),
    /// A job was added.
    JobCreated(String),
    /// A job changed its state.
    JobStatusChanged {
        /// The job.
        job: String,
        /// State that it left.
        from: String,
        /// State that it entered.
        to: String,
    },
    /// Filament was taken.
    FilamentDeducted {
        /// The filament.
        filament: String,
        /// The job.
        job: String,
        /// How much, in milligrams.
        amount_mg: u64,
    },
    /// A module was added; its SHA-256 in hexadecimal.
    ModuleUploaded(String),
    /// Another ruleset is active; its revision.
    RulesetActivated(u64),
    /// Anything else, as text.
    Other(String),
}

/// What the policies decided about one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionFacts {
    /// Log index of the entry.
    pub revision: u64,
    /// The engine epoch that it was computed under.
    pub epoch: u32,
    /// The job in question.
    pub job: String,
    /// The code of the enforcing binding that denied it, or gave no usable answer.
    pub denied: Option<String>,
    /// What the first enforcing binding that did not pass takes, in milligrams.
    pub taken_mg: Option<u64>,
}

/// What one node held when everything was over. A part that was not collected is none, and judges
/// say that they did not look at it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFinals {
    /// The node.
    pub node: NodeName,
    /// Its applied index.
    pub applied: u64,
    /// Its digest at that index, in hexadecimal; empty where it was not collected.
    pub digest: String,
    /// Digests at checkpoints: (index, hexadecimal).
    pub checkpoints: Vec<(u64, String)>,
    /// All printers.
    pub printers: Option<Vec<PrinterFacts>>,
    /// All filaments.
    pub filaments: Option<Vec<FilamentFacts>>,
    /// All jobs.
    pub jobs: Option<Vec<JobFacts>>,
    /// The whole ledger of all filaments.
    pub ledger: Option<Vec<LedgerFacts>>,
    /// All events that are kept, oldest first.
    pub events: Option<Vec<EventFacts>>,
    /// The newest event that has left the window: (log index, sequence).
    pub events_deleted_to: Option<(u64, u32)>,
    /// All decision records that are kept, oldest first.
    pub decisions: Option<Vec<DecisionFacts>>,
}
