//! The disk under the data folder: whether it has room, and whether it answers.
//!
//! A node with a disk that is full or hangs is not ready. If it leads, it hands over to a voter whose
//! disk is sound; on a full one it proposes nothing, so that nothing is half done. What waits for a
//! disk that hangs is bounded: beyond it a leader refuses writes, and a follower refuses appends
//! before they reach Raft, which would wait for its log and for nothing else.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use minicbor::{Decode, Encode};
use openraft::ServerState;

use super::machine::Merging;
use super::node::Node;
use super::types::NodeId;
use crate::runtime;
use crate::storage::log::LogHealth;
use crate::storage::room;

/// A write that has waited so long for its sync makes the node not ready.
pub const HANGS_AFTER: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// How long another node may take to become the leader.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(2);
/// A snapshot is there twice before the state that it replaces goes: as a file, and as rows.
const SNAPSHOT_COPIES: u64 = 2;
/// Stands for bytes that the system did not say.
const UNKNOWN: u64 = u64::MAX;

/// A node's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DiskStatus {
    /// The data folder; empty where nobody looks at its room.
    #[n(0)]
    pub path: String,
    /// Bytes that are free on its disk; none if the system does not say.
    #[n(1)]
    pub free_bytes: Option<u64>,
    /// How long the oldest write to the log has waited for its sync, in milliseconds; 0 if none does.
    #[n(2)]
    pub oldest_unsynced_ms: u64,
    /// What is wrong, and what to do; none if nothing is.
    #[n(3)]
    pub alarm: Option<String>,
    /// The thread that merges table files has failed. The node ends for it, once there is room.
    #[n(60)]
    pub merges_stopped: bool,
    /// Table files are not merged before there is room on the disk.
    #[n(61)]
    pub merges_wait: bool,
}

/// What is known of the disk.
#[derive(Debug)]
pub(super) struct DiskWatch {
    path: PathBuf,
    /// Less room than this is too little, bytes; none where nobody looks.
    reserve: Option<u64>,
    free: AtomicU64,
    is_low: AtomicBool,
    merges_stopped: AtomicBool,
    merges_wait: AtomicBool,
}

impl DiskWatch {
    pub(super) fn new(path: PathBuf, reserve: Option<u64>) -> Self {
        Self {
            path,
            reserve,
            free: AtomicU64::new(UNKNOWN),
            is_low: AtomicBool::new(false),
            merges_stopped: AtomicBool::new(false),
            merges_wait: AtomicBool::new(false),
        }
    }

    /// Notes how much is free. Half as much again as the reserve ends the alarm, so that it does not
    /// come and go with every file.
    fn saw_free(&self, free: Option<u64>) {
        self.free.store(free.unwrap_or(UNKNOWN), Ordering::Relaxed);
        let (Some(reserve), Some(free)) = (self.reserve, free) else {
            return self.is_low.store(false, Ordering::Relaxed);
        };
        if free < reserve {
            self.is_low.store(true, Ordering::Relaxed);
        } else if free >= reserve.saturating_add(reserve / 2) {
            self.is_low.store(false, Ordering::Relaxed);
        }
    }

    fn saw_merging(&self, merging: Merging) {
        self.merges_stopped
            .store(merging.has_stopped, Ordering::Relaxed);
        self.merges_wait
            .store(merging.waits_for_room, Ordering::Relaxed);
    }

    /// That nothing is merged any more, if so, and what comes of it.
    fn merges_nothing(&self) -> Option<String> {
        let path = self.path.display();
        self.merges_stopped.load(Ordering::Relaxed).then(|| {
            format!(
                "table files in {path}/state are not merged any more: the thread that does it has \
                 failed, as it does if the disk is full all of a sudden (its error is in this log). \
                 Nothing is lost; a start mends it"
            )
        })
    }

    /// Why the node is to end now: only a start mends it, and there is room for one.
    fn ends_for(&self, log: &LogHealth) -> Option<String> {
        let why = self.merges_nothing()?;
        self.full(log).is_none().then(|| {
            format!("{why}, so this node ends now: have it started again (a supervisor does)")
        })
    }

    fn free_bytes(&self) -> Option<u64> {
        let free = self.free.load(Ordering::Relaxed);
        (free != UNKNOWN).then_some(free)
    }

    /// Why nothing may be written, if the disk has no room.
    pub(super) fn full(&self, log: &LogHealth) -> Option<String> {
        let path = self.path.display();
        let free = match self.free_bytes() {
            Some(free) => format!("{} are free", room::in_words(free)),
            None => "the system does not say how much is free".to_owned(),
        };
        let what = match &log.no_room {
            Some(said) => said.clone(),
            None if self.is_low.load(Ordering::Relaxed) => {
                let reserve = room::in_words(self.reserve.unwrap_or(0));
                format!("less than {reserve} are left")
            }
            None => return None,
        };
        Some(format!(
            "the disk of {path} is full: {what} ({free}); make room there, and the node goes on by \
             itself"
        ))
    }

    /// Why the disk is not sound, if so.
    pub(super) fn alarm(&self, log: &LogHealth) -> Option<String> {
        self.full(log)
            .or_else(|| self.hangs(log))
            .or_else(|| self.merges_nothing())
    }

    fn hangs(&self, log: &LogHealth) -> Option<String> {
        let waits = log.oldest_unsynced.filter(|waits| *waits > HANGS_AFTER)?;
        Some(format!(
            "the disk of {} hangs: a write to the log has waited {} s for its sync",
            self.path.display(),
            waits.as_secs()
        ))
    }

    /// Why nothing may be proposed, if so.
    pub(super) fn refuses_writes(&self, log: &LogHealth) -> Option<String> {
        self.full(log).or_else(|| self.refuses_appends(log))
    }

    /// Why nothing more may be given to the log, if so.
    pub(super) fn refuses_appends(&self, log: &LogHealth) -> Option<String> {
        if let Some(said) = &log.no_room {
            return Some(said.clone());
        }
        log.is_backlogged.then(|| {
            let path = self.path.display();
            format!("too much waits for the disk of {path}, which is slow or hangs")
        })
    }

    /// Why a snapshot of so many bytes is not taken, if there is no room for its file and for the state
    /// that is made of it while the old one is still there. `free`: bytes that are free now.
    fn refuses_snapshot_with(&self, bytes: u64, free: Option<u64>) -> Option<String> {
        // Where nobody looks, as in a simulation, what is free is chance.
        let free = self.reserve.and(free)?;
        let needed = bytes.saturating_mul(SNAPSHOT_COPIES);
        (free < needed).then(|| {
            format!(
                "the disk of {} has no room for a snapshot of {}: {} are needed, {} are free; make \
                 room there, and the leader sends it again by itself",
                self.path.display(),
                room::in_words(bytes),
                room::in_words(needed),
                room::in_words(free),
            )
        })
    }

    /// The same, as the disk is now. It blocks.
    pub(super) fn refuses_snapshot(&self, bytes: u64) -> Option<String> {
        self.refuses_snapshot_with(bytes, room::free_bytes(&self.path))
    }

    pub(super) fn status(&self, log: &LogHealth) -> DiskStatus {
        let waited = log.oldest_unsynced.unwrap_or_default().as_millis();
        // Where nobody looks, as in a simulation, its name is chance.
        let path = self.reserve.map(|_| self.path.display().to_string());
        DiskStatus {
            path: path.unwrap_or_default(),
            free_bytes: self.free_bytes(),
            oldest_unsynced_ms: u64::try_from(waited).unwrap_or(u64::MAX),
            alarm: self.alarm(log),
            merges_stopped: self.merges_stopped.load(Ordering::Relaxed),
            merges_wait: self.merges_wait.load(Ordering::Relaxed),
        }
    }
}

/// Looks at the disk until the node stops.
pub(super) async fn watch_disk(node: Node) {
    let mut told = false;
    loop {
        let disk = &node.inner.disk;
        if disk.reserve.is_some() {
            let path = disk.path.clone();
            let free = runtime::off_thread(move || room::free_bytes(&path)).await;
            disk.saw_free(free.ok().flatten());
            let machine = node.inner.machine.clone();
            if let Ok(merging) = runtime::off_thread(move || machine.merging()).await {
                disk.saw_merging(merging);
            }
        }
        let alarm = disk.alarm(&node.inner.log.health());
        match (&alarm, told) {
            (Some(alarm), false) => tracing::error!("{alarm}"),
            (None, true) => tracing::info!("the disk is sound again"),
            _ => {}
        }
        told = alarm.is_some();
        if told {
            node.hand_over_to_a_sound_disk().await;
        }
        if let Some(why) = disk.ends_for(&node.inner.log.health()) {
            return node.inner.fail(why);
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Node {
    /// Hands over, if this node leads, to a voter that would take writes. If there is none, it goes
    /// on: what it has in memory is committed by the others' disks.
    async fn hand_over_to_a_sound_disk(&self) {
        if self.inner.metrics().state != ServerState::Leader {
            return;
        }
        let membership = self.inner.membership();
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let others = membership
            .nodes()
            .filter(|(id, _)| voters.contains(id) && **id != self.id())
            .map(|(id, member)| async { (*id, self.status_of(*id, member).await) });
        let sound = |(id, answer): (NodeId, Result<super::message::StatusAnswer, String>)| {
            let status = answer.ok()?.status;
            (status.disk.alarm.is_none() && status.clock.waits.is_none()).then_some(id)
        };
        let to = join_all(others)
            .await
            .into_iter()
            .filter_map(sound)
            .collect();
        self.hand_over_to(HANDOVER_TIMEOUT, &to).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESERVE: u64 = 64 << 20;

    fn watch() -> DiskWatch {
        DiskWatch::new(PathBuf::from("/data"), Some(RESERVE))
    }

    #[test]
    fn a_reserve_is_an_alarm_before_the_disk_is_full_and_ends_a_little_later() {
        let (disk, log) = (watch(), LogHealth::default());
        for (free, full) in [
            (RESERVE, false),
            (RESERVE - 1, true),
            (RESERVE + 1, true),
            (RESERVE + RESERVE / 2, false),
            (RESERVE, false),
        ] {
            disk.saw_free(Some(free));
            assert_eq!(disk.refuses_writes(&log).is_some(), full, "{free}");
            assert_eq!(disk.refuses_appends(&log), None, "there is a reserve");
        }
        disk.saw_free(Some(1 << 20));
        let said = disk.alarm(&log).unwrap_or_default();
        assert!(said.contains("/data") && said.contains("1 MiB"), "{said}");
        disk.saw_free(None);
        assert_eq!(disk.alarm(&log), None, "the system does not say");
    }

    #[test]
    fn a_node_that_merges_nothing_any_more_says_so_and_ends_once_there_is_room() {
        let (disk, log) = (watch(), LogHealth::default());
        disk.saw_free(Some(1 << 20));
        disk.saw_merging(Merging {
            has_stopped: true,
            waits_for_room: false,
        });
        let said = disk.alarm(&log).unwrap_or_default();
        assert!(said.contains("is full"), "{said}");
        assert!(disk.status(&log).merges_stopped);
        assert_eq!(disk.ends_for(&log), None, "a start would find no room");
        disk.saw_free(Some(2 * RESERVE));
        let said = disk.alarm(&log).unwrap_or_default();
        assert!(said.contains("/data/state are not merged"), "{said}");
        let ends = disk.ends_for(&log).unwrap_or_default();
        assert!(ends.contains("started again"), "{ends}");
        disk.saw_merging(Merging::default());
        assert_eq!((disk.alarm(&log), disk.ends_for(&log)), (None, None));
    }

    #[test]
    fn a_snapshot_needs_room_for_its_file_and_for_its_rows() {
        let watch = watch();
        for (free, taken) in [
            (Some(2_000), true),
            (Some(1_999), false),
            (Some(0), false),
            (None, true),
        ] {
            let refusal = watch.refuses_snapshot_with(1_000, free);
            assert_eq!(refusal.is_none(), taken, "{free:?}: {refusal:?}");
        }
        assert!(
            watch
                .refuses_snapshot_with(u64::MAX, Some(1 << 50))
                .is_some()
        );
        let unwatched = DiskWatch::new(PathBuf::from("/data"), None);
        assert_eq!(unwatched.refuses_snapshot_with(u64::MAX, Some(0)), None);
    }

    #[test]
    fn a_log_without_room_takes_nothing() {
        let log = LogHealth {
            no_room: Some("cannot fill /data/log/segment.new".to_owned()),
            ..LogHealth::default()
        };
        let disk = watch();
        for said in [
            disk.alarm(&log),
            disk.refuses_writes(&log),
            disk.refuses_appends(&log),
        ] {
            assert!(said.is_some_and(|said| said.contains("segment.new")));
        }
    }

    #[test]
    fn a_disk_that_hangs_is_an_alarm_and_takes_what_its_queue_holds() {
        let hangs = LogHealth {
            oldest_unsynced: Some(Duration::from_secs(3)),
            ..LogHealth::default()
        };
        let disk = watch();
        assert!(disk.alarm(&hangs).is_some_and(|said| said.contains("3 s")));
        assert_eq!(disk.refuses_writes(&hangs), None);
        let backlogged = LogHealth {
            is_backlogged: true,
            ..hangs
        };
        assert!(disk.refuses_writes(&backlogged).is_some());
        assert!(disk.refuses_appends(&backlogged).is_some());
        let slow = LogHealth {
            oldest_unsynced: Some(Duration::from_secs(1)),
            ..LogHealth::default()
        };
        assert_eq!(disk.alarm(&slow), None);
    }
}
