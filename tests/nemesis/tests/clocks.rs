//! A node that runs alone and comes back with a clock that is days off: a real process, and a clock
//! of its own by libfaketime.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests report by panicking"
)]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use raft3d_cluster_tests::client::Client;
use raft3d_cluster_tests::cluster::scratch_folder;
use raft3d_cluster_tests::ports::Port;
use raft3d_cluster_tests::process::{Process, binary, wait_for};
use raft3d_nemesis::clock::{self, Clock};
use serde_json::{Value, json};

/// Long enough for a loaded machine; only a broken test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);
const DAY_S: i64 = 86_400;
const CLOCK: &str = "/api/v1/cluster/clock";

struct Alone {
    folder: PathBuf,
    http: Port,
    peer: Port,
    clock: Clock,
}

impl Alone {
    /// Nothing runs yet. None if clocks cannot be set here.
    fn new(name: &str) -> Option<Self> {
        let Some(library) = clock::library() else {
            eprintln!("NOT RUN: libfaketime is not installed here");
            return None;
        };
        let folder = scratch_folder(name);
        Some(Self {
            http: Port::claim(),
            peer: Port::claim(),
            clock: Clock::new(folder.join("clock"), &library).unwrap(),
            folder,
        })
    }

    fn client(&self) -> Client {
        Client::with_patience(self.http.addr(), PATIENCE)
    }

    fn start(&self, flags: &[&str]) -> Process {
        let data = self.folder.join("node");
        let (http, peer) = (self.http.addr().to_string(), self.peer.addr().to_string());
        let mut args = vec!["serve", "--http", &http, "--peer", &peer, "--data"];
        args.push(data.to_str().unwrap());
        args.extend(flags);
        let env = self.clock.environment();
        let env: Vec<_> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        Process::start_with(&args, &env, &self.folder.join("log.txt"))
    }

    /// Waits until `/readyz` says so with that status, and answers its detail.
    fn readyz(&self, status: u16, said: &str) -> Value {
        let client = self.client();
        wait_for("readiness", PATIENCE, || {
            let answer = client.try_call("GET", "/readyz", &[], None);
            let answer = answer.map_err(|error| error.to_string())?;
            let (now, text) = (answer.status, answer.text());
            if now == status && text.contains(said) {
                Ok(answer.json())
            } else {
                Err(format!("{now} {text}"))
            }
        })
    }
}

fn keyed_job(client: &Client) -> (u16, Value, Option<String>) {
    let job = json!({
        "printer_id": "p1", "filament_id": "f1", "filepath": "x.stl",
        "print_weight_in_grams": 5
    });
    let answer = client.post_with("/api/v1/print_jobs", &[("idempotency-key", "k")], &job);
    let replayed = answer.header("idempotent-replayed").map(str::to_owned);
    (answer.status, answer.json()["id"].clone(), replayed)
}

#[test]
fn one_node_alone_waits_for_its_operator_and_finds_the_way_back() {
    let Some(alone) = Alone::new("nemesis-clock-alone") else {
        return;
    };
    let client = alone.client();
    let mut process = alone.start(&[]);
    alone.readyz(200, "pass");
    client.create_printer("p1").expect(201);
    client.create_filament("f1", "PLA", 1_000).expect(201);
    process.kill9();

    // Its clock is three days ahead: no stamp, and reads.
    alone.clock.set(3 * DAY_S).unwrap();
    let mut process = alone.start(&[]);
    alone.readyz(503, "--trust-clock");
    let refused = client.create_printer("p2").expect(503);
    assert_eq!(refused.json()["type"], "/docs/problems/writes-paused");
    client.get("/api/v1/printers/p1").expect(200);
    process.kill9();

    // The operator vouches for it, which is wrong; then the clock is set right.
    let mut process = alone.start(&["--trust-clock"]);
    alone.readyz(200, "pass");
    client.create_printer("p3").expect(201);
    process.kill9();
    alone.clock.set(0).unwrap();
    let mut process = alone.start(&[]);
    alone.readyz(503, "behind the log's last stamp");
    process.kill9();
    let mut process = alone.start(&["--trust-clock"]);
    alone.readyz(200, "log time is 71 h");

    // The way back.
    let seen = client.get(CLOCK).expect(200);
    let etag = seen.header("etag").unwrap().to_owned();
    let headers = [
        ("content-type", "application/json"),
        ("if-match", etag.as_str()),
    ];
    let body = br#"{"reason":"it was three days ahead"}"#;
    client.call("PUT", CLOCK, &headers, Some(body)).expect(200);
    alone.readyz(200, "pass");
    let first = keyed_job(&client);
    let again = keyed_job(&client);
    assert_eq!((first.0, &first.1), (201, &again.1));
    assert_eq!(again.2.as_deref(), Some("true"));
    // After a restart the clock goes on from the log's last stamp, with the offset.
    process.kill9();
    let mut process = alone.start(&[]);
    alone.readyz(200, "pass");
    assert_eq!(keyed_job(&client).1, first.1);
    process.kill9();
    std::fs::remove_dir_all(alone.folder).unwrap();
}

/// A laptop that slept: the node runs on, and its message alone leads back, without a restart.
#[test]
fn one_node_alone_that_slept_for_hours_goes_on_at_the_operator_s_word() {
    let Some(alone) = Alone::new("nemesis-clock-slept") else {
        return;
    };
    let client = alone.client();
    let mut process = alone.start(&[]);
    alone.readyz(200, "pass");
    client.create_printer("p1").expect(201);
    alone.clock.set(2 * 3_600).unwrap();
    alone.readyz(503, "`raft3d clock trust`");
    client.create_printer("p2").expect(503);

    let url = format!("http://{}", alone.http.addr());
    let told = |args: &[&str]| {
        let mut command = Command::new(binary());
        let out = command.args(args).args(["--node", &url]).output().unwrap();
        let (text, errors) = (
            out.stdout,
            String::from_utf8_lossy(&out.stderr).into_owned(),
        );
        assert!(out.status.success(), "{args:?}: {errors}");
        String::from_utf8(text).unwrap()
    };
    let before = told(&["clock"]);
    assert!(before.contains("paused: its clock has jumped"), "{before}");
    let after = told(&["clock", "trust", "--reason", "it slept"]);
    assert!(after.contains("would stamp them"), "{after}");
    assert!(after.contains("from 0 to 0 ms: it slept"), "{after}");
    alone.readyz(200, "pass");
    client.create_printer("p2").expect(201);
    assert!(process.is_running(), "nobody restarted it");

    // Two hours that were slept through by the clock alone: log time lies in the future now.
    alone.clock.set(0).unwrap();
    alone.readyz(503, "jumped");
    told(&["clock", "trust"]);
    alone.readyz(200, "log time is 1 h 59 min");
    let set = told(&["clock", "set", "--reason", "it was ahead"]);
    assert!(set.contains("it was ahead"), "{set}");
    alone.readyz(200, "pass");
    client.create_printer("p3").expect(201);
    process.kill9();
    std::fs::remove_dir_all(alone.folder).unwrap();
}
