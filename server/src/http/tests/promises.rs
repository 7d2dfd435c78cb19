//! What every call of a kind promises, asked of each call in the table: a new call that is not listed
//! here fails these tests.

use std::collections::BTreeSet;

use raft3d_engine::core::RequestId;
use raft3d_engine::raft::api::{ReadError, WriteError};

use super::{Answer, Shop};
use crate::http::calls;

/// A call that becomes a log entry, with what makes it succeed in a shop as [`shop`] makes it.
struct Write {
    /// Method and path of the table.
    call: &'static str,
    uri: &'static str,
    body: &'static str,
    status: u16,
    condition: Condition,
}

/// What a call does with `If-Match`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// Refuses it: it would not be evaluated.
    Refused,
    /// Evaluates it.
    Taken,
    /// Must have it.
    Required,
}

use Condition::{Refused, Required, Taken};

const JSON: &str = "application/json";
const PRINTER: &str = r#"{"id":"é%41","company":"a","model":"b"}"#;
const FILAMENT: &str = r#"{"id":"é%41","type":"PLA","color":"Red","total_weight_in_grams":9}"#;
const JOB: &str = r#"{"id":"é%41","printer_id":"p1","filament_id":"f1","filepath":"/a.stl",
    "print_weight_in_grams":1}"#;
const CLASSIC_JOB: &str = r#"{"id":"é%41","printer_id":"p1","filament_id":"f1",
    "filepath":"/a.stl","print_weight_in_grams":1,"status":"Queued"}"#;

const fn write(call: &'static str, uri: &'static str, body: &'static str, status: u16) -> Write {
    Write {
        call,
        uri,
        body,
        status,
        condition: Refused,
    }
}

/// Why a write was not made, from a text that may be in it, with its status and kind.
type Failing = (fn(String) -> WriteError, u16, &'static str);

/// Every call that is a write of the log. `MODULE` stands for a module that nothing uses, `RULESET`
/// for the body that activates what is active.
fn writes() -> Vec<Write> {
    let with = |condition, write| Write { condition, ..write };
    vec![
        write("POST /printers", "/printers", PRINTER, 201),
        write("POST /filaments", "/filaments", FILAMENT, 201),
        write("POST /printjobs", "/printjobs", CLASSIC_JOB, 201),
        write(
            "POST /printjobs/{id}/status",
            "/printjobs/j1/status?status=running",
            "",
            200,
        ),
        write("POST /api/v1/printers", "/api/v1/printers", PRINTER, 201),
        write("POST /api/v1/filaments", "/api/v1/filaments", FILAMENT, 201),
        write("POST /api/v1/print_jobs", "/api/v1/print_jobs", JOB, 201),
        write(
            "POST /api/v1/print_jobs/{id}/status",
            "/api/v1/print_jobs/j1/status",
            r#"{"status":"running"}"#,
            200,
        ),
        write("POST /api/v1/policies", "/api/v1/policies", "a module", 201),
        write(
            "DELETE /api/v1/policies/{id}",
            "/api/v1/policies/MODULE",
            "",
            204,
        ),
        with(
            Required,
            write("PUT /api/v1/ruleset", "/api/v1/ruleset", "RULESET", 200),
        ),
        with(
            Taken,
            write(
                "POST /api/v1/ruleset/rollback",
                "/api/v1/ruleset/rollback",
                "",
                200,
            ),
        ),
        with(
            Required,
            write(
                "PUT /api/v1/cluster/clock",
                "/api/v1/cluster/clock",
                r#"{"offset_ms":0}"#,
                200,
            ),
        ),
        with(
            Required,
            write(
                "PUT /api/v1/cluster/clock",
                "/api/v1/cluster/clock",
                "{}",
                200,
            ),
        ),
    ]
}

/// Calls that change the membership or the leader, or nothing: method and path, URI, body.
const OTHERS: [(&str, &str, &str, Condition); 6] = [
    (
        "POST /api/v1/policies/evaluate",
        "/api/v1/policies/evaluate",
        "{}",
        Refused,
    ),
    (
        "POST /api/v1/cluster/members",
        "/api/v1/cluster/members",
        "{}",
        Refused,
    ),
    (
        "POST /api/v1/cluster/members/{id}/promote",
        "/api/v1/cluster/members/3/promote",
        "",
        Taken,
    ),
    (
        "DELETE /api/v1/cluster/members/{id}",
        "/api/v1/cluster/members/3",
        "",
        Taken,
    ),
    (
        "PATCH /api/v1/cluster/members/{id}",
        "/api/v1/cluster/members/3",
        r#"{"peer_address":"10.0.0.9:9000"}"#,
        Taken,
    ),
    (
        "POST /api/v1/cluster/leader",
        "/api/v1/cluster/leader",
        r#"{"node_id":2}"#,
        Refused,
    ),
];

/// What is read without the rows of the shop.
const NO_VIEW: [&str; 7] = [
    "/api/v1/cluster",
    "/api/v1/cluster/clock",
    "/docs/problems",
    "/docs/problems/{slug}",
    "/healthz",
    "/readyz",
    "/metrics",
];

/// A shop with a job, a module that nothing uses, and a ruleset before the active one.
async fn shop() -> Shop {
    let shop = Shop::stocked().await;
    let job = JOB.replace("é%41", "j1");
    assert_eq!(shop.post("/api/v1/print_jobs", &job).await.status, 201);
    let wasm = [("content-type", "application/wasm")];
    let spare = shop.call("POST", "/api/v1/policies", &wasm, "a spare one");
    assert_eq!(spare.await.status, 201);
    let body = ruleset(&shop).await;
    let headers = [("content-type", JSON), ("if-match", "*")];
    let put = shop.call("PUT", "/api/v1/ruleset", &headers, body).await;
    assert_eq!(put.status, 200, "{put:?}");
    shop
}

/// The body that activates the bindings that are active.
async fn ruleset(shop: &Shop) -> String {
    let active = shop.get("/api/v1/ruleset").await.json();
    serde_json::json!({ "bindings": active["bindings"] }).to_string()
}

impl Write {
    /// Sends it with these headers beside what it needs.
    async fn send(&self, shop: &Shop, headers: &[(&str, &str)]) -> Answer {
        let kind = match self.call {
            "POST /api/v1/policies" => "application/wasm",
            _ => JSON,
        };
        let mut all = vec![("content-type", kind)];
        if self.condition == Required && headers.iter().all(|(name, _)| *name != "if-match") {
            all.push(("if-match", "*"));
        }
        all.extend(headers);
        let body = match self.body {
            "RULESET" => ruleset(shop).await,
            body => body.to_owned(),
        };
        let uri = self.uri.replace("MODULE", &spare());
        let (method, _) = self.call.split_once(' ').unwrap();
        shop.call(method, &uri, &all, body).await
    }
}

/// SHA-256 of `a spare one`.
fn spare() -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(b"a spare one"))
}

#[test]
fn every_call_is_among_these() {
    let table = calls();
    let known: BTreeSet<String> = table
        .iter()
        .filter(|call| call.method != "GET")
        .map(|call| format!("{} {}", call.method, call.path))
        .collect();
    let writes = writes();
    let writes = writes.iter().map(|write| write.call);
    let tested: BTreeSet<String> = writes
        .chain(OTHERS.map(|(call, ..)| call))
        .map(str::to_owned)
        .collect();
    assert_eq!(tested, known);
}

/// Whichever door a write comes by, what was not done is called so by one status and kind, with when
/// to try again, and nothing was written.
#[tokio::test]
async fn every_write_says_what_it_could_not_do() {
    let shop = shop().await;
    let because = || "because".to_owned();
    let errors: [Failing; 7] = [
        (|_| WriteError::NoLeader, 503, "no-leader"),
        (|_| WriteError::Overloaded, 429, "overloaded"),
        (
            |reason| WriteError::Unavailable { reason },
            503,
            "unavailable",
        ),
        (
            |reason| WriteError::Stopped { reason },
            503,
            "writes-stopped",
        ),
        (|reason| WriteError::Paused { reason }, 503, "writes-paused"),
        (
            |id| WriteError::OutcomeUnknown {
                request_id: RequestId::new(id),
            },
            503,
            "outcome-unknown",
        ),
        (
            |_| WriteError::TooLarge {
                bytes: 9,
                bytes_max: 8,
            },
            413,
            "body-too-large",
        ),
    ];
    for write in writes() {
        for (error, status, kind) in errors {
            let before = shop.log_index();
            shop.fail_write(error(because()));
            let answer = write.send(&shop, &[]).await;
            assert_eq!(
                (answer.status.as_u16(), answer.problem().0.as_str()),
                (status, kind),
                "{}: {answer:?}",
                write.call
            );
            let again = answer.header("retry-after");
            assert_eq!(again.is_some(), status != 413, "{}: {answer:?}", write.call);
            assert_eq!(shop.log_index(), before, "{}", write.call);
        }
    }
}

/// A second time under the same key there is the same answer, marked, and no second entry's effect.
#[tokio::test]
async fn every_write_is_remembered_and_marked() {
    for write in writes() {
        let shop = shop().await;
        let keyed = [("idempotency-key", "one")];
        let first = write.send(&shop, &keyed).await;
        assert_eq!(first.status, write.status, "{}: {first:?}", write.call);
        assert_eq!(first.header("idempotent-replayed"), None, "{}", write.call);
        let seen = shop.visible().await;
        let again = write.send(&shop, &keyed).await;
        assert_eq!(again.status, first.status, "{}: {again:?}", write.call);
        // A clock is shown as it is now.
        if !write.uri.ends_with("/clock") {
            assert_eq!(again.text, first.text, "{}", write.call);
        }
        assert_eq!(
            again.header("idempotent-replayed"),
            Some("true"),
            "{}: {again:?}",
            write.call
        );
        assert_eq!(again.header("location"), first.header("location"));
        assert_eq!(shop.visible().await, seen, "{}", write.call);
    }
}

/// What was created is where `Location` says, be its id of whatever characters.
/// `%41` is another id's `A` to whoever does not escape it.
#[tokio::test]
async fn whatever_is_created_has_its_place() {
    for write in writes().iter().filter(|write| write.status == 201) {
        let shop = shop().await;
        let created = write.send(&shop, &[]).await;
        let is_classic = !write.uri.starts_with("/api/");
        let Some(location) = created.header("location") else {
            assert!(is_classic, "{}: {created:?}", write.call);
            continue;
        };
        assert!(location.is_ascii(), "{location}");
        let there = shop.get(location).await;
        assert_eq!(there.status, 200, "{}: {location}: {there:?}", write.call);
        let id = |answer: &Answer| {
            let body = answer.json();
            let id = body.get("id").or_else(|| body.get("sha256"));
            id.cloned().unwrap()
        };
        assert_eq!(id(&there), id(&created), "{}", write.call);
    }
}

/// A condition is evaluated, or the call is refused: never is it passed over.
#[tokio::test]
async fn no_condition_is_passed_over() {
    let stale = [("if-match", "\"999999\"")];
    for write in writes() {
        let shop = shop().await;
        let before = shop.log_index();
        let answer = write.send(&shop, &stale).await;
        if write.call == "POST /printjobs/{id}/status" {
            let said = "header If-Match: is not supported on this call";
            assert_eq!(
                (answer.status.as_u16(), answer.text.trim_end()),
                (400, said)
            );
            assert_eq!(shop.log_index(), before);
            continue;
        }
        let (kind, field) = answer.problem();
        let seen = (answer.status.as_u16(), kind.as_str(), field.as_deref());
        match write.condition {
            Refused => {
                assert_eq!(
                    seen,
                    (400, "invalid-header", Some("If-Match")),
                    "{}",
                    write.call
                );
                assert_eq!(shop.log_index(), before, "{}", write.call);
            }
            Taken | Required => assert_eq!((seen.0, seen.1), (412, "revision-mismatch")),
        }
        if write.condition == Required {
            let none = [("content-type", JSON)];
            let (method, path) = write.call.split_once(' ').unwrap();
            let body = write.body.replace("RULESET", "{}");
            let answer = shop.call(method, path, &none, body).await;
            assert_eq!(answer.status, 428, "{}: {answer:?}", write.call);
        }
    }
    for (call, uri, body, condition) in OTHERS {
        let shop = shop().await;
        let headers = [("content-type", JSON), stale[0]];
        let (method, _) = call.split_once(' ').unwrap();
        let answer = shop.call(method, uri, &headers, body).await;
        let (kind, field) = answer.problem();
        let seen = (answer.status.as_u16(), kind.as_str(), field.as_deref());
        match condition {
            Refused => assert_eq!(seen, (400, "invalid-header", Some("If-Match")), "{call}"),
            _ => assert_eq!((seen.0, seen.1), (412, "revision-mismatch"), "{call}"),
        }
        assert_eq!(shop.membership(), Vec::<String>::new(), "{call}");
    }
}

/// Every read of the shop's rows takes `consistency` and `min_revision`, refuses other words by name,
/// and says why it has no view.
#[tokio::test]
async fn every_read_is_asked_in_the_same_way() {
    let shop = shop().await;
    let reads = calls().into_iter().filter(|call| call.method == "GET");
    let mut read = 0;
    for path in reads.map(|call| call.path) {
        if NO_VIEW.contains(&path) {
            continue;
        }
        read += 1;
        let id = match path {
            "/api/v1/printers/{id}" => "p1".to_owned(),
            "/api/v1/filaments/{id}" => "f1".to_owned(),
            path if path.contains("policies/{id}") => spare(),
            _ => "j1".to_owned(),
        };
        let uri = path.replace("{id}", &id);
        let ask = async |query: &str| shop.get(&format!("{uri}?{query}")).await;
        assert_eq!(shop.get(&uri).await.status, 200, "{uri}");
        for (query, field) in [
            ("consistency=perhaps", "consistency"),
            ("min_revision=soon", "min_revision"),
            ("wings=2", "wings"),
        ] {
            if field == "wings" && !uri.starts_with("/api/") {
                // The classic door lets pass what it does not know.
                continue;
            }
            let answer = ask(query).await;
            let (kind, at) = answer.problem();
            assert_eq!(
                (answer.status.as_u16(), kind.as_str(), at.as_deref()),
                (400, "invalid-parameter", Some(field)),
                "{uri}"
            );
        }
        let behind = ask(&format!("min_revision={}", shop.log_index() + 1)).await;
        assert_eq!(
            (behind.status.as_u16(), behind.problem().0.as_str()),
            (503, "replica-behind"),
            "{uri}"
        );
        for (error, kind) in [
            (ReadError::NoLeader, "no-leader"),
            (
                ReadError::Unavailable {
                    reason: "because".to_owned(),
                },
                "unavailable",
            ),
        ] {
            shop.fail_read(error);
            let answer = shop.get(&uri).await;
            assert_eq!(
                (answer.status.as_u16(), answer.problem().0.as_str()),
                (503, kind),
                "{uri}"
            );
        }
    }
    assert_eq!(read, 16);
}
