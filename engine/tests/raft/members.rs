//! Members that come, vote and go.

use raft3d_engine::raft::api::{Consistency, MembershipError, Role};
use raft3d_engine::raft::types::JOINED_NODE_ID_MIN;

use crate::cluster::{Cluster, Tune, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_votes_leads_and_goes() {
    let mut cluster = Cluster::started(3, Tune::default()).await;
    cluster.printer(0, "p1").await.unwrap();
    let follower = cluster.follower().await;
    let joined = cluster.join(follower).await;
    let node = cluster.node(joined);
    let id = node.id();
    assert!(id >= JOINED_NODE_ID_MIN, "{id}");
    // Every node takes every request, a learner too.
    cluster.printer(joined, "p2").await.unwrap();
    assert_eq!(cluster.printers(joined).await.unwrap(), ["p1", "p2"]);
    assert_eq!(node.status().role, Role::Learner);

    let refused = cluster.node(follower).transfer_leader(id).await;
    assert!(
        matches!(refused, Err(MembershipError::Refused { .. })),
        "{refused:?}"
    );
    let revision = node.cluster_status().await.membership_revision;
    let stale = cluster.node(follower).promote(id, Some(revision - 1)).await;
    let mismatch = MembershipError::RevisionMismatch {
        actual: revision,
        expected: revision - 1,
    };
    assert_eq!(stale, Err(mismatch));
    cluster
        .node(follower)
        .promote(id, Some(revision))
        .await
        .unwrap();
    // Again: it is one already.
    cluster.node(follower).promote(id, None).await.unwrap();
    wait_for("the new voter follows", || {
        node.status().role == Role::Follower
    })
    .await;

    cluster.node(follower).transfer_leader(id).await.unwrap();
    wait_for("the new voter leads", || node.status().role == Role::Leader).await;
    cluster.printer(follower, "p3").await.unwrap();

    let gone = cluster.node(0).id();
    node.remove(gone, None).await.unwrap();
    let unknown = node.remove(gone, None).await;
    assert_eq!(
        unknown,
        Err(MembershipError::UnknownMember { node_id: gone })
    );
    cluster.kill(0).await;
    cluster.printer(1, "p4").await.unwrap();
    let status = cluster.node(2).cluster_status().await;
    assert_eq!(status.members.len(), 3);
    assert!(status.members.iter().all(|m| m.voter && m.node_id != gone));
    assert_eq!(
        cluster.printers(joined).await.unwrap(),
        ["p1", "p2", "p3", "p4"]
    );
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_removed_hands_over() {
    let cluster = Cluster::started(3, Tune::default()).await;
    let leader = cluster.leader().await;
    let id = cluster.node(leader).id();
    cluster
        .node(cluster.follower().await)
        .remove(id, None)
        .await
        .unwrap();
    wait_for("another one leads", || {
        let leads = |at: &usize| cluster.node(*at).status().role == Role::Leader;
        (0..3).filter(|at| *at != leader).any(|at| leads(&at))
    })
    .await;
    cluster.kill(leader).await;
    cluster
        .printer(cluster.follower().await, "p1")
        .await
        .unwrap();
    cluster.settle().await;
}

/// Found by the simulation: until it hears that its removal is committed a leader goes on to lead,
/// and when it then proposed another membership, Raft panicked.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_removed_makes_no_other_change() {
    let cluster = Cluster::started(5, Tune::default()).await;
    let leader = cluster.leader().await;
    let node = cluster.node(leader);
    let other = cluster.node(cluster.follower().await).id();
    let changes = [node.remove(node.id(), None), node.remove(other, None)];
    let changed = futures_util::future::join_all(changes).await;
    assert_eq!(changed.first(), Some(&Ok(())));
    assert_ne!(node.status().role, Role::Stopped, "{:?}", node.status());
    drop(node);
    cluster.kill(leader).await;
    let through = cluster.follower().await;
    cluster.printer(through, "after").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_voter_stays() {
    let cluster = Cluster::started(1, Tune::default()).await;
    let refused = cluster.node(0).remove(1, None).await;
    assert!(
        matches!(refused, Err(MembershipError::Refused { .. })),
        "{refused:?}"
    );
    cluster.printer(0, "p1").await.unwrap();
}

/// What `/readyz` says: not before the node sees itself as a member, with the state that was
/// there when it joined.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_is_ready_when_it_has_what_was_there() {
    let mut cluster = Cluster::started(1, Tune::default()).await;
    cluster.printer(0, "p1").await.unwrap();
    cluster.net.isolate(&cluster.slots[0].addr);
    let early = cluster.add_slot(Some(JOINED_NODE_ID_MIN + 1));
    cluster.net.isolate(&cluster.slots[early].addr);
    let node = cluster.start(early).await;
    cluster.net.isolate(&cluster.slots[0].addr);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let why = node.status().not_ready.unwrap();
    assert!(why.contains("catches up"), "{why}");
    drop(node);
    cluster.kill(early).await;
    cluster.net.heal();

    let joined = cluster.join(0).await;
    wait_for("the joined node is ready", || {
        cluster.node(joined).status().not_ready.is_none()
    })
    .await;
    let seen = cluster
        .printers_with(joined, Consistency::Stale, None)
        .await
        .unwrap();
    assert_eq!(seen, ["p1"]);
    let members = cluster.node(joined).cluster_status().await.members;
    let id = cluster.node(joined).id();
    assert!(members.iter().any(|m| m.node_id == id));

    // One that does not answer is not made a voter: two voters could then write nothing.
    cluster.kill(joined).await;
    let refused = cluster.node(0).promote(id, None).await;
    assert!(
        matches!(refused, Err(MembershipError::Refused { .. })),
        "{refused:?}"
    );
    cluster.printer(0, "p2").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_that_the_others_need_is_not_removed() {
    let cluster = Cluster::started(3, Tune::default()).await;
    let leader = cluster.leader().await;
    let mut followers = (0..3).filter(|at| *at != leader);
    let (dead, alive) = (followers.next().unwrap(), followers.next().unwrap());
    cluster.kill(dead).await;
    let id = cluster.node(alive).id();
    let refused = cluster.node(leader).remove(id, None).await;
    assert!(
        matches!(refused, Err(MembershipError::Refused { .. })),
        "{refused:?}"
    );
    cluster.printer(alive, "p1").await.unwrap();
}
