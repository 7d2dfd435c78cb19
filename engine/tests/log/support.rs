//! A disk that can be stopped, made to fail and photographed, and small helpers.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage, RaftLogStorageExt};
use openraft::type_config::TypeConfigExt;
use raft3d_engine::raft::types::{
    Entry, EntryPayload, LeaderId, LogId, Proposal, TypeConfig, Vote,
};
use raft3d_engine::storage::log::{Disk, LogError, LogOptions, LogStore};

/// A write that reached a file.
#[derive(Clone, Debug)]
pub struct Write {
    pub file: String,
    pub offset: u64,
    pub bytes: u64,
}

impl Write {
    pub fn end(&self) -> u64 {
        self.offset + self.bytes
    }
}

#[derive(Debug, Default)]
struct Gate {
    held: bool,
    waiting: bool,
    failing_write: bool,
    failing_sync: bool,
    /// Writes to segments, oldest first.
    writes: Vec<Write>,
    /// The watermark file as of its last sync.
    watermark: Vec<u8>,
}

/// Writes at once, syncs segments only while it is not held, and keeps a record.
#[derive(Debug, Default)]
pub struct TestDisk {
    gate: Mutex<Gate>,
    moved: Condvar,
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

impl TestDisk {
    /// From now on syncs of segments do not return.
    pub fn hold(&self) {
        self.gate.lock().unwrap().held = true;
    }

    /// Lets syncs return again.
    pub fn release(&self) {
        self.gate.lock().unwrap().held = false;
        self.moved.notify_all();
    }

    /// Waits until a sync waits: everything before it is written, and nothing more will be.
    pub fn wait_for_sync(&self) {
        let mut gate = self.gate.lock().unwrap();
        while !gate.waiting {
            gate = self.moved.wait(gate).unwrap();
        }
    }

    pub fn fail_syncs(&self) {
        self.gate.lock().unwrap().failing_sync = true;
    }

    pub fn fail_writes(&self) {
        self.gate.lock().unwrap().failing_write = true;
    }

    /// All writes to segments so far.
    pub fn writes(&self) -> Vec<Write> {
        self.gate.lock().unwrap().writes.clone()
    }

    /// The watermark as a power cut would leave it at worst.
    pub fn synced_watermark(&self) -> Vec<u8> {
        self.gate.lock().unwrap().watermark.clone()
    }
}

impl Disk for TestDisk {
    fn write_all_at(&self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut gate = self.gate.lock().unwrap();
        if !name(path).starts_with("watermark") {
            if gate.failing_write {
                return Err(io::Error::other("no space left (test)"));
            }
            gate.writes.push(Write {
                file: name(path),
                offset,
                bytes: bytes.len() as u64,
            });
        }
        file.write_all_at(bytes, offset)
    }

    fn sync_data(&self, file: &File, path: &Path) -> io::Result<()> {
        let mut gate = self.gate.lock().unwrap();
        if name(path).starts_with("watermark") {
            gate.watermark = fs::read(path)?;
            return Ok(());
        }
        while gate.held {
            gate.waiting = true;
            self.moved.notify_all();
            gate = self.moved.wait(gate).unwrap();
        }
        gate.waiting = false;
        if gate.failing_sync {
            return Err(io::Error::other("input/output error (test)"));
        }
        file.sync_data()
    }
}

/// The files of a log folder.
#[derive(Clone, Debug)]
pub struct Image(pub BTreeMap<String, Vec<u8>>);

impl Image {
    pub fn of(dir: &Path) -> Self {
        let paths = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        // The next segment may be in the making, and be renamed meanwhile.
        let whole = paths.filter(|path| !name(path).ends_with(".new"));
        // A purged segment may be removed meanwhile, by the thread in the background.
        let read = |path: std::path::PathBuf| match fs::read(&path) {
            Ok(bytes) => Some((name(&path), bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => panic!("{}: {error}", path.display()),
        };
        Self(whole.filter_map(read).collect())
    }

    pub fn write(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in &self.0 {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        dir
    }

    pub fn bytes(&mut self, write: &Write) -> &mut [u8] {
        let file = self.0.get_mut(&write.file).unwrap();
        &mut file[write.offset as usize..write.end() as usize]
    }
}

/// Small segments, everything from disk, no seal that a test did not ask for.
pub fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 64 << 10,
        batch_bytes_max: 16 << 10,
        cache_bytes_max: 0,
        idle_seal: None,
        watermark_sync: std::time::Duration::from_secs(3_600),
        ..LogOptions::default()
    }
}

pub fn open(dir: &Path) -> Result<LogStore, LogError> {
    LogStore::open(dir, options())
}

pub fn open_on(dir: &Path, disk: &Arc<TestDisk>) -> LogStore {
    LogStore::open_on(dir, options(), Arc::clone(disk) as Arc<dyn Disk>).unwrap()
}

pub fn log_id(term: u64, index: u64) -> LogId {
    LogId {
        leader_id: LeaderId { term, node_id: 1 },
        index,
    }
}

pub fn vote(term: u64) -> Vote {
    Vote::new(term, 1)
}

pub fn entry(term: u64, index: u64, payload: Vec<u8>) -> Entry {
    Entry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(Proposal(Bytes::from(payload))),
    }
}

/// Appends and waits for the sync.
pub async fn append(store: &mut LogStore, entries: Vec<Entry>) {
    store.blocking_append(entries).await.unwrap();
}

/// Appends without waiting for the sync.
pub async fn append_only(
    store: &mut LogStore,
    entries: Vec<Entry>,
) -> impl Future<Output = io::Result<()>> + use<> {
    let (tx, rx) = TypeConfig::oneshot();
    store.append(entries, IOFlushed::signal(tx)).await.unwrap();
    async { rx.await.unwrap() }
}

pub async fn entries(store: &LogStore) -> Vec<Entry> {
    store.reader().try_get_log_entries(0..).await.unwrap()
}

/// Everything that a log answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
    pub last: Option<LogId>,
    pub entries: Vec<Entry>,
}

impl Content {
    pub async fn of(store: &LogStore) -> Self {
        let mut store = store.clone();
        let state = store.get_log_state().await.unwrap();
        Self {
            vote: store.reader().read_vote().await.unwrap(),
            committed: store.read_committed().await.unwrap(),
            purged: state.last_purged_log_id,
            last: state.last_log_id,
            entries: entries(&store).await,
        }
    }
}

pub fn segment_files(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|p| p.extension().is_some_and(|e| e == "seg"))
        .collect();
    paths.sort();
    paths
}
