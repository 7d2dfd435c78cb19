//! Leaders that vanish, answers that are lost: what was acknowledged stays, exactly once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use raft3d_core::command::{Actor, CreatePrinter};
use raft3d_core::{Accepted, Command, RejectionKind, Response};
use raft3d_engine::raft::api::{Role, WriteError, WriteRequest};
use raft3d_engine::raft::transport::Channel;

use crate::cluster::{Cluster, Tune, accepted, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn every_write_has_an_outcome() {
    let cluster = Cluster::started(3, Tune::default()).await;
    let mut made = BTreeSet::new();
    for n in 0..60 {
        let id = format!("p{n}");
        let outcome = cluster.printer(n % 3, &id).await.unwrap();
        accepted(&outcome);
        assert!(!outcome.replayed);
        made.insert(id);
    }
    for at in 0..3 {
        let seen: BTreeSet<_> = cluster.printers(at).await.unwrap().into_iter().collect();
        assert_eq!(seen, made);
    }
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_does_not_do_a_write_twice() {
    let cluster = Cluster::started(3, Tune::default()).await;
    let follower = cluster.follower().await;
    cluster.net.lose_answers(Channel::Forward, 2);
    // Under an id that the node minted: it asks again, and gets the stored answer.
    let outcome = cluster.printer(follower, "p1").await.unwrap();
    accepted(&outcome);
    assert!(outcome.replayed, "the first try was done");
    assert_eq!(cluster.net.answers_to_lose(), 0);
    // Under the client's own key, later and through another node.
    let first = cluster.printer_keyed(0, "p2", Some("key")).await.unwrap();
    let again = cluster.printer_keyed(1, "p2", Some("key")).await.unwrap();
    assert!(again.replayed && !first.replayed);
    assert_eq!(
        (again.revision, &again.response),
        (first.revision, &first.response)
    );
    assert_eq!(cluster.printers(follower).await.unwrap(), ["p1", "p2"]);
}

/// Many writes share a message to the leader; where its answer is lost, each of them asks again.
#[tokio::test(flavor = "multi_thread")]
async fn writes_in_one_group_have_their_own_outcomes() {
    const WRITES: usize = 200;
    let cluster = Cluster::started(3, Tune::default()).await;
    let follower = cluster.follower().await;
    let before = cluster.net.carried(Channel::Forward);
    cluster.net.lose_answers(Channel::Forward, 2);
    // Each id twice: one of them is accepted, the other rejected, in whatever group they are.
    let ids: Vec<_> = (0..WRITES).map(|n| format!("p{:03}", n / 2)).collect();
    let writes = ids.iter().map(|id| cluster.printer(follower, id));
    let mut made = Vec::new();
    let mut revisions = BTreeSet::new();
    for (id, outcome) in ids.iter().zip(futures_util::future::join_all(writes).await) {
        let outcome = outcome.unwrap();
        revisions.insert(outcome.revision);
        match &outcome.response {
            Response::Accepted(Accepted::Printer(printer)) => {
                assert_eq!(printer.id.as_str(), id);
                made.push(id.clone());
            }
            Response::Rejected(rejection) => {
                assert_eq!(rejection.kind, RejectionKind::AlreadyExists);
            }
            other => panic!("{id}: {other:?}"),
        }
    }
    assert_eq!(revisions.len(), WRITES, "each has its own entry");
    made.sort_unstable();
    assert_eq!(made.len(), WRITES / 2);
    assert_eq!(cluster.printers(follower).await.unwrap(), made);
    assert_eq!(cluster.net.answers_to_lose(), 0);
    let messages = cluster.net.carried(Channel::Forward) - before;
    assert!(
        messages < WRITES / 2,
        "{messages} messages for {WRITES} writes"
    );
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_and_comes_back() {
    kill_leaders(3, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_five_may_be_killed() {
    kill_leaders(5, 2).await;
}

/// Kills leaders one after the other under load; everything acknowledged must be there.
async fn kill_leaders(count: u64, kills: usize) {
    let cluster = Arc::new(Cluster::started(count, Tune::default()).await);
    let mut killed = Vec::new();
    let mut all = BTreeSet::new();
    for round in 0..kills {
        let victim = cluster.leader().await;
        let survivors: Vec<_> = cluster
            .running()
            .into_iter()
            .filter(|at| *at != victim)
            .collect();
        let writers = (0..8).map(|w| {
            let cluster = Arc::clone(&cluster);
            let through = survivors[w % survivors.len()];
            tokio::spawn(async move {
                let mut done = Vec::new();
                for n in 0..25 {
                    let id = format!("r{round}-w{w}-{n}");
                    match cluster.printer(through, &id).await {
                        Ok(outcome) => {
                            accepted(&outcome);
                            done.push(id);
                        }
                        // Nothing may be concluded from it.
                        Err(WriteError::OutcomeUnknown { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                done
            })
        });
        let writers: Vec<_> = writers.collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        cluster.kill(victim).await;
        killed.push(victim);
        for writer in writers {
            all.extend(writer.await.unwrap());
        }
    }
    for victim in killed {
        cluster.start(victim).await;
    }
    for at in 0..count as usize {
        let seen: BTreeSet<_> = cluster.printers(at).await.unwrap().into_iter().collect();
        let lost: Vec<_> = all.difference(&seen).collect();
        assert!(
            lost.is_empty(),
            "acknowledged and lost on node {at}: {lost:?}"
        );
    }
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_killed_at_once_lose_nothing() {
    let cluster = Cluster::started(3, Tune::default()).await;
    for n in 0..20 {
        cluster.printer(n % 3, &format!("p{n:02}")).await.unwrap();
    }
    let before = cluster.printers(0).await.unwrap();
    for at in 0..3 {
        cluster.kill(at).await;
    }
    cluster.start_all().await;
    for at in 0..3 {
        assert_eq!(cluster.printers(at).await.unwrap(), before);
    }
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_hands_the_leadership_over() {
    let cluster = Cluster::started(3, Tune::default()).await;
    cluster.printer(0, "p1").await.unwrap();
    let leader = cluster.leader().await;
    let term = cluster.node(leader).status().term;
    cluster.stop(leader).await;
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    assert!(cluster.node(next).status().term > term);
    cluster.printer(next, "p2").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_isolated_leader_acknowledges_nothing() {
    let cluster = Cluster::started(3, Tune::default()).await;
    cluster.printer(0, "p1").await.unwrap();
    let old = cluster.leader().await;
    cluster.net.isolate(&cluster.slots[old].addr);
    let other = cluster.running().into_iter().find(|at| *at != old).unwrap();
    cluster.printer(other, "p2").await.unwrap();
    wait_for("the others have a leader", || {
        let status = cluster.node(other).status();
        status.leader.is_some() && status.leader != Some(cluster.node(old).id())
    })
    .await;
    cluster.net.heal();
    wait_for("the old leader follows", || {
        cluster.node(old).status().role == Role::Follower
    })
    .await;
    assert_eq!(cluster.printers(old).await.unwrap(), ["p1", "p2"]);
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_a_silent_leader_has_is_asked_for_where_the_next_one_is() {
    let cluster = Arc::new(Cluster::started(3, Tune::default()).await);
    let old = cluster.leader().await;
    let follower = (0..3).find(|at| *at != old).unwrap();
    let addr = |at: usize| cluster.slots.get(at).unwrap().addr.clone();
    cluster.net.hold_answers(&addr(follower), Channel::Forward);
    let write = Arc::clone(&cluster);
    let written = tokio::spawn(async move { write.printer(follower, "p1").await });
    let held = || cluster.net.held_answers(&addr(old));
    wait_for("the leader answers", || held() >= 1).await;
    cluster.net.isolate(&addr(old));
    let release = || {
        for at in (0..3).filter(|at| *at != old) {
            while cluster.net.held_answers(&addr(at)) > 0 {
                cluster.net.release_answer(&addr(at));
            }
        }
    };
    wait_for("another leader answers", || {
        release();
        written.is_finished()
    })
    .await;
    assert!(held() >= 1, "the old one is still silent");
    let outcome = written.await.unwrap().unwrap();
    assert!(outcome.replayed, "the new leader had it in its log");
    assert_eq!(cluster.printers(follower).await.unwrap(), ["p1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_no_entry_holds_is_refused_as_too_large() {
    let cluster = Cluster::started(1, Tune::default()).await;
    let id = "p".repeat(5 * 1024 * 1024);
    let refused = cluster.printer(0, &id).await;
    assert!(
        matches!(refused, Err(WriteError::TooLarge { .. })),
        "{:?}",
        refused.err()
    );
}

/// Deadlines are compared with the leader's clock; a follower knows by how much its own lags.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_clock_lags_takes_writes() {
    let tune = Tune {
        checkpoint_ms: 300,
        ..Tune::default()
    };
    let mut cluster = Cluster::started(3, tune).await;
    let late = cluster.follower().await;
    cluster.kill(late).await;
    cluster.tune.clock_offset_ms = -8_000;
    let node = cluster.start(late).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let outcome = node.write(WriteRequest {
        // Of a checkpoint nobody would compare the deadline, nor take it from a follower.
        command: Command::CreatePrinter(CreatePrinter {
            company: "Acme".to_owned(),
            model: "M".to_owned(),
            ..CreatePrinter::default()
        }),
        asked: None,
        actor: Actor {
            name: "tester".to_owned(),
            verified: false,
        },
        idempotency_key: None,
        timeout: Duration::from_secs(5),
    });
    accepted(&outcome.await.unwrap());
}
