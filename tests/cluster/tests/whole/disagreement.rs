//! Replicas that do not agree about the state, and the ways back that ARCHITECTURE describes.

use std::fs;
use std::time::{Duration, Instant};

use raft3d_cluster_tests::cluster::PATIENCE;
use raft3d_cluster_tests::process::wait_for;
use raft3d_cluster_tests::{Client, Cluster, Options};

/// Two nodes deny other entries than the third: three states, and none has a majority. Entries of
/// this cluster's beginning are its membership and its bootstrap; these come later.
const DENIED: [&[u64]; 3] = [&[40, 41, 42], &[50, 51, 52], &[]];
/// Writes until the last of them is passed.
const WRITES: usize = 60;
/// A refusal that is told at once takes no longer, however busy the machine is.
const AT_ONCE: Duration = Duration::from_secs(3);

fn deny(entries: &[u64]) -> Vec<String> {
    let flags = entries
        .iter()
        .flat_map(|index| ["--deny-at".to_owned(), index.to_string()]);
    flags.collect()
}

/// What a node says of why it is not ready.
fn why(cluster: &Cluster, node: usize) -> String {
    let client = Client::with_patience(cluster.http_addr(node), Duration::from_secs(5));
    match client.try_call("GET", "/readyz", &[], None) {
        Ok(answer) => answer.text(),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn wait_why(cluster: &Cluster, node: usize, part: &str) {
    wait_for(part, PATIENCE, || {
        let why = why(cluster, node);
        if why.contains(part) { Ok(()) } else { Err(why) }
    });
}

#[test]
fn without_a_majority_writes_are_refused_at_once_and_go_on_after_the_rebuild() {
    let mut cluster = Cluster::start("no-majority", Options::nodes(3));
    for (node, entries) in DENIED.iter().enumerate() {
        cluster.stop(node);
        cluster.set_further_args(node, deny(entries));
        cluster.restart(node);
        cluster.expect_errors(node);
    }
    let client = cluster.client(2);
    for n in 0..WRITES {
        let answer = client.create_printer(&format!("p{n}"));
        assert!(matches!(answer.status, 201 | 422), "{answer}");
    }
    for node in 0..3 {
        wait_why(&cluster, node, "no majority of the voters agrees");
    }
    // On every node, again and again: certainly not done, and what the matter is.
    for round in 0..6 {
        for node in 0..3 {
            let begun = Instant::now();
            let answer = cluster.client(node).create_printer("never").expect(503);
            let problem = answer.json();
            assert_eq!(problem["type"], "/docs/problems/writes-stopped", "{answer}");
            let detail = problem["detail"].as_str().expect("a detail");
            assert!(
                detail.contains("no majority of the voters agrees"),
                "{detail}"
            );
            assert!(detail.contains("delete the folder `state`"), "{detail}");
            let took = begun.elapsed();
            assert!(took < AT_ONCE, "round {round}, node {node}: {took:?}");
        }
    }
    let printers = cluster.client(1).get("/api/v1/printers").expect(200);
    assert!(
        !printers.text().contains("never"),
        "reads go on: {printers}"
    );

    // The way out that the alarm names.
    for node in 0..3 {
        cluster.stop(node);
        cluster.set_further_args(node, Vec::new());
        fs::remove_dir_all(cluster.data(node).join("state")).expect("the state");
        cluster.restart_without_waiting(node);
        wait_for("the node to answer", PATIENCE, || cluster.view(node));
    }
    for node in 0..3 {
        cluster.wait_ready(node);
        let id = format!("after-{node}");
        cluster.client(node).create_printer(&id).expect(201);
    }
    cluster.wait_converged(0);
}

#[test]
fn an_odd_replica_is_fenced_and_comes_back_after_its_state_is_deleted() {
    let mut cluster = Cluster::start("odd-replica", Options::nodes(3));
    cluster.stop(1);
    cluster.set_further_args(1, deny(DENIED[0]));
    cluster.restart(1);
    cluster.expect_errors(1);
    let client = cluster.client(0);
    for n in 0..WRITES {
        let answer = client.create_printer(&format!("p{n}"));
        // Who denies is odd also as the leader, and tells its clients what it did.
        assert!(matches!(answer.status, 201 | 422), "{answer}");
    }
    wait_why(&cluster, 1, "its state differs from the majority's");
    assert!(why(&cluster, 1).contains("delete the folder `state`"));
    let refused = cluster.client(1).get("/api/v1/printers?consistency=stale");
    assert_eq!(refused.status, 503, "{refused}");
    cluster.client(2).create_printer("meanwhile").expect(201);

    // A restart alone does not help.
    cluster.stop(1);
    cluster.set_further_args(1, Vec::new());
    cluster.restart_without_waiting(1);
    wait_why(&cluster, 1, "its state differs from the majority's");
    cluster.stop(1);
    fs::remove_dir_all(cluster.data(1).join("state")).expect("the state");
    cluster.restart(1);
    cluster.client(1).create_printer("after").expect(201);
    cluster.wait_converged(0);
}
