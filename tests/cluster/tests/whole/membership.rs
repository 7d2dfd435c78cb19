//! Nodes that come, go, lead and lose their disk.

use std::time::Duration;

use raft3d_cluster_tests::cluster::PATIENCE;
use raft3d_cluster_tests::process::wait_for;
use raft3d_cluster_tests::{Client, Cluster, Options, verify};
use serde_json::json;

use crate::support::{load, open_large_shop};

/// Ids from here on are made from log indexes, so none is ever given twice.
const JOINED_ID_MIN: u64 = 1_000;

#[track_caller]
fn promote(cluster: &Cluster, through: usize, node: usize) {
    let id = cluster.view(node).expect("the node answers").id;
    let path = format!("/api/v1/cluster/members/{id}/promote");
    let answer = cluster.client(through).post_empty(&path);
    assert!((200..300).contains(&answer.status), "{answer}");
    wait_for("the learner to vote", PATIENCE, || {
        let view = cluster.view(node)?;
        if view.voter {
            Ok(())
        } else {
            Err(format!("{view:?}"))
        }
    });
}

#[test]
fn join_promote_transfer_and_remove_under_load() {
    let mut cluster = Cluster::start("membership", Options::nodes(3));
    open_large_shop(&cluster.client(0));
    let load = load(&cluster, "load");
    load.wait_more(50, PATIENCE);

    let joined = cluster.join();
    let view = cluster.view(joined).expect("the node answers");
    assert!(view.id >= JOINED_ID_MIN && !view.voter, "{view:?}");
    let follower = cluster.follower();
    promote(&cluster, follower, joined);

    // The leadership goes where it is sent, asked through a node that does not have it.
    let body = json!({"node_id": view.id});
    let follower = cluster.follower();
    let answer = cluster
        .client(follower)
        .post("/api/v1/cluster/leader", &body);
    assert!((200..300).contains(&answer.status), "{answer}");
    wait_for("the new leader", PATIENCE, || {
        let leader = cluster.leader();
        if leader == joined {
            Ok(())
        } else {
            Err(format!("node {leader} leads"))
        }
    });
    load.wait_more(50, PATIENCE);

    // The first node leaves; whoever asks with an old revision of the membership is refused.
    let path = "/api/v1/cluster/members/1";
    let stale = cluster
        .client(1)
        .call("DELETE", path, &[("if-match", "\"1\"")], None);
    stale.expect(412);
    let revision = cluster.client(1).cluster()["membership_revision"].to_string();
    let if_match = format!("\"{revision}\"");
    let answer = cluster
        .client(1)
        .call("DELETE", path, &[("if-match", &if_match)], None);
    assert!((200..300).contains(&answer.status), "{answer}");
    wait_for("the membership without it", PATIENCE, || {
        let nodes = cluster.client(1).cluster()["nodes"].clone();
        let gone = nodes
            .as_array()
            .is_some_and(|nodes| nodes.iter().all(|node| node["id"] != 1));
        if gone { Ok(()) } else { Err(nodes.to_string()) }
    });
    cluster.kill9(0);
    load.wait_more(50, PATIENCE);
    let report = load.finish();
    assert_eq!(report.refused, []);
    verify::check(&cluster, &report);
    cluster
        .client(2)
        .delete("/api/v1/cluster/members/1")
        .expect(404);
}

/// A container without a volume that joins at each start once made a log that its own reader
/// refused, with the advice to delete it.
#[test]
fn learners_are_bounded_the_refusal_says_what_to_do_and_the_log_is_read_again() {
    let mut cluster = Cluster::start("learners", Options::nodes(1));
    let client = cluster.client(0);
    let join = |folder: u8| {
        let body = json!({
            // Addresses of this machine at which nobody listens.
            "peer_address": format!("127.77.0.{folder}:9"),
            "http_address": format!("127.77.0.{folder}:10"),
            "incarnation": format!("{folder:032x}"),
        });
        client.post("/api/v1/cluster/members", &body)
    };
    let ids: Vec<String> = (1..=16)
        .map(|folder| join(folder).expect(201).json()["id"].to_string())
        .collect();
    let refused = join(17).expect(409);
    assert!(refused.text().contains("membership-refused"), "{refused}");
    assert!(refused.text().contains("has 16 learners"), "{refused}");
    assert!(refused.text().contains("remove one"), "{refused}");
    let answer = client.delete(&format!("/api/v1/cluster/members/{}", ids[0]));
    assert!((200..300).contains(&answer.status), "{answer}");
    join(17).expect(201);
    cluster.kill9(0);
    cluster.restart(0);
    cluster.client(0).create_printer("after").expect(201);
    let nodes = cluster.client(0).cluster()["nodes"].clone();
    assert_eq!(nodes.as_array().map(Vec::len), Some(17), "{nodes}");
}

#[test]
fn a_wiped_node_is_refused_under_its_old_id_and_welcome_under_a_new_one() {
    let mut cluster = Cluster::start("wiped", Options::nodes(3));
    open_large_shop(&cluster.client(0));
    cluster
        .client(0)
        .create_job("before", "p1", "f1", 10)
        .expect(201);
    // The node with the lowest id: the one that would bootstrap a new cluster if it were let.
    cluster.kill9(0);
    std::fs::remove_dir_all(cluster.data(0)).expect("the data folder");
    cluster.restart_without_waiting(0);

    // Its peers say why, and how to come back; it never serves.
    wait_for("a peer's refusal in the wiped node's log", PATIENCE, || {
        let log = cluster.output(0);
        let told = log.contains("--join");
        if told {
            Ok(())
        } else {
            Err(raft3d_cluster_tests::logs::tail(&log, 20))
        }
    });
    let client = Client::with_patience(cluster.http_addr(0), Duration::from_secs(2));
    for _ in 0..10 {
        if let Ok(answer) = client.try_call("GET", "/readyz", &[], None) {
            assert_ne!(answer.status, 200, "the wiped node serves: {answer}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    cluster.expect_errors(0);
    cluster.kill9(0);

    // The others went on with what they had, and it can come back as somebody new.
    cluster
        .client(1)
        .create_job("meanwhile", "p1", "f1", 10)
        .expect(201);
    let joined = cluster.join();
    let view = cluster.view(joined).expect("the node answers");
    assert!(view.id >= JOINED_ID_MIN, "{view:?}");
    promote(&cluster, 1, joined);
    cluster.wait_converged(0);
    let jobs = cluster.client(joined).list_stale("print_jobs", 0);
    assert_eq!(jobs.len(), 2, "{jobs:?}");
}
