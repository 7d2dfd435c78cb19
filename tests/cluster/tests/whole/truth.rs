//! What a node says of itself is so: whether it is ready, a member, the only one with its folder, and
//! where it is.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use raft3d_cluster_tests::cluster::PATIENCE;
use raft3d_cluster_tests::ports::Port;
use raft3d_cluster_tests::process::{Process, wait_for};
use raft3d_cluster_tests::{Answer, Client, Cluster, Options};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// For how long a node is watched that must not say that it is ready.
const WATCHED: Duration = Duration::from_secs(3);

/// A process on a data folder that the cluster did not start there.
struct Stranger {
    process: Process,
    http: Port,
    peer: Port,
}

impl Stranger {
    fn start(data: &Path, log: PathBuf) -> Self {
        let (http, peer) = (Port::claim(), Port::claim());
        let (http_at, peer_at) = (http.addr().to_string(), peer.addr().to_string());
        let data = data.display().to_string();
        let args = ["serve", "--exit-on-stdin-eof", "--data", &data];
        let args = [&args[..], &["--http", &http_at, "--peer", &peer_at]].concat();
        let process = Process::start(&args, &log);
        Self {
            process,
            http,
            peer,
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("the folder lists") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("its kind").is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("a copy");
        }
    }
}

fn beside(cluster: &Cluster, node: usize, name: &str) -> PathBuf {
    let folder = cluster.data(node).parent().expect("the cluster's folder");
    folder.join(name)
}

/// Waits until `/readyz` there says no, with those words.
#[track_caller]
fn wait_not_ready(client: &Client, words: &str) -> Answer {
    wait_for(words, PATIENCE, || {
        let answer = client.try_call("GET", "/readyz", &[], None);
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status == 503 && answer.text().contains(words) {
            Ok(answer)
        } else {
            Err(answer.to_string())
        }
    })
}

#[test]
fn a_copy_of_a_running_node_ends_and_both_sides_say_why() {
    let mut cluster = Cluster::start("clone", Options::nodes(3));
    cluster.client(0).create_printer("p1").expect(201);
    let original = cluster.follower();
    cluster.stop(original);
    let folder = beside(&cluster, original, "clone");
    copy(cluster.data(original), &folder);
    cluster.restart(original);

    let log = beside(&cluster, original, "clone.log");
    let mut clone = Stranger::start(&folder, log);
    let status = clone.process.wait(PATIENCE);
    assert!(!status.success(), "{status}");
    let said = clone.process.output();
    assert!(
        said.contains("another process runs with a copy of this data folder"),
        "{said}"
    );
    let said = cluster.output(original);
    assert!(
        said.contains("another process with a copy of this node's data folder"),
        "{said}"
    );
    let ready = cluster.client(original).get("/readyz").expect(200).json();
    assert!(
        ready["notes"].to_string().contains("another process"),
        "{ready}"
    );

    cluster.client(original).create_printer("p2").expect(201);
    cluster.wait_converged(0);
    // A node that is killed and started again at once is no copy.
    for _ in 0..3 {
        cluster.kill9(original);
        cluster.restart(original);
        cluster.client(original).create_printer("p2").expect(409);
    }
    // What both say: the copied machine starts with --join and an empty folder.
    let joined = cluster.join();
    cluster.client(joined).create_printer("p3").expect(201);
    cluster.wait_converged(0);
}

#[test]
fn a_removed_node_says_so_and_serves_nothing() {
    let mut cluster = Cluster::start("removed", Options::nodes(3));
    cluster.client(0).create_printer("p1").expect(201);
    let learner = cluster.join();
    let follower = cluster.follower();
    let through = cluster.leader();
    for node in [follower, learner] {
        let id = cluster.view(node).expect("the node answers").id;
        let answer = cluster
            .client(through)
            .delete(&format!("/api/v1/cluster/members/{id}"));
        assert!((200..300).contains(&answer.status), "{answer}");
    }
    for node in [follower, learner] {
        let client = cluster.client(node);
        let answer = wait_not_ready(&client, "has removed this node");
        assert!(answer.text().contains("--join"), "{answer}");
        for path in ["/api/v1/printers", "/api/v1/printers?consistency=stale"] {
            let answer = client.get(path).expect(503);
            assert!(answer.text().contains("has removed this node"), "{answer}");
        }
        let answer = client.create_printer("never").expect(503);
        assert!(answer.text().contains("has removed this node"), "{answer}");
        let said = cluster
            .output(node)
            .matches("has removed this node")
            .count();
        assert_eq!(said, 1, "once in its log");
        // Its next start says it too.
        cluster.kill9(node);
        cluster.restart_without_waiting(node);
        wait_not_ready(&cluster.client(node), "has removed this node");
        let said = cluster
            .output(node)
            .matches("has removed this node")
            .count();
        assert_eq!(said, 2, "once at its next start");
    }
    cluster.client(through).create_printer("p2").expect(201);
    // The way back that it names: an empty folder, and --join.
    for node in [follower, learner] {
        cluster.stop(node);
    }
    let joined = cluster.join();
    cluster.client(joined).create_printer("p3").expect(201);
    cluster.wait_converged(0);
}

/// The last of three, suspended while the others end: what it knew before is old when it goes on.
#[test]
fn a_node_that_was_suspended_does_not_wake_up_ready() {
    let mut cluster = Cluster::start("suspended", Options::nodes(3));
    let last = cluster.leader();
    let pid = Pid::from_raw(cluster.pid(last).cast_signed()).expect("a process id");
    kill_process(pid, Signal::STOP).expect("the process is there");
    let others: Vec<usize> = (0..3).filter(|node| *node != last).collect();
    cluster.kill9_all(&others);
    std::thread::sleep(Duration::from_secs(2));
    let client = cluster.client(last);
    kill_process(pid, Signal::CONT).expect("the process is there");
    let awake = Instant::now();
    while awake.elapsed() < WATCHED {
        client.get("/readyz").expect(503);
        let metrics = client.get("/metrics").expect(200).text();
        for gauge in ["raft3d_leader 0", "raft3d_ready 0"] {
            assert!(metrics.lines().any(|line| line == gauge), "{metrics}");
        }
        let shown = client.cluster();
        assert!(shown["leader_id"].is_null(), "{shown}");
    }
    cluster.restart_all(&others);
    cluster.wait_ready(last);
}

#[test]
fn a_node_that_moved_says_so_and_is_corrected_by_one_call() {
    let mut cluster = Cluster::start("moved", Options::nodes(3));
    cluster.client(0).create_printer("p1").expect(201);
    let moved = cluster.follower();
    let id = cluster.view(moved).expect("the node answers").id;
    cluster.stop(moved);
    let log = beside(&cluster, moved, "moved.log");
    let stranger = Stranger::start(cluster.data(moved), log);
    let client = Client::new(stranger.http.addr());
    let answer = wait_for("a note of its address", PATIENCE, || {
        let answer = client.try_call("GET", "/readyz", &[], None);
        let answer = answer.map_err(|error| error.to_string())?;
        let path = format!("PATCH /api/v1/cluster/members/{id}");
        if answer.text().contains(&path) {
            Ok(answer)
        } else {
            Err(answer.to_string())
        }
    });
    let peer = stranger.peer.addr().to_string();
    assert!(answer.text().contains(&peer), "{answer}");
    let said = stranger.process.output();
    assert!(said.contains(&peer), "{said}");

    let leader = cluster.leader();
    let through = cluster.client(leader);
    let revision = through.cluster()["membership_revision"].to_string();
    let body = json!({"peer_address": peer, "http_address": stranger.http.addr().to_string()});
    let body = body.to_string();
    let path = format!("/api/v1/cluster/members/{id}");
    let correct = |revision: &str| {
        let seen = format!("\"{revision}\"");
        let headers = [("content-type", "application/json"), ("if-match", &seen)];
        through.call("PATCH", &path, &headers, Some(body.as_bytes()))
    };
    correct("1000000").expect(412);
    correct(&revision).expect(204);
    wait_for("the moved node", PATIENCE, || {
        let answer = client.try_call("GET", "/readyz", &[], None);
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status == 200 && answer.json()["status"] == "pass" {
            Ok(())
        } else {
            Err(answer.to_string())
        }
    });
    client.create_printer("p2").expect(201);
    let shown = through.cluster();
    let node = shown["nodes"].as_array().expect("nodes").iter();
    let node = node
        .clone()
        .find(|node| node["id"] == id)
        .expect("the moved node");
    assert_eq!(
        (&node["ready"], &node["peer_address"]),
        (&json!(true), &json!(peer))
    );
}
