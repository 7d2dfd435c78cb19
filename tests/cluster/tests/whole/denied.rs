//! `--deny-at`, as ARCHITECTURE describes it: given on every node, remembered by the log, and not needed
//! any more by whoever builds its state anew or joins.

use std::fs;

use raft3d_cluster_tests::cluster::PATIENCE;
use raft3d_cluster_tests::process::wait_for;
use raft3d_cluster_tests::{Cluster, Options};
use serde_json::Value;

/// A few entries of this cluster's near future.
const DENIED: std::ops::Range<u64> = 60..66;
/// Writes until they are passed.
const WRITES: usize = 70;

/// What a node says that it denies.
fn denied(cluster: &Cluster, node: usize) -> Vec<Value> {
    let own = cluster.http_addr(node).to_string();
    let view = cluster.client(node).cluster();
    let nodes = view["nodes"].as_array().expect("nodes");
    let node = nodes.iter().find(|n| n["http_address"] == own);
    let denied = node.and_then(|node| node["denied_entries"].as_array());
    denied.cloned().unwrap_or_default()
}

#[test]
fn a_denied_entry_is_remembered_by_a_rebuilt_node_and_by_one_that_joins() {
    let mut cluster = Cluster::start("denied", Options::nodes(3));
    let flags: Vec<String> = DENIED
        .flat_map(|index| ["--deny-at".to_owned(), index.to_string()])
        .collect();
    for node in 0..3 {
        cluster.stop(node);
        cluster.set_further_args(node, flags.clone());
        cluster.restart(node);
    }
    let mut refused = 0;
    for n in 0..WRITES {
        let answer = cluster.client(n % 3).create_printer(&format!("p{n}"));
        refused += usize::from(answer.status == 422);
        if answer.status == 422 {
            assert!(answer.text().contains("--deny-at"), "{answer}");
        } else {
            answer.expect(201);
        }
    }
    assert!(refused > 0);
    for node in 0..3 {
        wait_for("the log to record what is denied", PATIENCE, || {
            let denied = denied(&cluster, node);
            let recorded = denied.iter().all(|entry| entry["recorded"] == true);
            if denied.len() >= refused && recorded {
                return Ok(());
            }
            Err(format!("{denied:?}"))
        });
        let said = "the log records that this entry is denied";
        assert!(cluster.output(node).contains(said), "node {node}");
    }
    let recorded = denied(&cluster, 0);

    // Without the flag, and without the state: the log is applied again from its first entry.
    for node in 0..3 {
        cluster.stop(node);
        cluster.set_further_args(node, Vec::new());
        fs::remove_dir_all(cluster.data(node).join("state")).expect("the state");
        cluster.restart(node);
        assert_eq!(denied(&cluster, node), recorded);
    }
    let joined = cluster.join();
    assert_eq!(denied(&cluster, joined), recorded);
    let last = cluster.client(joined).create_printer("by-the-new");
    cluster.wait_converged(last.expect(201).revision());
}
