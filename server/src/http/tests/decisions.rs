//! `/api/v1/decisions`, those of a job, and how many of them a ruleset keeps.

use axum::http::StatusCode;
use raft3d_engine::sdk::AdmissionInput;
use serde_json::{Value, json};

use super::Shop;

const JOBS: &str = "/api/v1/print_jobs";
const RULESET: &str = "/api/v1/ruleset";

fn job(id: &str, grams: u32) -> String {
    json!({"id": id, "printer_id": "p1", "filament_id": "f1", "filepath": "/m.stl",
        "print_weight_in_grams": grams})
    .to_string()
}

/// Hook and kind of verdict of each evaluation.
fn said(record: &Value) -> Vec<(String, String)> {
    let decisions = record["decisions"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let pair = |d: &Value| (text(&d["hook"]), text(&d["verdict"]["kind"]));
    decisions.iter().map(pair).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    expected.iter().map(own).collect()
}

#[tokio::test]
async fn a_job_shows_which_policies_decided_what() {
    let shop = Shop::stocked().await;
    let created = shop.post(JOBS, &job("j1", 120)).await.json();
    let running = json!({"status": "Running"}).to_string();
    let done = json!({"status": "Done", "used_weight_in_grams": 99.5}).to_string();
    for body in [&running, &done] {
        let moved = shop.post(&format!("{JOBS}/j1/status"), body).await;
        assert_eq!(moved.status, 200, "{moved:?}");
    }
    let shown = shop.get(&format!("{JOBS}/j1/decisions")).await.json();
    let shown = shown.as_array().unwrap();
    assert_eq!(shown.len(), 3);
    assert_eq!(said(&shown[0]), pairs(&[("admission", "allow")]));
    let moved = [("transition", "allow"), ("deduction", "pass")];
    assert_eq!(said(&shown[1]), pairs(&moved));
    let taken = [("transition", "allow"), ("deduction", "take")];
    assert_eq!(said(&shown[2]), pairs(&taken));
    assert_eq!(shown[2]["decisions"][1]["verdict"]["grams"], 99.5);
    assert_eq!(shown[0]["revision"], created["revision"]);
    let first = &shown[0]["decisions"][0];
    let active = shop.get(RULESET).await.json();
    assert_eq!(shown[0]["ruleset"], active["revision"]);
    assert_eq!(first["binding"], active["bindings"][0]["id"]);
    assert_eq!(first["module"], active["bindings"][0]["module"]);
    assert!(first["gas"].is_u64() && shown[0].get("input_cbor").is_none());
    let (asked, moved) = (&shown[0]["input"], &shown[2]["input"]);
    assert_eq!(asked["job"]["print_weight_in_grams"], 120);
    assert_eq!(asked["filament"]["remaining_weight_in_grams"], 800);
    assert!(asked.get("to").is_none(), "{asked}");
    assert_eq!(
        (&moved["to"], &moved["job"]["status"]),
        (&json!("Done"), &json!("Running"))
    );
    assert_eq!(moved["reported"]["used_weight_in_grams"], 99.5);
    let without = shop.get(&format!("{JOBS}/j1/decisions?input=none")).await;
    assert!(without.json()[0].get("input").is_none(), "{without:?}");
}

#[tokio::test]
async fn a_job_that_was_not_admitted_has_a_record() {
    let shop = Shop::stocked().await;
    assert_eq!(shop.post(JOBS, &job("big", 801)).await.status, 422);
    let shown = shop.get(&format!("{JOBS}/big/decisions")).await.json();
    let verdict = &shown[0]["decisions"][0]["verdict"];
    assert_eq!(verdict["kind"], "deny");
    assert_eq!(verdict["code"], "weight_exceeds_available");
    assert_eq!(verdict["class"], "denied");
    assert_eq!(shop.get(&format!("{JOBS}/big")).await.status, 404);
    let unknown = shop.get(&format!("{JOBS}/never/decisions")).await;
    assert_eq!(unknown.problem().0, "not-found");
}

#[tokio::test]
async fn all_records_are_listed_page_by_page_with_what_was_asked() {
    let shop = Shop::stocked().await;
    for id in ["a", "b", "c"] {
        assert_eq!(shop.post(JOBS, &job(id, 10)).await.status, 201);
    }
    let first = shop.get("/api/v1/decisions?limit=2&input=cbor").await;
    let rest = shop.get(&first.next_page().unwrap()).await;
    assert_eq!(rest.next_page(), None);
    let ids = |page: &Value| -> Vec<Value> {
        let records = page.as_array().unwrap().iter();
        records.map(|record| record["job_id"].clone()).collect()
    };
    assert_eq!(ids(&first.json()), ["a", "b"]);
    assert_eq!(ids(&rest.json()), ["c"]);
    let input = rest.json()[0]["input_cbor"].as_str().map(hex::decode);
    let input = input.unwrap().unwrap();
    let input: AdmissionInput<'_> = minicbor::decode(&input).unwrap();
    assert_eq!((input.job.id, input.printer.id), ("c", "p1"));
    let seen = first.json()[0]["revision"].clone();
    let later = shop.get(&format!("/api/v1/decisions?after={seen}")).await;
    assert_eq!(ids(&later.json()), ["b", "c"]);
    assert!(later.json()[0].get("input").is_none(), "left out of a list");
    let shown = shop.get("/api/v1/decisions?input=json&limit=1").await;
    assert_eq!(shown.json()[0]["input"]["job"]["id"], "a");
    for bad in ["input=hex", "after=a", "page_token=!"] {
        let refused = shop.get(&format!("/api/v1/decisions?{bad}")).await;
        assert_eq!(refused.status, 400, "{refused:?}");
    }
}

#[tokio::test]
async fn a_ruleset_says_how_many_records_are_kept() {
    let shop = Shop::stocked().await;
    let active = shop.get(RULESET).await;
    let default = json!({"count": 200_000, "days": 30});
    assert_eq!(active.json()["decisions_kept"], default);
    let tag = active.header("etag").unwrap().to_owned();
    let headers = [("content-type", "application/json"), ("if-match", &tag)];
    let bindings = active.json()["bindings"].clone();
    let put = async |kept: Value| {
        let body = json!({"bindings": bindings, "decisions_kept": kept});
        shop.call("PUT", RULESET, &headers, body.to_string()).await
    };
    for (kept, field) in [
        (json!({"count": -1}), "decisions_kept/count"),
        (json!({"days": 1.5}), "decisions_kept/days"),
        (json!({"weeks": 1}), "decisions_kept/weeks"),
    ] {
        let refused = put(kept).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        assert_eq!(refused.problem().1.as_deref(), Some(field));
    }
    for kept in [
        json!({"count": 0}),
        json!({"count": 1_000_001}),
        json!({"days": 3_661}),
    ] {
        let blocked = put(kept).await;
        assert_eq!(blocked.problem().0, "activation-blocked", "{blocked:?}");
        assert!(blocked.text.contains("/decisions_kept/"), "{blocked:?}");
    }
    let changed = put(json!({"count": 2})).await;
    let expected = json!({"count": 2, "days": 30});
    assert_eq!(changed.json()["decisions_kept"], expected, "{changed:?}");
    for id in ["a", "b", "c"] {
        assert_eq!(shop.post(JOBS, &job(id, 10)).await.status, 201);
    }
    let kept = shop.get("/api/v1/decisions").await.json();
    assert_eq!(kept.as_array().unwrap().len(), 2);
    assert_eq!(kept[0]["job_id"], "b");
    // A reader that stopped before what is kept is told so, with what is kept.
    let oldest = kept[0]["revision"].as_u64().unwrap();
    for query in ["after=0", "after=1"] {
        let gone = shop.get(&format!("/api/v1/decisions?{query}")).await;
        assert_eq!(gone.problem().0, "gone", "{query}: {gone:?}");
        assert_eq!(
            (gone.status, &gone.json()["oldest"]),
            (StatusCode::GONE, &json!(oldest))
        );
        let deleted_to = gone.json()["deleted_to"].as_u64().unwrap();
        assert!(deleted_to < oldest, "{gone:?}");
        let goes_on = shop
            .get(&format!("/api/v1/decisions?after={deleted_to}"))
            .await;
        assert_eq!(goes_on.json().as_array().unwrap().len(), 2, "{goes_on:?}");
    }
    let gone = shop.get(&format!("{JOBS}/a/decisions?after=1")).await;
    assert_eq!(
        (gone.problem().0.as_str(), &gone.json()["oldest"]),
        ("gone", &Value::Null)
    );
    assert_eq!(
        shop.get(&format!("{JOBS}/c/decisions?after=1"))
            .await
            .status,
        200
    );
}
