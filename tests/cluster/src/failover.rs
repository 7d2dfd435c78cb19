//! How long the cluster takes no writes after its leader was killed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::Client;

/// The longest that no write is accepted. Below 3 s is expected; that is printed, not asserted,
/// since two busy cores may take longer.
pub const OUTAGE_MAX: Duration = Duration::from_secs(10);
/// Pause before the write is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Sends one write through every node of `survivors` at once, again and again under the same key,
/// until each is accepted. Answers how long after `killed_at` that was, for each node.
///
/// # Panics
/// Where a node accepts none within [`OUTAGE_MAX`].
#[must_use]
pub fn times_to_accepted_write(
    survivors: &[SocketAddr],
    name: &str,
    killed_at: Instant,
) -> Vec<Duration> {
    let probes = survivors.iter().enumerate().map(|(place, addr)| {
        let client = Client::with_patience(*addr, OUTAGE_MAX);
        let key = format!("{name}-{place}");
        std::thread::spawn(move || probe(&client, &key, killed_at))
    });
    let probes: Vec<_> = probes.collect();
    probes
        .into_iter()
        .map(|probe| probe.join().expect("a write after the failover"))
        .collect()
}

fn probe(client: &Client, key: &str, killed_at: Instant) -> Duration {
    let body = json!({"id": key, "company": "Prusa", "model": "MK4"}).to_string();
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", key),
    ];
    loop {
        let answer = client.try_call("POST", "/api/v1/printers", &headers, Some(body.as_bytes()));
        let waited = killed_at.elapsed();
        match answer {
            Ok(answer) if answer.status == 201 => return waited,
            other => assert!(waited < OUTAGE_MAX, "no write after {waited:?}: {other:?}"),
        }
        std::thread::sleep(RETRY_PAUSE);
    }
}
