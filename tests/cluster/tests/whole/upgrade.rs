//! Two builds in one cluster: programs are replaced one after the other, and the engine epoch is
//! raised when the last voter has the new one.

use std::time::Duration;

use raft3d_cluster_tests::cluster::PATIENCE;
use raft3d_cluster_tests::process::{binary, next_binary, wait_for};
use raft3d_cluster_tests::{Cluster, Options};
use serde_json::{Value, json};

/// More than two looks of the leader at what the voters support.
const LOOKS: Duration = Duration::from_millis(2_500);

/// The epochs in force, as each running node tells its own.
fn in_force(cluster: &Cluster) -> Vec<u64> {
    let own = |node: usize| {
        let addr = cluster.http_addr(node).to_string();
        let view = cluster.client(node).cluster();
        let nodes = view["nodes"].as_array().expect("nodes").clone();
        let own = nodes.iter().find(|n| n["http_address"] == addr);
        own.expect("the node itself")["engine_epoch"].as_u64()
    };
    let running = cluster.running();
    running.map(|node| own(node).expect("an epoch")).collect()
}

/// Makes a job through `node`; answers the epoch that its decision record names on every node.
fn decided_under(cluster: &Cluster, node: usize, job: &str) -> Vec<u64> {
    let created = cluster.client(node).create_job(job, "p1", "f1", 1);
    let revision = created.expect(201).revision();
    let path =
        format!("/api/v1/print_jobs/{job}/decisions?consistency=stale&min_revision={revision}");
    let epoch = |node: usize| {
        let records: Value = cluster.client(node).get(&path).expect(200).json();
        records[0]["engine_epoch"].as_u64().expect("an epoch")
    };
    cluster.running().map(epoch).collect()
}

fn lead(cluster: &Cluster, node: usize) {
    let id = cluster.view(node).expect("the node answers").id;
    let body = json!({"node_id": id});
    let path = "/api/v1/cluster/leader";
    let answer = cluster.client(node).post(path, &body);
    assert!((200..300).contains(&answer.status), "{answer}");
}

#[test]
fn the_old_epoch_stays_until_the_last_voter_is_upgraded() {
    let mut cluster = Cluster::start("upgrade", Options::nodes(3));
    let client = cluster.client(0);
    client.create_printer("p1").expect(201);
    client.create_filament("f1", "PLA", 1_000).expect(201);
    assert_eq!(decided_under(&cluster, 0, "of-the-old"), [1, 1, 1]);
    for node in [0, 1] {
        cluster.stop(node);
        cluster.set_program(node, next_binary());
        cluster.restart(node);
    }
    // A leader that could raise it, and one that would not know how.
    for leader in [1, 2] {
        lead(&cluster, leader);
        std::thread::sleep(LOOKS);
        let job = format!("of-both-{leader}");
        assert_eq!(decided_under(&cluster, leader, &job), [1, 1, 1]);
    }
    assert_eq!(in_force(&cluster), [1, 1, 1]);

    cluster.stop(2);
    cluster.set_program(2, next_binary());
    cluster.restart(2);
    wait_for("the next epoch", PATIENCE, || match in_force(&cluster) {
        epochs if epochs == [2, 2, 2] => Ok(()),
        epochs => Err(format!("{epochs:?}")),
    });
    assert_eq!(decided_under(&cluster, 2, "of-the-new"), [2, 2, 2]);
    cluster.wait_converged(1);

    // Back to the old program: it says why it does not run, and touches nothing.
    cluster.stop(0);
    cluster.set_program(0, binary());
    cluster.restart_without_waiting(0);
    let status = cluster.wait_exit(0);
    assert_eq!(status.code(), Some(78), "of another version: {status}");
    let output = cluster.output(0);
    let said = "the cluster is at engine epoch 2, and this program supports epoch 1: run a newer";
    assert!(output.contains(said), "{output}");
    assert_eq!(decided_under(&cluster, 1, "of-two"), [2, 2]);
    cluster.set_program(0, next_binary());
    cluster.restart(0);
    assert_eq!(decided_under(&cluster, 0, "of-three"), [2, 2, 2]);
    cluster.wait_converged(1);
}
