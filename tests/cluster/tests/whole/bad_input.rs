//! Bad input to every endpoint: a 4xx that names the field, nothing changed, nothing logged above
//! `warn` (the cluster's end checks that), no node affected.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use raft3d_cluster_tests::{Answer, Client, Cluster, Options};
use serde_json::{Value, json};

use crate::support::{open_shop, rows};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A request, the one status that is right for it, and what the answer must name.
struct Case {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    status: u16,
    names: &'static str,
}

impl Case {
    fn post(path: &str, body: &Value, status: u16, names: &'static str) -> Self {
        Self::raw("POST", path, body.to_string().as_bytes(), status, names)
    }

    fn raw(
        method: &'static str,
        path: &str,
        body: &[u8],
        status: u16,
        names: &'static str,
    ) -> Self {
        let headers = vec![(JSON.0, JSON.1.to_owned())];
        Self {
            method,
            path: path.to_owned(),
            headers,
            body: body.to_vec(),
            status,
            names,
        }
    }

    fn get(path: &str, status: u16, names: &'static str) -> Self {
        Self {
            headers: Vec::new(),
            ..Self::raw("GET", path, b"", status, names)
        }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.into()));
        self
    }

    fn send(&self, client: &Client) -> Answer {
        let headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let body = (self.method != "GET").then_some(self.body.as_slice());
        client.call(self.method, &self.path, &headers, body)
    }
}

/// `base` with one field changed.
fn but(base: &Value, field: &str, value: Value) -> Value {
    let mut body = base.clone();
    body[field] = value;
    body
}

/// `base` with one field left out.
fn without(base: &Value, field: &str) -> Value {
    let mut body = base.clone();
    body.as_object_mut().expect("an object").remove(field);
    body
}

fn printers() -> Vec<Case> {
    let path = "/api/v1/printers";
    let good = json!({"id": "new", "company": "HP", "model": "X"});
    let post = |body: Value, names| Case::post(path, &body, 400, names);
    vec![
        post(without(&good, "company"), "company"),
        post(without(&good, "model"), "model"),
        post(but(&good, "company", json!([])), "company"),
        post(but(&good, "company", json!("x".repeat(5_000))), "company"),
        post(but(&good, "model", json!(null)), "model"),
        post(but(&good, "id", json!("")), "id"),
        post(but(&good, "id", json!("x".repeat(129))), "id"),
        post(but(&good, "id", json!("r3d-17")), "id"),
        post(but(&good, "id", json!({"a": 1})), "id"),
        post(but(&good, "wings", json!(2)), "wings"),
        post(but(&good, "status", json!("on fire")), "status"),
        post(but(&good, "labels", json!("fast")), "labels"),
        post(but(&good, "labels", json!({"k": 7})), "labels"),
        post(but(&good, "labels", json!({"k": "v".repeat(65)})), "labels"),
        Case::post(path, &but(&good, "id", json!("p1")), 409, ""),
        Case::raw(
            "POST",
            path,
            br#"{"id":"a","id":"b","company":"c","model":"m"}"#,
            400,
            "id",
        ),
    ]
}

fn filaments() -> Vec<Case> {
    let good = json!({"id": "new", "type": "PLA", "color": "Red", "total_weight_in_grams": 10});
    let path = "/api/v1/filaments";
    let post = |body: Value, names| Case::post(path, &body, 400, names);
    let total = "total_weight_in_grams";
    let remaining = "remaining_weight_in_grams";
    vec![
        post(without(&good, "type"), "type"),
        post(without(&good, "color"), "color"),
        post(without(&good, total), total),
        post(but(&good, "type", json!(7.5)), "type"),
        post(but(&good, total, json!(-1)), total),
        post(but(&good, total, json!("heavy")), total),
        post(but(&good, total, json!(0.0001)), total),
        post(but(&good, total, json!(1e30)), total),
        post(but(&good, total, json!(true)), total),
        post(but(&good, total, json!(null)), total),
        post(but(&good, remaining, json!(11)), remaining),
        post(but(&good, remaining, json!("NaN")), remaining),
        post(but(&good, "wings", json!(2)), "wings"),
        Case::post(path, &but(&good, "id", json!("f1")), 409, ""),
    ]
}

fn jobs() -> Vec<Case> {
    let path = "/api/v1/print_jobs";
    let good = raft3d_cluster_tests::client::job("new", "p1", "f1", 10);
    let post = |body: Value, names| Case::post(path, &body, 400, names);
    // A reference to nothing, or what a policy denies.
    let refused = |body: Value, names| Case::post(path, &body, 422, names);
    let weight = "print_weight_in_grams";
    let to = |body: &Value, names| Case::post(&format!("{path}/j1/status"), body, 400, names);
    vec![
        post(without(&good, "printer_id"), "printer_id"),
        post(without(&good, "filament_id"), "filament_id"),
        post(without(&good, "filepath"), "filepath"),
        post(without(&good, weight), weight),
        refused(but(&good, "printer_id", json!("nobody")), "printer_id"),
        refused(but(&good, "filament_id", json!("nothing")), "filament_id"),
        refused(but(&good, weight, json!(0)), weight),
        post(but(&good, weight, json!(-5)), weight),
        refused(but(&good, weight, json!(1_001)), weight),
        post(but(&good, weight, json!("ten")), weight),
        post(but(&good, "status", json!("Done")), "status"),
        post(but(&good, "status", json!("Flying")), "status"),
        post(but(&good, "priority", json!("high")), "priority"),
        post(but(&good, "priority", json!(1e12)), "priority"),
        post(but(&good, "filepath", json!(["a"])), "filepath"),
        post(but(&good, "wings", json!(2)), "wings"),
        Case::post(path, &but(&good, "id", json!("j1")), 409, ""),
        to(&json!({"status": "Flying"}), "status"),
        to(&json!({"status": 7}), "status"),
        to(&json!({}), "status"),
        to(
            &json!({"status": "Running", "used_weight_in_grams": -1}),
            "used_weight_in_grams",
        ),
        to(&json!({"status": "Running", "reason": 5}), "reason"),
        to(
            &json!({"status": "Running", "override": "maybe"}),
            "override",
        ),
        to(&json!({"status": "Running", "wings": 2}), "wings"),
        Case::post(
            &format!("{path}/j1/status"),
            &json!({"status": "Done"}),
            409,
            "",
        ),
        Case::post(
            &format!("{path}/nothing/status"),
            &json!({"status": "Done"}),
            404,
            "",
        ),
    ]
}

fn rules(ruleset: &Value) -> Vec<Case> {
    let revision = format!("\"{}\"", ruleset["revision"]);
    let bindings = &ruleset["bindings"];
    let put = |body: &Value, status, names| {
        let body = body.to_string();
        Case::raw("PUT", "/api/v1/ruleset", body.as_bytes(), status, names)
    };
    let changed = |field: &str, value: Value| {
        let mut changed = bindings.clone();
        changed[0][field] = value;
        json!({"bindings": changed})
    };
    let bad = |field: &'static str, value: Value| {
        put(&changed(field, value), 400, field).with("if-match", &revision)
    };
    let unknown_module = "0".repeat(64);
    vec![
        put(&json!({"bindings": bindings}), 428, ""),
        put(&json!({"bindings": bindings}), 412, "").with("if-match", "\"1\""),
        put(&json!({"bindings": bindings}), 400, "").with("if-match", "yesterday"),
        put(&json!({}), 400, "bindings").with("if-match", &revision),
        put(&json!({"bindings": 7}), 400, "bindings").with("if-match", &revision),
        put(&json!({"bindings": []}), 409, "lifecycle").with("if-match", &revision),
        bad("module", json!("abc")),
        put(&changed("module", json!(unknown_module)), 409, "module").with("if-match", &revision),
        bad("hooks", json!(["dance"])),
        bad("scope", json!("some")),
        bad("mode", json!("perhaps")),
        bad("percentage", json!(101)),
        bad("percentage", json!(1.234)),
        bad("config", json!([1])),
        bad("wings", json!(2)),
        Case::post("/api/v1/ruleset/rollback", &json!({"to": 1}), 404, "to"),
        Case::post("/api/v1/ruleset/rollback", &json!({"to": "x"}), 400, "to"),
        Case::post(
            "/api/v1/ruleset/rollback",
            &json!({"wings": 2}),
            400,
            "wings",
        ),
        Case::raw(
            "DELETE",
            &format!("/api/v1/policies/{unknown_module}"),
            b"",
            404,
            "",
        ),
        Case::raw("DELETE", "/api/v1/policies/abc", b"", 400, ""),
        Case::raw(
            "DELETE",
            &format!(
                "/api/v1/policies/{}",
                bindings[0]["module"].as_str().unwrap_or_default()
            ),
            b"",
            409,
            "",
        ),
        Case::get("/api/v1/policies/abc", 400, ""),
        Case::get(&format!("/api/v1/policies/{unknown_module}"), 404, ""),
        Case::get(
            &format!("/api/v1/policies/{unknown_module}/module"),
            404,
            "",
        ),
    ]
}

fn members() -> Vec<Case> {
    let path = "/api/v1/cluster/members";
    let good = json!({"peer_address": "127.0.0.1:1", "http_address": "127.0.0.1:2",
        "incarnation": "00".repeat(16)});
    let post = |body: Value, names| Case::post(path, &body, 400, names);
    let leader = |body: Value, names| Case::post("/api/v1/cluster/leader", &body, 400, names);
    vec![
        post(without(&good, "peer_address"), "peer_address"),
        post(but(&good, "peer_address", json!("nowhere")), "peer_address"),
        post(but(&good, "http_address", json!(8000)), "http_address"),
        post(but(&good, "incarnation", json!("zz")), "incarnation"),
        post(but(&good, "wings", json!(2)), "wings"),
        Case::post(&format!("{path}/77/promote"), &json!({}), 404, ""),
        Case::post(&format!("{path}/x/promote"), &json!({}), 400, ""),
        Case::raw("DELETE", &format!("{path}/77"), b"", 404, ""),
        Case::raw("DELETE", &format!("{path}/x"), b"", 400, ""),
        leader(json!({}), "node_id"),
        leader(json!({"node_id": "x"}), "node_id"),
        Case::post("/api/v1/cluster/leader", &json!({"node_id": 77}), 404, ""),
    ]
}

/// What is wrong with any write, whatever it is about.
fn any_write(path: &str, good: &Value) -> Vec<Case> {
    let good = good.to_string();
    let raw = |body: &[u8], status| Case::raw("POST", path, body, status, "");
    let sound = |status| raw(good.as_bytes(), status);
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    vec![
        raw(b"", 400),
        raw(b"{", 400),
        raw(b"[]", 400),
        raw(b"null", 400),
        raw(b"{\"id\":\"\xff\xfe\"}", 400),
        raw(deep.as_bytes(), 400),
        raw(&[good.as_bytes(), b"x"].concat(), 400),
        raw(
            format!("{{\"filepath\":\"{}\"}}", "x".repeat(70_000)).as_bytes(),
            413,
        ),
        sound(415).with("content-type", "text/csv"),
        sound(400).with("idempotency-key", "k".repeat(129)),
        sound(400).with("raft3d-actor", "a".repeat(129)),
        Case::raw("BREW", path, b"", 405, ""),
    ]
}

fn reads() -> Vec<Case> {
    let mut cases = vec![
        Case::get("/api/v1/nothing", 404, ""),
        Case::get("/api/v1/printers/none", 404, ""),
        Case::get("/api/v1/filaments/none", 404, ""),
        Case::get("/api/v1/print_jobs/none", 404, ""),
        Case::get("/api/v1/printers/%ff", 400, ""),
        Case::get(&format!("/api/v1/printers/{}", "x".repeat(3_000)), 400, ""),
        Case::raw("PUT", "/api/v1/printers", b"{}", 405, ""),
        Case::raw("DELETE", "/printers", b"", 405, ""),
    ];
    for list in ["printers", "filaments", "print_jobs"] {
        let get = |query: &str, names| Case::get(&format!("/api/v1/{list}?{query}"), 400, names);
        cases.extend([
            get("consistency=perhaps", "consistency"),
            get("min_revision=soon", "min_revision"),
            get("limit=0", "limit"),
            get("limit=many", "limit"),
            get("limit=1000000", "limit"),
            get("page_token=%00%ff", "page_token"),
        ]);
    }
    cases
}

fn classic() -> Vec<Case> {
    let printer = json!({"id": "new", "company": "HP", "model": "X"});
    let job = json!({"id": "new", "printer_id": "p1", "filament_id": "f1", "filepath": "/a.stl",
        "print_weight_in_grams": 10, "status": "Queued"});
    let post = |path: &str, body: Value, names| Case::post(path, &body, 400, names);
    vec![
        post("/printers", without(&printer, "model"), "model"),
        post("/printers", but(&printer, "company", json!([])), "company"),
        post(
            "/filaments",
            json!({"id": "new", "type": "PLA", "color": "Red"}),
            "total_weight",
        ),
        post(
            "/printjobs",
            but(&job, "print_weight_in_grams", json!("x")),
            "print_weight",
        ),
        Case::post(
            "/printjobs",
            &but(&job, "printer_id", json!("none")),
            422,
            "printer_id",
        ),
        post(
            "/printjobs",
            but(&job, "status", json!("Running")),
            "status",
        ),
        Case::raw("POST", "/printjobs/j1/status", b"", 400, "status"),
        Case::raw("POST", "/printjobs/j1/status?status=", b"", 400, ""),
        Case::raw("POST", "/printjobs/j1/status?status=flying", b"", 400, ""),
    ]
}

#[test]
fn every_endpoint_refuses_bad_input_and_nothing_changes() {
    let cluster = Cluster::start("bad-input", Options::nodes(3));
    open_shop(&cluster.client(0), 1000);
    cluster
        .client(0)
        .create_job("j1", "p1", "f1", 10)
        .expect(201);
    cluster.wait_converged(0);
    let before = rows(&cluster.client(0), 0);
    let ruleset = cluster.client(0).ruleset();

    let by_subject = [
        printers(),
        filaments(),
        jobs(),
        rules(&ruleset),
        members(),
        reads(),
        classic(),
    ];
    let mut cases: Vec<Case> = by_subject.into_iter().flatten().collect();
    let printer = json!({"id": "any", "company": "HP", "model": "X"});
    for path in [
        "/api/v1/printers",
        "/api/v1/filaments",
        "/api/v1/print_jobs",
    ] {
        cases.extend(any_write(path, &printer));
    }
    let mut wrong = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let answer = case.send(&cluster.client(number % 3));
        let shown: String = String::from_utf8_lossy(&case.body)
            .chars()
            .take(200)
            .collect();
        if case.status != answer.status {
            wrong.push(format!("not {}: {answer}\n  body {shown}", case.status));
        } else if !answer.text().contains(case.names) {
            wrong.push(format!(
                "does not name {}: {answer}\n  body {shown}",
                case.names
            ));
        }
    }
    // All of them at once: whoever mends one wants to see the others.
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    println!("{} bad requests were refused", cases.len());

    cluster.wait_converged(0);
    for node in 0..3 {
        let client = cluster.client(node);
        assert_eq!(rows(&client, 0), before, "node {node}");
        assert_eq!(client.ruleset(), ruleset, "node {node}");
    }
    for node in 0..3 {
        cluster
            .client(node)
            .create_printer(&format!("after-{node}"))
            .expect(201);
    }
}

/// Connections that say nothing, as many as come, shut no member out: the leader is killed
/// meanwhile, and the others find one another.
#[test]
fn silent_strangers_shut_no_member_out() {
    let mut cluster = Cluster::start("silent-strangers", Options::nodes(3));
    cluster.client(0).create_printer("before").expect(201);
    let addrs: Vec<_> = (0..3).map(|node| cluster.peer_addr(node)).collect();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut held = VecDeque::new();
            while !is_over.load(Ordering::Relaxed) {
                for addr in &addrs {
                    // A node that was killed takes none.
                    held.extend(TcpStream::connect(addr));
                }
                while held.len() > 1_200 {
                    held.pop_front();
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        // Each node has been dialled more often than it has places by now.
        std::thread::sleep(Duration::from_secs(2));
        let leader = cluster.leader();
        cluster.kill9(leader);
        let follower = (leader + 1) % 3;
        cluster
            .client(follower)
            .create_printer("during")
            .expect(201);
        cluster.restart(leader);
        cluster.client(leader).create_printer("again").expect(201);
        is_over.store(true, Ordering::Relaxed);
    });
    cluster.wait_converged(0);
}

/// Not HTTP at all, on the clients' port and on the peers'.
#[test]
fn bytes_that_are_no_protocol_hurt_no_node() {
    let cluster = Cluster::start("bad-bytes", Options::nodes(3));
    let noise: [&[u8]; 6] = [
        b"",
        b"\0\0\0\0\0\0\0\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/v1/printers HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /api/v1/printers HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{",
    ];
    for node in 0..3 {
        for addr in [cluster.http_addr(node), cluster.peer_addr(node)] {
            for bytes in noise {
                let mut stream = TcpStream::connect(addr).expect("a connection");
                stream
                    .set_read_timeout(Some(Duration::from_millis(200)))
                    .expect("a timeout");
                // The node may close before everything is sent: that is an answer too.
                let _ = stream
                    .write_all(bytes)
                    .and_then(|()| stream.read(&mut [0; 64]));
            }
        }
    }
    for node in 0..3 {
        cluster
            .client(node)
            .create_printer(&format!("p{node}"))
            .expect(201);
    }
    cluster.wait_converged(0);
}
