//! What a node says of itself is so: whether it is ready, whether it leads, whether it is a member,
//! where it is.

use std::time::{Duration, Instant};

use raft3d_engine::raft::NodeId;
use raft3d_engine::raft::api::{Consistency, MembershipError, ReadError, Role, WriteError};
use raft3d_engine::raft::message::{Answer, Ask};
use raft3d_engine::raft::transport::Channel;
use raft3d_engine::raft::types::Vote;

use crate::cluster::{Cluster, Tune, wait_for, wait_some};

/// How long a node may call itself ready when it is cut off, and call itself not ready when it no
/// longer is.
const TURNS_WITHIN: Duration = Duration::from_secs(5);

fn why(cluster: &Cluster, at: usize) -> String {
    cluster.node(at).status().not_ready.unwrap_or_default()
}

async fn all_ready(cluster: &Cluster) {
    wait_for("all are ready", || {
        cluster
            .running()
            .iter()
            .all(|at| why(cluster, *at).is_empty())
    })
    .await;
}

/// Waits until the node says that it is out of touch, and knows no leader; at no time do two nodes
/// say that they lead.
async fn turns(cluster: &Cluster, at: usize) {
    let cut = Instant::now();
    wait_for("it is not ready", || {
        let leads = |at: &usize| cluster.node(*at).status().role == Role::Leader;
        let leaders: Vec<_> = cluster.running().into_iter().filter(leads).collect();
        assert!(leaders.len() <= 1, "{leaders:?} all say that they lead");
        !why(cluster, at).is_empty()
    })
    .await;
    assert!(cut.elapsed() < TURNS_WITHIN, "{:?}", cut.elapsed());
    wait_for("it knows no leader", || {
        let status = cluster.node(at).status();
        status.leader.is_none() && status.role != Role::Leader
    })
    .await;
}

async fn heals(cluster: &Cluster) {
    let healed = Instant::now();
    cluster.net.heal();
    all_ready(cluster).await;
    assert!(healed.elapsed() < TURNS_WITHIN, "{:?}", healed.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_is_not_ready_and_does_not_lead() {
    let cluster = Cluster::started(3, Tune::default()).await;
    all_ready(&cluster).await;
    let follower = cluster.follower().await;
    cluster.net.isolate(&cluster.slots[follower].addr);
    turns(&cluster, follower).await;
    let others = (0..3).filter(|at| *at != follower);
    assert!(others.clone().all(|at| why(&cluster, at).is_empty()));
    heals(&cluster).await;

    let leader = cluster.leader().await;
    cluster.net.isolate(&cluster.slots[leader].addr);
    turns(&cluster, leader).await;
    let reason = why(&cluster, leader);
    assert!(reason.contains("no majority"), "{reason}");
    heals(&cluster).await;

    // The last of three.
    let last = cluster.leader().await;
    for at in (0..3).filter(|at| *at != last) {
        cluster.kill(at).await;
    }
    turns(&cluster, last).await;
    for at in (0..3).filter(|at| *at != last) {
        cluster.start(at).await;
    }
    all_ready(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_in_one_direction_is_seen() {
    let cluster = Cluster::started(3, Tune::default()).await;
    for towards_leader in [true, false] {
        all_ready(&cluster).await;
        let leader = cluster.leader().await;
        let follower = cluster.follower().await;
        let (leader, addr) = (&cluster.slots[leader].addr, &cluster.slots[follower].addr);
        if towards_leader {
            cluster.net.cut(addr, leader);
        } else {
            cluster.net.cut(leader, addr);
        }
        turns(&cluster, follower).await;
        heals(&cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_alone_is_its_own_majority() {
    let cluster = Cluster::started(1, Tune::default()).await;
    all_ready(&cluster).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let status = cluster.node(0).status();
    assert_eq!((status.not_ready, status.role), (None, Role::Leader));
    assert_eq!(status.leader, Some(1));
}

async fn is_closed_as_removed(cluster: &Cluster, at: usize) {
    wait_for("it knows that it was removed", || {
        why(cluster, at).contains("has removed this node")
    })
    .await;
    for consistency in [Consistency::Linearizable, Consistency::Stale] {
        let read = cluster.printers_with(at, consistency, None).await;
        let reason = match read {
            Err(ReadError::Unavailable { reason }) => reason,
            other => panic!("{other:?}"),
        };
        assert!(reason.contains("--join"), "{reason}");
    }
    let write = cluster.printer(at, "never").await;
    assert!(
        matches!(&write, Err(WriteError::Unavailable { reason }) if reason.contains("removed")),
        "{write:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_learns_of_it_and_serves_nothing() {
    let mut cluster = Cluster::started(3, Tune::default()).await;
    let learner = cluster.join(0).await;
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    all_ready(&cluster).await;
    // One hears nothing of its removal, from nobody; one is removed under its eyes.
    cluster.net.isolate(&cluster.slots[follower].addr);
    let id = |at: usize| cluster.node(at).id();
    for at in [follower, learner] {
        cluster.node(leader).remove(id(at), None).await.unwrap();
    }
    is_closed_as_removed(&cluster, learner).await;
    cluster.printer(leader, "p1").await.unwrap();
    cluster.net.heal();
    is_closed_as_removed(&cluster, follower).await;
    // It is remembered, also where there is nobody to ask.
    cluster.kill(follower).await;
    cluster.net.isolate(&cluster.slots[follower].addr);
    cluster.start(follower).await;
    is_closed_as_removed(&cluster, follower).await;
    assert_eq!(cluster.printers(leader).await.unwrap(), ["p1"]);
}

/// It was stopped when it was removed, and comes back with its old log.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_removed_while_it_was_down_learns_of_it() {
    let cluster = Cluster::started(3, Tune::default()).await;
    let follower = cluster.follower().await;
    let id = cluster.node(follower).id();
    cluster.kill(follower).await;
    let leader = cluster.leader().await;
    cluster.node(leader).remove(id, None).await.unwrap();
    cluster.start(follower).await;
    is_closed_as_removed(&cluster, follower).await;
}

/// A member that lags has a membership from before a newcomer's admission: its word counts nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lags_does_not_make_a_newcomer_believe_that_it_was_removed() {
    let mut cluster = Cluster::started(3, Tune::default()).await;
    let lagging = cluster.follower().await;
    let leader = cluster.leader().await;
    let through = (0..3).find(|at| ![lagging, leader].contains(at)).unwrap();
    let lagging_addr = cluster.slots[lagging].addr.clone();
    for at in [leader, through] {
        cluster.net.cut(&cluster.slots[at].addr, &lagging_addr);
    }
    let joined = cluster.join(through).await;
    let new = cluster.node(joined).status();
    let ask = Ask::Present {
        vote: Vote::new_committed(new.term, new.node_id),
    };
    let answer = cluster
        .ask((new.node_id, new.incarnation), lagging, ask)
        .await;
    assert!(matches!(answer, Answer::NotMember { .. }), "{answer:?}");
    wait_for("the newcomer is ready", || why(&cluster, joined).is_empty()).await;
    cluster.printer(joined, "p1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_that_is_not_ready_is_not_promoted() {
    let tune = Tune {
        checkpoint_ms: 300,
        ..Tune::default()
    };
    let mut cluster = Cluster::started(3, tune).await;
    let joined = cluster.join(0).await;
    let id = cluster.node(joined).id();
    cluster.kill(joined).await;
    let revision = cluster.printer(0, "p1").await.unwrap().revision;
    // Its log is up to date, and its state is odd.
    cluster.start_denying(joined, [revision.0].into()).await;
    wait_for("the learner is fenced", || {
        why(&cluster, joined).contains("differs from the majority")
    })
    .await;
    let refused = cluster.node(0).promote(id, None).await;
    match refused {
        Err(MembershipError::Refused { reason }) => {
            assert!(reason.contains("is not ready"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    let members = cluster.node(0).cluster_status().await.members;
    assert!(members.iter().any(|m| m.node_id == id && !m.voter));
}

/// A new leader has everything that was committed, and does not know how much that is before it has
/// committed an entry of its own: until then a read index of its would show too little.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_has_committed_nothing_yet_gives_no_read_index() {
    let cluster = Cluster::started(3, Tune::default()).await;
    let written = cluster.printer(0, "p1").await.unwrap().revision;
    cluster.settle().await;
    let old = cluster.leader().await;
    let left: Vec<_> = (0..3).filter(|at| *at != old).collect();
    // It is elected and followed, and its entries do not get through.
    cluster.net.block(Some(Channel::Log));
    cluster.kill(old).await;
    let new = wait_some("a leader that cannot commit", || {
        let sends = |at: &&usize| cluster.net.blocked(&cluster.slots[**at].addr) > 0;
        left.iter().find(sends).copied()
    })
    .await;
    let follower = left.iter().find(|at| **at != new).copied().unwrap();
    let status = |at: usize| cluster.node(at).status();
    let asker = (status(follower).node_id, status(follower).incarnation);
    let new_id: NodeId = status(new).node_id;
    let index = async || {
        let vote = Vote::new_committed(status(new).term, new_id);
        let ask = Ask::ReadIndex { vote };
        match cluster.ask(asker, new, ask).await {
            Answer::ReadIndex { committed } => committed.map(|id| id.index),
            other => panic!("{other:?}"),
        }
    };
    for _ in 0..10 {
        assert_eq!(index().await, None);
        assert_ne!(
            status(new).role,
            Role::Leader,
            "nor does it say that it leads"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.net.block(None);
    cluster.printer(new, "p2").await.unwrap();
    assert!(index().await > Some(written.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_moved_says_so_and_is_corrected_by_one_call() {
    let mut cluster = Cluster::started(3, Tune::default()).await;
    cluster.printer(0, "p1").await.unwrap();
    let moved = cluster.follower().await;
    let id = cluster.node(moved).id();
    cluster.kill(moved).await;
    cluster.slots[moved].addr = "elsewhere:1".to_owned();
    cluster.start(moved).await;
    wait_for("it says where it is", || {
        let warnings = cluster.node(moved).status().warnings.concat();
        warnings.contains("elsewhere:1") && warnings.contains("PATCH")
    })
    .await;
    assert!(!why(&cluster, moved).is_empty(), "nobody reaches it");

    let through = (0..3).find(|at| *at != moved).unwrap();
    let node = cluster.node(through);
    let revision = node.cluster_status().await.membership_revision;
    let to = |addr: &str| Some(addr.to_owned());
    let stale = node.readdress(id, to("elsewhere:1"), None, Some(revision + 1));
    let stale = stale.await;
    assert!(
        matches!(stale, Err(MembershipError::RevisionMismatch { .. })),
        "{stale:?}"
    );
    // Where another node is, it cannot be.
    let other = cluster.slots[through].addr.clone();
    let refused = node.readdress(id, to(&other), None, None).await;
    assert!(
        matches!(refused, Err(MembershipError::Refused { .. })),
        "{refused:?}"
    );
    let http = to("http-elsewhere:1");
    node.readdress(id, to("elsewhere:1"), http, Some(revision))
        .await
        .unwrap();
    all_ready(&cluster).await;
    wait_for("nothing is wrong any more", || {
        cluster.node(moved).status().warnings.is_empty()
    })
    .await;
    cluster.printer(moved, "p2").await.unwrap();
    cluster.settle().await;
    let members = cluster.node(moved).cluster_status().await.members;
    let member = members.iter().find(|m| m.node_id == id).unwrap();
    assert_eq!(member.member.peer_addr, "elsewhere:1");
    assert_eq!(member.member.http_addr, "http-elsewhere:1");
    assert!(member.voter && member.status.is_ok());

    // A typing mistake does not cut off a member that works.
    let refused = node.readdress(id, to("nowhere:1"), None, None).await;
    assert!(
        matches!(refused, Err(MembershipError::Refused { .. })),
        "{refused:?}"
    );
}
