//! Opening a Raft log that a script wrote, and then damaged.
//!
//! The writer here is one of its own, made after the format's documentation: it also checks that
//! the documentation is right. What must hold of a log with frames 1 to n, of which 1 to s are
//! synced, and whose first damaged frame is d:
//!
//! - it opens with exactly what the frames before d say, or not at all: never with other entries;
//! - with less than the s frames that the watermark names, it does not open;
//! - where a later frame proves that d had been synced, it does not open;
//! - where only the last frame is damaged, and was not synced, it opens;
//! - whatever opens can be written to, and opens again with what was written.

mod image;
mod script;

use bytes::Bytes;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};
use openraft::vote::RaftLeaderId;
use raft3d_engine::raft::types::{Entry, EntryPayload, LeaderId, LogId, Proposal, Vote};
use raft3d_engine::storage::log::{LogError, LogOptions, LogStore};
use std::path::Path;
use std::time::Duration;

use crate::shop::block_on;
use image::Image;
use script::{Script, Written};

use image::SEGMENT_BYTES;
pub(crate) use script::op;

/// Everything that a log answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Content {
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    pub(crate) last: Option<LogId>,
    pub(crate) entries: Vec<Entry>,
}

pub(crate) fn run(input: &[u8]) -> bool {
    let Written {
        image: whole,
        states,
        synced,
        is_foreign,
        damage,
    } = Script::new(input).write();
    let mut image = whole.clone();
    for blow in &damage {
        image.strike(*blow);
    }
    let dir = crate::scratch_dir();
    image.store(dir.path());
    let opened = open_and_go_on(dir.path());
    if is_foreign {
        return opened.is_ok();
    }
    let synced = image.named_by_watermark(&whole, synced);
    let verdict = Verdict::on(&whole, &image, synced);
    match (&opened, &verdict) {
        (Ok(found), Verdict::Opens(kept) | Verdict::MayOpen(kept)) => {
            assert_eq!(
                found, &states[*kept],
                "with {kept} frames, {synced:?} synced"
            );
        }
        (Ok(found), Verdict::Refused) => {
            panic!(
                "opened with {found:?}, {synced:?} of {} synced",
                states.len() - 1
            )
        }
        (Err(error), Verdict::Opens(_)) => panic!("{error}"),
        (Err(_), Verdict::MayOpen(_) | Verdict::Refused) => {}
    }
    opened.is_ok()
}

/// What must become of a damaged log.
#[derive(Debug)]
enum Verdict {
    /// It opens with so many frames.
    Opens(usize),
    /// It may be refused; where it opens, it is with so many frames.
    MayOpen(usize),
    /// It does not open.
    Refused,
}

impl Verdict {
    fn on(whole: &Image, image: &Image, synced: Option<usize>) -> Self {
        let Some(synced) = synced else {
            return Self::Refused;
        };
        if image.has_damaged_segment_header(whole) {
            return Self::Refused;
        }
        let frames = whole.frames.len();
        let Some(damaged) = (0..frames).find(|nth| image.differs(whole, *nth)) else {
            return Self::Opens(frames);
        };
        let proven = (damaged + 1..frames).any(|nth| !image.differs_in_header(whole, nth));
        if damaged < synced || proven {
            Self::Refused
        } else if damaged + 1 == frames {
            Self::Opens(damaged)
        } else {
            Self::MayOpen(damaged)
        }
    }
}

fn open(dir: &Path) -> Result<LogStore, LogError> {
    let options = LogOptions {
        segment_bytes: SEGMENT_BYTES as u64,
        batch_bytes_max: 4 << 10,
        cache_bytes_max: 0,
        idle_seal: None,
        watermark_sync: Duration::from_secs(3_600),
        ..LogOptions::default()
    };
    LogStore::open(dir, options)
}

/// What the log holds; it is then written to, closed and opened again.
fn open_and_go_on(dir: &Path) -> Result<Content, LogError> {
    let mut store = open(dir)?;
    let found = block_on(content(&store));
    let next = found.last.map_or(Some(0), |last| last.index.checked_add(1));
    let Some(next) = next else {
        return Ok(found);
    };
    let term = found.last.map_or(1, |last| last.leader_id.term);
    let entry = Entry {
        log_id: LogId::new(LeaderId::new(term, 1), next),
        payload: EntryPayload::Normal(Proposal(Bytes::from_static(b"after"))),
    };
    block_on(store.blocking_append([entry.clone()])).expect("an opened log can be written");
    drop(store);
    let mut expected = found.clone();
    expected.last = Some(entry.log_id);
    expected.entries.push(entry);
    let again = open(dir).expect("a log that was closed opens");
    assert_eq!(block_on(content(&again)), expected, "after a restart");
    Ok(found)
}

async fn content(store: &LogStore) -> Content {
    let mut store = store.clone();
    let state = store.get_log_state().await.expect("the state of the log");
    let mut reader = store.reader();
    Content {
        vote: reader.read_vote().await.expect("the vote"),
        committed: store.read_committed().await.expect("what is committed"),
        purged: state.last_purged_log_id,
        last: state.last_log_id,
        entries: reader.try_get_log_entries(0..).await.expect("the entries"),
    }
}
