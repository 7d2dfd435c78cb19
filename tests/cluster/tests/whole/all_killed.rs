//! `kill -9` of every node at once, under load.

use std::time::Duration;

use raft3d_cluster_tests::load::Report;
use raft3d_cluster_tests::{Cluster, Options, verify};

use crate::support::{load, open_large_shop};

/// Times that everything is killed: the second time the log already has a recovery behind it.
const ROUNDS: usize = 2;

#[test]
fn nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::start("all-killed", Options::nodes(3));
    open_large_shop(&cluster.client(0));
    let mut report: Option<Report> = None;
    for round in 0..ROUNDS {
        let load = load(&cluster, &format!("round-{round}"));
        load.wait_more(300, Duration::from_secs(60));
        cluster.kill9_all(&[0, 1, 2]);
        let this = load.abort();
        report = Some(match report {
            Some(before) => before.and(this),
            None => this,
        });
        cluster.restart_all(&[0, 1, 2]);
        let report = report.as_ref().expect("this round's");
        assert_eq!(report.refused, []);
        verify::check(&cluster, report);
        println!(
            "round {round}: {} acknowledged writes are there, {} were unknown",
            report.acknowledged.len(),
            report.unknown.len()
        );
    }
    // And it goes on.
    cluster
        .client(1)
        .create_job("after", "p1", "f1", 3)
        .expect(201);
}
