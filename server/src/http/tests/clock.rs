//! `/api/v1/cluster/clock`.

use super::{Answer, Shop};

const CLOCK: &str = "/api/v1/cluster/clock";
const DAY_MS: u64 = 86_400_000;

async fn put(shop: &Shop, etag: &str, body: &str) -> Answer {
    let headers = [
        ("content-type", "application/json"),
        ("if-match", etag),
        ("raft3d-actor", "ann"),
    ];
    shop.call("PUT", CLOCK, &headers, body.to_owned()).await
}

#[tokio::test]
async fn log_time_that_lies_in_the_future_goes_on_from_where_it_stands() {
    let shop = Shop::stocked().await;
    shop.set_clock_behind(3 * DAY_MS);
    let seen = shop.get(CLOCK).await;
    assert_eq!(
        (seen.status.as_u16(), seen.header("etag")),
        (200, Some("\"0\""))
    );
    let said = seen.json();
    assert_eq!(said["log_time_ahead_ms"], 3 * DAY_MS);
    assert_eq!(said["offset_ms"], 0);
    assert!(said["last_adjustment"].is_null());
    assert!(
        shop.get("/metrics")
            .await
            .text
            .contains("raft3d_log_time_ahead_seconds 259200.0")
    );
    let cluster = shop.get("/api/v1/cluster").await.json();
    assert_eq!(
        cluster["nodes"][0]["clock"]["log_time_ahead_ms"],
        3 * DAY_MS
    );
    let done = put(&shop, "\"0\"", r#"{"reason":"node 2 was ahead"}"#).await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(done.json()["offset_ms"], 3 * DAY_MS);
    assert_eq!(
        done.header("etag").unwrap(),
        format!("\"{}\"", shop.log_index())
    );
    // Afterwards it can be seen who did it, when, by how much and why.
    let shown = shop.get(CLOCK).await.json();
    let last = &shown["last_adjustment"];
    assert_eq!(last["by"], "ann");
    assert_eq!(last["by_verified"], false);
    assert_eq!(
        (&last["from_offset_ms"], &last["to_offset_ms"]),
        (&0.into(), &(3 * DAY_MS).into())
    );
    assert_eq!(last["reason"], "node 2 was ahead");
    assert_eq!(last["revision"], shop.log_index());
    assert_eq!(last["at"], shown["log_time"]);
    // Whoever saw the clock of before does not adjust it again.
    let again = put(&shop, "\"0\"", "{}").await;
    assert_eq!(again.problem().0, "revision-mismatch");
    let back = put(&shop, done.header("etag").unwrap(), r#"{"offset_ms":0}"#).await;
    assert_eq!(back.json()["offset_ms"], 0);
}

#[tokio::test]
async fn an_adjustment_needs_what_was_seen_and_takes_no_time_ahead() {
    let shop = Shop::stocked().await;
    let headers = [("content-type", "application/json")];
    let blind = shop.call("PUT", CLOCK, &headers, "{}").await;
    assert_eq!(blind.problem().0, "precondition-required");
    shop.set_clock_behind(DAY_MS);
    let body = format!(r#"{{"offset_ms":{}}}"#, 3 * DAY_MS);
    let (kind, _) = put(&shop, "\"0\"", &body).await.problem();
    assert_eq!(kind, "invalid-field");
    let refused = put(&shop, "\"0\"", &body).await.json();
    assert_eq!(refused["pointer"], "/offset_ms");
}

/// A node alone that was suspended for hours, or whose clock is right where all others are wrong.
#[tokio::test]
async fn an_operator_vouches_for_a_clock_that_nothing_speaks_for() {
    let shop = Shop::stocked().await;
    shop.set_clock_waits("its clock is 2 h ahead of the log's last stamp");
    let (kind, _) = put(&shop, "\"0\"", "{}").await.problem();
    assert_eq!(kind, "writes-paused");
    let (kind, _) = put(&shop, "\"7\"", r#"{"trust_clock":true}"#)
        .await
        .problem();
    assert_eq!(
        kind, "writes-paused",
        "who saw another clock vouches for nothing"
    );
    assert!(shop.get(CLOCK).await.json()["waits"].is_string());
    let done = put(&shop, "\"0\"", r#"{"trust_clock":true}"#).await;
    assert_eq!(done.status, 200, "{done:?}");
    let said = done.json();
    assert!(said["waits"].is_null() && said["offset_ms"] == 0);
    let last = &said["last_adjustment"];
    assert_eq!(last["reason"], "the clock of node 1 is right");
    let (kind, _) = put(&shop, "*", r#"{"trust_clock":1}"#).await.problem();
    assert_eq!(kind, "invalid-field");
}
