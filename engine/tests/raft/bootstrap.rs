//! How clusters begin, and begin again after being cut short.

use std::fs;
use std::time::Duration;

use raft3d_core::command::{Actor, CreateFilament, CreateJob};
use raft3d_core::{Accepted, Command, FilamentId, PrinterId};
use raft3d_engine::raft::api::WriteRequest;
use raft3d_engine::raft::bootstrap::BootstrapError;
use raft3d_engine::raft::message::{Answer, Ask, VoteAsk};
use raft3d_engine::raft::types::{Incarnation, Vote};
use raft3d_sdk::Grams;

use crate::cluster::{Cluster, Tune, accepted, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn one_node_serves_and_remembers() {
    let cluster = Cluster::started(1, Tune::default()).await;
    let first = cluster.printer(0, "p1").await.unwrap();
    assert!(matches!(accepted(&first), Accepted::Printer(_)));
    let done = cluster.settle().await;
    cluster.stop(0).await;
    cluster.start(0).await;
    // The list of initial members is ignored from now on, whatever it says.
    cluster.bootstrap(0).await.unwrap();
    assert_eq!(cluster.printers(0).await.unwrap(), ["p1"]);
    assert!(cluster.node(0).status().applied >= done);
    cluster.printer(0, "p2").await.unwrap();
    assert_eq!(cluster.printers(0).await.unwrap(), ["p1", "p2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_bootstrap_with_the_default_ruleset() {
    let cluster = Cluster::started(3, Tune::default()).await;
    cluster.printer(1, "p1").await.unwrap();
    let write = |command| WriteRequest {
        command,
        asked: None,
        actor: Actor {
            name: "tester".to_owned(),
            verified: false,
        },
        idempotency_key: None,
        timeout: Duration::from_secs(20),
    };
    let filament = CreateFilament {
        id: Some(FilamentId::new("f1")),
        material: "PLA".to_owned(),
        color: "Red".to_owned(),
        total: Grams::from_grams(1_000).unwrap(),
        ..CreateFilament::default()
    };
    let made = cluster
        .node(0)
        .write(write(Command::CreateFilament(filament)))
        .await
        .unwrap();
    assert!(matches!(accepted(&made), Accepted::Filament(_)));
    let job = CreateJob {
        id: None,
        printer_id: PrinterId::new("p1"),
        filament_id: FilamentId::new("f1"),
        filepath: "/a.stl".to_owned(),
        print_weight: Grams::from_grams(120).unwrap(),
        priority: 0,
        labels: Default::default(),
        status: None,
    };
    // A policy in WASM admits it, on every replica alike.
    let made = cluster
        .node(2)
        .write(write(Command::CreateJob(job)))
        .await
        .unwrap();
    assert!(matches!(accepted(&made), Accepted::Job(_)));
    cluster.settle().await;
    for at in 0..3 {
        assert_eq!(cluster.node(at).status().not_ready, None);
    }
    let status = cluster.node(1).cluster_status().await;
    assert_eq!(status.members.len(), 3);
    assert!(status.cluster_id.is_some());
    for member in &status.members {
        assert!(member.voter);
        let own = member.status.as_ref().unwrap();
        assert_eq!(own.node_id, member.node_id);
        assert_eq!(own.incarnation, member.member.incarnation);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_waits_for_every_node() {
    let cluster = Cluster::new(3, Tune::default());
    cluster.start(0).await;
    cluster.start(1).await;
    let node = cluster.node(0);
    let initial = cluster.initial();
    let early = tokio::time::timeout(Duration::from_secs(1), node.bootstrap(&initial)).await;
    assert!(early.is_err(), "bootstrapped without node 3");
    assert_eq!(node.status().last_log_index, 0);
    drop(node);
    // Cut short, and begun again.
    cluster.kill(0).await;
    cluster.start(0).await;
    cluster.start(2).await;
    for done in futures_util::future::join_all((0..3).map(|at| cluster.bootstrap(at))).await {
        done.unwrap();
    }
    cluster.printer(2, "p1").await.unwrap();
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_that_was_cut_short_after_the_membership_is_finished_by_the_leader() {
    let mut cluster = Cluster::new(
        3,
        Tune {
            bootstrap: false,
            ..Tune::default()
        },
    );
    for at in 0..3 {
        cluster.start(at).await;
    }
    let node = cluster.node(0);
    let initial = cluster.initial();
    // Nobody has the command to propose: the membership is made, and nothing else.
    let half = tokio::time::timeout(Duration::from_secs(3), node.bootstrap(&initial)).await;
    assert!(half.is_err(), "bootstrapped without the command");
    cluster.leader().await;
    assert!(cluster.node(0).status().not_ready.is_some());
    drop(node);
    for at in 0..3 {
        cluster.kill(at).await;
    }
    cluster.tune.bootstrap = true;
    cluster.start_all().await;
    cluster.printer(0, "p1").await.unwrap();
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_is_refused_under_its_old_id() {
    let cluster = Cluster::started(3, Tune::default()).await;
    cluster.printer(0, "p1").await.unwrap();
    for wiped in [2, 0] {
        cluster.kill(wiped).await;
        let folder = &cluster.slots[wiped].dir;
        let aside = folder.with_extension("aside");
        fs::rename(folder, &aside).unwrap();
        let node = cluster.start(wiped).await;
        let message = match cluster.bootstrap(wiped).await.unwrap_err() {
            BootstrapError::Refused { refusal, .. } => refusal.to_string(),
            BootstrapError::Raft(reason) => reason,
            other => panic!("{other}"),
        };
        assert!(
            message.contains("start it with --join under a new id"),
            "{message}"
        );
        assert_eq!(node.status().last_log_index, 0, "a wiped node took part");
        drop(node);
        cluster.kill(wiped).await;
        fs::remove_dir_all(folder).unwrap();
        fs::rename(&aside, folder).unwrap();
        cluster.start(wiped).await;
        cluster
            .printer(wiped, &format!("back-{wiped}"))
            .await
            .unwrap();
    }
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_clusters_are_refused() {
    let one = Cluster::started(1, Tune::default()).await;
    let mut other = Cluster::new(1, Tune::default());
    other.net = one.net.clone();
    other.slots[0].addr = "elsewhere:1".to_owned();
    *other.slots[0].id.lock().unwrap() = Some(9);
    other.start_all().await;
    // Both were given the same cluster id here; the node id tells them apart.
    let mut initial = other.initial();
    initial.insert(5, one.initial().remove(&1).unwrap());
    let mut third = Cluster::new(1, Tune::default());
    third.net = one.net.clone();
    third.slots[0].addr = "third:1".to_owned();
    *third.slots[0].id.lock().unwrap() = Some(7);
    let node = third.start(0).await;
    initial.insert(7, third.initial().remove(&7).unwrap());
    let refused = node.bootstrap(&initial).await.unwrap_err();
    assert!(refused.to_string().contains("not node 5"), "{refused}");
    wait_for("nothing was written", || node.status().last_log_index == 0).await;
}

/// A connection may be older than what this node knows of its members: every message is judged.
#[tokio::test(flavor = "multi_thread")]
async fn every_message_is_judged_by_who_sends_it() {
    let cluster = Cluster::started(3, Tune::default()).await;
    let term = cluster.node(0).status().term;
    let vote = |candidate| {
        Ask::Vote(VoteAsk {
            vote: Vote::new(term + 50, candidate),
            last_log_id: None,
            pre_vote: false,
            leadership_transfer: true,
        })
    };
    let second = cluster.node(1).status().incarnation;
    for (incarnation, sender, candidate) in [(Incarnation([9; 16]), 2, 2), (second, 2, 3)] {
        let from = (sender, incarnation);
        let answer = cluster.ask(from, 0, vote(candidate)).await;
        assert!(matches!(answer, Answer::Failed { .. }), "{answer:?}");
    }
    cluster.printer(0, "p1").await.unwrap();
    assert!(cluster.node(0).status().term < term + 50);
}
