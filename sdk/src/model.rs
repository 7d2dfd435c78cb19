//! What a policy sees: borrowed views of the job, the printer and the filament.
//!
//! Every map has integer keys. A later host may add keys; a guest must skip keys it does not know
//! (minicbor's derive does).

use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::quantity::Grams;

/// A label: `[key, value]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Label<'a> {
    /// The label's key, unique within its owner.
    #[b(0)]
    pub key: &'a str,
    /// The label's value.
    #[b(1)]
    pub value: &'a str,
}

/// A print job as it stands before the decision.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JobView<'a> {
    /// Id.
    #[b(0)]
    pub id: &'a str,
    /// Id of the printer.
    #[b(1)]
    pub printer_id: &'a str,
    /// Id of the filament.
    #[b(2)]
    pub filament_id: &'a str,
    /// Path of the model file.
    #[b(3)]
    pub filepath: &'a str,
    /// Weight that the slicer expects the print to take.
    #[n(4)]
    pub print_weight: Grams,
    /// Name of its present state; in `admission`, the lifecycle's initial state.
    #[b(5)]
    pub status: &'a str,
    /// Priority: higher is sooner.
    #[n(6)]
    pub priority: i32,
    /// Labels, sorted by key.
    #[b(7)]
    pub labels: Vec<Label<'a>>,
    /// Who created it.
    #[b(8)]
    pub created_by: &'a str,
    /// Log time of its creation, milliseconds since the Unix epoch.
    #[n(9)]
    pub created_at_ms: u64,
    /// What it has taken from the filament so far.
    #[n(10)]
    pub deducted: Grams,
}

/// Whether a printer may take jobs. Encoded as an integer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum PrinterStatus {
    /// In use.
    #[default]
    #[n(0)]
    Active,
    /// Not usable for now.
    #[n(1)]
    Maintenance,
    /// Never used again.
    #[n(2)]
    Retired,
}

/// A printer with its load, the job in question not counted.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PrinterView<'a> {
    /// Id.
    #[b(0)]
    pub id: &'a str,
    /// Maker.
    #[b(1)]
    pub company: &'a str,
    /// Model.
    #[b(2)]
    pub model: &'a str,
    /// Status.
    #[n(3)]
    pub status: PrinterStatus,
    /// Labels, sorted by key.
    #[b(4)]
    pub labels: Vec<Label<'a>>,
    /// Other jobs on this printer that are not in a terminal state.
    #[n(5)]
    pub open_jobs: u64,
    /// Other jobs on this printer whose state occupies it.
    #[n(6)]
    pub occupying_jobs: u64,
}

/// A filament with what others reserve of it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct FilamentView<'a> {
    /// Id.
    #[b(0)]
    pub id: &'a str,
    /// Material, such as `PLA` (the API's field `type`).
    #[b(1)]
    pub material: &'a str,
    /// Color.
    #[b(2)]
    pub color: &'a str,
    /// Weight when it was full.
    #[n(3)]
    pub total: Grams,
    /// Weight that is left.
    #[n(4)]
    pub remaining: Grams,
    /// What the other jobs reserve of it (may exceed `remaining`: over-reserved).
    #[n(5)]
    pub reserved_by_others: Grams,
    /// Whether it was put away.
    #[n(6)]
    pub archived: bool,
}

/// What the jobs of the actor who created the job in question add up to, that job not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ActorView {
    /// Their other jobs that are not in a terminal state.
    #[n(0)]
    pub open_jobs: u64,
    /// What these reserve of all filaments together, in milligrams: a sum over filaments, which may
    /// exceed the largest weight.
    #[n(1)]
    pub reserved_mg: u64,
}

/// What the caller of a transition reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Reported<'a> {
    /// Grams really used.
    #[n(0)]
    pub used: Option<Grams>,
    /// Why.
    #[b(1)]
    pub reason: Option<&'a str>,
    /// The caller asks to go past a rule that allows it. It is the rule that decides.
    #[n(2)]
    pub wants_override: bool,
}

impl JobView<'_> {
    /// What it still needs of its filament: its weight less what it took so far.
    #[must_use]
    pub const fn rest(&self) -> Grams {
        self.print_weight.saturating_sub(self.deducted)
    }
}

impl FilamentView<'_> {
    /// What is left of it for the job in question; zero where others reserve all.
    #[must_use]
    pub const fn available(&self) -> Grams {
        self.remaining.saturating_sub(self.reserved_by_others)
    }
}

impl Reported<'_> {
    /// Whether the caller asks to go past a rule that can be passed with a reason of at least
    /// `reason_chars_min` characters, and gives such a reason. `None`: the rule cannot be passed.
    #[must_use]
    pub fn overrides(&self, reason_chars_min: Option<u16>) -> bool {
        let reason = self.reason.unwrap_or_default().trim();
        self.wants_override
            && reason_chars_min.is_some_and(|min| reason.chars().count() >= usize::from(min))
    }
}

/// Input of the hook `admission`: a job is to be created.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AdmissionInput<'a> {
    /// Log time, milliseconds since the Unix epoch.
    #[n(0)]
    pub now_ms: u64,
    /// Who asks.
    #[b(1)]
    pub actor: &'a str,
    /// The new job.
    #[b(2)]
    pub job: JobView<'a>,
    /// Its printer.
    #[b(3)]
    pub printer: PrinterView<'a>,
    /// Its filament.
    #[b(4)]
    pub filament: FilamentView<'a>,
    /// What else its creator has: the actor who asks.
    #[n(5)]
    pub creator: ActorView,
}

/// Input of the hook `transition`: a job's status is to change to `to`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TransitionInput<'a> {
    /// Log time, milliseconds since the Unix epoch.
    #[n(0)]
    pub now_ms: u64,
    /// Who asks.
    #[b(1)]
    pub actor: &'a str,
    /// The job as it is.
    #[b(2)]
    pub job: JobView<'a>,
    /// Its printer.
    #[b(3)]
    pub printer: PrinterView<'a>,
    /// Its filament.
    #[b(4)]
    pub filament: FilamentView<'a>,
    /// Name of the state asked for, as the lifecycle spells it.
    #[b(5)]
    pub to: &'a str,
    /// What the caller reported.
    #[b(6)]
    pub reported: Reported<'a>,
    /// What else the job's creator has, whoever asks.
    #[n(7)]
    pub creator: ActorView,
}

/// Input of the hook `deduction`: the same as for `transition`, which was allowed.
pub type DeductionInput<'a> = TransitionInput<'a>;
