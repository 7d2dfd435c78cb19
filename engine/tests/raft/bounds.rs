//! What is written can be read, and nothing that one node sends stops another.

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::raft::AppendEntriesRequest;
use openraft::vote::RaftLeaderId;
use raft3d_core::command::{Actor, CreatePrinter, ENVELOPE_VERSION, RaiseEpoch, RequestOrigin};
use raft3d_core::{Command, Envelope, PrinterId, RequestId};
use raft3d_engine::raft::api::{MembershipError, Role};
use raft3d_engine::raft::message::{
    AdminAsk, Answer, Ask, Request, SnapshotBegin, TransferAsk, VoteAsk, WriteAnswer, WriteAsk,
    WritesAsk,
};
use raft3d_engine::raft::transport::PeerService;
use raft3d_engine::raft::types::{Entry, LeaderId, LogId, Proposal, StoredMembership, Vote};
use raft3d_engine::raft::{Incarnation, Member, NodeId, TypeConfig};

use crate::cluster::{Cluster, Tune, default_bootstrap, wait_for};

const LEARNERS_MAX: u8 = 16;

fn member(addr: &str, folder: u8) -> Member {
    Member {
        peer_addr: addr.to_owned(),
        http_addr: format!("http-{addr}"),
        incarnation: Incarnation([folder; 16]),
    }
}

fn named(cluster: &Cluster, at: usize) -> (NodeId, Incarnation) {
    let status = cluster.node(at).status();
    (status.node_id, status.incarnation)
}

fn is_refused(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused { .. } | Answer::Failed { .. })
}

fn assert_alive(cluster: &Cluster) {
    for at in cluster.running() {
        let status = cluster.node(at).status();
        assert_ne!(status.role, Role::Stopped, "{status:?}");
    }
}

/// The same number is the last one for whoever proposes and for whoever reads: 1,030 members were
/// once taken, and their log called damaged at the next start.
#[tokio::test(flavor = "multi_thread")]
async fn learners_are_bounded_where_they_are_proposed_and_the_log_is_read_again() {
    let cluster = Cluster::started(1, Tune::default()).await;
    let node = cluster.node(0);
    let mut ids = Vec::new();
    for folder in 1..=LEARNERS_MAX {
        let learner = member(&format!("nobody-{folder}:1"), folder);
        ids.push(node.add_learner(learner).await.unwrap());
    }
    let one_more = member("one-more:1", 200);
    let refused = node.add_learner(one_more.clone()).await.unwrap_err();
    let MembershipError::Refused { reason } = refused else {
        panic!("{refused}");
    };
    assert!(reason.contains("has 16 learners"), "{reason}");
    assert!(reason.contains("promote or remove one"), "{reason}");
    // The same folder again is no other learner.
    let again = node.add_learner(member("nobody-1:1", 1)).await;
    assert_eq!(again, Ok(ids[0]));
    node.remove(ids[3], None).await.unwrap();
    node.add_learner(one_more).await.unwrap();
    drop(node);
    cluster.kill(0).await;
    cluster.start(0).await;
    cluster.printer(0, "after").await.unwrap();
    let members = cluster.node(0).cluster_status().await.members;
    assert_eq!(members.len(), usize::from(LEARNERS_MAX) + 1);
}

/// A container without a volume joins with an empty folder at each of its starts.
#[tokio::test(flavor = "multi_thread")]
async fn a_learner_that_begins_anew_at_its_address_takes_its_own_place() {
    let mut cluster = Cluster::started(1, Tune::default()).await;
    for folder in 1..=40 {
        let node = cluster.node(0);
        node.add_learner(member("container:1", folder))
            .await
            .unwrap();
        assert_eq!(node.cluster_status().await.members.len(), 2);
    }
    // One that answers keeps its place.
    let joined = cluster.join(0).await;
    let (id, _) = named(&cluster, joined);
    let addr = cluster.slots[joined].addr.clone();
    let node = cluster.node(0);
    node.add_learner(member(&addr, 99)).await.unwrap();
    let members = node.cluster_status().await.members;
    assert!(members.iter().any(|m| m.node_id == id), "{members:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_cannot_be_one_is_refused_at_every_door() {
    let cluster = Cluster::started(3, Tune::default()).await;
    let longest = format!("{}:1", "h".repeat(300));
    for addr in ["nowhere", ":1", "a:0", "a b:1", "a:1\n", &longest] {
        let bad = member(addr, 9);
        let refused = cluster.node(0).add_learner(bad.clone()).await;
        assert!(refused.is_err(), "{addr}");
        for ask in [
            Ask::Join(bad.clone()),
            Ask::Admin(AdminAsk::AddLearner(bad.clone())),
        ] {
            let leader = cluster.leader().await;
            let from = named(&cluster, cluster.follower().await);
            let answer = cluster.ask(from, leader, ask).await;
            assert!(is_refused(&answer), "{addr}: {answer:?}");
        }
    }
    assert_eq!(cluster.node(0).cluster_status().await.members.len(), 3);
}

fn write(version: u16, id: &str, command: Command) -> WriteAsk {
    let envelope = Envelope {
        version,
        proposed_at_ms: 0,
        deadline_ms: u64::MAX,
        actor: Actor {
            name: "tester".to_owned(),
            verified: false,
        },
        request_id: RequestId::new(id),
        request_origin: RequestOrigin::Client,
        request_hash: [1; 32],
        command,
    };
    WriteAsk {
        envelope: Bytes::from(minicbor::to_vec(&envelope).unwrap()),
        timeout_ms: 10_000,
    }
}

fn printer(id: &str) -> Command {
    Command::CreatePrinter(CreatePrinter {
        id: Some(PrinterId::new(id)),
        company: "Acme".to_owned(),
        model: "M".to_owned(),
        ..CreatePrinter::default()
    })
}

/// Each of these stopped every replica for good, at the same entry and at each start.
#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_write_that_no_replica_could_apply_harms_nobody_beside_it() {
    let cluster = Cluster::started(3, Tune::default()).await;
    let leader = cluster.leader().await;
    let from = named(&cluster, cluster.follower().await);
    let now = ENVELOPE_VERSION;
    let garbage = WriteAsk {
        envelope: Bytes::from_static(b"garbage"),
        timeout_ms: 10_000,
    };
    let large = WriteAsk {
        envelope: Bytes::from(vec![0xa8; 4 * 1024 * 1024 + 1]),
        timeout_ms: 10_000,
    };
    let bad = vec![
        write(now + 1, "later", printer("later")),
        write(0, "earlier", printer("earlier")),
        garbage,
        large,
        write(now, "boot", Command::Bootstrap(default_bootstrap())),
        write(now, "raise", Command::RaiseEpoch(RaiseEpoch { to: 99 })),
        write(now, "check", Command::Checkpoint),
    ];
    let mut writes = vec![write(now, "first", printer("first"))];
    writes.extend(bad.clone());
    writes.push(write(now, "last", printer("last")));
    let count = writes.len();
    let answer = cluster
        .ask(from, leader, Ask::Writes(WritesAsk { writes }))
        .await;
    let Answer::Writes { answers } = answer else {
        panic!("{answer:?}");
    };
    for (at, answer) in answers.iter().enumerate() {
        let is_good = at == 0 || at == count - 1;
        assert_eq!(
            matches!(answer, WriteAnswer::Done(_)),
            is_good,
            "{answer:?}"
        );
        assert_eq!(matches!(answer, WriteAnswer::Refused { .. }), !is_good);
    }
    // And each of them alone.
    for write in bad {
        let ask = Ask::Writes(WritesAsk {
            writes: vec![write],
        });
        let answer = cluster.ask(from, leader, ask).await;
        let Answer::Writes { answers } = answer else {
            panic!("{answer:?}");
        };
        assert!(matches!(answers[0], WriteAnswer::Refused { .. }));
    }
    cluster.settle().await;
    assert_alive(&cluster);
    assert_eq!(cluster.printers(0).await.unwrap(), ["first", "last"]);
}

/// What the leader would say to a follower that has all of its log.
async fn append(cluster: &Cluster, entries: Vec<Entry>) -> AppendEntriesRequest<TypeConfig> {
    let leader = cluster.leader().await;
    cluster.settle().await;
    let status = cluster.node(leader).status();
    let vote = Vote {
        leader_id: LeaderId::new(status.term, status.node_id),
        committed: true,
    };
    AppendEntriesRequest {
        vote,
        prev_log_id: Some(LogId::new(vote.leader_id, status.last_log_index)),
        entries,
        leader_commit: None,
    }
}

fn entry(append: &AppendEntriesRequest<TypeConfig>, after: u64, payload: &[u8]) -> Entry {
    let prev = append.prev_log_id.unwrap();
    Entry {
        log_id: LogId::new(prev.leader_id, prev.index + after),
        payload: EntryPayload::Normal(Proposal(Bytes::copy_from_slice(payload))),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_cannot_be_read_is_refused_and_not_written() {
    let cluster = Cluster::started(3, Tune::default()).await;
    cluster.printer(0, "p1").await.unwrap();
    let follower = cluster.follower().await;
    let plain = append(&cluster, Vec::new()).await;
    let from = named(&cluster, cluster.leader().await);
    let sound = write(ENVELOPE_VERSION, "r", printer("r")).envelope;
    let later = write(ENVELOPE_VERSION + 1, "r", printer("r")).envelope;
    let before = cluster.node(follower).status().last_log_index;
    let with = |entries: Vec<Entry>| AppendEntriesRequest {
        entries,
        ..plain.clone()
    };
    let mut late = entry(&plain, 1, &sound);
    late.log_id.leader_id.term += 1;
    let appends = [
        with(vec![entry(&plain, 1, b"garbage")]),
        with(vec![entry(&plain, 1, &later)]),
        with(vec![entry(&plain, 1, &sound), entry(&plain, 2, b"garbage")]),
        // A hole, an entry twice, one before the first, one later than its leader.
        with(vec![entry(&plain, 2, &sound)]),
        with(vec![entry(&plain, 1, &sound), entry(&plain, 3, &sound)]),
        with(vec![entry(&plain, 1, &sound), entry(&plain, 1, &sound)]),
        with(vec![entry(&plain, 0, &sound)]),
        with(vec![late]),
    ];
    for append in appends {
        let what = format!("{append:?}");
        let answer = cluster
            .send(from, follower, Request::Append(append).encode())
            .await;
        assert!(is_refused(&answer), "{what}: {answer:?}");
    }
    for body in [
        b"".as_slice(),
        b"\x00",
        b"\x01\xff",
        b"\x07what",
        &[0xff; 100],
    ] {
        let answer = cluster
            .send(from, follower, Bytes::copy_from_slice(body))
            .await;
        assert!(is_refused(&answer), "{body:?}: {answer:?}");
    }
    assert_eq!(cluster.node(follower).status().last_log_index, before);
    assert_alive(&cluster);
    // It still takes what is sound: the leader's own next entry.
    cluster.printer(follower, "p2").await.unwrap();
    cluster.settle().await;
}

/// A vote of the last term would be the last vote: no election could be held after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_vote_far_ahead_ends_no_elections_by_whatever_way_it_comes() {
    let cluster = Cluster::started(3, Tune::default()).await;
    cluster.printer(0, "p1").await.unwrap();
    let leader = cluster.leader().await;
    let term = cluster.node(leader).status().term;
    // A member's word and a stranger's.
    let member = named(&cluster, cluster.follower().await);
    let stranger = (77, Incarnation([77; 16]));
    for sender in [member, stranger] {
        for ahead in [term + 2_000_000, 1 << 50, (1 << 56) + 1, u64::MAX] {
            for at in 0..3 {
                if named(&cluster, at).0 == sender.0 {
                    continue;
                }
                for request in votes(ahead, sender.0) {
                    let what = format!("{request:?}");
                    let answer = cluster.send(sender, at, request.encode()).await;
                    assert!(is_refused(&answer), "{what}: {answer:?}");
                }
            }
        }
    }
    assert_alive(&cluster);
    let terms = |cluster: &Cluster| {
        let terms = cluster.running().into_iter();
        terms.map(|at| cluster.node(at).status().term).max()
    };
    assert!(terms(&cluster) < Some(term + 1_000));
    cluster.kill(cluster.leader().await).await;
    let through = cluster.leader().await;
    cluster.printer(through, "p2").await.unwrap();
    assert!(terms(&cluster) < Some(term + 1_000));
}

/// Every request that brings a vote.
fn votes(term: u64, node: NodeId) -> Vec<Request> {
    let vote = |committed| Vote {
        leader_id: LeaderId::new(term, node),
        committed,
    };
    let mut requests: Vec<Request> = [true, false]
        .map(|pre_vote| {
            Request::Ask(Ask::Vote(VoteAsk {
                vote: vote(false),
                last_log_id: Some(LogId::new(LeaderId::new(1 << 55, node), 1 << 55)),
                pre_vote,
                leadership_transfer: true,
            }))
        })
        .into();
    requests.push(Request::Ask(Ask::TransferLeader(TransferAsk {
        from: vote(true),
        to: 1,
        last_log_id: None,
    })));
    requests.push(Request::Ask(Ask::SnapshotBegin(SnapshotBegin {
        vote: vote(true),
        last_log_id: None,
        membership: StoredMembership::default(),
        bytes: 1,
        transfer: 1,
    })));
    requests.push(Request::Append(AppendEntriesRequest {
        vote: vote(true),
        prev_log_id: None,
        entries: Vec::new(),
        leader_commit: None,
    }));
    requests
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_snapshot_is_not_stored() {
    let cluster = Cluster::started(3, Tune::default()).await;
    let at = cluster.follower().await;
    let term = cluster.node(at).status().term;
    let leader = named(&cluster, cluster.leader().await);
    let begin = |term, node, bytes| {
        Ask::SnapshotBegin(SnapshotBegin {
            vote: Vote {
                leader_id: LeaderId::new(term, node),
                committed: true,
            },
            last_log_id: None,
            membership: StoredMembership::default(),
            bytes,
            transfer: 1,
        })
    };
    let stranger = (77, Incarnation([77; 16]));
    let asks = [
        (stranger, begin(term + 1, 77, 1 << 20)),
        (stranger, begin(term, 77, 1 << 20)),
        // Not even the leader's, of a size that is none.
        (leader, begin(term, leader.0, u64::MAX)),
    ];
    for (from, ask) in asks {
        let what = format!("{ask:?}");
        let answer = cluster.ask(from, at, ask).await;
        assert!(is_refused(&answer), "{what}: {answer:?}");
    }
    let snapshots = cluster.slots[at].dir.join("snapshots");
    let files: Vec<_> = fs::read_dir(snapshots).unwrap().collect();
    assert!(files.is_empty(), "{files:?}");
    assert_alive(&cluster);
}

/// One hello of anybody, who expected another folder, ended the node.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_for_its_bootstrap_does_not_end_at_a_strangers_hello() {
    let cluster = Cluster::new(3, Tune::default());
    let node = cluster.start(0).await;
    let initial = cluster.initial();
    let waiting = tokio::spawn({
        let node = node.clone();
        async move { node.bootstrap(&initial).await }
    });
    let mut hello = cluster.hello((77, Incarnation([77; 16])), 0);
    hello.to.incarnation = Some(Incarnation([9; 16]));
    for _ in 0..3 {
        node.greet(&hello).unwrap_err();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!waiting.is_finished());
    assert_alive(&cluster);
    for at in 1..3 {
        cluster.start(at).await;
    }
    let others = [1, 2].map(|at| cluster.bootstrap(at));
    for done in futures_util::future::join_all(others).await {
        done.unwrap();
    }
    waiting.await.unwrap().unwrap();
    cluster.printer(0, "p1").await.unwrap();
    wait_for("all are ready", || {
        (0..3).all(|at| cluster.node(at).status().not_ready.is_none())
    })
    .await;
}
