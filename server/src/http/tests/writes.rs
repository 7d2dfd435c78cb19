//! Writes: exactly once, and what clients are told where there is no outcome.

use raft3d_engine::core::{RequestId, Revision};
use raft3d_engine::raft::api::{ReadError, WriteError};

use super::Shop;

const PRINTERS: &str = "/api/v1/printers";

#[tokio::test]
async fn a_retry_gets_the_stored_answer() {
    let shop = Shop::new();
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", "k-1"),
    ];
    let body = r#"{"company":"a","model":"b"}"#;
    let first = shop.call("POST", PRINTERS, &headers, body).await;
    let second = shop.call("POST", PRINTERS, &headers, body).await;
    assert_eq!((first.status, &first.text), (second.status, &second.text));
    assert_eq!(
        first.header("raft3d-revision"),
        second.header("raft3d-revision")
    );
    let marks = [&first, &second].map(|answer| answer.header("idempotent-replayed").is_some());
    assert_eq!(marks, [false, true]);
    assert_eq!(shop.get(PRINTERS).await.json().as_array().unwrap().len(), 1);

    let other = r#"{"company":"a","model":"c"}"#;
    let mismatch = shop.call("POST", PRINTERS, &headers, other).await;
    assert_eq!(
        (mismatch.status.as_u16(), mismatch.problem().0.as_str()),
        (422, "request-mismatch")
    );
    let somebody_else = [headers[0], headers[1], ("raft3d-actor", "ben")];
    assert_eq!(
        shop.call("POST", PRINTERS, &somebody_else, other)
            .await
            .status,
        201
    );
}

#[tokio::test]
async fn a_write_without_an_outcome_says_what_to_do() {
    let shop = Shop::new();
    let body = r#"{"company":"a","model":"b"}"#;
    let unknown = || WriteError::OutcomeUnknown {
        request_id: RequestId::new("n1-77"),
    };
    let closed = WriteError::Unavailable {
        reason: "fenced".to_owned(),
    };
    let stopped = WriteError::Stopped {
        reason: "no majority agrees".to_owned(),
    };
    let paused = WriteError::Paused {
        reason: "its clock is off".to_owned(),
    };
    for (error, status, kind) in [
        (stopped, 503, "writes-stopped"),
        (WriteError::NoLeader, 503, "no-leader"),
        (WriteError::Overloaded, 429, "overloaded"),
        (closed, 503, "unavailable"),
        (paused, 503, "writes-paused"),
        (unknown(), 503, "outcome-unknown"),
    ] {
        shop.fail_write(error);
        let answer = shop.post(PRINTERS, body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().0.as_str()),
            (status, kind)
        );
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    shop.fail_write(unknown());
    let minted = shop.post(PRINTERS, body).await.json();
    assert_eq!(minted["request_id"], "n1-77");
    assert!(minted["detail"].as_str().unwrap().contains("request_id"));
    shop.fail_write(unknown());
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", "n1-77"),
    ];
    let own = shop.call("POST", PRINTERS, &headers, body).await.json();
    assert!(
        own["detail"]
            .as_str()
            .unwrap()
            .contains("the same Idempotency-Key")
    );
    // The classic status call has no text for it that a client could take for a refusal.
    shop.fail_write(WriteError::NoLeader);
    assert_eq!(
        shop.post("/printjobs/x/status?status=done", "")
            .await
            .problem()
            .0,
        "no-leader"
    );
}

#[tokio::test]
async fn a_read_without_a_view_says_why() {
    let shop = Shop::new();
    for uri in [PRINTERS, "/printers", "/api/v1/ruleset"] {
        shop.fail_read(ReadError::NoLeader);
        let answer = shop.get(uri).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().0.as_str()),
            (503, "no-leader")
        );
    }
    let applied = shop.log_index();
    let wanted = format!("{PRINTERS}?min_revision={}", applied + 1);
    let answer = shop.get(&wanted).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().0.as_str()),
        (503, "replica-behind")
    );
    assert_eq!(
        shop.get(&format!("{PRINTERS}?min_revision={applied}"))
            .await
            .status,
        200
    );
    assert_eq!(
        Revision(applied).to_string(),
        shop.get("/x").await.header("raft3d-revision").unwrap()
    );
}

#[tokio::test]
async fn a_condition_that_is_not_evaluated_is_refused() {
    let shop = Shop::new();
    let before = shop.log_index();
    let headers = [("content-type", "application/json"), ("if-match", "\"3\"")];
    let answer = shop
        .call("POST", PRINTERS, &headers, r#"{"company":"a","model":"b"}"#)
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().1.as_deref()),
        (400, Some("If-Match"))
    );
    assert_eq!(shop.log_index(), before);
}

/// Every write that is remembered says so when it is answered from memory, accepted or refused.
#[tokio::test]
async fn a_stored_answer_is_marked_on_every_call() {
    let shop = Shop::stocked().await;
    let job = r#"{"id":"j1","printer_id":"p1","filament_id":"f1","filepath":"/a.stl",
        "print_weight_in_grams":1}"#;
    let filament = r#"{"type":"PLA","color":"Red","total_weight_in_grams":1}"#;
    for (at, (uri, body, status)) in [
        (PRINTERS, r#"{"company":"a","model":"b"}"#, 201),
        ("/printers", r#"{"company":"a","model":"b"}"#, 201),
        ("/api/v1/filaments", filament, 201),
        ("/filaments", filament, 201),
        ("/api/v1/print_jobs", job, 201),
        ("/api/v1/print_jobs", job, 409),
        ("/printjobs", job, 409),
        ("/api/v1/print_jobs/j1/status?status=done", "", 409),
        ("/api/v1/print_jobs/j1/status?status=running", "", 200),
        ("/api/v1/print_jobs/j9/status?status=running", "", 404),
        ("/api/v1/ruleset/rollback", "", 404),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("key-{at}");
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", key.as_str()),
        ];
        let first = shop.call("POST", uri, &headers, body).await;
        assert_eq!(first.status, status, "{uri}: {first:?}");
        assert_eq!(first.header("idempotent-replayed"), None, "{uri}");
        let again = shop.call("POST", uri, &headers, body).await;
        assert_eq!((again.status, &again.text), (first.status, &first.text));
        assert_eq!(again.header("idempotent-replayed"), Some("true"), "{uri}");
    }
}

/// The one who fills its share is told how long to wait; everybody else writes on, and whoever used a
/// key is told since when keys are certain.
#[tokio::test]
async fn an_actor_with_too_many_keys_is_told_to_wait_and_nobody_else() {
    let shop = Shop::new();
    shop.crowd_the_keys();
    let body = r#"{"company":"a","model":"b"}"#;
    let json = ("content-type", "application/json");
    let write = async |actor: &str, key: &str| {
        let headers = [json, ("raft3d-actor", actor), ("idempotency-key", key)];
        shop.call("POST", PRINTERS, &headers, body).await
    };
    for n in 0..64 {
        let done = write("greedy", &format!("k{n}")).await;
        assert_eq!(done.status, 201);
        let since = done.header("raft3d-keys-certain-since");
        assert_eq!(
            since,
            Some("1970-01-01T00:00:00.000Z"),
            "nothing was forgotten"
        );
    }
    let refused = write("greedy", "k64").await;
    assert_eq!(
        (refused.status.as_u16(), refused.problem().0.as_str()),
        (429, "too-many-keys")
    );
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((890..=900).contains(&wait), "{wait}");
    // Log time stands still until the clocks have caught up with it.
    shop.set_clock_behind(3_600_000);
    let refused = write("greedy", "k64").await;
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((4_490..=4_500).contains(&wait), "{wait}");
    shop.set_clock_behind(0);
    let classic = [json, ("raft3d-actor", "greedy"), ("idempotency-key", "k65")];
    let classic = shop
        .call("POST", "/printjobs/x/status?status=Done", &classic, "")
        .await;
    assert_eq!(
        classic.problem().0,
        "too-many-keys",
        "no refusal in plain text"
    );
    assert!(classic.header("retry-after").is_some());
    assert_eq!(write("modest", "k64").await.status, 201);
    assert_eq!(shop.post(PRINTERS, body).await.status, 201, "without a key");
    let unkeyed = shop.post(PRINTERS, body).await;
    assert_eq!(unkeyed.header("raft3d-keys-certain-since"), None);
    let metrics = shop.get("/metrics").await.text;
    for line in [
        "raft3d_state_rows{table=\"keys_unverified\"} 65",
        "raft3d_state_rows_max{table=\"keys_unverified\"} 2000000",
        "raft3d_keys_share_records{actors=\"unverified\",actor=\"greedy\"} 64",
        "raft3d_keys_share_records_max{actors=\"unverified\"} 64",
        "raft3d_keys_certain_since_seconds{actors=\"unverified\",actor=\"greedy\"} 0",
        "raft3d_state_bytes_max{table=\"decisions\"} 536870912",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[tokio::test]
async fn a_key_that_is_too_old_is_refused_with_the_time_since_when_keys_are_certain() {
    let shop = Shop::new();
    shop.forget_keys_up_to(1_600_000_000_000, 1_650_000_000_000);
    let body = r#"{"company":"a","model":"b"}"#;
    let json = ("content-type", "application/json");
    // Made in September 2020, and in May 2022.
    for (key, status) in [
        ("01748730-2000-7000-8000-000000000001", 409),
        ("01808000-0000-7000-8000-000000000001", 201),
        ("of-no-time", 201),
    ] {
        let headers = [json, ("idempotency-key", key)];
        let answer = shop.call("POST", PRINTERS, &headers, body).await;
        assert_eq!(answer.status.as_u16(), status, "{key}: {answer:?}");
        let since = answer.header("raft3d-keys-certain-since");
        assert_eq!(since, Some("2022-04-15T05:20:00.000Z"));
        if status == 409 {
            assert_eq!(answer.problem().0, "key-too-old");
        }
    }
}
