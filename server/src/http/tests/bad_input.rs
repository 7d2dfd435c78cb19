//! Bad input to every call: 4xx, the field is named, nothing changes.

use axum::body::Body;

use super::Shop;
use crate::http::{BodyKind, Call, calls};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

fn is_classic(call: &Call) -> bool {
    !call.path.starts_with("/api/")
}

/// A path with something for its parameter.
fn uri(call: &Call) -> String {
    let id = if call.path.contains("/policies/") {
        "00".repeat(32)
    } else {
        "1".to_owned()
    };
    call.path.replace("{id}", &id)
}

async fn send(shop: &Shop, call: &Call, headers: &[(&str, &str)], body: &str) -> super::Answer {
    let if_match = ("if-match", "\"1\"");
    let mut headers = headers.to_vec();
    if call.method == "PUT" {
        headers.push(if_match);
    }
    shop.call(call.method.as_str(), &uri(call), &headers, body.to_owned())
        .await
}

/// Walks through the table of calls, so that a new call cannot be forgotten here.
#[tokio::test]
async fn every_call_refuses_bad_bodies() {
    let shop = Shop::stocked().await;
    let (before, entries) = (shop.visible().await, shop.log_index());
    let mut with_body = 0;
    for call in calls() {
        let shown = format!("{} {}", call.method, call.path);
        match call.body {
            BodyKind::None => continue,
            BodyKind::Wasm => {
                let typed = send(&shop, &call, &JSON, "{}").await;
                assert_eq!(typed.status, 415, "{shown}: {typed:?}");
                continue;
            }
            BodyKind::Json | BodyKind::JsonOptional => with_body += 1,
        }
        for bad in [
            "{",
            "[]",
            "7",
            "{\"a\":1,\"a\":2}",
            "{\"a\":\"\\ud800\"} x",
            "\u{1}",
        ] {
            let answer = send(&shop, &call, &JSON, bad).await;
            assert_eq!(answer.status, 400, "{shown} {bad}: {answer:?}");
            let (kind, field) = answer.problem();
            assert!(
                kind == "malformed-body" || field.is_some(),
                "{shown} {bad}: {answer:?}"
            );
        }
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(64 * 1024));
        let answer = send(&shop, &call, &JSON, &large).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().0.as_str()),
            (413, "body-too-large")
        );
        if !is_classic(&call) {
            let answer = send(&shop, &call, &[("content-type", "text/plain")], "{}").await;
            assert_eq!(answer.status, 415, "{shown}: {answer:?}");
            assert_eq!(answer.problem().1.as_deref(), Some("Content-Type"));
        }
    }
    assert!(
        with_body >= 12,
        "only {with_body} calls with a body were found"
    );
    assert_eq!((shop.visible().await, shop.log_index()), (before, entries));
}

/// A body with everything that is required, for each call of `/api/v1` that takes one.
const GOOD: [(&str, &str); 11] = [
    ("/api/v1/printers", r#""company":"a","model":"b""#),
    (
        "/api/v1/filaments",
        r#""type":"PLA","color":"b","total_weight_in_grams":1"#,
    ),
    (
        "/api/v1/print_jobs",
        r#""printer_id":"p1","filament_id":"f1","filepath":"x","print_weight_in_grams":1"#,
    ),
    ("/api/v1/print_jobs/{id}/status", r#""status":"running""#),
    (
        "/api/v1/policies/evaluate",
        r#""job_id":"j1","status":"running""#,
    ),
    ("/api/v1/ruleset", r#""bindings":[]"#),
    ("/api/v1/ruleset/rollback", r#""reason":"x""#),
    (
        "/api/v1/cluster/members",
        r#""peer_address":"a:1","http_address":"a:2",
           "incarnation":"00000000000000000000000000000000""#,
    ),
    ("/api/v1/cluster/members/{id}", r#""peer_address":"a:1""#),
    ("/api/v1/cluster/leader", r#""node_id":1"#),
    ("/api/v1/cluster/clock", r#""reason":"x""#),
];

#[tokio::test]
async fn every_v1_call_refuses_unknown_fields_by_name() {
    let shop = Shop::stocked().await;
    let (before, entries) = (shop.visible().await, shop.log_index());
    for call in calls() {
        let takes_json = matches!(call.body, BodyKind::Json | BodyKind::JsonOptional);
        if !takes_json || is_classic(&call) {
            continue;
        }
        let good = GOOD.iter().find(|(path, _)| *path == call.path);
        let (_, good) = good.unwrap_or_else(|| panic!("{} has no good body here", call.path));
        let answer = send(&shop, &call, &JSON, &format!("{{{good},\"sur/prise\":1}}")).await;
        assert_eq!(answer.status, 400, "{}: {answer:?}", call.path);
        assert_eq!(
            answer.problem().0,
            "unknown-field",
            "{}: {answer:?}",
            call.path
        );
        assert_eq!(answer.json()["pointer"], "/sur~1prise");
    }
    assert_eq!((shop.visible().await, shop.log_index()), (before, entries));
    assert!(shop.membership().is_empty());
}

#[tokio::test]
async fn every_path_refuses_other_methods_and_other_paths_are_not_found() {
    let shop = Shop::new();
    for call in calls() {
        let answer = shop.call("TRACE", &uri(&call), &[], "").await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().0.as_str()),
            (405, "method-not-allowed")
        );
        let allowed = answer.header("allow").unwrap_or_default();
        assert!(
            allowed.contains(call.method.as_str()),
            "{}: {allowed}",
            call.path
        );
    }
    for path in [
        "/",
        "/api",
        "/api/v1",
        "/api/v2/printers",
        "/printers/",
        "/printers/p1/x",
    ] {
        let answer = shop.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().0.as_str()),
            (404, "not-found")
        );
    }
}

#[tokio::test]
async fn every_read_refuses_unknown_parameters_by_name() {
    let shop = Shop::stocked().await;
    for call in calls() {
        let has_parameters = call.method == "GET"
            && call.path.starts_with("/api/v1/")
            && !call.path.starts_with("/api/v1/cluster");
        if !has_parameters {
            continue;
        }
        for (query, named) in [
            ("surprise=1", "surprise"),
            ("consistency=eventual", "consistency"),
            ("consistency=stale&consistency=stale", "consistency"),
            ("min_revision=-1", "min_revision"),
        ] {
            let answer = shop.get(&format!("{}?{query}", uri(&call))).await;
            assert_eq!(answer.status, 400, "{} {query}: {answer:?}", call.path);
            assert_eq!(
                answer.problem(),
                ("invalid-parameter".to_owned(), Some(named.to_owned()))
            );
        }
    }
    for list in [
        "printers",
        "filaments",
        "print_jobs",
        "policies",
        "ruleset/revisions",
    ] {
        for (query, named) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=x", "limit"),
            ("page_token=x", "page_token"),
            ("page_token=1zz", "page_token"),
            ("page_token=1ff", "page_token"),
        ] {
            let answer = shop.get(&format!("/api/v1/{list}?{query}")).await;
            assert_eq!(
                answer.problem(),
                ("invalid-parameter".to_owned(), Some(named.to_owned()))
            );
        }
    }
    let answer = shop.get("/api/v1/print_jobs?status=bogus").await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().1.as_deref()),
        (400, Some("status"))
    );
}

/// Method-path-body cases: the expected status and the field that is named.
#[tokio::test]
async fn wrong_values_name_their_field() {
    let shop = Shop::stocked().await;
    let before = shop.visible().await;
    let cases: &[(&str, &str, u16, &str)] = &[
        ("printers", r#"{"model":"b"}"#, 400, "company"),
        ("printers", r#"{"company":"a"}"#, 400, "model"),
        ("printers", r#"{"company":1,"model":"b"}"#, 400, "company"),
        (
            "printers",
            r#"{"id":"","company":"a","model":"b"}"#,
            400,
            "id",
        ),
        (
            "printers",
            r#"{"id":"r3d-1","company":"a","model":"b"}"#,
            400,
            "id",
        ),
        (
            "printers",
            r#"{"id":1.5,"company":"a","model":"b"}"#,
            400,
            "id",
        ),
        (
            "printers",
            r#"{"id":"p1","company":"a","model":"b"}"#,
            409,
            "id",
        ),
        (
            "filaments",
            r#"{"color":"b","total_weight_in_grams":1}"#,
            400,
            "type",
        ),
        (
            "filaments",
            r#"{"type":"PLA","total_weight_in_grams":1}"#,
            400,
            "color",
        ),
        (
            "filaments",
            r#"{"type":"PLA","color":"b"}"#,
            400,
            "total_weight_in_grams",
        ),
        (
            "filaments",
            r#"{"type":"PLA","color":"b","total_weight_in_grams":-1}"#,
            400,
            "total_weight_in_grams",
        ),
        (
            "filaments",
            r#"{"type":"PLA","color":"b","total_weight_in_grams":"many"}"#,
            400,
            "total_weight_in_grams",
        ),
        (
            "filaments",
            r#"{"type":"PLA","color":"b","total_weight_in_grams":0}"#,
            400,
            "total_weight_in_grams",
        ),
        (
            "filaments",
            r#"{"type":"PLA","color":"b","total_weight_in_grams":1,
                "remaining_weight_in_grams":2}"#,
            400,
            "remaining_weight_in_grams",
        ),
        ("jobs", r#"{"printer_id":"p9"}"#, 422, "printer_id"),
        ("jobs", r#"{"printer_id":null}"#, 400, "printer_id"),
        ("jobs", r#"{"filament_id":"f9"}"#, 422, "filament_id"),
        ("jobs", r#"{"filepath":7}"#, 400, "filepath"),
        (
            "jobs",
            r#"{"print_weight_in_grams":0}"#,
            422,
            "print_weight_in_grams",
        ),
        (
            "jobs",
            r#"{"print_weight_in_grams":true}"#,
            400,
            "print_weight_in_grams",
        ),
        (
            "jobs",
            r#"{"print_weight_in_grams":0.0001}"#,
            400,
            "print_weight_in_grams",
        ),
        (
            "jobs",
            r#"{"print_weight_in_grams":801}"#,
            422,
            "print_weight_in_grams",
        ),
        ("jobs", r#"{"status":"Running"}"#, 400, "status"),
        ("jobs", r#"{"status":3}"#, 400, "status"),
    ];
    for (resource, body, status, field) in cases {
        let (classic, v1) = match *resource {
            "jobs" => ("/printjobs".to_owned(), "/api/v1/print_jobs".to_owned()),
            other => (format!("/{other}"), format!("/api/v1/{other}")),
        };
        let body = if *resource == "jobs" {
            job_with(body)
        } else {
            (*body).to_owned()
        };
        for uri in [classic, v1] {
            let answer = shop.post(&uri, &body).await;
            assert_eq!(answer.status, *status, "{uri} {body}: {answer:?}");
            assert_eq!(
                answer.problem().1.as_deref(),
                Some(*field),
                "{uri} {body}: {answer:?}"
            );
        }
    }
    assert_eq!(shop.visible().await, before);
}

/// A good job with the fields of `changes` in place of its own.
fn job_with(changes: &str) -> String {
    let mut job = serde_json::json!({
        "printer_id": "p1", "filament_id": "f1", "filepath": "x", "print_weight_in_grams": 1,
    });
    let changes: serde_json::Value = serde_json::from_str(changes).unwrap();
    for (field, value) in changes.as_object().unwrap() {
        job[field] = value.clone();
    }
    job.to_string()
}

#[tokio::test]
async fn wrong_values_that_only_v1_knows() {
    let shop = Shop::stocked().await;
    for (uri, fields, named) in [
        (
            "/api/v1/printers",
            r#""company":"a","model":"b","status":"gone""#,
            "status",
        ),
        (
            "/api/v1/printers",
            r#""company":"a","model":"b","labels":[]"#,
            "labels",
        ),
        (
            "/api/v1/printers",
            r#""company":"a","model":"b","labels":{"k":1}"#,
            "labels/k",
        ),
        (
            "/api/v1/filaments",
            r#""type":"a","color":"b","total_weight_in_grams":1,"diameter_um":1.75"#,
            "diameter_um",
        ),
        (
            "/api/v1/print_jobs",
            r#""printer_id":"p1","filament_id":"f1","filepath":"x","print_weight_in_grams":1,
               "priority":3000000000"#,
            "priority",
        ),
        (
            "/api/v1/print_jobs/j/status",
            r#""status":"done","used_weight_in_grams":"x""#,
            "used_weight_in_grams",
        ),
        (
            "/api/v1/print_jobs/j/status",
            r#""status":"done","override":"yes""#,
            "override",
        ),
        ("/api/v1/print_jobs/j/status", r#""reason":"x""#, "status"),
        (
            "/api/v1/print_jobs/j/status?status=done",
            r#""status":"done""#,
            "status",
        ),
        ("/api/v1/ruleset/rollback", r#""to":"x""#, "to"),
        (
            "/api/v1/cluster/members",
            r#""peer_address":"here","http_address":"a:1""#,
            "peer_address",
        ),
        (
            "/api/v1/cluster/members",
            r#""peer_address":"a:1","http_address":"a:2","incarnation":"xyz""#,
            "incarnation",
        ),
        ("/api/v1/cluster/leader", r#""node_id":"two""#, "node_id"),
        ("/api/v1/cluster/leader", r#""node_id":null"#, "node_id"),
    ] {
        let answer = shop.post(uri, &format!("{{{fields}}}")).await;
        assert_eq!(answer.status, 400, "{uri} {fields}: {answer:?}");
        assert_eq!(
            answer.problem().1.as_deref(),
            Some(named),
            "{uri} {fields}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn bad_headers_and_ids_are_named() {
    let shop = Shop::stocked().await;
    let entries = shop.log_index();
    let long = "k".repeat(129);
    for (header, value) in [
        ("Idempotency-Key", ""),
        ("Idempotency-Key", "with space"),
        ("Idempotency-Key", long.as_str()),
        ("Raft3d-Actor", long.as_str()),
        ("Raft3d-Actor", ""),
        ("If-Match", "3"),
        ("If-Match", "W/\"3\""),
    ] {
        let headers = [JSON[0], (header, value)];
        let body = r#"{"company":"a","model":"b"}"#;
        for uri in ["/printers", "/api/v1/printers"] {
            let answer = shop.call("POST", uri, &headers, body).await;
            assert_eq!(answer.status, 400, "{header} {value}: {answer:?}");
            assert_eq!(
                answer.problem(),
                ("invalid-header".to_owned(), Some(header.to_owned()))
            );
        }
    }
    for uri in [
        "/api/v1/policies/abc",
        "/api/v1/policies/abc/module",
        "/api/v1/printers/%ff",
        &format!("/api/v1/printers/{long}"),
    ] {
        let answer = shop.get(uri).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().0.as_str()),
            (400, "invalid-parameter")
        );
    }
    let answer = shop
        .call("DELETE", "/api/v1/cluster/members/x", &[], Body::empty())
        .await;
    assert_eq!(answer.status, 400);
    for uri in [
        "/api/v1/printers/x",
        "/api/v1/filaments/x",
        "/api/v1/print_jobs/x",
    ] {
        let answer = shop.get(uri).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().0.as_str()),
            (404, "not-found")
        );
    }
    assert_eq!(shop.log_index(), entries);
}
