//! Jobs that together exceed a filament, created at the same time through every node.

use std::sync::{Arc, Barrier};

use raft3d_cluster_tests::{Cluster, Options};

use crate::support::{filament, open_shop};

/// Weight of the filament, in grams.
const SPOOL_G: u64 = 1000;
/// Weight of each job, in grams: 33 of them fit, 10 g are left over.
const JOB_G: u64 = 30;
/// Jobs that are asked for.
const JOBS: usize = 60;

#[test]
fn exactly_as_many_jobs_are_accepted_as_fit() {
    let cluster = Cluster::start("reservations", Options::nodes(3));
    open_shop(&cluster.client(0), SPOOL_G);
    let start = Arc::new(Barrier::new(JOBS));
    let callers: Vec<_> = (0..JOBS)
        .map(|number| {
            let client = cluster.client(number % 3);
            let start = Arc::clone(&start);
            std::thread::spawn(move || {
                start.wait();
                client.create_job(&format!("job-{number}"), "p1", "f1", JOB_G)
            })
        })
        .collect();
    let answers: Vec<_> = callers
        .into_iter()
        .map(|caller| caller.join().unwrap())
        .collect();

    let fit = usize::try_from(SPOOL_G / JOB_G).unwrap();
    let accepted = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(accepted, fit);
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!(answer.status, 422, "{answer}");
        assert!(
            answer.text().contains("print_weight_in_grams"),
            "it names the field: {answer}"
        );
    }
    let last = answers
        .iter()
        .map(|answer| answer.revision())
        .max()
        .unwrap();
    cluster.wait_converged(last);
    for node in 0..3 {
        let client = cluster.client(node);
        assert_eq!(
            client.list_stale("print_jobs", last).len(),
            fit,
            "node {node}"
        );
        let filament = filament(&client, "f1");
        assert_eq!(
            filament["reserved_weight_in_grams"],
            JOB_G * fit as u64,
            "node {node}"
        );
        assert_eq!(
            filament["available_weight_in_grams"],
            SPOOL_G % JOB_G,
            "node {node}"
        );
        assert_eq!(
            filament["remaining_weight_in_grams"], SPOOL_G,
            "node {node}"
        );
    }

    // What a cancelled job gives back, one other job gets.
    let cancelled = answers
        .iter()
        .position(|answer| answer.status == 201)
        .unwrap();
    let node = cluster.client(1);
    node.create_job("late-1", "p1", "f1", JOB_G).expect(422);
    node.set_status(&format!("job-{cancelled}"), "canceled")
        .expect(200);
    node.create_job("late-2", "p1", "f1", JOB_G).expect(201);
    node.create_job("late-3", "p1", "f1", JOB_G).expect(422);
}
