//! `/api/v1`: resources, lists, headers, health.

use raft3d_engine::raft::api::Consistency;
use serde_json::json;

use super::{Answer, Shop};

#[tokio::test]
async fn a_job_shows_everything() {
    let shop = Shop::stocked().await;
    let body = r#"{"id":"a b","printer_id":"p1","filament_id":"f1","filepath":"x",
        "print_weight_in_grams":120.5,"priority":-3,"labels":{"shift":"night"}}"#;
    let headers = [
        ("content-type", "application/json; charset=utf-8"),
        ("raft3d-actor", "ann"),
    ];
    let answer = shop
        .call("POST", "/api/v1/print_jobs", &headers, body)
        .await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("location"), Some("/api/v1/print_jobs/a%20b"));
    let revision = answer.header("raft3d-revision").unwrap().to_owned();
    assert_eq!(
        answer.header("etag"),
        Some(format!("\"{revision}\"").as_str())
    );

    let answer = shop.get("/api/v1/print_jobs/a%20b").await;
    let mut shown = answer.json();
    let times = [shown["created_at"].take(), shown["updated_at"].take()];
    assert!(
        times
            .iter()
            .all(|time| time.as_str().unwrap().starts_with("2023-11-14T22:13:20."))
    );
    let expected = json!({
        "id": "a b", "printer_id": "p1", "filament_id": "f1", "filepath": "x",
        "print_weight_in_grams": 120.5, "status": "Queued", "priority": -3,
        "labels": {"shift": "night"}, "deducted_weight_in_grams": 0, "created_by": "ann",
        "created_at": null, "updated_at": null, "revision": revision.parse::<u64>().unwrap(),
    });
    assert_eq!(shown, expected);

    let filament = shop.get("/api/v1/filaments/f1").await.json();
    assert_eq!(filament["reserved_weight_in_grams"], 120.5);
    assert_eq!(filament["available_weight_in_grams"], 679.5);
}

#[tokio::test]
async fn a_status_can_be_set_by_query_or_by_body() {
    let shop = Shop::stocked().await;
    let body = r#"{"id":"j","printer_id":"p1","filament_id":"f1","filepath":"x",
        "print_weight_in_grams":100}"#;
    shop.post("/api/v1/print_jobs", body).await;
    let uri = "/api/v1/print_jobs/j/status";
    let by_query = shop
        .call("POST", &format!("{uri}?status=running"), &[], "")
        .await;
    assert_eq!(
        (by_query.status.as_u16(), &by_query.json()["status"]),
        (200, &json!("Running"))
    );
    let report = r#"{"status":"done","reason":"fine","override":false}"#;
    let by_body = shop.post(uri, report).await;
    assert_eq!(by_body.json()["status"], "Done", "{by_body:?}");
    assert_eq!(by_body.json()["deducted_weight_in_grams"], 100);
    let again = shop.post(uri, report).await;
    assert_eq!(
        (again.status.as_u16(), again.problem().0.as_str()),
        (409, "illegal-transition")
    );
}

#[tokio::test]
async fn a_denial_names_the_policy() {
    let shop = Shop::stocked().await;
    let body = r#"{"printer_id":"p1","filament_id":"f1","filepath":"x",
        "print_weight_in_grams":801}"#;
    let answer = shop.post("/api/v1/print_jobs", body).await;
    assert_eq!(answer.status, 422);
    let (kind, field) = answer.problem();
    assert_eq!(kind, "policy-denied");
    assert_eq!(field.as_deref(), Some("print_weight_in_grams"));
    let json = answer.json();
    assert_eq!(json["pointer"], "/print_weight_in_grams");
    assert_eq!(json["module_name"], "standard-lifecycle");
    assert_eq!(json["hook"], "admission");
    assert_eq!(json["binding"], "standard-lifecycle");
    assert_eq!(json["module"].as_str().unwrap().len(), 64);
    assert!(
        json["code"].is_string() && json["message"] == json["detail"],
        "{json}"
    );
}

async fn pages(shop: &Shop, first: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut next = Some(first.to_owned());
    while let Some(uri) = next {
        let answer = shop.get(&uri).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let items = answer.json();
        let id = |item: &serde_json::Value| item["id"].as_str().unwrap().to_owned();
        pages.push(items.as_array().unwrap().iter().map(id).collect());
        next = answer.next_page();
    }
    pages
}

#[tokio::test]
async fn lists_come_in_pages() {
    let shop = Shop::stocked().await;
    for id in ["p2", "p3", "p 4", "p5"] {
        let body = json!({"id": id, "company": "a", "model": "b"}).to_string();
        shop.post("/api/v1/printers", &body).await;
    }
    let all = pages(&shop, "/api/v1/printers").await;
    assert_eq!(all, [["p 4", "p1", "p2", "p3", "p5"]]);
    let split = pages(&shop, "/api/v1/printers?limit=2&consistency=stale").await;
    assert_eq!(split, [vec!["p 4", "p1"], vec!["p2", "p3"], vec!["p5"]]);
    assert_eq!(pages(&shop, "/api/v1/filaments?limit=1").await, [["f1"]]);
}

#[tokio::test]
async fn jobs_are_filtered() {
    let shop = Shop::stocked().await;
    for number in 0..6 {
        let shift = if number % 2 == 0 { "day" } else { "night" };
        let body = json!({"id": format!("j{number}"), "printer_id": "p1", "filament_id": "f1",
            "filepath": "x", "print_weight_in_grams": 1, "labels": {"shift": shift}});
        assert_eq!(
            shop.post("/api/v1/print_jobs", &body.to_string())
                .await
                .status,
            201
        );
    }
    shop.post("/api/v1/print_jobs/j0/status?status=canceled", "")
        .await;
    let ids = |filter: &'static str| {
        let shop = &shop;
        async move {
            pages(shop, &format!("/api/v1/print_jobs?{filter}"))
                .await
                .concat()
        }
    };
    assert_eq!(ids("status=CANCELLED").await, ["j0"]);
    assert_eq!(
        ids("status=queued&label=shift%3Dday&limit=1").await,
        ["j2", "j4"]
    );
    assert_eq!(ids("label=shift:night").await, ["j1", "j3", "j5"]);
    assert_eq!(ids("printer_id=p1&filament_id=f1&limit=4").await.len(), 6);
    assert!(ids("printer_id=p9").await.is_empty());
    assert_eq!(ids("label=shift").await.len(), 6);
}

#[tokio::test]
async fn head_and_health() {
    let shop = Shop::stocked().await;
    let head = shop.call("HEAD", "/api/v1/printers/p1", &[], "").await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
    assert!(head.header("etag").is_some() && head.header("content-length").is_some());

    let check = |answer: &Answer, status: u16, word: &str| {
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.header("content-type"),
            Some("application/health+json")
        );
        assert_eq!(answer.json()["status"], word);
    };
    check(&shop.get("/healthz").await, 200, "pass");
    check(&shop.get("/readyz").await, 200, "pass");
    shop.warn("the address differs");
    let warned = shop.get("/readyz").await;
    check(&warned, 200, "warn");
    assert_eq!(warned.json()["notes"], json!(["the address differs"]));
    check(&shop.get("/healthz").await, 200, "warn");
    shop.set_not_ready("catching up");
    check(&shop.get("/healthz").await, 200, "warn");
    let not_ready = shop.get("/readyz").await;
    check(&not_ready, 503, "fail");
    assert_eq!(not_ready.json()["output"], "catching up");
}

#[tokio::test]
async fn the_cluster_shows_silent_members_too() {
    let shop = Shop::new();
    let cluster = shop.get("/api/v1/cluster").await.json();
    assert_eq!(cluster["cluster_id"], "07".repeat(16));
    assert_eq!(
        (&cluster["leader_id"], &cluster["membership_revision"]),
        (&json!(1), &json!(40))
    );
    let [first, second] = cluster["nodes"].as_array().unwrap().as_slice() else {
        panic!()
    };
    assert_eq!(
        (&first["role"], &first["ready"], &first["term"]),
        (&json!("leader"), &json!(true), &json!(3))
    );
    assert_eq!(first["digest"].as_str().unwrap().len(), 32);
    assert_eq!(second["error"], "connection refused");
    assert_eq!(
        (&second["role"], &second["ready"]),
        (&json!(null), &json!(false))
    );
}

#[tokio::test]
async fn the_cluster_shows_what_a_node_warns_of_and_its_disk() {
    let shop = Shop::new();
    shop.warn("the address differs");
    shop.set_not_ready("catching up");
    let cluster = shop.get("/api/v1/cluster").await.json();
    let node = &cluster["nodes"][0];
    assert_eq!(node["warnings"], json!(["the address differs"]));
    assert_eq!(node["not_ready_reason"], "catching up");
    assert_eq!(node["disk"]["oldest_unsynced_ms"], 1_500);
    assert_eq!(node["disk"]["free_bytes"], 1 << 30);
}

#[tokio::test]
async fn members_are_managed_against_the_membership_that_was_seen() {
    let shop = Shop::new();
    let member = json!({"peer_address": "127.0.0.1:9009", "http_address": "localhost:8009",
        "incarnation": "ab".repeat(16)});
    let added = shop
        .post("/api/v1/cluster/members", &member.to_string())
        .await;
    assert_eq!(
        (added.status.as_u16(), added.json()),
        (201, json!({"id": 1041}))
    );
    let promote = "/api/v1/cluster/members/1041/promote";
    let stale = shop
        .call("POST", promote, &[("if-match", "\"39\"")], "")
        .await;
    assert_eq!(
        (stale.status.as_u16(), stale.problem().0.as_str()),
        (412, "revision-mismatch")
    );
    let seen = [("if-match", "\"40\"")];
    assert_eq!(shop.call("POST", promote, &seen, "").await.status, 204);
    let remove = "/api/v1/cluster/members/2";
    assert_eq!(shop.call("DELETE", remove, &[], "").await.status, 204);
    let moved = r#"{"peer_address":"10.0.0.9:9000"}"#;
    let stale = [("if-match", "\"39\""), ("content-type", "application/json")];
    let member = "/api/v1/cluster/members/3";
    assert_eq!(shop.call("PATCH", member, &stale, moved).await.status, 412);
    let seen = [("if-match", "\"40\""), ("content-type", "application/json")];
    assert_eq!(shop.call("PATCH", member, &seen, moved).await.status, 204);
    for (body, field) in [
        ("{}", "peer_address"),
        (r#"{"peer_address":"nowhere"}"#, "peer_address"),
        (r#"{"http_address":"a:0"}"#, "http_address"),
    ] {
        let refused = shop.call("PATCH", member, &seen, body).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.text.contains(field), "{refused:?}");
    }
    assert_eq!(
        shop.membership(),
        [
            "add 127.0.0.1:9009",
            "promote 1041",
            "remove 2",
            "readdress 3 Some(\"10.0.0.9:9000\") None"
        ]
    );
    let leader = "/api/v1/cluster/leader";
    assert_eq!(shop.post(leader, r#"{"node_id":2}"#).await.status, 204);
    assert_eq!(shop.post(leader, r#"{"node_id":9}"#).await.status, 404);
}

/// An id is any text that fits a path: what `Location` says leads to it.
#[tokio::test]
async fn a_location_leads_to_what_was_created() {
    let shop = Shop::stocked().await;
    for (id, encoded) in [
        ("50%", "50%25"),
        ("%41", "%2541"),
        ("a b?c#d", "a%20b%3Fc%23d"),
        ("é+&", "%C3%A9%2B%26"),
        ("plain-._~1", "plain-._~1"),
    ] {
        let printer = json!({"id": id, "company": "a", "model": "b"});
        let filament = json!({"id": id, "type": "PLA", "color": "a", "total_weight_in_grams": 9});
        let job = json!({"id": id, "printer_id": id, "filament_id": id, "filepath": "/a.stl",
            "print_weight_in_grams": 1});
        for (what, body) in [
            ("printers", printer),
            ("filaments", filament),
            ("print_jobs", job),
        ] {
            let created = shop
                .post(&format!("/api/v1/{what}"), &body.to_string())
                .await;
            assert_eq!(created.status, 201, "{created:?}");
            let location = format!("/api/v1/{what}/{encoded}");
            assert_eq!(created.header("location"), Some(location.as_str()));
            let there = shop.get(&location).await;
            assert_eq!(
                (there.status.as_u16(), &there.json()["id"]),
                (200, &json!(id))
            );
        }
    }
}

/// A read is made as it was asked for; who does not say gets the one that is never old.
#[tokio::test]
async fn a_read_is_as_consistent_as_it_is_asked_to_be() {
    let shop = Shop::stocked().await;
    let job = r#"{"id":"j1","printer_id":"p1","filament_id":"f1","filepath":"/a.stl",
        "print_weight_in_grams":1}"#;
    assert_eq!(shop.post("/api/v1/print_jobs", job).await.status, 201);
    let ruleset = shop.get("/api/v1/ruleset").await.json();
    let module = format!(
        "/api/v1/policies/{}",
        ruleset["bindings"][0]["module"].as_str().unwrap()
    );
    let bytes = format!("{module}/module");
    for uri in [
        "/printers",
        "/filaments",
        "/printjobs",
        "/api/v1/printers",
        "/api/v1/printers/p1",
        "/api/v1/filaments",
        "/api/v1/filaments/f1",
        "/api/v1/print_jobs",
        "/api/v1/print_jobs/j1",
        "/api/v1/print_jobs/j1/decisions",
        "/api/v1/decisions",
        "/api/v1/policies",
        &module,
        &bytes,
        "/api/v1/ruleset",
        "/api/v1/ruleset/revisions",
    ] {
        for (asked, expected) in [
            ("", Consistency::Linearizable),
            ("?consistency=linearizable", Consistency::Linearizable),
            ("?consistency=stale", Consistency::Stale),
        ] {
            shop.take_last_read();
            let answer = shop.get(&format!("{uri}{asked}")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(shop.take_last_read(), Some(expected), "{uri}{asked}");
        }
    }
}
