//! Reads: never older than what was acknowledged before they began.

use std::sync::Arc;
use std::time::Duration;

use raft3d_core::Revision;
use raft3d_core::state::printers;
use raft3d_engine::raft::api::{Consistency, ReadError, ReadOptions};
use raft3d_engine::raft::message::{Answer, Ask};
use raft3d_engine::raft::transport::Channel;
use raft3d_engine::raft::types::Vote;

use crate::cluster::{Cluster, Tune, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_never_shows_less_than_was_acknowledged() {
    let cluster = Arc::new(Cluster::started(3, Tune::default()).await);
    for n in 0..40_usize {
        let id = format!("p{n:02}");
        cluster.printer(n % 3, &id).await.unwrap();
        // Many at once share a round.
        let reads = (0..6).map(|at| {
            let cluster = Arc::clone(&cluster);
            async move { cluster.printers(at % 3).await.unwrap() }
        });
        for seen in futures_util::future::join_all(reads).await {
            assert!(seen.contains(&id), "{id} was acknowledged and is not seen");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn min_revision_waits_and_says_where_it_is() {
    let cluster = Cluster::started(3, Tune::default()).await;
    let follower = cluster.follower().await;
    let written = cluster.printer(follower, "p1").await.unwrap().revision;
    let stale = Consistency::Stale;
    let seen = cluster
        .printers_with(follower, stale, Some(written))
        .await
        .unwrap();
    assert_eq!(seen, ["p1"]);
    let wanted = Revision(written.0 + 1_000);
    let options = ReadOptions {
        consistency: stale,
        min_revision: Some(wanted),
        timeout: Duration::from_millis(100),
    };
    match cluster.node(follower).read(options).await {
        Err(ReadError::Behind {
            applied,
            wanted: asked,
        }) => {
            assert!(applied >= written && asked == wanted);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_only_stale_reads_answer() {
    let cluster = Cluster::started(3, Tune::default()).await;
    cluster.printer(0, "p1").await.unwrap();
    cluster.settle().await;
    let left = cluster.leader().await;
    for at in cluster.running().into_iter().filter(|at| *at != left) {
        cluster.kill(at).await;
    }
    let options = ReadOptions {
        consistency: Consistency::Linearizable,
        min_revision: None,
        timeout: Duration::from_millis(1_500),
    };
    let read = cluster.node(left).read(options).await;
    assert!(matches!(read, Err(ReadError::NoLeader)), "{read:?}");
    let stale = cluster
        .printers_with(left, Consistency::Stale, None)
        .await
        .unwrap();
    assert_eq!(stale, ["p1"]);
    // After a restart it cannot know what it had shown: closed until a majority is there again.
    cluster.kill(left).await;
    cluster.start(left).await;
    let options = ReadOptions {
        consistency: Consistency::Stale,
        ..options
    };
    let read = cluster.node(left).read(options).await;
    assert!(
        matches!(read, Err(ReadError::Unavailable { .. })),
        "{read:?}"
    );
    assert!(cluster.node(left).status().not_ready.is_some());
    for at in (0..3).filter(|at| *at != left) {
        cluster.start(at).await;
    }
    assert_eq!(cluster.printers(left).await.unwrap(), ["p1"]);
}

/// A leader is suspended with the answers to two appends in its sockets; when it goes on, another
/// one has committed a write. The first answer commits an entry, which the leader tells in an append
/// without entries: that one ends where the second one does, and the second one's answer is none to
/// it.
#[tokio::test(flavor = "multi_thread")]
async fn answers_from_before_a_read_do_not_confirm_it() {
    // On a slow machine the old leader gives the appends up before their answers arrive, and then
    // nothing was tried.
    const TRIES: usize = 5;
    for _ in 0..TRIES {
        if old_answers_arrive_after_a_read().await {
            return;
        }
    }
    panic!("in {TRIES} tries the old leader had given its appends up");
}

/// Whether the answers arrived.
async fn old_answers_arrive_after_a_read() -> bool {
    let cluster = Arc::new(Cluster::started(3, Tune::default()).await);
    cluster.printer(0, "p0").await.unwrap();
    cluster.settle().await;
    let old = cluster.leader().await;
    let follower = cluster.follower().await;
    let other = (0..3).find(|at| ![old, follower].contains(at)).unwrap();
    let addr = |at: usize| cluster.slots.get(at).unwrap().addr.clone();
    cluster.net.hold_answers(&addr(old), Channel::Log);
    // The leader takes a second group only where many writes have gathered.
    for (appends, writes) in [(1, 1), (2, 40)] {
        for n in 0..writes {
            let write = Arc::clone(&cluster);
            let id = format!("p{appends}-{n}");
            tokio::spawn(async move { write.printer(old, &id).await });
        }
        let answered = || cluster.net.held_answers(&addr(follower)) >= appends;
        wait_for("the append is answered", answered).await;
    }
    cluster.net.isolate(&addr(old));
    // Another leader acknowledges it.
    cluster.printer(other, "p3").await.unwrap();

    let options = ReadOptions {
        consistency: Consistency::Linearizable,
        min_revision: None,
        timeout: Duration::from_millis(500),
    };
    let node = cluster.node(old);
    let read = tokio::spawn(async move { node.read(options).await });
    let mut arrived = 0;
    while cluster.net.held_answers(&addr(follower)) > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        arrived += usize::from(cluster.net.release_answer(&addr(follower)));
    }
    let read = read.await.unwrap();
    let seen = read.map(|view| printers::list(&view, None, 100).unwrap().len());
    assert!(matches!(seen, Err(ReadError::NoLeader)), "{seen:?}");
    cluster.net.heal();
    let seen = cluster.printers(old).await.unwrap();
    assert!(seen.contains(&"p3".to_owned()), "{seen:?}");
    arrived >= 2
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_leader_that_is_followed_knows_the_read_index() {
    let cluster = Cluster::started(3, Tune::default()).await;
    let written = cluster.printer(0, "p1").await.unwrap().revision;
    cluster.settle().await;
    let leader = cluster.leader().await;
    let follower = (0..3).find(|at| *at != leader).unwrap();
    let id = |at: usize| (cluster.node(at).id(), cluster.node(at).status().incarnation);
    let term = cluster.node(leader).status().term;
    let vote = |term, at| Vote::new_committed(term, id(at).0);

    let follows = async |at, vote| match cluster.ask(id(leader), at, Ask::Follows { vote }).await {
        Answer::Follows { follows } => follows,
        other => panic!("{other:?}"),
    };
    assert!(follows(follower, vote(term, leader)).await);
    assert!(
        follows(follower, vote(term + 1, leader)).await,
        "perhaps it will"
    );
    assert!(!follows(follower, vote(term - 1, leader)).await);
    let of_other = Ask::Follows {
        vote: vote(term, leader),
    };
    let answer = cluster.ask(id(follower), leader, of_other).await;
    assert!(matches!(answer, Answer::Failed { .. }), "{answer:?}");

    let index = async |to, vote| {
        let ask = Ask::ReadIndex { vote };
        match cluster.ask(id(follower), to, ask).await {
            Answer::ReadIndex { committed } => committed.map(|id| id.index),
            other => panic!("{other:?}"),
        }
    };
    assert!(index(leader, vote(term, leader)).await >= Some(written.0));
    let later = vote(term + 1, follower);
    assert_eq!(
        index(leader, later).await,
        None,
        "whoever asks follows another"
    );
    let other = (0..3).find(|at| ![leader, follower].contains(at)).unwrap();
    assert_eq!(index(other, vote(term, leader)).await, None);
}
