//! Changing the rules of a live shop: while a node is dead, on a replica that has nothing compiled,
//! watched before they decide, and where open jobs stand in the way.

use std::fs;
use std::path::PathBuf;

use raft3d_cluster_tests::client::job;
use raft3d_cluster_tests::cluster::scratch_folder;
use raft3d_cluster_tests::{Client, Cluster, Options};
use serde_json::{Value, json};

use crate::support::{filament, open_large_shop, open_shop, prebuilt, raft3d};

/// Jobs that a binding with a share of half is asked about.
const JOBS: usize = 60;

fn upload(client: &Client, name: &str) -> Value {
    let module = fs::read(prebuilt(name)).expect("the prebuilt module");
    let answer = client.upload(&module);
    assert!(matches!(answer.status, 200 | 201), "{answer}");
    answer.json()
}

/// The active bindings with one more in front; `more` are its fields beside those of the module.
fn with(client: &Client, id: &str, module: &Value, more: &Value) -> (Value, u64) {
    let active = client.ruleset();
    let mut binding = json!({"id": id, "module": module["sha256"], "hooks": module["hooks"]});
    let fields = binding.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    let mut bindings = vec![binding];
    bindings.extend(active["bindings"].as_array().expect("bindings").clone());
    let revision = active["revision"].as_u64().expect("a revision");
    (json!(bindings), revision)
}

/// Puts a quota of one open job an actor in front.
fn activate_quota(client: &Client, mode: &str, percentage: u64) -> u64 {
    let module = upload(client, "quota");
    let more = json!({
        "mode": mode, "percentage": percentage, "hooks": ["admission"],
        "config": {"default": {"open_jobs_max": 1}},
    });
    let (bindings, revision) = with(client, "quota", &module, &more);
    client
        .put_ruleset(&bindings, revision)
        .expect(200)
        .revision()
}

fn denies_a_second_job(client: &Client, actor: &str) {
    let create = |id: String| {
        let body = job(&id, "p1", "f1", 1);
        client.post_with("/api/v1/print_jobs", &[("raft3d-actor", actor)], &body)
    };
    create(format!("{actor}-1")).expect(201);
    let second = create(format!("{actor}-2")).expect(422);
    assert_eq!(second.codes(), ["too_many_open_jobs"], "{second}");
}

#[test]
fn rules_are_changed_and_rolled_back_while_a_node_is_dead() {
    let mut cluster = Cluster::start("rollout-dead", Options::nodes(3));
    open_large_shop(&cluster.client(0));
    // Once a follower, and once the leader, so that what is left elects first.
    for (turn, dead) in [cluster.follower(), cluster.leader()]
        .into_iter()
        .enumerate()
    {
        cluster.kill9(dead);
        let alive: Vec<usize> = cluster.running().collect();
        let (one, other) = (cluster.client(alive[0]), cluster.client(alive[1]));
        activate_quota(&one, "enforce", 100);
        denies_a_second_job(&other, &format!("kim{turn}"));
        let rolled_back = one.post("/api/v1/ruleset/rollback", &json!({})).expect(200);
        let id = format!("free-{turn}");
        other.create_job(&id, "p1", "f1", 1).expect(201);
        cluster.restart(dead);
        let late = cluster.client(dead);
        let revision = rolled_back.revision();
        let path = format!("/api/v1/ruleset?consistency=stale&min_revision={revision}");
        assert_eq!(late.get(&path).expect(200).json()["revision"], revision);
        cluster.wait_converged(revision);
    }
}

/// The folder of compiled modules is a cache: gone, or damaged, it is made anew, and what the
/// replica then applies is what the others decided.
#[test]
fn a_replica_without_the_compiled_modules_makes_them_anew() {
    let mut cluster = Cluster::start("rollout-cache", Options::nodes(3));
    open_large_shop(&cluster.client(0));
    for (turn, damage) in [None, Some(0), Some(200)].into_iter().enumerate() {
        let late = cluster.follower();
        cluster.stop(late);
        let alive = cluster.running().next().expect("a node");
        let client = cluster.client(alive);
        activate_quota(&client, "enforce", 100);
        denies_a_second_job(&client, &format!("kim{turn}"));
        let folder = cluster.data(late).join("modules-cache");
        let files: Vec<PathBuf> = fs::read_dir(&folder)
            .expect("the cache")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|e| e != "key"))
            .collect();
        assert!(!files.is_empty(), "nothing is kept in {}", folder.display());
        for file in &files {
            match damage {
                None => fs::remove_file(file).expect("the file goes"),
                // What runs is native code: one wrong bit of it must never be loaded.
                Some(at) => {
                    let mut bytes = fs::read(file).expect("the file");
                    let at = at.min(bytes.len() - 1);
                    bytes[at] ^= 1;
                    fs::write(file, bytes).expect("the file is changed");
                }
            }
        }
        cluster.restart(late);
        let digest = cluster.wait_converged(1);
        assert!(!digest.is_empty());
        denies_a_second_job(&cluster.client(late), &format!("lea{turn}"));
        client
            .post("/api/v1/ruleset/rollback", &json!({}))
            .expect(200);
        cluster.wait_converged(1);
    }
}

/// Which jobs a binding was asked about, as one node has recorded it.
fn asked_about(client: &Client, binding: &str, min_revision: u64) -> Vec<(String, String)> {
    let path =
        format!("/api/v1/decisions?limit=1000&consistency=stale&min_revision={min_revision}");
    let records = client.get(&path).expect(200).json();
    let mut asked = Vec::new();
    for record in records.as_array().expect("records") {
        for decision in record["decisions"].as_array().expect("decisions") {
            if decision["binding"] == binding {
                assert_eq!(decision["mode"], "shadow");
                let text = |value: &Value| value.as_str().expect("a text").to_owned();
                asked.push((text(&record["job_id"]), text(&decision["verdict"]["kind"])));
            }
        }
    }
    asked
}

#[test]
fn a_watched_rule_is_recorded_for_its_share_of_jobs_and_changes_nothing() {
    let cluster = Cluster::start("rollout-shadow", Options::nodes(3));
    open_large_shop(&cluster.client(0));
    activate_quota(&cluster.client(0), "shadow", 50);
    let mut last = 0;
    for number in 0..JOBS {
        let client = cluster.client(number % 3);
        let id = format!("watched-{number}");
        // From the second on the quota would deny every one of them.
        last = client.create_job(&id, "p1", "f1", 1).expect(201).revision();
    }
    let asked = asked_about(&cluster.client(0), "quota", last);
    for node in [1, 2] {
        assert_eq!(asked_about(&cluster.client(node), "quota", last), asked);
    }
    // A fixed choice by a hash of the ids: between a quarter and three quarters, and no job twice.
    assert!(
        (JOBS / 4..=JOBS * 3 / 4).contains(&asked.len()),
        "{asked:?}"
    );
    let denied = asked.iter().filter(|(_, verdict)| verdict == "deny");
    assert!(denied.count() >= asked.len() - 1, "{asked:?}");
    let open = cluster.client(1).list_stale("print_jobs", last);
    assert_eq!(open.len(), JOBS, "none was turned away");
    cluster.wait_converged(last);
}

/// The standard rules with the lifecycle of `approval`, as a ruleset file.
fn approval_file() -> Value {
    json!({"bindings": [
        {"id": "approval", "module": prebuilt("approval"), "lifecycle": true,
         "hooks": ["transition"], "config": {"approvers": ["ann"]}},
        {"id": "standard-lifecycle", "module": prebuilt("standard-lifecycle"),
         "hooks": ["admission"]},
        {"id": "standard-deduction", "module": prebuilt("standard-deduction"),
         "hooks": ["deduction"]},
    ]})
}

#[test]
fn jobs_that_a_new_lifecycle_does_not_know_are_kept_or_stranded() {
    let cluster = Cluster::start("rollout-strand", Options::nodes(3));
    let client = cluster.client(cluster.follower());
    open_shop(&client, 1_000);
    let folder = scratch_folder("rollout-operator");
    let node = format!("http://{}", cluster.http_addr(cluster.follower()));
    let file = |name: &str, content: &Value| {
        let text = serde_json::to_string_pretty(content).expect("JSON");
        fs::write(folder.join(name), text).expect("the file");
    };
    let (code, standard) = raft3d(&["ruleset", "show"], &folder, &node);
    assert_eq!(code, Some(0), "{standard}");
    let standard = standard
        .get(standard.find('{').expect("JSON")..)
        .expect("JSON");
    let standard = standard
        .get(..=standard.rfind('}').expect("JSON"))
        .expect("JSON");
    fs::write(folder.join("standard.json"), standard).expect("the file");
    file("approval.json", &approval_file());
    let (code, said) = raft3d(&["ruleset", "apply", "approval.json"], &folder, &node);
    assert_eq!(code, Some(0), "{said}");
    for id in ["waits", "waits-too"] {
        let created = client.create_job(id, "p1", "f1", 100).expect(201).json();
        assert_eq!(created["status"], "AwaitingApproval");
    }
    let reserved = || filament(&client, "f1")["reserved_weight_in_grams"].clone();
    assert_eq!(reserved(), json!(200));

    // Kept: the file says so before, the cluster refuses, and names how many stand where.
    let (code, said) = raft3d(&["ruleset", "diff", "standard.json"], &folder, &node);
    assert_eq!(code, Some(2), "{said}");
    let warned = "2 open jobs are in the state AwaitingApproval and would be stranded";
    assert!(said.contains(warned), "{said}");
    let before = client.ruleset()["revision"].clone();
    let (code, said) = raft3d(&["ruleset", "apply", "standard.json"], &folder, &node);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("nothing was changed") && said.contains("AwaitingApproval"),
        "{said}"
    );
    assert_eq!(client.ruleset()["revision"], before);

    // Stranded: they keep their reservation, and only an override moves them, to an end.
    let forced = [
        "ruleset",
        "apply",
        "standard.json",
        "--force",
        "--reason",
        "no approvals",
    ];
    let (code, said) = raft3d(&forced, &folder, &node);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(reserved(), json!(200));
    client.set_status("waits", "running").expect(409);
    let status = "/api/v1/print_jobs/waits/status";
    let cancel = json!({"status": "canceled", "override": true, "reason": "stranded"});
    let canceled = client.post(status, &cancel).expect(200).json();
    assert_eq!(canceled["status"], "Canceled");
    assert_eq!(reserved(), json!(100));

    // Back again, the other one is where it was.
    let (code, said) = raft3d(&["ruleset", "rollback"], &folder, &node);
    assert_eq!(code, Some(0), "{said}");
    let approve = json!({"status": "queued"});
    let path = "/api/v1/print_jobs/waits-too/status";
    let approved = client.post_with(path, &[("raft3d-actor", "ann")], &approve);
    assert_eq!(approved.expect(200).json()["status"], "Queued");
    fs::remove_dir_all(&folder).expect("the folder goes");
    cluster.wait_converged(1);
}

/// Two operators: the second one's change was made against rules that are gone.
#[test]
fn a_change_of_rules_that_were_replaced_is_refused() {
    let cluster = Cluster::start("rollout-race", Options::nodes(3));
    let (one, other) = (cluster.client(0), cluster.client(1));
    let module = upload(&one, "quota");
    let more = json!({"hooks": ["admission"], "config": {"default": {"open_jobs_max": 1}}});
    let (bindings, revision) = with(&one, "quota", &module, &more);
    one.put_ruleset(&bindings, revision).expect(200);
    let active = other.ruleset();
    let refused = other.put_ruleset(&bindings, revision);
    assert_eq!(refused.status, 412, "{refused}");
    let path = "/api/v1/ruleset/rollback";
    let if_match = format!("\"{revision}\"");
    let refused = other.post_with(path, &[("if-match", &if_match)], &json!({}));
    assert_eq!(refused.status, 412, "{refused}");
    assert_eq!(other.ruleset(), active, "nothing changed");
}
