//! Retries under the same idempotency key, through whichever node.

use raft3d_cluster_tests::{Cluster, Options};
use serde_json::json;

use crate::support::{filament, open_shop};

#[test]
fn a_retry_gets_the_stored_answer_through_any_node_and_after_a_failover() {
    let mut cluster = Cluster::start("exactly-once", Options::nodes(3));
    open_shop(&cluster.client(0), 1000);
    let body = json!({"printer_id": "p1", "filament_id": "f1", "filepath": "/a.stl",
        "print_weight_in_grams": 40});
    let key = [("idempotency-key", "order-7")];
    let first = cluster
        .client(0)
        .post_with("/api/v1/print_jobs", &key, &body)
        .expect(201);
    let leader = cluster.leader();
    for node in 0..3 {
        let again = cluster
            .client(node)
            .post_with("/api/v1/print_jobs", &key, &body)
            .expect(201);
        assert_eq!(again.json(), first.json(), "node {node}");
    }
    cluster.kill9(leader);
    let follower = cluster.follower();
    let again = cluster
        .client(follower)
        .post_with("/api/v1/print_jobs", &key, &body)
        .expect(201);
    assert_eq!(again.json(), first.json(), "after the failover");
    assert_eq!(
        filament(&cluster.client(follower), "f1")["reserved_weight_in_grams"],
        40
    );

    let mut other = body;
    other["print_weight_in_grams"] = json!(41);
    let answer = cluster
        .client(follower)
        .post_with("/api/v1/print_jobs", &key, &other)
        .expect(422);
    assert!(
        answer
            .header("content-type")
            .unwrap_or_default()
            .contains("problem+json")
    );
    // The key of one actor is not the key of another.
    let keys = [
        ("idempotency-key", "order-7"),
        ("raft3d-actor", "somebody-else"),
    ];
    cluster
        .client(follower)
        .post_with("/api/v1/print_jobs", &keys, &other)
        .expect(201);

    // A refusal is stored like any other answer: the retry is told the same, although by then the
    // same request would fit.
    let follower = cluster.client(follower);
    let key = [("idempotency-key", "order-8")];
    other["print_weight_in_grams"] = json!(1000);
    let refused = follower
        .post_with("/api/v1/print_jobs", &key, &other)
        .expect(422);
    for job in follower.list_stale("print_jobs", refused.revision()) {
        follower
            .set_status(job["id"].as_str().unwrap(), "canceled")
            .expect(200);
    }
    let again = follower
        .post_with("/api/v1/print_jobs", &key, &other)
        .expect(422);
    assert_eq!(again.codes(), refused.codes());
    follower.post("/api/v1/print_jobs", &other).expect(201);
    cluster.restart(leader);
    cluster.wait_converged(0);
}
