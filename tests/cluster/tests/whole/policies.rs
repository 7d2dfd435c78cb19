//! A new policy at work: compiled here, uploaded through a follower, activated for everybody at one
//! log index, carried to a node that joins later, and still there after a restart.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use raft3d_cluster_tests::cluster::PATIENCE;
use raft3d_cluster_tests::process::wait_for;
use raft3d_cluster_tests::{Answer, Client, Cluster, Options};
use serde_json::{Value, json};

use crate::support::{open_large_shop, prebuilt};

/// The example whose rule is watched.
const EXAMPLE: &str = "max-print-weight";
/// The heaviest job that it is told to let in, in grams.
const MAX_G: u64 = 100;
/// What it says of a heavier one.
const CODE: &str = "print_too_heavy";
/// A snapshot is taken after so many entries, so that a node that joins later needs one.
const SNAPSHOT_ENTRIES: u64 = 40;
/// Entries left in the log behind a snapshot.
const ENTRIES_KEPT: u64 = 10;

/// Compiles a policy crate of `examples/` through the SDK.
fn compile(example: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    xtask::build_policy(&root.join("examples").join(example)).expect("the example compiles")
}

/// The active bindings with the example's in front.
fn with_example(ruleset: &Value, module: &Value, max_mg: u64) -> Value {
    let mut bindings = ruleset["bindings"].as_array().expect("bindings").clone();
    bindings.insert(
        0,
        json!({
            "id": "house-limit", "module": module, "hooks": ["admission"], "scope": "all",
            "mode": "enforce", "percentage": 100, "lifecycle": false,
            "config": {"max_print_weight_in_mg": max_mg},
        }),
    );
    json!(bindings)
}

/// Creates heavy jobs through one node until told to stop, and keeps every answer.
fn ask_on(client: Client, name: String, stop: Arc<AtomicBool>) -> Vec<Answer> {
    let mut answers = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let id = format!("{name}-{}", answers.len());
        answers.push(client.create_job(&id, "p1", "f1", MAX_G + 1));
    }
    answers
}

/// Every node of `nodes` denies a heavy job with the example's code, and lets a light one in.
#[track_caller]
fn decide_by_it(cluster: &Cluster, name: &str) {
    let nodes: Vec<usize> = cluster.running().collect();
    for node in nodes {
        let client = cluster.client(node);
        let answer = client.create_job(&format!("{name}-heavy-{node}"), "p1", "f1", MAX_G + 1);
        assert_eq!(answer.status, 422, "node {node}: {answer}");
        assert!(
            answer.codes().iter().any(|code| code == CODE),
            "node {node}: {answer}"
        );
        assert!(
            answer.text().contains("print_weight_in_grams"),
            "it names the field: {answer}"
        );
        client
            .create_job(&format!("{name}-light-{node}"), "p1", "f1", MAX_G)
            .expect(201);
    }
    cluster.wait_converged(0);
}

/// Modules that are uploaded, each compiled for itself.
const SOUND_MODULES: u8 = 12;

/// A compiling child is given little address space, and the program's allocator likes to have much.
#[test]
fn a_sound_module_is_taken_every_time() {
    let cluster = Cluster::start("sound-modules", Options::nodes(1));
    let sound = std::fs::read(prebuilt("standard-deduction")).expect("the prebuilt module");
    for nonce in 0..SOUND_MODULES {
        let mut module = sound.clone();
        // A custom section (0) of three bytes, with a name of one: another digest, no other code.
        module.extend([0, 3, 1, b'n', nonce]);
        cluster.client(0).upload(&module).expect(201);
    }
}

#[test]
fn a_new_policy_decides_everywhere_from_one_log_index_on() {
    let module = compile(EXAMPLE);
    let options = Options::nodes(3).snapshots(SNAPSHOT_ENTRIES, ENTRIES_KEPT);
    let mut cluster = Cluster::start("policies", options);
    open_large_shop(&cluster.client(0));

    let follower = cluster.client(cluster.follower());
    let uploaded = follower.upload(&module).expect(201).json();
    assert_eq!(
        (&uploaded["name"], &uploaded["hooks"]),
        (&json!(EXAMPLE), &json!(["admission"]))
    );
    let sha256 = uploaded["sha256"].as_str().expect("a digest").to_owned();
    for node in 0..3 {
        let path = format!("/api/v1/policies/{sha256}/module");
        assert_eq!(
            cluster.client(node).get(&path).expect(200).body,
            module,
            "node {node}"
        );
    }

    let before = follower.ruleset();
    let revision = before["revision"].as_u64().expect("a revision");
    let useless = with_example(&before, &uploaded["sha256"], 0);
    follower.put_ruleset(&useless, revision).expect(409);

    let activated_at = activate_under_load(&cluster, &follower, &uploaded["sha256"]);
    for node in 0..3 {
        assert_eq!(
            cluster.client(node).ruleset()["revision"],
            activated_at,
            "node {node}"
        );
    }
    decide_by_it(&cluster, "activated");

    // A node that joins when the activation is no longer in the log has it from the snapshot.
    push_log_beyond(&cluster, activated_at);
    let joined = cluster.join();
    let view = cluster.view(joined).expect("the node answers");
    assert!(view.applied > activated_at, "{view:?}");
    assert_eq!(cluster.client(joined).ruleset()["revision"], activated_at);
    decide_by_it(&cluster, "joined");

    cluster.kill9_all(&[0, 1, 2, joined]);
    cluster.restart_all(&[0, 1, 2, joined]);
    decide_by_it(&cluster, "restarted");

    let rollback = cluster
        .client(joined)
        .post("/api/v1/ruleset/rollback", &json!({}));
    assert!((200..300).contains(&rollback.status), "{rollback}");
    for node in cluster.running() {
        let id = format!("rolled-back-{node}");
        cluster
            .client(node)
            .create_job(&id, "p1", "f1", MAX_G + 1)
            .expect(201);
    }
    cluster.wait_converged(0);
}

/// Activates the example while every node is asked for heavy jobs without pause, and checks that
/// each of them was decided by its place in the log. Answers the log index of the activation.
#[track_caller]
fn activate_under_load(cluster: &Cluster, through: &Client, module: &Value) -> u64 {
    let stop = Arc::new(AtomicBool::new(false));
    let askers = (0..6).map(|number| {
        let client = cluster.client(number % 3);
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || ask_on(client, format!("race-{number}"), stop))
    });
    let askers: Vec<_> = askers.collect();
    let before = through.ruleset();
    let revision = before["revision"].as_u64().expect("a revision");
    let bindings = with_example(&before, module, MAX_G * 1_000);
    // Both sides of the activation get some answers: the ones before it while others activate.
    wait_for("a heavy job that is still let in", PATIENCE, || {
        let jobs = through.list_stale("print_jobs", 0).len();
        if jobs >= 6 {
            Ok(())
        } else {
            Err(format!("{jobs} jobs"))
        }
    });
    let activated = through.put_ruleset(&bindings, revision).expect(200);
    let at = activated.json()["revision"].as_u64().expect("a revision");
    assert_eq!(activated.revision(), at);
    for node in 0..3 {
        cluster
            .client(node)
            .create_job(&format!("late-{node}"), "p1", "f1", MAX_G + 1)
            .expect(422);
    }
    stop.store(true, Ordering::Relaxed);

    let answers: Vec<Answer> = askers
        .into_iter()
        .flat_map(|a| a.join().expect("asker"))
        .collect();
    let mut denied = 0;
    for answer in &answers {
        match answer.status {
            201 => assert!(answer.revision() < at, "let in after {at}: {answer}"),
            422 => {
                assert!(answer.codes().iter().any(|code| code == CODE), "{answer}");
                assert!(answer.revision() > at, "denied before {at}: {answer}");
                denied += 1;
            }
            _ => panic!("{answer}"),
        }
    }
    println!(
        "activated at {at}: {} let in before, {denied} denied after",
        answers.len() - denied
    );
    assert!(denied > 0 && denied < answers.len(), "both sides were seen");
    at
}

/// Writes until no node has the log entry `index` any more.
#[track_caller]
fn push_log_beyond(cluster: &Cluster, index: u64) {
    let client = cluster.client(0);
    let mut number = 0;
    wait_for("the activation to leave the log", PATIENCE, || {
        for _ in 0..SNAPSHOT_ENTRIES {
            client
                .create_printer(&format!("filler-{number}"))
                .expect(201);
            number += 1;
        }
        for node in 0..3 {
            let view = cluster.view(node)?;
            if view.purged <= index {
                return Err(format!("{view:?}"));
            }
        }
        Ok(())
    });
}
