//! Power cuts on all nodes at once, full disks, and states that are ahead of their logs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream;
use openraft::StorageHelper;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use raft3d_core::{Response, Revision};
use raft3d_engine::raft::api::{Consistency, ReadError, ReadOptions};
use raft3d_engine::raft::machine::ApplyOptions;
use raft3d_engine::raft::parts::Parts;
use raft3d_engine::raft::types::{Entry, EntryPayload, LeaderId, LogId, Vote};
use raft3d_engine::storage::data_dir::DataDir;
use tempfile::tempdir;

use crate::cluster::{Cluster, HOST, Tune, accepted};
use crate::power::{Power, copy_folder, damage_state};
use crate::random::Random;

const ROUNDS: u64 = 5;
const WRITERS: usize = 6;
/// A log to which nothing comes is sealed within this time.
const AT_REST: Duration = Duration::from_millis(500);
/// A round's writes are acknowledged within this time, on a busy machine too.
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);
/// Acknowledged writes of each round that are asked for again under their keys.
const REPEATED: usize = 8;

/// What was acknowledged, by the printer's id.
type Acknowledged = Arc<Mutex<BTreeMap<String, (Revision, Response)>>>;

/// Every byte that was synced is as it was; every other one, and every state database, may be
/// anything. All nodes open, and nothing acknowledged is lost or done twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_on_all_nodes_loses_nothing_acknowledged() {
    let mut random = Random::seeded("a_power_cut_on_all_nodes_loses_nothing_acknowledged");
    let power = Arc::new(Power::default());
    let tune = Tune {
        snapshot_entries: 60,
        log_entries_kept: 20,
        power: Some(Arc::clone(&power)),
        ..Tune::default()
    };
    let cluster = Arc::new(Cluster::started(3, tune).await);
    let acknowledged = Acknowledged::default();
    let older = tempdir().unwrap();
    for at in 0..3 {
        copy_folder(
            &cluster.slots[at].dir.join("state"),
            &older_state(older.path(), at),
        );
    }
    for round in 0..ROUNDS {
        let before = acknowledged.lock().unwrap().len();
        let slow = random.below(4) as usize;
        power.slow_down(cluster.slots.get(slow).map(|slot| slot.dir.clone()));
        let writers: Vec<_> = (0..WRITERS)
            .map(|w| {
                tokio::spawn(write_on(
                    Arc::clone(&cluster),
                    round,
                    w,
                    acknowledged.clone(),
                ))
            })
            .collect();
        let enough = async {
            while acknowledged.lock().unwrap().len() < before + 120 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let enough = tokio::time::timeout(WRITTEN_WITHIN, enough).await;
        assert!(
            enough.is_ok(),
            "round {round}: nothing is acknowledged any more"
        );
        tokio::time::sleep(Duration::from_micros(random.below(20_000))).await;
        power.cut();
        // Whatever is still acknowledged now has to hold as well.
        tokio::time::sleep(Duration::from_millis(20)).await;
        for writer in writers {
            writer.abort();
            let _ = writer.await;
        }
        for at in 0..3 {
            cluster.kill(at).await;
        }
        let torn = power.damage_and_restore(&mut random);
        let mut states = Vec::new();
        for at in 0..3 {
            let state = cluster.slots[at].dir.join("state");
            let older = older_state(older.path(), at);
            states.push(damage_state(&mut random, &state, &older));
            if state.exists() {
                copy_folder(&state, &older);
            }
        }
        let count = acknowledged.lock().unwrap().len() - before;
        println!("round {round}: {count} acknowledged, {torn} bytes not synced, states {states:?}");
        for at in 0..3 {
            cluster.start(at).await;
        }
        check(&cluster, &acknowledged, &format!("r{round}-")).await;
    }
}

fn older_state(older: &Path, at: usize) -> std::path::PathBuf {
    older.join(at.to_string())
}

/// Writes until it is aborted.
async fn write_on(cluster: Arc<Cluster>, round: u64, writer: usize, acknowledged: Acknowledged) {
    for n in 0.. {
        let id = format!("r{round}-w{writer}-{n:04}");
        if let Ok(outcome) = cluster
            .printer_keyed((n + writer) % 3, &id, Some(&id))
            .await
        {
            let answer = (outcome.revision, outcome.response);
            acknowledged.lock().unwrap().insert(id, answer);
        } else {
            tokio::task::yield_now().await;
        }
    }
}

async fn check(cluster: &Cluster, acknowledged: &Acknowledged, round: &str) {
    let acknowledged = acknowledged.lock().unwrap().clone();
    for at in 0..3 {
        let seen = cluster.printers(at).await.unwrap();
        let unique: BTreeSet<_> = seen.iter().cloned().collect();
        assert_eq!(unique.len(), seen.len());
        let lost: Vec<_> = acknowledged
            .keys()
            .filter(|id| !unique.contains(*id))
            .collect();
        assert!(
            lost.is_empty(),
            "acknowledged and lost on node {at}: {lost:?}"
        );
    }
    // Asked for again, each is the one that was done: at its revision, with its answer.
    let of_round = acknowledged.iter().filter(|(id, _)| id.starts_with(round));
    for (nth, (id, answer)) in of_round.rev().take(REPEATED).enumerate() {
        let again = cluster.printer_keyed(nth % 3, id, Some(id)).await.unwrap();
        assert!(again.replayed, "{id} was done twice");
        assert_eq!((again.revision, &again.response), (answer.0, &answer.1));
    }
    cluster.settle().await;
}

/// A follower shows what a majority without it has synced, and loses that with its power. What it
/// still has is committed and applied; that there was more only the leader knows, so that nothing is
/// read before it has said how far it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_back_from_a_power_cut_shows_nothing_older_than_before() {
    let power = Arc::new(Power::default());
    let tune = Tune {
        power: Some(Arc::clone(&power)),
        ..Tune::default()
    };
    let cluster = Cluster::started(3, tune).await;
    accepted(&cluster.printer(0, "before").await.unwrap());
    cluster.settle().await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let slot = &cluster.slots[follower];
    // The log rests after a while: with all of it synced, and how far it is committed.
    tokio::time::sleep(AT_REST).await;
    let synced = tempdir().unwrap();
    copy_folder(&slot.dir.join("log"), synced.path());
    power.hold(Some(slot.dir.clone()));
    let shown = cluster.printer(leader, "shown").await.unwrap();
    let stale = Consistency::Stale;
    let seen = cluster.printers_with(follower, stale, Some(shown.revision));
    assert_eq!(seen.await.unwrap(), ["before", "shown"]);
    // What it now syncs and says nobody hears: it is as if the power had gone.
    cluster.net.isolate(&slot.addr);
    power.hold(None);
    cluster.kill(follower).await;
    copy_folder(synced.path(), &slot.dir.join("log"));
    std::fs::remove_dir_all(slot.dir.join("state")).unwrap();
    cluster.start(follower).await;
    let options = ReadOptions {
        consistency: stale,
        min_revision: None,
        timeout: Duration::from_millis(500),
    };
    let read = cluster.node(follower).read(options).await;
    assert!(
        matches!(read, Err(ReadError::Unavailable { .. })),
        "it shows what it had synced: {read:?}"
    );
    cluster.net.heal();
    let seen = cluster.printers_with(follower, stale, None).await.unwrap();
    assert_eq!(seen, ["before", "shown"]);
}

/// Nothing is acknowledged, the nodes end and say why; with space again they go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_nodes_and_loses_nothing() {
    let power = Arc::new(Power::default());
    let tune = Tune {
        power: Some(Arc::clone(&power)),
        ..Tune::default()
    };
    let cluster = Cluster::started(3, tune).await;
    for n in 0..10 {
        accepted(&cluster.printer(n % 3, &format!("p{n}")).await.unwrap());
    }
    cluster.settle().await;
    power.fill();
    assert!(cluster.printer(0, "too-much").await.is_err());
    for at in 0..3 {
        let said = tokio::time::timeout(crate::cluster::PATIENCE, cluster.node(at).fault()).await;
        let said = said.expect("the node notices");
        assert!(
            said.contains("cannot write") && said.contains("start the node again"),
            "{said}"
        );
        cluster.kill(at).await;
    }
    power.free();
    for at in 0..3 {
        cluster.start(at).await;
    }
    accepted(&cluster.printer(1, "after").await.unwrap());
    for at in 0..3 {
        let seen = cluster.printers(at).await.unwrap();
        assert!((0..10).all(|n| seen.contains(&format!("p{n}"))), "{seen:?}");
    }
    cluster.settle().await;
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId { term, node_id: 1 }, index)
}

fn blank(log_id: LogId) -> Entry {
    Entry {
        log_id,
        payload: EntryPayload::Blank,
    }
}

async fn open(dir: &Path) -> Parts {
    let data_dir = Arc::new(DataDir::open(dir).unwrap());
    let host = HOST.1.clone();
    let disk = Arc::new(Power::default());
    Parts::open_on(
        data_dir,
        host,
        None,
        ApplyOptions::default(),
        Power::log_options(),
        disk,
    )
    .await
    .unwrap()
}

/// The log ends at 5 or goes on, to 10, with an older term; the state has 6 and 7 of term 2.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_ahead_of_its_log_is_made_durable_before_the_log_is_cut() {
    for last in [5, 10] {
        let dir = tempdir().unwrap();
        {
            let mut parts = open(dir.path()).await;
            parts.log.save_vote(&Vote::new(2, 1)).await.unwrap();
            let old = (1..=last).map(|index| blank(log_id(1, index)));
            parts.log.blocking_append(old).await.unwrap();
            let snapshot_at = (1..=3).map(|index| Ok((blank(log_id(1, index)), None)));
            let snapshot_at: Vec<_> = snapshot_at.collect();
            parts
                .machine
                .apply(stream::iter(snapshot_at))
                .await
                .unwrap();
            parts.machine.handle().build_snapshot().unwrap();
            let ids = [log_id(1, 4), log_id(1, 5), log_id(2, 6), log_id(2, 7)];
            let applied: Vec<_> = ids.map(|id| Ok((blank(id), None))).into();
            parts.machine.apply(stream::iter(applied)).await.unwrap();
            parts.log.close().await.unwrap();
        }
        // The second time without the state, as the next power cut may have it.
        for lost in [false, true] {
            if lost {
                std::fs::remove_dir_all(dir.path().join("state")).unwrap();
            }
            let Parts {
                mut log,
                mut machine,
                ..
            } = open(dir.path()).await;
            let state = log.get_log_state().await.unwrap();
            assert_eq!(state.last_log_id, Some(log_id(2, 7)), "{last} {lost}");
            assert_eq!(
                state.last_purged_log_id,
                Some(log_id(2, 7)),
                "{last} {lost}"
            );
            let handle = machine.handle();
            assert_eq!(handle.view().last_applied(), Some(log_id(2, 7)));
            let started = StorageHelper::new(&mut log, &mut machine).with_id(1);
            let started = { started }.get_initial_state().await;
            assert!(started.is_ok(), "openraft refuses: {:?}", started.err());
            log.close().await.unwrap();
        }
    }
}
