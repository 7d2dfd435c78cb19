//! Which entries are not evaluated but answered with a fixed rejection: the operators' way past an
//! entry that stops every node.
//!
//! Three things say so. The flag `--deny-at` of this start, which the operators give on every node.
//! The file `state/denied`: what this state has denied, so that it does the same again after a crash,
//! with or without the flag; it goes with the state. And the log: once a majority of the voters has
//! denied the entry, the leader records it ([`Command::RecordDenied`]), and from then on it is a fact
//! that no flag is needed for. What is recorded stands among the rows, so snapshots bring it, and in
//! the file `denied` of the data folder, so that a state that is built anew from the log denies the
//! entry although the record comes after it.
//!
//! Invariant: each file is written before what it says is visible
//! (`a_denied_entry_is_denied_again_after_a_crash`).
//!
//! [`Command::RecordDenied`]: raft3d_core::Command::RecordDenied

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use raft3d_core::command::DeniedEntry;
use raft3d_core::limits::DENIED_ENTRIES_MAX;
use raft3d_core::state::denied;
use raft3d_core::{LocalFault, ReadRows, Revision};
use tracing::{info, warn};

use crate::raft::api::DeniedStatus;
use crate::raft::types::LogId;
use crate::runtime::watch;
use crate::storage::denied_file::{self, DeniedEntries};
use crate::storage::state::StateError;

/// In the data folder, and in the folder of the state.
const FILE: &str = "denied";
const STATE_DIR: &str = "state";

/// What is known of denied entries.
#[derive(Clone, Debug, Default)]
struct Known {
    /// This state denied them.
    here: DeniedEntries,
    /// The log records that they are denied.
    recorded: DeniedEntries,
}

/// Whether entries may be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    /// This node has not asked the others yet what is denied.
    Closed,
    /// It never will: it stops.
    Stopped,
}

/// The denied entries of one node.
pub(in crate::raft) struct Denials {
    asked: BTreeSet<u64>,
    known: Mutex<Known>,
    /// Whether anything may be denied at all: each entry asks.
    any: AtomicBool,
    data_dir: PathBuf,
    gate: watch::Sender<Gate>,
}

impl Denials {
    /// Reads what the data folder remembers; `asked` are the flags of this start, and `rows` the
    /// state at `applied`.
    pub(super) fn open(
        data_dir: &Path,
        asked: BTreeSet<u64>,
        rows: &dyn ReadRows,
        applied: u64,
    ) -> Result<Self, StateError> {
        let known = Known {
            here: denied_file::read(&data_dir.join(STATE_DIR).join(FILE))?,
            recorded: denied_file::read(&data_dir.join(FILE))?,
        };
        let denials = Self {
            any: AtomicBool::new(true),
            asked,
            known: Mutex::new(known),
            data_dir: data_dir.to_owned(),
            gate: watch::Sender::new(Gate::Open),
        };
        denials.learn(&denied::all(rows)?)?;
        denials.tell_of_flags(applied);
        denials.note_any();
        Ok(denials)
    }

    /// What becomes of the flags that came too late, or are not needed.
    fn tell_of_flags(&self, applied: u64) {
        let known = self.lock();
        for index in &self.asked {
            if known.recorded.contains_key(index) {
                info!(
                    index,
                    "this entry is recorded as denied: --deny-at is not needed for it"
                );
            } else if *index <= applied && !known.here.contains_key(index) {
                warn!(
                    index,
                    "--deny-at comes too late for this entry: the state of this node has applied it"
                );
            }
        }
    }

    /// The entry as it is remembered if it is to be denied.
    ///
    /// # Errors
    /// Another entry was denied at that index: the log or the list is another cluster's.
    pub(super) fn judge(
        &self,
        log_id: &LogId,
        payload: &[u8],
    ) -> Result<Option<DeniedEntry>, LocalFault> {
        if !self.any.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let index = log_id.index;
        let known = self.lock();
        let remembered = known.recorded.get(&index).or(known.here.get(&index));
        if remembered.is_none() && !self.asked.contains(&index) {
            return Ok(None);
        }
        let entry = DeniedEntry {
            index: Revision(index),
            term: log_id.leader_id.term,
            hash: *blake3::hash(payload).as_bytes(),
        };
        match remembered {
            Some(remembered) if *remembered != entry => Err(LocalFault::OtherEntryDenied { index }),
            _ => Ok(Some(entry)),
        }
    }

    /// Whether the entry at `index` is denied unseen: it need not be readable.
    pub(in crate::raft) fn covers(&self, index: u64) -> bool {
        if !self.any.load(Ordering::Relaxed) {
            return false;
        }
        let known = self.lock();
        self.asked.contains(&index)
            || known.recorded.contains_key(&index)
            || known.here.contains_key(&index)
    }

    /// Remembers, durably, what a chunk denied and what it recorded, before the chunk is visible.
    ///
    /// # Errors
    /// The disk failed: nothing of the chunk may be kept.
    pub(super) fn remember(
        &self,
        here: &[DeniedEntry],
        recorded: &[DeniedEntry],
    ) -> Result<(), LocalFault> {
        let file = self.data_dir.join(STATE_DIR).join(FILE);
        let remembered = self.change(file, here, |known| &mut known.here);
        for entry in remembered? {
            warn!(
                index = entry.index.0,
                term = entry.term,
                "an entry is denied, as the operators say (--deny-at); this start needs the flag \
                 until it is recorded in the log"
            );
        }
        self.learn(recorded)
    }

    /// Remembers, durably, what the log records, by the rows or by another node's word.
    ///
    /// # Errors
    /// The disk failed.
    pub(in crate::raft) fn learn(&self, recorded: &[DeniedEntry]) -> Result<(), LocalFault> {
        let file = self.data_dir.join(FILE);
        let learned = self.change(file, recorded, |known| &mut known.recorded);
        for entry in learned? {
            info!(
                index = entry.index.0,
                term = entry.term,
                "the log records that this entry is denied: whoever applies it denies it, and \
                 --deny-at is not needed for it"
            );
        }
        Ok(())
    }

    /// Adds what is new to one of the lists and its file. Answers what was new.
    fn change(
        &self,
        file: PathBuf,
        entries: &[DeniedEntry],
        list: impl Fn(&mut Known) -> &mut DeniedEntries,
    ) -> Result<Vec<DeniedEntry>, LocalFault> {
        let mut known = self.lock();
        let list = list(&mut known);
        let is_new = |entry: &&DeniedEntry| !list.contains_key(&entry.index.0);
        let new: Vec<DeniedEntry> = entries.iter().filter(is_new).copied().collect();
        if new.is_empty() {
            return Ok(new);
        }
        let mut changed = list.clone();
        changed.extend(new.iter().map(|entry| (entry.index.0, *entry)));
        if changed.len() > DENIED_ENTRIES_MAX {
            let reason = format!("more than {DENIED_ENTRIES_MAX} entries are denied");
            return Err(LocalFault::Storage(reason));
        }
        let written = denied_file::write(&file, &changed);
        written.map_err(|error| storage_fault(&file, &error))?;
        *list = changed;
        self.any.store(true, Ordering::Relaxed);
        Ok(new)
    }

    /// All rows were replaced by those of a snapshot of `applied`: what was denied up to there was
    /// denied by another state, or not.
    ///
    /// # Errors
    /// The disk failed.
    pub(super) fn replaced(&self, rows: &dyn ReadRows, applied: u64) -> Result<(), LocalFault> {
        self.learn(&denied::all(rows)?)?;
        let mut known = self.lock();
        let mut kept = known.here.clone();
        kept.retain(|index, _| *index > applied);
        if kept.len() < known.here.len() {
            let file = self.data_dir.join(STATE_DIR).join(FILE);
            let written = denied_file::write(&file, &kept);
            written.map_err(|error| storage_fault(&file, &error))?;
            known.here = kept;
        }
        Ok(())
    }

    /// What this state denied, and the log does not record.
    pub(in crate::raft) fn unrecorded(&self) -> Vec<DeniedEntry> {
        let known = self.lock();
        let recorded = |entry: &&DeniedEntry| !known.recorded.contains_key(&entry.index.0);
        known.here.values().filter(recorded).copied().collect()
    }

    /// All that are denied as far as this node knows, by index.
    pub(in crate::raft) fn status(&self) -> Vec<DeniedStatus> {
        if !self.any.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let known = self.lock();
        let mut all = known.here.clone();
        all.extend(known.recorded.iter().map(|(index, entry)| (*index, *entry)));
        let status = |entry: &DeniedEntry| DeniedStatus {
            entry: *entry,
            recorded: known.recorded.contains_key(&entry.index.0),
        };
        all.values().map(status).collect()
    }

    /// Keeps entries from being applied until [`Denials::open_gate`].
    pub(in crate::raft) fn close_gate(&self) {
        self.gate.send_replace(Gate::Closed);
    }

    /// This node has asked the others: entries may be applied.
    pub(in crate::raft) fn open_gate(&self) {
        self.gate.send_if_modified(|gate| {
            let was_closed = *gate == Gate::Closed;
            if was_closed {
                *gate = Gate::Open;
            }
            was_closed
        });
    }

    /// Whether entries may not be applied yet.
    pub(in crate::raft) fn is_closed(&self) -> bool {
        *self.gate.borrow() == Gate::Closed
    }

    /// Whoever waits at the gate gives up, because this node stops.
    pub(in crate::raft) fn stop(&self) {
        self.gate.send_if_modified(|gate| {
            let was_closed = *gate == Gate::Closed;
            if was_closed {
                *gate = Gate::Stopped;
            }
            was_closed
        });
    }

    /// Waits until entries may be applied.
    ///
    /// # Errors
    /// The node stops.
    pub(super) async fn opened(&self) -> io::Result<()> {
        if *self.gate.borrow() == Gate::Open {
            return Ok(());
        }
        let mut gate = self.gate.subscribe();
        let waited = gate.wait_for(|gate| *gate != Gate::Closed).await;
        if waited.is_ok() && *self.gate.borrow() == Gate::Open {
            return Ok(());
        }
        Err(io::Error::other("the node is stopping"))
    }

    fn note_any(&self) {
        let known = self.lock();
        let none = self.asked.is_empty() && known.here.is_empty() && known.recorded.is_empty();
        self.any.store(!none, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn storage_fault(file: &Path, error: &io::Error) -> LocalFault {
    LocalFault::Storage(format!("cannot write {}: {error}", file.display()))
}
