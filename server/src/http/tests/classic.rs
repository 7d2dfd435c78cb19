//! The classic API: the transcript of its documentation, and what clients in the wild send.

use raft3d_engine::raft::api::WriteError;
use serde_json::json;

use super::{Answer, Shop};

fn check(answer: &Answer, status: u16, text: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.text.as_str()),
        (status, text),
        "{answer:?}"
    );
}

fn job(id: &str, grams: &str) -> String {
    format!(
        r#"{{"id":"{id}","printer_id":"p1","filament_id":"f1","filepath":"/m/s.stl",
            "print_weight_in_grams":{grams},"status":"Queued"}}"#
    )
}

#[tokio::test]
async fn the_documented_transcript() {
    let shop = Shop::new();
    for uri in ["/printers", "/filaments", "/printjobs"] {
        check(&shop.get(uri).await, 200, "{}");
    }
    let printer = r#"{"id":"p1","company":"HP","model":"DeskJet 123"}"#;
    check(&shop.post("/printers", printer).await, 201, printer);
    check(
        &shop.get("/printers").await,
        200,
        &format!("{{\"p1\":{printer}}}"),
    );
    let filament = "{\"id\":\"f1\",\"type\":\"PLA\",\"color\":\"Red\",\
        \"total_weight_in_grams\":1000,\"remaining_weight_in_grams\":800}";
    check(&shop.post("/filaments", filament).await, 201, filament);
    check(
        &shop.get("/filaments").await,
        200,
        &format!("{{\"f1\":{filament}}}"),
    );
    let shown = "{\"id\":\"job1\",\"printer_id\":\"p1\",\"filament_id\":\"f1\",\
        \"filepath\":\"/models/sample.stl\",\"print_weight_in_grams\":120,\"status\":\"Queued\"}";
    check(&shop.post("/printjobs", shown).await, 201, shown);
    check(
        &shop.get("/printjobs").await,
        200,
        &format!("{{\"job1\":{shown}}}"),
    );

    let done = "Print job status updated successfully";
    check(
        &shop.post("/printjobs/job1/status?status=running", "").await,
        200,
        done,
    );
    assert_eq!(
        shop.get("/printjobs").await.json()["job1"]["status"],
        "Running"
    );
    assert_eq!(
        shop.get("/filaments").await.json()["f1"]["remaining_weight_in_grams"],
        800
    );
    check(
        &shop.post("/printjobs/job1/status?status=done", "").await,
        200,
        done,
    );
    assert_eq!(
        shop.get("/filaments").await.json()["f1"]["remaining_weight_in_grams"],
        680
    );
}

#[tokio::test]
async fn a_refused_status_is_one_line_of_text() {
    let shop = Shop::stocked().await;
    shop.post("/printjobs", &job("job1", "120")).await;
    for (uri, status) in [
        ("/printjobs/job1/status?status=done", 400),
        ("/printjobs/job1/status?status=bogus", 400),
        ("/printjobs/job1/status", 400),
        ("/printjobs/none/status?status=running", 404),
    ] {
        let answer = shop.post(uri, "").await;
        assert_eq!(answer.status, status, "{answer:?}");
        if uri.contains('?') {
            assert_eq!(
                answer.header("content-type"),
                Some("text/plain; charset=utf-8"),
                "{uri}"
            );
            assert!(
                !answer.text.is_empty() && !answer.text.contains('\n'),
                "{answer:?}"
            );
        }
    }
    let done = "/printjobs/job1/status?status=done";
    assert_eq!(
        shop.post(done, "").await.text,
        "Can only move to 'done' from 'running'"
    );
    assert_eq!(
        shop.get("/printjobs").await.json()["job1"]["status"],
        "Queued"
    );
}

#[tokio::test]
async fn statuses_in_quotes_and_by_alias() {
    let shop = Shop::stocked().await;
    shop.post("/printjobs", &job("job1", "1")).await;
    let answer = shop
        .post("/printjobs/job1/status?status=%22RUNNING%22", "")
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // A body beside the query was never read by anybody.
    let answer = shop
        .post("/printjobs/job1/status?status='cancelled'", "not json")
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        shop.get("/printjobs").await.json()["job1"]["status"],
        "Canceled"
    );
    let quoted = job("job2", "1").replace("\"Queued\"", "\"'queued'\"");
    assert_eq!(shop.post("/printjobs", &quoted).await.status, 201);
}

/// Both doors take it, whatever the content type says at the classic one.
#[tokio::test]
async fn lenient_values() {
    let shop = Shop::stocked().await;
    for prefix in ["", "/api/v1"] {
        let jobs = if prefix.is_empty() {
            "/printjobs"
        } else {
            "/api/v1/print_jobs"
        };
        let filament = r#"{"id":7,"type":"PLA","color":"Red","total_weight_in_grams":"120.25"}"#;
        let answer = shop.post(&format!("{prefix}/filaments"), filament).await;
        let again = if prefix.is_empty() { 201 } else { 409 };
        assert_eq!(answer.status, again, "{answer:?}");
        let numbers = r#"{"printer_id":"p1","filament_id":7,"filepath":"x",
            "print_weight_in_grams":"0.125","status":"\"queued\""}"#;
        let answer = shop.post(jobs, numbers).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert!(answer.json()["id"].as_str().unwrap().starts_with("r3d-"));
        assert!(
            answer.text.contains("\"print_weight_in_grams\":0.125,"),
            "{answer:?}"
        );
    }
    let shown = shop.get("/filaments").await.text;
    let expected = "\"7\":{\"id\":\"7\",\"type\":\"PLA\",\"color\":\"Red\",\
        \"total_weight_in_grams\":120.25,\"remaining_weight_in_grams\":120.25}";
    assert!(shown.contains(expected), "{shown}");
    let extra = r#"{"company":"HP","model":"X","nozzle":0.4,"labels":5}"#;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let answer = shop.call("POST", "/printers", &form, extra).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[tokio::test]
async fn long_lists_come_whole() {
    let shop = Shop::new();
    for number in 0..250 {
        let body = format!(r#"{{"id":"p{number:03}","company":"a","model":"b"}}"#);
        shop.post("/printers", &body).await;
    }
    let all = shop.get("/printers").await.json();
    let all = all.as_object().unwrap();
    assert_eq!(all.len(), 250);
    assert!(all.iter().all(|(id, printer)| printer["id"] == *id));
}

/// A node that has too much to do is no refusal: the client is to come again, not to give up.
#[tokio::test]
async fn an_overloaded_node_is_not_taken_for_a_refusal() {
    let shop = Shop::stocked().await;
    shop.post("/printjobs", &job("job1", "1")).await;
    for (method, uri, body) in [
        ("POST", "/printjobs/job1/status?status=running", ""),
        ("POST", "/printers", r#"{"company":"HP","model":"X"}"#),
        ("POST", "/printjobs", &job("job2", "1")),
    ] {
        shop.fail_write(WriteError::Overloaded);
        let headers = [("content-type", "application/json")];
        let answer = shop.call(method, uri, &headers, body.to_owned()).await;
        assert_eq!(answer.status, 429, "{uri}: {answer:?}");
        assert_eq!(answer.problem().0, "overloaded");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
}

/// Clients of this door know one state that a job begins in.
#[tokio::test]
async fn a_job_is_created_as_queued_under_every_lifecycle() {
    let shop = Shop::stocked().await;
    let wasm = [("content-type", "application/wasm")];
    let bytes = "standard-lifecycle with a Draft";
    let module = shop.call("POST", "/api/v1/policies", &wasm, bytes).await;
    let mut bindings = shop.get("/api/v1/ruleset").await.json()["bindings"].clone();
    bindings[0]["lifecycle"] = false.into();
    bindings.as_array_mut().unwrap().push(json!({
        "id": "drafts", "module": module.json()["sha256"], "hooks": [], "lifecycle": true,
    }));
    let headers = [("content-type", "application/json"), ("if-match", "*")];
    let body = json!({ "bindings": bindings }).to_string();
    let active = shop.call("PUT", "/api/v1/ruleset", &headers, body).await;
    assert_eq!(active.status, 200, "{active:?}");
    for (id, status) in [
        ("j1", "Queued"),
        ("j2", "queued"),
        ("j3", "'QUEUED'"),
        ("j4", "Draft"),
    ] {
        let body = job(id, "1").replace("Queued", status);
        let answer = shop.post("/printjobs", &body).await;
        assert_eq!(answer.status, 201, "{status}: {answer:?}");
        assert_eq!(answer.json()["status"], "Draft");
    }
    let running = job("j5", "1").replace("Queued", "Running");
    assert_eq!(shop.post("/printjobs", &running).await.status, 400);
    // The other door says what there is.
    let body = job("j6", "1");
    let answer = shop.post("/api/v1/print_jobs", &body).await;
    assert_eq!(answer.status, 400, "{answer:?}");
}

#[tokio::test]
async fn a_retried_status_is_marked_whatever_it_came_to() {
    let shop = Shop::stocked().await;
    shop.post("/printjobs", &job("job1", "1")).await;
    for (key, uri, status) in [
        ("k1", "/printjobs/job1/status?status=done", 400),
        ("k2", "/printjobs/job1/status?status=running", 200),
    ] {
        let headers = [("idempotency-key", key)];
        let first = shop.call("POST", uri, &headers, "").await;
        assert_eq!(first.status, status, "{first:?}");
        assert_eq!(first.header("idempotent-replayed"), None);
        let again = shop.call("POST", uri, &headers, "").await;
        assert_eq!((again.status, &again.text), (first.status, &first.text));
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
    }
}
