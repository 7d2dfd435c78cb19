//! `/api/v1/policies/evaluate`: it says what would happen, and nothing happens.

use serde_json::{Value, json};

use super::{Answer, Shop};

const EVALUATE: &str = "/api/v1/policies/evaluate";
const JOBS: &str = "/api/v1/print_jobs";
const RULESET: &str = "/api/v1/ruleset";

fn job(id: &str, grams: u32) -> Value {
    json!({"id": id, "printer_id": "p1", "filament_id": "f1", "filepath": "/m.stl",
        "print_weight_in_grams": grams})
}

/// Asks, and sees that nothing changed.
async fn evaluate(shop: &Shop, body: &Value) -> Answer {
    let before = (shop.log_index(), shop.digest());
    let answer = shop.post(EVALUATE, &body.to_string()).await;
    assert_eq!((shop.log_index(), shop.digest()), before, "{answer:?}");
    answer
}

async fn good(shop: &Shop, body: &Value) -> Value {
    let answer = evaluate(shop, body).await;
    assert_eq!(answer.status, 200, "{body}: {answer:?}");
    answer.json()
}

/// The evaluations without what only a dry run tells.
fn decisions(answer: &Value) -> Value {
    let mut evaluations = answer["evaluations"].clone();
    for evaluation in evaluations.as_array_mut().unwrap() {
        evaluation.as_object_mut().unwrap().remove("panic");
    }
    evaluations
}

async fn module_of(shop: &Shop, binding: &str) -> Value {
    let active = shop.get(RULESET).await.json();
    let bindings = active["bindings"].as_array().unwrap();
    let found = bindings.iter().find(|b| b["id"] == binding);
    found.unwrap()["module"].clone()
}

async fn put(shop: &Shop, bindings: &Value) -> Answer {
    let active = shop.get(RULESET).await;
    let tag = active.header("etag").unwrap();
    let headers = [("content-type", "application/json"), ("if-match", tag)];
    let body = json!({"bindings": bindings}).to_string();
    shop.call("PUT", RULESET, &headers, body).await
}

#[tokio::test]
async fn what_it_says_is_what_then_happens() {
    let shop = Shop::stocked().await;
    for (id, grams, status) in [("fits", 120, 201), ("too-big", 801, 422)] {
        let said = good(&shop, &json!({"job": job(id, grams)})).await;
        let happened = shop.post(JOBS, &job(id, grams).to_string()).await;
        assert_eq!(happened.status, status, "{happened:?}");
        assert_eq!(said["accepted"], status == 201, "{said}");
        let record = shop.get(&format!("{JOBS}/{id}/decisions")).await.json();
        // The next entry has a time of its own, which is part of what is asked.
        let (mut said_of, mut then) = (decisions(&said), record[0]["decisions"].clone());
        for evaluation in [&mut said_of[0], &mut then[0]] {
            assert!(evaluation["input_blake3"].take().is_string());
        }
        assert_eq!(said_of, then);
        if status == 422 {
            assert_eq!(said["problem"]["code"], "weight_exceeds_available");
            let told = happened.json()["detail"].clone();
            assert_eq!(said["problem"]["detail"], told);
            assert_eq!(said["problem"]["status"], 422);
        }
    }
    shop.post(&format!("{JOBS}/fits/status?status=running"), "")
        .await;
    let done = json!({"status": "done", "used_weight_in_grams": 99.5, "reason": "weighed"});
    let mut asked = done.clone();
    asked["job_id"] = json!("fits");
    let said = good(&shop, &asked).await;
    assert_eq!(
        (&said["accepted"], &said["takes"]["grams"]),
        (&json!(true), &json!(99.5))
    );
    assert_eq!(said["input"]["to"], "Done");
    assert_eq!(said["input"]["reported"]["reason"], "weighed");
    let hooks = |said: &Value| -> Vec<Value> {
        let all = said["evaluations"].as_array().unwrap().iter();
        all.map(|e| e["hook"].clone()).collect()
    };
    assert_eq!(hooks(&said), ["transition", "deduction"]);
    asked["hook"] = json!("deduction");
    let alone = good(&shop, &asked).await;
    assert_eq!(hooks(&alone), ["deduction"]);
    assert_eq!(alone["takes"], said["takes"]);
    let moved = shop
        .post(&format!("{JOBS}/fits/status"), &done.to_string())
        .await;
    assert_eq!(moved.json()["deducted_weight_in_grams"], 99.5);
}

#[tokio::test]
async fn the_answer_says_of_which_state_and_rules_it_speaks() {
    let shop = Shop::stocked().await;
    let answer = evaluate(&shop, &json!({"job": job("a", 1)})).await;
    let (said, active) = (answer.json(), shop.get(RULESET).await.json());
    assert_eq!(said["revision"], shop.log_index());
    let revision = shop.log_index().to_string();
    assert_eq!(answer.header("raft3d-revision"), Some(revision.as_str()));
    assert_eq!(said["ruleset"], active["revision"]);
    assert_eq!(said["gas_budget"], 1_000_000);
    assert!(
        said["log_time"].as_str().unwrap().starts_with("2023-"),
        "{said}"
    );
    assert_eq!(said["input"]["actor"], "anonymous");
    let headers = [
        ("content-type", "application/json"),
        ("raft3d-actor", "ada"),
    ];
    let body = json!({"job": job("a", 1)}).to_string();
    let by_ada = shop.call("POST", EVALUATE, &headers, body).await.json();
    assert_eq!(by_ada["input"]["actor"], "ada");
    assert_eq!(by_ada["input"]["job"]["created_by"], "ada");
    let body = json!({"job": job("a", 1)}).to_string();
    for (query, status) in [
        ("consistency=stale", 200),
        ("min_revision=1", 200),
        ("min_revision=999", 503),
        ("consistency=maybe", 400),
        ("surprise=1", 400),
    ] {
        let answer = shop.post(&format!("{EVALUATE}?{query}"), &body).await;
        assert_eq!(answer.status, status, "{query}: {answer:?}");
    }
}

#[tokio::test]
async fn a_given_input_is_asked_as_it_is() {
    let shop = Shop::stocked().await;
    let input = good(&shop, &json!({"job": job("a", 1)})).await["input"].clone();
    let mut body = json!({"hook": "admission", "input": input});
    assert_eq!(good(&shop, &body).await["accepted"], true);
    body["input"]["job"]["print_weight_in_grams"] = json!(900);
    let denied = good(&shop, &body).await;
    assert_eq!(denied["evaluations"][0]["verdict"]["kind"], "deny");
    assert_eq!(denied["input"], body["input"]);
    // Nothing is filled in.
    body["input"]["printer"]
        .as_object_mut()
        .unwrap()
        .remove("model");
    let refused = evaluate(&shop, &body).await;
    assert_eq!(
        refused.problem(),
        field("invalid-field", "input/printer/model")
    );
    body["input"]["printer"]["model"] = json!("m");
    body["input"]["printer"]["colour"] = json!("red");
    let refused = evaluate(&shop, &body).await;
    assert_eq!(
        refused.problem(),
        field("unknown-field", "input/printer/colour")
    );
}

fn field(kind: &str, name: &str) -> (String, Option<String>) {
    (kind.to_owned(), Some(name.to_owned()))
}

#[tokio::test]
async fn one_module_is_asked_by_itself() {
    let shop = Shop::stocked().await;
    shop.post(JOBS, &job("j1", 120).to_string()).await;
    let lifecycle = module_of(&shop, "standard-lifecycle").await;
    let config = json!({"materials": ["TPU"]});
    let said = good(
        &shop,
        &json!({"module": lifecycle, "config": config, "job": job("a", 1)}),
    )
    .await;
    assert_eq!(said["ruleset"], Value::Null);
    assert_eq!(said["evaluations"].as_array().unwrap().len(), 1);
    assert_eq!(said["evaluations"][0]["verdict"]["kind"], "deny", "{said}");
    // Its own states count where it has some.
    let body = json!({"module": lifecycle, "hook": "transition", "job_id": "j1", "status": "done"});
    let said = good(&shop, &body).await;
    assert_eq!(said["problem"]["status"], 409, "{said}");

    let deduction = module_of(&shop, "standard-deduction").await;
    for (body, kind, named) in [
        (
            json!({"module": "00".repeat(32), "job": job("a", 1)}),
            "unknown-reference",
            "module",
        ),
        (
            json!({"module": "abc", "job": job("a", 1)}),
            "invalid-field",
            "module",
        ),
        (
            json!({"module": deduction, "job": job("a", 1)}),
            "invalid-field",
            "hook",
        ),
        (
            json!({"module": lifecycle, "job_id": "j1", "status": "done"}),
            "invalid-field",
            "hook",
        ),
        (
            json!({"module": lifecycle, "config": {"materials": 5}, "job": job("a", 1)}),
            "invalid-field",
            "config/materials",
        ),
        (
            json!({"module": lifecycle, "config": {"x": 0.5}, "job": job("a", 1)}),
            "invalid-field",
            "config/x",
        ),
        (
            json!({"module": lifecycle, "revision": 1, "job": job("a", 1)}),
            "invalid-field",
            "revision",
        ),
        (
            json!({"config": {}, "job": job("a", 1)}),
            "invalid-field",
            "config",
        ),
    ] {
        let refused = evaluate(&shop, &body).await;
        assert_eq!(refused.problem(), field(kind, named), "{body}: {refused:?}");
    }
}

#[tokio::test]
async fn an_earlier_revision_and_shadows_are_asked_too() {
    let shop = Shop::stocked().await;
    let active = shop.get(RULESET).await.json();
    let mut bindings = active["bindings"].clone();
    let shadow = json!({"id": "strict", "module": bindings[0]["module"], "hooks": ["admission"],
        "mode": "shadow", "scope": {"filament_type": "pla"}, "config": {"materials": ["TPU"]}});
    let elsewhere = json!({"id": "elsewhere", "module": bindings[0]["module"],
        "hooks": ["admission"], "scope": {"printer_label": {"key": "a", "value": "b"}}});
    bindings.as_array_mut().unwrap().extend([shadow, elsewhere]);
    assert_eq!(put(&shop, &bindings).await.status, 200);
    let said = good(&shop, &json!({"job": job("a", 1)})).await;
    assert_eq!(said["accepted"], true);
    let asked: Vec<_> = said["evaluations"].as_array().unwrap().iter().collect();
    let shown = |at: usize| {
        (
            &asked[at]["binding"],
            &asked[at]["mode"],
            &asked[at]["verdict"]["kind"],
        )
    };
    assert_eq!(asked.len(), 2, "{said}");
    assert_eq!(
        shown(1),
        (&json!("strict"), &json!("shadow"), &json!("deny"))
    );
    let before = json!({"revision": active["revision"], "job": job("a", 1)});
    let said = good(&shop, &before).await;
    assert_eq!(said["evaluations"].as_array().unwrap().len(), 1);
    assert_eq!(said["ruleset"], active["revision"]);
    let unkept = evaluate(&shop, &json!({"revision": 999, "job": job("a", 1)})).await;
    assert_eq!(unkept.status, 404, "{unkept:?}");
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_as_the_request_would_be() {
    let shop = Shop::stocked().await;
    let mut elsewhere = job("a", 1);
    elsewhere["printer_id"] = json!("p9");
    for (body, status, kind) in [
        (
            json!({"job": elsewhere}),
            422,
            field("unknown-reference", "job/printer_id"),
        ),
        (
            json!({"job_id": "never", "status": "done"}),
            404,
            ("not-found".to_owned(), None),
        ),
        (json!({}), 400, field("invalid-field", "input")),
        (
            json!({"job": job("a", 1), "job_id": "b"}),
            400,
            field("invalid-field", "input"),
        ),
        (
            json!({"job_id": "b"}),
            400,
            field("invalid-field", "status"),
        ),
        (json!({"input": {}}), 400, field("invalid-field", "hook")),
        (
            json!({"hook": "print", "job": job("a", 1)}),
            400,
            field("invalid-field", "hook"),
        ),
        (
            json!({"hook": "deduction", "job": job("a", 1)}),
            400,
            field("invalid-field", "hook"),
        ),
        (
            json!({"job": job("a", 1), "status": "done"}),
            400,
            field("unknown-field", "status"),
        ),
    ] {
        let refused = evaluate(&shop, &body).await;
        assert_eq!(refused.status, status, "{body}: {refused:?}");
        assert_eq!(refused.problem(), kind, "{body}");
    }
    shop.post(JOBS, &job("j1", 1).to_string()).await;
    let same = evaluate(&shop, &json!({"job_id": "j1", "status": "queued"})).await;
    assert_eq!(same.problem(), field("illegal-transition", "status"));
    let conditional = [("content-type", "application/json"), ("if-match", "\"1\"")];
    let body = json!({"job": job("a", 1)}).to_string();
    let refused = shop.call("POST", EVALUATE, &conditional, body).await;
    assert_eq!(refused.problem(), field("invalid-header", "If-Match"));
}

#[tokio::test]
async fn too_many_at_once_are_told_to_come_again() {
    let shop = Shop::stocked().await;
    let mut held = Vec::new();
    while let Some(permit) = shop.occupy_dry_run() {
        held.push(permit);
    }
    assert_eq!(held.len(), 2);
    let busy = evaluate(&shop, &json!({"job": job("a", 1)})).await;
    assert_eq!(
        (busy.status.as_u16(), busy.problem().0.as_str()),
        (429, "overloaded")
    );
    assert_eq!(busy.header("retry-after"), Some("1"));
    held.pop();
    assert_eq!(
        good(&shop, &json!({"job": job("a", 1)})).await["accepted"],
        true
    );
    // A place is given back.
    assert_eq!(
        good(&shop, &json!({"job": job("a", 1)})).await["accepted"],
        true
    );
}
