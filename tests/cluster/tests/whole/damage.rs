//! Damaged files: a node either opens with everything that was acknowledged, or refuses to run and
//! says what to do.

use std::fs;
use std::time::Duration;

use raft3d_cluster_tests::cluster::{PATIENCE, process_lives};
use raft3d_cluster_tests::damage::{
    Damage, TornTail, copy_folder, damage_log, flip_in_every_file, tear_tail,
};
use raft3d_cluster_tests::load::Report;
use raft3d_cluster_tests::process::wait_for;
use raft3d_cluster_tests::{Client, Cluster, Options, verify};

use crate::support::{load, open_large_shop};

/// Three nodes with `writes` acknowledged writes.
fn written(name: &str, options: Options, writes: usize) -> (Cluster, Report) {
    let cluster = Cluster::start(name, options);
    open_large_shop(&cluster.client(0));
    let load = load(&cluster, "load");
    load.wait_more(writes, PATIENCE);
    let report = load.finish();
    assert_eq!(report.refused, []);
    (cluster, report)
}

/// Starts a node that must refuse to run, in one clear line with what to do. Answers the line.
#[track_caller]
fn refuses_to_run(cluster: &mut Cluster, node: usize, why: &str) -> String {
    let before = cluster.output(node).len();
    cluster.restart_without_waiting(node);
    let status = cluster.wait_exit(node);
    let said = cluster.output(node)[before..].to_owned();
    assert!(!status.success(), "{why}: it ended with {status}:\n{said}");
    assert!(!said.contains("panicked"), "{why}:\n{said}");
    let line = said
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or_default()
        .to_owned();
    println!("{why}: {line}");
    line
}

#[test]
fn a_log_that_lost_synced_bytes_is_refused() {
    let (mut cluster, report) = written("damaged-log", Options::nodes(3), 200);
    cluster.stop(2);
    let log = cluster.data(2).join("log");
    let sound = cluster.data(2).with_extension("sound-log");
    copy_folder(&log, &sound);
    for damage in Damage::ALL {
        damage_log(cluster.data(2), damage);
        let line = refuses_to_run(&mut cluster, 2, &format!("{damage:?}"));
        assert!(line.contains("join again"), "it says what to do: {line}");
        copy_folder(&sound, &log);
    }
    // The others never stopped, and the sound log still opens.
    cluster.client(0).create_printer("meanwhile").expect(201);
    cluster.restart(2);
    verify::check(&cluster, &report);
}

#[test]
fn a_damaged_or_lost_state_database_is_rebuilt() {
    let options = Options::nodes(3).snapshots(50, 20);
    let (mut cluster, report) = written("damaged-state", options, 300);
    wait_for("a purged log", PATIENCE, || {
        let view = cluster.view(1)?;
        if view.purged > 0 && view.snapshot > 0 {
            Ok(())
        } else {
            Err(format!("{view:?}"))
        }
    });
    cluster.stop(1);
    assert!(
        flip_in_every_file(&cluster.data(1).join("state")) > 0,
        "the state has files"
    );
    cluster.expect_errors(1);
    cluster.restart(1);
    verify::check(&cluster, &report);

    // All nodes at once, killed and not stopped.
    cluster.kill9_all(&[0, 1, 2]);
    for node in 0..3 {
        fs::remove_dir_all(cluster.data(node).join("state")).expect("the state");
    }
    cluster.restart_all(&[0, 1, 2]);
    verify::check(&cluster, &report);
    cluster.client(2).create_printer("after").expect(201);
    cluster.wait_converged(0);
}

#[test]
fn a_damaged_snapshot_is_never_taken_for_a_sound_one() {
    let options = Options::nodes(3).snapshots(50, 20);
    let (mut cluster, report) = written("damaged-snapshot", options, 300);
    wait_for("a purged log", PATIENCE, || {
        let view = cluster.view(2)?;
        if view.purged > 0 {
            Ok(())
        } else {
            Err(format!("{view:?}"))
        }
    });
    cluster.kill9(2);
    let snapshots = cluster.data(2).join("snapshots");
    let sound = cluster.data(2).with_extension("sound-snapshots");
    copy_folder(&snapshots, &sound);
    assert!(flip_in_every_file(&snapshots) > 0, "there are snapshots");
    // Without its state database the node needs the snapshot: the log begins behind it.
    fs::remove_dir_all(cluster.data(2).join("state")).expect("the state");
    cluster.expect_errors(2);
    cluster.restart_without_waiting(2);
    assert!(
        !ready_or_ended(&cluster, 2),
        "a node became ready from a damaged snapshot"
    );
    cluster.kill9(2);
    let line = refuses_to_run(&mut cluster, 2, "damaged snapshot");
    assert!(line.contains("snapshot"), "{line}");
    copy_folder(&sound, &snapshots);
    cluster.restart(2);
    verify::check(&cluster, &report);
}

/// Waits until a node is ready (true) or has ended (false).
#[track_caller]
fn ready_or_ended(cluster: &Cluster, node: usize) -> bool {
    let client = Client::with_patience(cluster.http_addr(node), Duration::from_secs(5));
    wait_for("a node to be ready or to end", PATIENCE, || {
        if !process_lives(cluster.pid(node)) {
            return Ok(false);
        }
        match client.try_call("GET", "/readyz", &[], None) {
            Ok(answer) if answer.status == 200 => Ok(true),
            other => Err(format!("{other:?}")),
        }
    })
}

/// A power cut: every node ends at once, and each log has another torn write behind what was
/// synced.
#[test]
fn a_power_cut_on_all_nodes_with_torn_tails_loses_nothing_acknowledged() {
    let mut cluster = Cluster::start("power-cut", Options::nodes(3));
    open_large_shop(&cluster.client(0));
    let mut reports: Option<Report> = None;
    let rounds = [
        [
            TornTail::HeaderOnly,
            TornTail::PayloadOnly,
            TornTail::Garbage,
        ],
        [
            TornTail::FlippedBit,
            TornTail::FlippedBit,
            TornTail::FlippedBit,
        ],
    ];
    for (round, tails) in rounds.into_iter().enumerate() {
        let load = load(&cluster, &format!("round-{round}"));
        load.wait_more(200, PATIENCE);
        cluster.kill9_all(&[0, 1, 2]);
        let report = load.abort();
        for (node, torn) in tails.into_iter().enumerate() {
            tear_tail(cluster.data(node), torn);
        }
        cluster.restart_all(&[0, 1, 2]);
        let so_far = match reports.take() {
            Some(before) => before.and(report),
            None => report,
        };
        assert_eq!(so_far.refused, []);
        verify::check(&cluster, &so_far);
        reports = Some(so_far);
    }
}
