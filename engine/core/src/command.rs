//! What a log entry asks for.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use raft3d_sdk::{Grams, Manifest, PrinterStatus};

pub mod check;
mod envelope;

pub use envelope::EnvelopeError;

use crate::ids::{ClusterId, FilamentId, JobId, ModuleDigest, PrinterId, RequestId, Revision};
use crate::state::rulesets::Ruleset;

/// Format version of [`Envelope`]. Golden bytes per version are tested.
pub const ENVELOPE_VERSION: u16 = 1;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(map)]
pub struct Actor {
    /// Name, at most `ACTOR_BYTES_MAX` bytes.
    #[n(0)]
    pub name: String,
    /// Whether somebody authenticated it.
    #[n(1)]
    pub verified: bool,
}

/// Who made a request's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum RequestOrigin {
    /// The client, by `Idempotency-Key`.
    #[n(0)]
    Client,
    /// The node that took the request.
    #[n(1)]
    Node,
}

/// A command with everything that apply needs beside the rows.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Envelope {
    /// [`ENVELOPE_VERSION`].
    #[n(0)]
    pub version: u16,
    /// The proposing leader's clock, milliseconds since the Unix epoch. The state keeps the
    /// maximum, so log time never runs back.
    #[n(1)]
    pub proposed_at_ms: u64,
    /// Applied later than this log time, the entry is rejected.
    #[n(2)]
    pub deadline_ms: u64,
    /// Who asks.
    #[n(3)]
    pub actor: Actor,
    /// Exactly-once id.
    #[n(4)]
    pub request_id: RequestId,
    /// Who made it.
    #[n(5)]
    pub request_origin: RequestOrigin,
    /// BLAKE3 of what the client asked for; another value under the same id is a mismatch.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub request_hash: [u8; 32],
    /// What to do.
    #[n(7)]
    pub command: Command,
}

/// One change of the state. One file under `apply/` for each.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// See [`CreatePrinter`].
    #[n(0)]
    CreatePrinter(#[n(0)] CreatePrinter),
    /// See [`CreateFilament`].
    #[n(1)]
    CreateFilament(#[n(0)] CreateFilament),
    /// See [`CreateJob`].
    #[n(2)]
    CreateJob(#[n(0)] CreateJob),
    /// See [`SetJobStatus`].
    #[n(3)]
    SetJobStatus(#[n(0)] SetJobStatus),
    /// See [`UploadModule`].
    #[n(4)]
    UploadModule(#[n(0)] UploadModule),
    /// See [`DeleteModule`].
    #[n(5)]
    DeleteModule(#[n(0)] DeleteModule),
    /// See [`ActivateRuleset`].
    #[n(6)]
    ActivateRuleset(#[n(0)] ActivateRuleset),
    /// See [`RollbackRuleset`].
    #[n(7)]
    RollbackRuleset(#[n(0)] RollbackRuleset),
    /// See [`Bootstrap`].
    #[n(8)]
    Bootstrap(#[n(0)] Bootstrap),
    /// Changes nothing: replicas report their digest at its index.
    #[n(9)]
    Checkpoint,
    /// See [`RaiseEpoch`].
    #[n(10)]
    RaiseEpoch(#[n(0)] RaiseEpoch),
    /// Records that an entry was denied, so that whoever applies it again denies it too. The leader
    /// proposes it when the states of a majority of the voters have.
    #[n(12)]
    RecordDenied(#[n(0)] DeniedEntry),
    /// See [`AdjustClock`].
    #[n(11)]
    AdjustClock(#[n(0)] AdjustClock),
}

impl Command {
    /// Whether it comes from the leader's own duties alone: never from a client, and never from
    /// another node. Taken from anybody, each of these could stop every replica.
    #[must_use]
    pub const fn is_leaders_own(&self) -> bool {
        match self {
            Self::Bootstrap(_) | Self::Checkpoint | Self::RaiseEpoch(_) | Self::RecordDenied(_) => {
                true
            }
            Self::CreatePrinter(_)
            | Self::CreateFilament(_)
            | Self::CreateJob(_)
            | Self::SetJobStatus(_)
            | Self::UploadModule(_)
            | Self::DeleteModule(_)
            | Self::ActivateRuleset(_)
            | Self::RollbackRuleset(_)
            | Self::AdjustClock(_) => false,
        }
    }

    /// Whether operators give it, rather than the shop's clients: it is never refused because too many
    /// keys are remembered.
    #[must_use]
    pub const fn is_operators(&self) -> bool {
        !matches!(
            self,
            Self::CreatePrinter(_)
                | Self::CreateFilament(_)
                | Self::CreateJob(_)
                | Self::SetJobStatus(_)
        )
    }
}

/// An entry that the operators denied (`--deny-at`): its place in the log, and what stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(map)]
pub struct DeniedEntry {
    /// Its log index.
    #[n(0)]
    pub index: Revision,
    /// Its term: with the index, Raft's name of the entry.
    #[n(1)]
    pub term: u64,
    /// BLAKE3 of its payload.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub hash: [u8; 32],
}

/// Labels: key to value.
pub type Labels = BTreeMap<String, String>;

/// Adds a printer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CreatePrinter {
    /// Id; made from the log index where it is left out.
    #[n(0)]
    pub id: Option<PrinterId>,
    /// Maker.
    #[n(1)]
    pub company: String,
    /// Model.
    #[n(2)]
    pub model: String,
    /// Labels.
    #[n(3)]
    pub labels: Labels,
    /// Status.
    #[n(4)]
    pub status: PrinterStatus,
}

/// Adds a filament (a spool).
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CreateFilament {
    /// Id; made from the log index where it is left out.
    #[n(0)]
    pub id: Option<FilamentId>,
    /// Material, such as `PLA` (the API's `type`).
    #[n(1)]
    pub material: String,
    /// Color.
    #[n(2)]
    pub color: String,
    /// Weight when full.
    #[n(3)]
    pub total: Grams,
    /// Weight that is left; equals `total` where it is left out.
    #[n(4)]
    pub remaining: Option<Grams>,
    /// Maker.
    #[n(5)]
    pub vendor: Option<String>,
    /// Lot.
    #[n(6)]
    pub lot: Option<String>,
    /// Density in milligrams per cubic centimetre.
    #[n(7)]
    pub density_mg_per_cm3: Option<u64>,
    /// Diameter in micrometres.
    #[n(8)]
    pub diameter_um: Option<u64>,
}

/// Adds a print job in the lifecycle's initial state.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CreateJob {
    /// Id; made from the log index where it is left out.
    #[n(0)]
    pub id: Option<JobId>,
    /// Printer.
    #[n(1)]
    pub printer_id: PrinterId,
    /// Filament.
    #[n(2)]
    pub filament_id: FilamentId,
    /// Path of the model file.
    #[n(3)]
    pub filepath: String,
    /// Weight that the slicer expects the print to take.
    #[n(4)]
    pub print_weight: Grams,
    /// Priority: higher is sooner.
    #[n(5)]
    pub priority: i32,
    /// Labels.
    #[n(6)]
    pub labels: Labels,
    /// The status that the client sent, if any: only the initial state's name is acceptable.
    #[n(7)]
    pub status: Option<String>,
}

/// Asks for a job's transition.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SetJobStatus {
    /// Job.
    #[n(0)]
    pub id: JobId,
    /// Name or alias of the state asked for.
    #[n(1)]
    pub status: String,
    /// Grams really used.
    #[n(2)]
    pub used: Option<Grams>,
    /// Why.
    #[n(3)]
    pub reason: Option<String>,
    /// Asks to go past a rule that allows it.
    #[n(4)]
    pub wants_override: bool,
}

/// Adds a module. The proposer validated and compiled it; apply checks digest, size and caps.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct UploadModule {
    /// SHA-256 of `bytes`.
    #[n(0)]
    pub digest: ModuleDigest,
    /// The author's original bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
    /// The manifest as the proposer parsed it.
    #[n(2)]
    pub manifest: Manifest,
}

/// Removes a module that no kept ruleset revision names.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeleteModule {
    /// Module.
    #[n(0)]
    pub digest: ModuleDigest,
}

/// Makes a ruleset the active one, as a new revision.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ActivateRuleset {
    /// The ruleset.
    #[n(0)]
    pub ruleset: Ruleset,
    /// Compare-and-set: the revision (log index) of the ruleset that is active now.
    #[n(1)]
    pub expected: Option<Revision>,
    /// Strand open jobs in states that the new lifecycle does not know, and take names in
    /// configurations that match nothing.
    #[n(2)]
    pub force: bool,
    /// Why, for the history.
    #[n(3)]
    pub reason: Option<String>,
}

/// Makes an earlier revision the active one again, as a new revision.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RollbackRuleset {
    /// The revision to return to; the one before the active one where it is left out.
    #[n(0)]
    pub to: Option<Revision>,
    /// Compare-and-set: the revision that is active now.
    #[n(1)]
    pub expected: Option<Revision>,
    /// As in [`ActivateRuleset`].
    #[n(2)]
    pub force: bool,
    /// Why, for the history.
    #[n(3)]
    pub reason: Option<String>,
}

/// The first command of a cluster: its identity, modules and ruleset.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Bootstrap {
    /// The cluster's identity.
    #[n(0)]
    pub cluster_id: ClusterId,
    /// The default modules.
    #[n(1)]
    pub modules: Vec<UploadModule>,
    /// The default ruleset.
    #[n(2)]
    pub ruleset: Ruleset,
    /// The engine epoch that the cluster begins with: the proposer's oldest, because the other
    /// nodes may run an older program.
    #[n(3)]
    pub epoch: u32,
}

/// Puts the next engine epoch in force, from the next entry on. The leader proposes it when every
/// voter supports that epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RaiseEpoch {
    /// The next epoch: one more than the one in force.
    #[n(0)]
    pub to: u32,
}

/// Sets by how much log time goes ahead of the leaders' clocks: the way back where log time lies in
/// the future. It then goes on from where it stands, at the clocks' pace, and never back.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AdjustClock {
    /// Milliseconds that are added to a leader's clock; at most `CLOCK_OFFSET_MS_MAX`.
    #[n(0)]
    pub offset_ms: u64,
    /// Compare-and-set: the log index of the last adjustment, 0 if there was none.
    #[n(1)]
    pub expected: Revision,
    /// Why, for the event.
    #[n(2)]
    pub reason: Option<String>,
}
