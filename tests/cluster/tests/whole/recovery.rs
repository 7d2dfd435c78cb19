//! Ways back that a node's last words describe, followed to the letter.

use std::fs;
use std::time::Duration;

use raft3d_cluster_tests::cluster::PATIENCE;
use raft3d_cluster_tests::damage::{Damage, damage_log};
use raft3d_cluster_tests::process::wait_for;
use raft3d_cluster_tests::{Client, Cluster, Options, verify};

use crate::support::{load, open_large_shop};

fn promote(cluster: &Cluster, node: usize) {
    let id = cluster.view(node).expect("the node answers").id;
    let path = format!("/api/v1/cluster/members/{id}/promote");
    let answer = cluster.client(0).post_empty(&path);
    assert!((200..300).contains(&answer.status), "{answer}");
}

/// "remove this member from the cluster, empty its data folder and let it join again, which gives it a
/// new id"
#[test]
fn a_node_whose_log_is_damaged_is_removed_and_joins_again() {
    let mut cluster = Cluster::start("damaged-rejoin", Options::nodes(3));
    open_large_shop(&cluster.client(0));
    let load = load(&cluster, "load");
    load.wait_more(100, PATIENCE);
    let report = load.finish();
    assert_eq!(report.refused, []);
    let id = cluster.view(2).expect("the node answers").id;
    cluster.stop(2);
    damage_log(cluster.data(2), Damage::FlippedBit);
    cluster.restart_without_waiting(2);
    let status = cluster.wait_exit(2);
    assert_eq!(
        status.code(),
        Some(1),
        "damage is not another version: {status}"
    );
    let said = cluster.output(2);
    let advice = "remove this member from the cluster, empty its data folder and let it join again";
    assert!(said.contains(advice), "{said}");

    let removed = cluster
        .client(0)
        .delete(&format!("/api/v1/cluster/members/{id}"));
    assert!((200..300).contains(&removed.status), "{removed}");
    fs::remove_dir_all(cluster.data(2)).expect("the data folder");
    let joined = cluster.join();
    promote(&cluster, joined);
    wait_for("the new node to vote", PATIENCE, || {
        let view = cluster.view(joined)?;
        let is_new = view.voter && view.id != id;
        if is_new {
            Ok(())
        } else {
            Err(format!("{view:?}"))
        }
    });
    verify::check(&cluster, &report);
    // It counts: the cluster goes on when one of the others is away.
    cluster.kill9(1);
    cluster.client(joined).create_printer("after").expect(201);
    cluster.restart(1);
    cluster.wait_converged(0);
}

/// "if it is fenced again, its snapshot is wrong too: remove the member and let an empty folder join"
#[test]
fn a_replica_whose_snapshot_is_wrong_too_is_removed_and_joins_again() {
    let options = Options::nodes(3).snapshots(30, 10);
    let mut cluster = Cluster::start("wrong-snapshot", options);
    let odd = 1;
    cluster.stop(odd);
    let deny = |index: u64| ["--deny-at".to_owned(), index.to_string()];
    cluster.set_further_args(odd, [40, 41, 42].into_iter().flat_map(deny).collect());
    cluster.restart(odd);
    cluster.expect_errors(odd);
    for n in 0..150 {
        let answer = cluster.client(0).create_printer(&format!("p{n}"));
        assert!(matches!(answer.status, 201 | 422), "{answer}");
    }
    wait_for("a snapshot of the wrong state", PATIENCE, || {
        let view = cluster.view(odd)?;
        if view.snapshot > 42 && view.purged > 42 {
            Ok(())
        } else {
            Err(format!("{view:?}"))
        }
    });
    wait_not_ready(&cluster, odd, "delete the folder `state`");
    // What it says first: the snapshot brings the wrong state back.
    cluster.stop(odd);
    cluster.set_further_args(odd, Vec::new());
    fs::remove_dir_all(cluster.data(odd).join("state")).expect("the state");
    cluster.restart_without_waiting(odd);
    let advice = "fenced again, its snapshot is wrong too: remove the member and let an empty folder \
                  join";
    wait_not_ready(&cluster, odd, advice);

    let id = cluster.view(odd).expect("the node answers").id;
    let removed = cluster
        .client(0)
        .delete(&format!("/api/v1/cluster/members/{id}"));
    assert!((200..300).contains(&removed.status), "{removed}");
    cluster.stop(odd);
    let joined = cluster.join();
    promote(&cluster, joined);
    cluster.client(joined).create_printer("after").expect(201);
    cluster.wait_converged(0);
}

#[track_caller]
fn wait_not_ready(cluster: &Cluster, node: usize, part: &str) {
    let client = Client::with_patience(cluster.http_addr(node), Duration::from_secs(5));
    wait_for(part, PATIENCE, || {
        match client.try_call("GET", "/readyz", &[], None) {
            Ok(answer) if answer.status == 503 && answer.text().contains(part) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}
