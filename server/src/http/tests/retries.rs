//! A retry is the same request, whatever a look at the state or at the node finds by now: it gets
//! the stored answer.

use serde_json::{Value, json};

use super::{Answer, Shop};

const CLOCK: &str = "/api/v1/cluster/clock";
const RULESET: &str = "/api/v1/ruleset";
const HOUR_MS: u64 = 3_600_000;

async fn put(shop: &Shop, uri: &str, if_match: &str, key: &str, body: &Value) -> Answer {
    let headers = [
        ("content-type", "application/json"),
        ("if-match", if_match),
        ("idempotency-key", key),
    ];
    shop.call("PUT", uri, &headers, body.to_string()).await
}

/// Whether `again` is the stored answer to the request that `first` answered.
#[track_caller]
fn is_stored(first: &Answer, again: &Answer) {
    assert_eq!(first.status, 200, "{first:?}");
    let revision = |answer: &Answer| answer.header("raft3d-revision").map(str::to_owned);
    assert_eq!(
        (again.status, again.header("idempotent-replayed")),
        (first.status, Some("true")),
        "{again:?}"
    );
    assert_eq!(revision(again), revision(first));
}

#[tokio::test]
async fn an_adjustment_of_the_clock_is_known_by_what_was_asked() {
    for (if_match, body) in [
        ("*", json!({"offset_ms": HOUR_MS})),
        ("\"0\"", json!({})),
        ("*", json!({})),
        ("*", json!({"trust_clock": true})),
        (
            "\"0\"",
            json!({"trust_clock": true, "reason": "it is right"}),
        ),
    ] {
        let shop = Shop::stocked().await;
        shop.set_clock_behind(HOUR_MS);
        let first = put(&shop, CLOCK, if_match, "k", &body).await;
        // Both the offset that is in force and what log time needs are others by now.
        shop.set_clock_behind(3 * HOUR_MS);
        let again = put(&shop, CLOCK, if_match, "k", &body).await;
        is_stored(&first, &again);
        let offset = |answer: &Answer| answer.json()["offset_ms"].clone();
        assert_eq!(offset(&again), offset(&first), "{if_match} {body}");
        for (if_match, body) in [
            ("\"7\"", body.clone()),
            (if_match, json!({"offset_ms": 7})),
            (if_match, json!({"reason": "another"})),
        ] {
            let other = put(&shop, CLOCK, if_match, "k", &body).await;
            let said = (other.status.as_u16(), other.problem().0);
            assert_eq!(said, (422, "request-mismatch".to_owned()), "{body}");
        }
    }
}

/// By now the offset would be too large, or nothing speaks for the clock.
#[tokio::test]
async fn a_retry_is_not_asked_again_whether_the_clock_can_be_adjusted() {
    let shop = Shop::stocked().await;
    shop.set_clock_behind(3 * HOUR_MS);
    let far = json!({"offset_ms": 3 * HOUR_MS});
    let first = put(&shop, CLOCK, "*", "k", &far).await;
    shop.set_clock_behind(0);
    let back = put(&shop, CLOCK, "*", "k2", &json!({"offset_ms": 0})).await;
    assert_eq!(back.status, 200, "{back:?}");
    let new = put(&shop, CLOCK, "*", "k3", &far).await;
    assert_eq!(new.problem().0, "invalid-field");
    is_stored(&first, &put(&shop, CLOCK, "*", "k", &far).await);
    shop.set_clock_waits("it was suspended");
    is_stored(&first, &put(&shop, CLOCK, "*", "k", &far).await);
    assert_eq!(shop.get(CLOCK).await.json()["offset_ms"], 0);
}

#[tokio::test]
async fn a_retry_vouches_for_no_clock_again() {
    let shop = Shop::stocked().await;
    let trust = json!({"trust_clock": true});
    let first = put(&shop, CLOCK, "*", "k", &trust).await;
    shop.set_clock_waits("it was suspended since");
    is_stored(&first, &put(&shop, CLOCK, "*", "k", &trust).await);
    assert!(shop.get(CLOCK).await.json()["waits"].is_string());
    put(&shop, CLOCK, "*", "k2", &trust).await;
    assert!(shop.get(CLOCK).await.json()["waits"].is_null());
}

/// A voter that came since has yet to compile.
#[tokio::test]
async fn a_retried_activation_waits_for_no_module_again() {
    let shop = Shop::stocked().await;
    let bindings = shop.get(RULESET).await.json()["bindings"].clone();
    let module = bindings[0]["module"].as_str().unwrap().parse().unwrap();
    let body = json!({ "bindings": bindings });
    let first = put(&shop, RULESET, "*", "k", &body).await;
    shop.set_compiling(module);
    let new = put(&shop, RULESET, "*", "k2", &body).await;
    assert_eq!(new.status, 503, "{new:?}");
    let again = put(&shop, RULESET, "*", "k", &body).await;
    is_stored(&first, &again);
    assert_eq!(again.text, first.text);
}

/// A newer program may read more in a module than the one that took it.
#[tokio::test]
async fn an_upload_is_known_by_its_module() {
    let shop = Shop::stocked().await;
    let headers = [
        ("content-type", "application/wasm"),
        ("idempotency-key", "k"),
    ];
    let upload = async |bytes: &'static str| {
        let sent = shop.call("POST", "/api/v1/policies", &headers, bytes);
        sent.await
    };
    let first = upload("a module").await;
    assert_eq!(first.status, 201, "{first:?}");
    shop.set_reads_more();
    let again = upload("a module").await;
    let seen = (again.status.as_u16(), again.header("idempotent-replayed"));
    assert_eq!(seen, (201, Some("true")), "{again:?}");
    assert_eq!(again.text, first.text);
    let other = upload("another module").await;
    assert_eq!(other.problem().0, "request-mismatch");
}
