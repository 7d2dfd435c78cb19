//! The state machine as openraft drives it, against the deterministic core in memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is to panic"
)]

#[path = "../core/tests/common/mod.rs"]
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::path::Path;
use std::slice::from_ref;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::{Machine, NativeHost};
use futures_util::stream;
use openraft::entry::RaftEntry;
use openraft::storage::{
    IOFlushed, LogState, RaftLogReader, RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine,
};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::vote::RaftLeaderId;
use openraft::{OptionalSend, StorageError};
use raft3d_core::command::ActivateRuleset;
use raft3d_core::event::Event;
use raft3d_core::state::digest;
use raft3d_core::state::memory::MemoryRows;
use raft3d_core::state::rows::ReadRows;
use raft3d_core::{Command, Envelope, ModuleDigest, Revision};
use raft3d_engine::raft::TypeConfig;
use raft3d_engine::raft::machine::{ApplyObserver, ApplyOptions, StateMachine, StateOptions};
use raft3d_engine::raft::types::{
    Entry, EntryPayload, LeaderId, LogId, Member, Membership, Proposal, Vote,
};
use raft3d_engine::storage::state::StateView;
use tempfile::{TempDir, tempdir};

/// Where the initial membership stands in a log: before everything else.
const MEMBERSHIP_INDEX: u64 = 0;

fn options(dir: &Path) -> StateOptions {
    StateOptions {
        data_dir: dir.to_owned(),
        purged_index: None,
        apply: ApplyOptions::default(),
    }
}

fn denying(deny_at: BTreeSet<u64>) -> ApplyOptions {
    ApplyOptions {
        deny_at,
        ..ApplyOptions::default()
    }
}

fn open(dir: &Path) -> StateMachine {
    open_with(options(dir))
}

fn open_with(options: StateOptions) -> StateMachine {
    StateMachine::open(options, Arc::new(NativeHost), None).unwrap()
}

fn log_id(index: u64) -> LogId {
    LogId::new(LeaderId::new(1, 1), index)
}

fn entry(index: u64, payload: EntryPayload) -> Entry {
    Entry {
        log_id: log_id(index),
        payload,
    }
}

fn normal(index: u64, envelope: &Envelope) -> Entry {
    let bytes = Bytes::from(envelope.to_bytes().unwrap());
    entry(index, EntryPayload::Normal(Proposal(bytes)))
}

fn membership() -> Membership {
    let members: BTreeMap<u64, Member> = [(1, Member::default())].into();
    Membership::new(vec![BTreeSet::from([1])], members).unwrap()
}

/// Applies entries for which no client waits.
async fn apply(machine: &mut StateMachine, entries: &[Entry]) -> io::Result<()> {
    let entries: Vec<_> = entries
        .iter()
        .map(|entry| Ok((entry.clone(), None)))
        .collect();
    machine.apply(stream::iter(entries)).await
}

/// A shop's history as log entries, and the machine in memory that it leads to.
struct History {
    entries: Vec<Entry>,
    model: Machine,
}

impl History {
    /// With `jobs` jobs, some of which run, are done, or are refused, and with blank entries and
    /// checkpoints between.
    fn shop(jobs: u64) -> Self {
        let first = entry(MEMBERSHIP_INDEX, EntryPayload::Membership(membership()));
        let model = Machine {
            now_ms: common::START_MS,
            ..Machine::default()
        };
        let mut history = Self {
            entries: vec![first],
            model,
        };
        history.add(common::bootstrap());
        history.add(common::printer("p1"));
        history.add(common::filament("f1", 1_000));
        for job in 0..jobs {
            let id = format!("job{job}");
            history.add(common::job(&id, 20));
            if job % 3 != 0 {
                history.add(common::status(&id, "Running"));
            }
            if job % 3 == 1 {
                history.add(common::status(&id, "Done"));
            }
            if job % 10 == 9 {
                history.add_blank();
                history.add(Command::Checkpoint);
            }
        }
        history
    }

    fn add(&mut self, command: Command) {
        let envelope = self.model.envelope(command);
        self.model.apply(&envelope);
        self.entries.push(normal(self.model.index, &envelope));
    }

    /// Every new leader appends one of these.
    fn add_blank(&mut self) {
        self.model.index += 1;
        self.entries
            .push(entry(self.model.index, EntryPayload::Blank));
    }

    /// The next entry, which the model does not run.
    fn next(&self, command: Command) -> Entry {
        normal(self.model.index + 1, &self.model.envelope(command))
    }
}

fn check(view: &StateView, model: &Machine) {
    let rows = view.scan(&[], None, usize::MAX).unwrap();
    let mut copy = MemoryRows::default();
    copy.write(
        rows.into_iter()
            .map(|(key, value)| (key, Some(value)))
            .collect(),
    );
    assert!(
        copy.iter().eq(model.rows.iter()),
        "the rows differ from the model's"
    );
    assert_eq!(view.digest(), model.digest);
    assert_eq!(view.revision(), Revision(model.index));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_chunking_and_every_restart_gives_the_models_rows() {
    let history = History::shop(100);
    for step in [1, 7, 64, 1000] {
        let dir = tempdir().unwrap();
        let mut machine = open(dir.path());
        for (number, entries) in history.entries.chunks(step).enumerate() {
            apply(&mut machine, entries).await.unwrap();
            if number % 40 == 20 {
                drop(machine);
                machine = open(dir.path());
            }
        }
        check(&machine.handle().view(), &history.model);
        let (applied, stored) = machine.applied_state().await.unwrap();
        assert_eq!(applied, Some(log_id(history.model.index)));
        assert_eq!(stored.log_id(), &Some(log_id(MEMBERSHIP_INDEX)));
        assert_eq!(stored.membership(), &membership());
    }
}

#[tokio::test]
async fn checkpoints_are_the_same_however_entries_are_chunked() {
    let history = History::shop(40);
    let mut reported = Vec::new();
    for step in [1, 9, 64] {
        let dir = tempdir().unwrap();
        let mut machine = open(dir.path());
        for entries in history.entries.chunks(step) {
            apply(&mut machine, entries).await.unwrap();
        }
        let checkpoints = machine.handle().checkpoints();
        assert_eq!(checkpoints.len(), 4);
        reported.push(checkpoints);
    }
    assert!(
        reported
            .iter()
            .all(|checkpoints| *checkpoints == reported[0]),
        "{reported:?}"
    );
}

/// A history, and an entry that faults on every node: it activates a module that fails for want
/// of memory.
fn history_that_faults() -> (History, Vec<Entry>) {
    let mut history = History::shop(3);
    let uploaded = history.next(Command::UploadModule(common::module("faulty")));
    let activate = Command::ActivateRuleset(ActivateRuleset {
        ruleset: common::ruleset(&["standard", "deduction", "faulty"]),
        expected: None,
        force: false,
        reason: None,
    });
    history.model.index += 1;
    let activated = history.next(activate);
    history.model.index += 1;
    let job = history.next(common::job("j", 1));
    history.model.index -= 2;
    (history, vec![uploaded, activated, job])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_fault_drops_the_chunk_and_stops_the_replica() {
    let (history, faulting) = history_that_faults();
    let dir = tempdir().unwrap();
    let mut machine = open(dir.path());
    apply(&mut machine, &history.entries).await.unwrap();
    let error = apply(&mut machine, &faulting).await.unwrap_err();
    assert!(error.to_string().contains("--deny-at"), "{error}");
    check(&machine.handle().view(), &history.model);
    assert_eq!(machine.handle().fault(), Some(error.to_string()));
    // It stays stopped, whatever comes.
    assert!(apply(&mut machine, &faulting[..1]).await.is_err());
    check(&machine.handle().view(), &history.model);
    drop(machine);
    check(&open(dir.path()).handle().view(), &history.model);
}

#[tokio::test]
async fn a_denied_entry_leaves_the_same_state_on_every_node() {
    let (history, faulting) = history_that_faults();
    let last = faulting.last().unwrap().log_id.index;
    let mut digests = Vec::new();
    for step in [1, 64] {
        let dir = tempdir().unwrap();
        // Whichever of the three faults: all are named, as an operator may.
        let deny_at = (last - 2..=last).collect();
        let mut machine = open_with(StateOptions {
            apply: denying(deny_at),
            ..options(dir.path())
        });
        for entries in [&history.entries[..], &faulting].concat().chunks(step) {
            apply(&mut machine, entries).await.unwrap();
        }
        assert_eq!(machine.handle().view().revision().0, last);
        let view = machine.handle().view();
        assert_eq!(digest::recompute(&view).unwrap(), view.digest());
        digests.push(view.digest());
    }
    assert_eq!(digests[0], digests[1]);
}

#[tokio::test]
async fn an_entry_that_does_not_decode_stops_the_replica_or_is_denied() {
    let history = History::shop(1);
    let index = history.model.index + 1;
    let garbage = entry(
        index,
        EntryPayload::Normal(Proposal(Bytes::from_static(b"garbage"))),
    );
    let dir = tempdir().unwrap();
    let mut machine = open(dir.path());
    apply(&mut machine, &history.entries).await.unwrap();
    let error = apply(&mut machine, from_ref(&garbage)).await.unwrap_err();
    assert!(
        error.to_string().contains(&format!("index {index}")),
        "{error}"
    );
    drop(machine);
    let deny_at = BTreeSet::from([index]);
    let mut machine = open_with(StateOptions {
        apply: denying(deny_at),
        ..options(dir.path())
    });
    apply(&mut machine, from_ref(&garbage)).await.unwrap();
    let view = machine.handle().view();
    assert_eq!(
        (view.revision().0, view.digest()),
        (index, history.model.digest)
    );
}

/// The flag was given once; the crash came before the log recorded it, and the operator leaves it out.
#[tokio::test]
async fn a_denied_entry_is_denied_again_after_a_crash() {
    let (history, faulting) = history_that_faults();
    let last = faulting.last().unwrap().log_id.index;
    let dir = tempdir().unwrap();
    let with_flag = || StateOptions {
        apply: denying((last - 2..=last).collect()),
        ..options(dir.path())
    };
    let mut machine = open_with(with_flag());
    apply(&mut machine, &history.entries).await.unwrap();
    apply(&mut machine, &faulting).await.unwrap();
    let (digest, denied) = {
        let handle = machine.handle();
        (handle.view().digest(), handle.denied())
    };
    assert!(!denied.is_empty() && denied.iter().all(|denied| !denied.recorded));
    machine.handle().abandon();
    drop(machine);
    let mut machine = open(dir.path());
    assert_eq!(machine.handle().denied(), denied);
    let at = machine.handle().view().revision().0;
    let all = [&history.entries[..], &faulting].concat();
    let again: Vec<_> = all.into_iter().filter(|e| e.log_id.index > at).collect();
    assert!(!again.is_empty(), "the crash took what was in memory");
    apply(&mut machine, &again).await.unwrap();
    assert_eq!(machine.handle().view().digest(), digest);
}

#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl ApplyObserver for Recorder {
    fn module_uploaded(&self, _module: ModuleDigest, bytes: &[u8]) {
        let name = String::from_utf8_lossy(bytes).into_owned();
        self.0.lock().unwrap().push(name);
    }

    fn events(&self, events: &[Event]) {
        self.0
            .lock()
            .unwrap()
            .push(format!("event {}", events[0].id.revision));
    }

    fn state_replaced(&self, view: &StateView) {
        self.0
            .lock()
            .unwrap()
            .push(format!("replaced by {}", view.revision()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_travels_in_pieces_and_replaces_the_state_of_another_node() {
    let history = History::shop(60);
    let (here, there) = (tempdir().unwrap(), tempdir().unwrap());
    let mut leader = open(here.path());
    let half = history.entries.len() / 2;
    let last = half as u64 - 1;
    apply(&mut leader, &history.entries[..half]).await.unwrap();
    let mut builder = leader.get_snapshot_builder().await;
    // Applies go on; the snapshot is of where it began.
    apply(&mut leader, &history.entries[half..]).await.unwrap();
    let built = builder.build_snapshot().await.unwrap();
    assert_eq!(built.meta.last_log_id, Some(log_id(last)));
    assert_eq!(leader.handle().snapshot().unwrap().meta(), built.meta);

    let recorder = Arc::new(Recorder::default());
    let observer: Arc<dyn ApplyObserver> = recorder.clone();
    let mut follower =
        StateMachine::open(options(there.path()), Arc::new(NativeHost), Some(observer)).unwrap();
    apply(&mut follower, &history.entries[..3]).await.unwrap();
    let mut applied = follower.handle().applied();
    let mut incoming = follower.handle().begin_incoming().unwrap();
    loop {
        let piece = built.snapshot.read_at(incoming.size_bytes(), 1000).unwrap();
        if piece.is_empty() {
            break;
        }
        incoming.append(&piece).unwrap();
    }
    let received = incoming.finish().unwrap();
    follower
        .install_snapshot(&built.meta, received)
        .await
        .unwrap();
    assert_eq!(applied.borrow_and_update().0, last);
    apply(&mut follower, &history.entries[half..])
        .await
        .unwrap();
    check(&follower.handle().view(), &history.model);
    let seen = recorder.0.lock().unwrap().clone();
    assert_eq!(seen[..3], ["standard", "pausing", "deduction"]);
    assert!(seen.contains(&format!("replaced by {last}")), "{seen:?}");
    assert!(seen.last().unwrap().starts_with("event "), "{seen:?}");
    let current = follower.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(current.meta, built.meta);

    // After a restart with a purged log, even without its state database.
    drop((follower, current));
    std::fs::remove_dir_all(there.path().join("state")).unwrap();
    let mut follower = open_with(StateOptions {
        purged_index: Some(last),
        ..options(there.path())
    });
    apply(&mut follower, &history.entries[half..])
        .await
        .unwrap();
    check(&follower.handle().view(), &history.model);
}

/// Killed right after a snapshot, a node need not load it: the log behind it may be gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_never_ahead_of_the_table_files() {
    let history = History::shop(30);
    let dir = tempdir().unwrap();
    let mut machine = open(dir.path());
    apply(&mut machine, &history.entries).await.unwrap();
    machine.handle().abandon();
    let built = machine.handle().build_snapshot().unwrap();
    let last = built.header().last_log_id;
    drop((machine, built));
    std::fs::remove_dir_all(dir.path().join("snapshots")).unwrap();
    let machine = open(dir.path());
    assert_eq!(machine.handle().view().last_applied(), last);
    check(&machine.handle().view(), &history.model);
}

#[tokio::test]
async fn a_snapshot_that_arrives_damaged_is_refused() {
    let history = History::shop(10);
    let dir = tempdir().unwrap();
    let mut machine = open(dir.path());
    apply(&mut machine, &history.entries).await.unwrap();
    let built = machine.handle().build_snapshot().unwrap();
    let whole = built.read_at(0, usize::MAX).unwrap();
    let finish = |bytes: &[u8]| {
        let mut incoming = machine.handle().begin_incoming().unwrap();
        incoming.append(bytes).unwrap();
        incoming.finish().map(drop)
    };
    for at in (0..whole.len()).step_by(37) {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 0x10;
        assert!(finish(&bytes).is_err(), "a bit of byte {at}");
        assert!(finish(&whole[..at]).is_err(), "cut at {at}");
    }
    assert!(finish(&[&whole[..], b"more"].concat()).is_err());
    // Nothing is left of them.
    let files = std::fs::read_dir(dir.path().join("snapshots"))
        .unwrap()
        .count();
    assert_eq!(files, 1);
}

/// A Raft log in memory, for openraft's conformance suite: what is tested is the state machine.
#[derive(Clone, Debug, Default)]
struct MemoryLog(Arc<Mutex<Stored>>);

#[derive(Debug, Default)]
struct Stored {
    entries: BTreeMap<u64, Entry>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
}

impl RaftLogReader<TypeConfig> for MemoryLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let stored = self.0.lock().unwrap();
        Ok(stored
            .entries
            .range(range)
            .map(|(_, entry)| entry.clone())
            .collect())
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.0.lock().unwrap().vote)
    }
}

impl RaftLogStorage<TypeConfig> for MemoryLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let stored = self.0.lock().unwrap();
        let last = stored.entries.values().last().map(|entry| entry.log_id());
        Ok(LogState {
            last_purged_log_id: stored.purged,
            last_log_id: last.or(stored.purged),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.0.lock().unwrap().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.0.lock().unwrap().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.0.lock().unwrap().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(|entry| (entry.log_id.index, entry));
        self.0.lock().unwrap().entries.extend(entries);
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let next = last.map_or(0, |id| id.index + 1);
        self.0.lock().unwrap().entries.split_off(&next);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let mut stored = self.0.lock().unwrap();
        stored.entries = stored.entries.split_off(&(log_id.index + 1));
        stored.purged = Some(log_id);
        Ok(())
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, MemoryLog, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, MemoryLog, StateMachine), StorageError<TypeConfig>> {
        let dir = tempdir().unwrap();
        let machine = open(dir.path());
        Ok((dir, MemoryLog::default(), machine))
    }
}

#[test]
fn openrafts_suite_accepts_the_state_machine() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(Suite::test_all(Builder)).unwrap();
}
