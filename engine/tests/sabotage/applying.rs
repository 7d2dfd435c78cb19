//! Apply that hangs on more than rows and entries, and a replica that goes on although it differs.

use std::collections::BTreeSet;
use std::time::Duration;

use raft3d_core::command::{Actor, CreateFilament, CreateJob, Labels, SetJobStatus};
use raft3d_core::state::filaments;
use raft3d_core::{Accepted, Command, FilamentId, JobId, PrinterId, Response};
use raft3d_engine::raft::api::{Consistency, ReadOptions, WriteRequest};
use raft3d_engine::sabotage::Bug;
use raft3d_sdk::Grams;

use crate::Turn;
use crate::cluster::{Cluster, Tune, accepted, wait_for};

fn quick() -> Tune {
    Tune {
        checkpoint_ms: 300,
        ..Tune::default()
    }
}

async fn write(cluster: &Cluster, command: Command) -> Response {
    let request = WriteRequest {
        command,
        asked: None,
        actor: Actor {
            name: "tester".to_owned(),
            verified: false,
        },
        idempotency_key: None,
        timeout: Duration::from_secs(20),
    };
    cluster.node(0).write(request).await.unwrap().response
}

/// A filament of 100 g, and a job of 10 g that is done.
async fn done_job(cluster: &Cluster) {
    cluster.printer(0, "p").await.unwrap();
    let total = Grams::from_grams(100).unwrap();
    let filament = CreateFilament {
        id: Some(FilamentId::new("f")),
        material: "PLA".to_owned(),
        color: "Red".to_owned(),
        total,
        ..CreateFilament::default()
    };
    write(cluster, Command::CreateFilament(filament)).await;
    let job = CreateJob {
        id: Some(JobId::new("j")),
        printer_id: PrinterId::new("p"),
        filament_id: FilamentId::new("f"),
        filepath: "/j.stl".to_owned(),
        print_weight: Grams::from_grams(10).unwrap(),
        priority: 0,
        labels: Labels::new(),
        status: None,
    };
    write(cluster, Command::CreateJob(job)).await;
    for status in ["Running", "Done"] {
        let status = SetJobStatus {
            id: JobId::new("j"),
            status: status.to_owned(),
            used: None,
            reason: None,
            wants_override: false,
        };
        let response = write(cluster, Command::SetJobStatus(status)).await;
        assert!(
            matches!(response, Response::Accepted(Accepted::Job(_))),
            "{response:?}"
        );
    }
}

/// What each node says is left of the filament, in whole grams.
async fn left(cluster: &Cluster) -> Vec<u64> {
    let mut left = Vec::new();
    let newest = cluster
        .running()
        .into_iter()
        .map(|at| cluster.node(at).status().applied)
        .max();
    for at in cluster.running() {
        let (consistency, timeout) = (Consistency::Stale, Duration::from_secs(20));
        let options = ReadOptions {
            consistency,
            min_revision: newest,
            timeout,
        };
        let view = cluster.node(at).read(options).await.unwrap();
        let row = filaments::get(&view, &FilamentId::new("f"))
            .unwrap()
            .unwrap();
        left.push(row.remaining.mg() / 1_000);
    }
    left.sort_unstable();
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proposer_deducts_once_more() {
    let turn = Turn::new();
    let cluster = Cluster::started(3, Tune::default()).await;
    turn.arm(Bug::DeductionOutsideApply);
    done_job(&cluster).await;
    assert_eq!(left(&cluster).await, [80, 90, 90]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_bug_all_replicas_deduct_once() {
    let _turn = Turn::new();
    let cluster = Cluster::started(3, Tune::default()).await;
    done_job(&cluster).await;
    assert_eq!(left(&cluster).await, [90, 90, 90]);
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_done_again() {
    let turn = Turn::new();
    let cluster = Cluster::started(3, Tune::default()).await;
    let first = cluster.printer_keyed(0, "p1", Some("key")).await.unwrap();
    let again = cluster.printer_keyed(1, "p1", Some("key")).await.unwrap();
    assert!(again.replayed);
    assert_eq!(accepted(&again), accepted(&first));
    turn.arm(Bug::RetryWithoutDedup);
    let again = cluster.printer_keyed(2, "p1", Some("key")).await.unwrap();
    assert!(!again.replayed);
    assert!(
        matches!(again.response, Response::Rejected(_)),
        "it exists already: {again:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_stamp_with_their_own_clocks() {
    let turn = Turn::new();
    // The leader's stamps come from a clock that is an hour behind the replicas' own.
    let clock_offset_ms = -3_600_000;
    let cluster = Cluster::started(
        3,
        Tune {
            clock_offset_ms,
            ..Tune::default()
        },
    )
    .await;
    let created = |outcome: &raft3d_engine::raft::api::WriteOutcome| match accepted(outcome) {
        Accepted::Printer(printer) => printer.created_at_ms,
        other => panic!("{other:?}"),
    };
    let honest = created(&cluster.printer(0, "p1").await.unwrap());
    turn.arm(Bug::ClockInApply);
    // What apply stores hangs on the replicas' clocks now.
    let late = created(&cluster.printer(0, "p2").await.unwrap());
    turn.disarm();
    assert!(late - honest > 1_800_000, "{late} {honest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_differs_goes_on() {
    let turn = Turn::new();
    turn.arm(Bug::FencingOff);
    let cluster = Cluster::started(3, quick()).await;
    cluster.printer(0, "p1").await.unwrap();
    let odd = cluster.follower().await;
    cluster.kill(odd).await;
    let through = cluster.running()[0];
    let revision = cluster.printer(through, "p2").await.unwrap().revision;
    cluster
        .start_denying(odd, BTreeSet::from([revision.0]))
        .await;
    let status = |at: usize| cluster.node(at).status();
    wait_for("the odd node serves", || status(odd).not_ready.is_none()).await;
    // Every checkpoint after that shows the difference; ten of them pass.
    for number in 0..10 {
        cluster
            .printer(through, &format!("q{number}"))
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert_eq!(status(odd).not_ready, None);
    // Switched on again, the fence closes it.
    turn.disarm();
    cluster.printer(through, "p3").await.unwrap();
    wait_for("the odd node is fenced", || {
        status(odd)
            .not_ready
            .is_some_and(|why| why.contains("differs"))
    })
    .await;
}
