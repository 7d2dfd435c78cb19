//! The classic API, call by call, on all three nodes.

use raft3d_cluster_tests::{Client, Cluster, Options};
use serde_json::{Value, json};

/// Asks every node and expects the same answer from each.
#[track_caller]
fn everywhere(nodes: &[Client], path: &str, expected: &Value) {
    for (index, node) in nodes.iter().enumerate() {
        let answer = node.get(path).expect(200);
        assert_eq!(&answer.json(), expected, "node {index}, {path}");
    }
}

/// Moves a job the classic way.
#[track_caller]
fn moves(node: &Client, job: &str, status: &str) {
    let answer = node
        .post_empty(&format!("/printjobs/{job}/status?status={status}"))
        .expect(200);
    assert_eq!(
        answer.text().trim_end(),
        "Print job status updated successfully"
    );
}

/// Asks for a transition that must be refused: 400 and one line of plain text.
#[track_caller]
fn refused(node: &Client, job: &str, status: &str) -> String {
    let answer = node
        .post_empty(&format!("/printjobs/{job}/status?status={status}"))
        .expect(400);
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("text/plain"), "{kind}: {answer}");
    let text = answer.text().trim_end().to_owned();
    assert!(!text.is_empty() && !text.contains('\n'), "{answer}");
    text
}

fn classic_job(id: &str, grams: u64, status: &str) -> Value {
    json!({"id": id, "printer_id": "p1", "filament_id": "f1", "filepath": "/models/sample.stl",
           "print_weight_in_grams": grams, "status": status})
}

fn classic_filament(remaining: u64) -> Value {
    json!({"f1": {"id": "f1", "type": "PLA", "color": "Red", "total_weight_in_grams": 1000,
                  "remaining_weight_in_grams": remaining}})
}

#[test]
fn the_transcript_call_by_call_on_three_nodes() {
    let cluster = Cluster::start("classic", Options::nodes(3));
    let nodes: Vec<Client> = (0..3).map(|node| cluster.client(node)).collect();
    let [a, b, c] = [&nodes[0], &nodes[1], &nodes[2]];
    for path in ["/printers", "/filaments", "/printjobs"] {
        everywhere(&nodes, path, &json!({}));
    }

    let printer = json!({"id": "p1", "company": "HP", "model": "DeskJet 123"});
    a.post("/printers", &printer).expect(201);
    everywhere(&nodes, "/printers", &json!({"p1": printer}));
    b.post("/printers", &printer).expect(409);

    let filament = json!({"id": "f1", "type": "PLA", "color": "Red",
        "total_weight_in_grams": 1000, "remaining_weight_in_grams": 800});
    b.post("/filaments", &filament).expect(201);
    everywhere(&nodes, "/filaments", &classic_filament(800));

    c.post("/printjobs", &classic_job("job1", 120, "Queued"))
        .expect(201);
    a.post("/printjobs", &classic_job("job2", 80, "Queued"))
        .expect(201);
    // 800 - 120 - 80 = 600 are left to reserve.
    b.post("/printjobs", &classic_job("job3", 601, "Queued"))
        .expect(422);
    b.post("/printjobs", &classic_job("job3", 600, "Running"))
        .expect(400);
    b.post("/printjobs", &classic_job("job3", 600, "Queued"))
        .expect(201);
    everywhere(
        &nodes,
        "/printjobs",
        &json!({
            "job1": classic_job("job1", 120, "Queued"), "job2": classic_job("job2", 80, "Queued"),
            "job3": classic_job("job3", 600, "Queued"),
        }),
    );

    refused(a, "job1", "done");
    moves(b, "job1", "running");
    moves(c, "job2", "Running");
    everywhere(
        &nodes,
        "/printjobs",
        &json!({
            "job1": classic_job("job1", 120, "Running"), "job2": classic_job("job2", 80, "Running"),
            "job3": classic_job("job3", 600, "Queued"),
        }),
    );
    refused(a, "job1", "queued");
    refused(b, "job1", "running");
    everywhere(&nodes, "/filaments", &classic_filament(800));

    moves(c, "job1", "done");
    everywhere(&nodes, "/filaments", &classic_filament(680));
    // Done deducts once: asked again, it is refused and nothing is taken.
    refused(a, "job1", "done");
    refused(a, "job1", "running");
    everywhere(&nodes, "/filaments", &classic_filament(680));

    moves(a, "job2", "cancelled");
    moves(b, "job3", "%22canceled%22");
    everywhere(&nodes, "/filaments", &classic_filament(680));
    everywhere(
        &nodes,
        "/printjobs",
        &json!({
            "job1": classic_job("job1", 120, "Done"), "job2": classic_job("job2", 80, "Canceled"),
            "job3": classic_job("job3", 600, "Canceled"),
        }),
    );
    c.post_empty("/printjobs/nothing/status?status=running")
        .expect(404);
    refused(c, "job1", "flying");
    cluster.wait_converged(0);
}

#[test]
fn a_refusal_says_from_where_the_move_is_possible() {
    let cluster = Cluster::start("classic-refusal", Options::nodes(1));
    let node = cluster.client(0);
    crate::support::open_shop(&node, 1000);
    node.post("/printjobs", &classic_job("job1", 10, "Queued"))
        .expect(201);
    let text = refused(&node, "job1", "done");
    assert_eq!(text, "Can only move to 'done' from 'running'");
}

#[test]
fn spellings_that_clients_in_the_wild_use_are_understood() {
    let cluster = Cluster::start("classic-spellings", Options::nodes(1));
    let node = cluster.client(0);
    for door in ["", "/api/v1"] {
        let v1 = !door.is_empty();
        let jobs = if v1 {
            "/api/v1/print_jobs"
        } else {
            "/printjobs"
        };
        let (printer, filament) = if v1 { (11, 12) } else { (1, 2) };
        let body = json!({"id": printer, "company": "HP", "model": "X"});
        node.post(&format!("{door}/printers"), &body).expect(201);
        let body = json!({"id": filament, "type": "PLA", "color": "Red",
            "total_weight_in_grams": "1000.25"});
        node.post(&format!("{door}/filaments"), &body).expect(201);
        let body = json!({"printer_id": printer, "filament_id": filament, "filepath": "/a.stl",
            "print_weight_in_grams": "120", "status": "\"queued\""});
        node.post(jobs, &body).expect(201);
        let all = node.get("/filaments").expect(200).json();
        let filament = &all[filament.to_string()];
        assert_eq!(
            filament["remaining_weight_in_grams"],
            json!(1000.25),
            "{all}"
        );
    }
    let jobs = node.get("/printjobs").expect(200).json();
    let jobs = jobs.as_object().unwrap();
    assert_eq!(jobs.len(), 2, "each got an id of its own: {jobs:?}");
    for (id, job) in jobs {
        assert_eq!(
            (&job["id"], &job["print_weight_in_grams"]),
            (&json!(id), &json!(120))
        );
        node.post_empty(&format!("/printjobs/{id}/status?status=%22running%22"))
            .expect(200);
    }
    // The classic API ignores what it does not know; it does not ignore what it does.
    node.post(
        "/printers",
        &json!({"id": "p", "company": "HP", "model": "X", "wings": 2}),
    )
    .expect(201);
    let bad = json!({"id": "f", "type": "PLA", "color": "Red", "total_weight_in_grams": "heavy"});
    let answer = node.post("/filaments", &bad).expect(400);
    assert!(answer.text().contains("total_weight_in_grams"), "{answer}");
}

/// What policies/README.md says of a lifecycle that keeps classic clients working, followed with the
/// policy that it names: such a client knows four states, and reads one plain line.
#[test]
fn a_classic_client_works_on_under_the_lifecycle_of_approval() {
    let cluster = Cluster::start("classic-approval", Options::nodes(1));
    let node = cluster.client(0);
    crate::support::open_shop(&node, 1000);
    let module = std::fs::read(crate::support::prebuilt("approval")).expect("the module");
    let module = node.upload(&module).json();
    let active = node.ruleset();
    let mut bindings = active["bindings"].as_array().expect("bindings").clone();
    bindings[0]["lifecycle"] = json!(false);
    bindings[0]["hooks"] = json!(["admission"]);
    bindings.insert(
        0,
        json!({"id": "approval", "module": module["sha256"], "hooks": module["hooks"],
            "lifecycle": true, "config": {"approvers": ["ann"]}}),
    );
    let revision = active["revision"].as_u64().expect("a revision");
    node.put_ruleset(&json!(bindings), revision).expect(200);

    for id in ["job1", "job2", "job3"] {
        let created = node.post("/printjobs", &classic_job(id, 100, "Queued"));
        assert_eq!(created.expect(201).json()["status"], "AwaitingApproval");
    }
    let v1 = raft3d_cluster_tests::client::job("job4", "p1", "f1", 100);
    let mut queued = v1.clone();
    queued["status"] = json!("Queued");
    let created = node.post("/api/v1/print_jobs", &queued).expect(201).json();
    assert_eq!(created["status"], "AwaitingApproval");
    // A denial is one plain sentence.
    let denied = refused(&node, "job1", "running");
    assert!(!denied.contains('{') && !denied.contains('\n'), "{denied}");
    let denied = refused(&node, "job1", "queued");
    assert!(denied.contains("approver"), "{denied}");
    for id in ["job1", "job2"] {
        let path = format!("/printjobs/{id}/status?status=queued");
        let approved = node.post_with(&path, &[("raft3d-actor", "ann")], &json!({}));
        approved.expect(200);
    }
    moves(&node, "job1", "running");
    moves(&node, "job1", "done");
    moves(&node, "job2", "cancelled");
    moves(&node, "job3", "canceled");
    let all = node.get("/filaments").expect(200).json();
    assert_eq!(all["f1"]["remaining_weight_in_grams"], json!(900), "{all}");
}
