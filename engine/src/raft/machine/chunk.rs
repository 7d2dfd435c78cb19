//! One chunk of committed entries, from bytes to changed rows.

use std::sync::Arc;

use openraft::storage::ApplyResponder;
use raft3d_core::command::{Command, DeniedEntry};
use raft3d_core::event::Event;
use raft3d_core::state::digest::Digest;
use raft3d_core::state::meta::{self, LogTime, Totals};
use raft3d_core::state::rulesets::DecodedRuleset;
use raft3d_core::{
    Envelope, Epochs, Judge, LocalFault, ModuleDigest, Outcome, PolicyHost, Rejection,
    RejectionKind, Response, Revision,
};

use super::hot_rows::{ChunkRows, HotRows, Known};
use super::sabotaged;
use super::{ApplyObserver, CHUNK_BYTES_MAX, CHUNK_ENTRIES_MAX, Checkpoint, Denials};
use crate::raft::types::{
    Applied, Entry, EntryPayload, LogId, Proposal, StoredMembership, TypeConfig,
};
use crate::storage::state::{Head, StateView};

type Responder = ApplyResponder<TypeConfig>;

/// Entries that are applied together, with those who wait for them.
#[derive(Default)]
pub(super) struct Chunk {
    entries: Vec<(Entry, Option<Responder>)>,
    bytes: usize,
}

impl Chunk {
    pub(super) fn push(&mut self, entry: Entry, responder: Option<Responder>) {
        if let EntryPayload::Normal(Proposal(bytes)) = &entry.payload {
            self.bytes += bytes.len();
        }
        self.entries.push((entry, responder));
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= CHUNK_ENTRIES_MAX || self.bytes >= CHUNK_BYTES_MAX
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn first_index(&self) -> u64 {
        self.entries
            .first()
            .map_or(0, |(entry, _)| entry.log_id.index)
    }
}

/// What applying needs beside rows and entries.
pub(super) struct Applying {
    pub(super) host: Arc<dyn PolicyHost>,
    pub(super) observer: Option<Arc<dyn ApplyObserver>>,
    pub(super) denials: Arc<Denials>,
    pub(super) epochs: Epochs,
    pub(super) hot_rows: HotRows,
    pub(super) ruleset: DecodedRuleset,
}

/// A chunk's changes, to be written, and what is to be done once they are.
pub(super) struct AppliedChunk {
    pub(super) known: Known,
    pub(super) head: Head,
    pub(super) effects: Effects,
}

/// What happens after a chunk is visible.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) checkpoints: Vec<Checkpoint>,
    /// Entries that were denied.
    pub(super) denied: Vec<DeniedEntry>,
    /// Earlier entries of which the log now records that they are denied.
    pub(super) recorded: Vec<DeniedEntry>,
    /// As of the chunk's last entry.
    pub(super) log_time: LogTime,
    answers: Vec<(Responder, Applied)>,
    modules: Vec<(ModuleDigest, Vec<u8>)>,
    events: Vec<Event>,
}

impl Effects {
    /// Answers the clients, then tells the observer.
    pub(super) fn answer(self, observer: Option<&dyn ApplyObserver>) {
        for (responder, applied) in self.answers {
            responder.send(applied);
        }
        let Some(observer) = observer else { return };
        for (module, bytes) in &self.modules {
            observer.module_uploaded(*module, bytes);
        }
        if !self.events.is_empty() {
            observer.events(&self.events);
        }
    }
}

impl Applying {
    /// Applies the chunk on top of `view`. Nothing is written here.
    ///
    /// # Errors
    /// A fault of this replica: what was computed so far is gone.
    pub(super) fn run(
        &mut self,
        view: &StateView,
        chunk: Chunk,
    ) -> Result<AppliedChunk, LocalFault> {
        let mut head = view.head().clone();
        let mut rows = self.hot_rows.over(view);
        let mut totals = ChunkTotals::of(&rows)?;
        let mut effects = Effects::default();
        for (entry, responder) in chunk.entries {
            let index = entry.log_id.index;
            assert!(
                head.last_applied.is_none_or(|last| last.index < index),
                "entry {index} is applied twice"
            );
            let applied = match entry.payload {
                EntryPayload::Blank => None,
                EntryPayload::Membership(membership) => {
                    head.membership = StoredMembership::new(Some(entry.log_id), membership);
                    None
                }
                EntryPayload::Normal(Proposal(bytes)) => {
                    let outcome = self.one(
                        &mut rows,
                        &mut totals,
                        head.digest,
                        &entry.log_id,
                        &bytes,
                        &mut effects,
                    )?;
                    if responder.is_some() {
                        sabotaged::on_the_proposer(&mut rows, &outcome)?;
                    }
                    Some(outcome)
                }
            };
            head.last_applied = Some(entry.log_id);
            effects
                .answers
                .extend(responder.map(|responder| (responder, applied)));
        }
        totals.put(&mut rows)?;
        effects.log_time = totals.now.log_time();
        head.digest = rows.digest(head.digest)?;
        Ok(AppliedChunk {
            known: rows.into_known(),
            head,
            effects,
        })
    }

    /// Applies one entry; `before` is the digest of the rows before the chunk.
    fn one(
        &mut self,
        rows: &mut ChunkRows<'_>,
        totals: &mut ChunkTotals,
        before: Digest,
        log_id: &LogId,
        bytes: &[u8],
        effects: &mut Effects,
    ) -> Result<Outcome, LocalFault> {
        let index = Revision(log_id.index);
        let denied = self.denials.judge(log_id, bytes)?;
        let is_denied = denied.is_some();
        effects.denied.extend(denied);
        let envelope = match Envelope::from_bytes(bytes) {
            Ok(envelope) => sabotaged::entry(index, envelope),
            // Denied, an entry that nobody can read is passed over.
            Err(_) if is_denied => return Ok(denied_unread(index)),
            Err(detail) => {
                let (index, detail) = (index.0, detail.to_string());
                return Err(LocalFault::CorruptEntry { index, detail });
            }
        };
        let mut outcome = if is_denied {
            raft3d_core::apply::deny(rows, &mut totals.now, index, &envelope, self.epochs)?
        } else {
            let judge = Judge {
                host: self.host.as_ref(),
                ruleset: &mut self.ruleset,
                epochs: self.epochs,
            };
            raft3d_core::apply(rows, &mut totals.now, index, &envelope, judge)?
        };
        if matches!(envelope.command, Command::Checkpoint) {
            totals.put(rows)?;
            let digest = rows.digest(before)?;
            effects.checkpoints.push(Checkpoint { index, digest });
        }
        if let (Command::RecordDenied(entry), Response::Accepted(_)) =
            (&envelope.command, &outcome.response)
        {
            effects.recorded.push(*entry);
        }
        if !outcome.replayed && matches!(outcome.response, Response::Accepted(_)) {
            effects.modules.extend(uploaded(envelope.command));
        }
        if self.observer.is_some() {
            // Who made the write is not told of them.
            effects.events.append(&mut outcome.events);
        }
        Ok(outcome)
    }
}

/// The totals while a chunk is applied.
struct ChunkTotals {
    now: Totals,
    /// As the rows have them.
    put: Totals,
}

impl ChunkTotals {
    fn of(rows: &ChunkRows<'_>) -> Result<Self, LocalFault> {
        let now = meta::totals(rows)?;
        let put = now.clone();
        Ok(Self { now, put })
    }

    /// Puts them among the rows, if they are others: what is there after an entry must not depend on
    /// where its chunk ends.
    fn put(&mut self, rows: &mut ChunkRows<'_>) -> Result<(), LocalFault> {
        if self.now != self.put {
            meta::put_totals(rows, &self.now)?;
            self.put = self.now.clone();
        }
        Ok(())
    }
}

/// The modules that a command brings.
fn uploaded(command: Command) -> Vec<(ModuleDigest, Vec<u8>)> {
    match command {
        Command::UploadModule(upload) => vec![(upload.digest, upload.bytes)],
        Command::Bootstrap(bootstrap) => bootstrap
            .modules
            .into_iter()
            .map(|upload| (upload.digest, upload.bytes))
            .collect(),
        _ => Vec::new(),
    }
}

/// The answer to an entry that the operator denies and that does not decode: the same on every
/// node that was told to.
fn denied_unread(index: Revision) -> Outcome {
    let message = "the operators of this cluster denied this log entry (--deny-at)";
    Outcome {
        revision: index,
        replayed: false,
        response: Response::Rejected(Rejection::new(RejectionKind::PolicyFailed, message)),
        events: Vec::new(),
        certain_since_ms: None,
    }
}
