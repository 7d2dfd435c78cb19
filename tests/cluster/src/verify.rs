//! What must hold after any failure: every acknowledged write is there exactly once, on every
//! node, and no refused one is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::cluster::Cluster;
use crate::load::{Report, filepath};

/// Checks every running node against what the load generator was told.
///
/// # Panics
/// Where a node lost, doubled, moved or invented a write, or where two nodes differ.
#[track_caller]
pub fn check(cluster: &Cluster, report: &Report) {
    let last = report
        .acknowledged
        .iter()
        .map(|ack| ack.revision)
        .max()
        .unwrap_or(0);
    cluster.wait_converged(last);
    let mut first: Option<(usize, Vec<Value>)> = None;
    for node in cluster.running() {
        let jobs = cluster.client(node).list_stale("print_jobs", last);
        if let Err(problem) = check_jobs(&jobs, report) {
            panic!("node {node}: {problem}");
        }
        check_reservation(cluster, node, report, &jobs);
        match &first {
            Some((other, listed)) => {
                assert!(*listed == jobs, "nodes {other} and {node} list other jobs");
            }
            None => first = Some((node, jobs)),
        }
    }
}

/// The filament's reservation is kept by additions: a write that was applied twice shows in it.
#[track_caller]
fn check_reservation(cluster: &Cluster, node: usize, report: &Report, jobs: &[Value]) {
    let filaments = cluster.client(node).list_stale("filaments", 0);
    let filament = filaments
        .iter()
        .find(|filament| filament["id"] == report.filament);
    let filament = filament.unwrap_or_else(|| panic!("node {node} lost its filament"));
    let on_it = jobs
        .iter()
        .filter(|job| job["filament_id"] == report.filament)
        .count();
    let reserved = filament["reserved_weight_in_grams"].as_f64();
    let expected = report.grams as f64 * on_it as f64;
    assert_eq!(
        reserved,
        Some(expected),
        "node {node}: {on_it} jobs, {filament}"
    );
}

fn check_jobs(jobs: &[Value], report: &Report) -> Result<(), String> {
    // By file path, not by id: where the server made the id, only the path tells a retry apart.
    let mut found: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for job in jobs {
        found
            .entry(job["filepath"].as_str().unwrap_or(""))
            .or_default()
            .push(job);
    }
    for (path, jobs) in &found {
        if jobs.len() != 1 {
            return Err(format!("{path} is there {} times: {jobs:?}", jobs.len()));
        }
    }
    for ack in &report.acknowledged {
        let path = filepath(&ack.key);
        let job = found
            .remove(path.as_str())
            .and_then(|jobs| jobs.first().copied());
        let Some(job) = job else {
            return Err(format!(
                "lost: {} was acknowledged at {}",
                ack.key, ack.revision
            ));
        };
        if job["revision"].as_u64() != Some(ack.revision) {
            return Err(format!(
                "{} was acknowledged at {}: {job}",
                ack.key, ack.revision
            ));
        }
    }
    let unknown: BTreeSet<String> = report.unknown.iter().map(|key| filepath(key)).collect();
    match found.keys().find(|path| !unknown.contains(**path)) {
        Some(path) => Err(format!("{path} is there and nobody was told so")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Acknowledged;
    use serde_json::json;
    use std::time::Instant;

    fn report(acknowledged: &[(&str, u64)], unknown: &[&str]) -> Report {
        let ack = |(key, revision): &(&str, u64)| Acknowledged {
            key: (*key).to_owned(),
            revision: *revision,
            first_sent: Instant::now(),
            at: Instant::now(),
        };
        Report {
            acknowledged: acknowledged.iter().map(ack).collect(),
            unknown: unknown.iter().map(|key| (*key).to_owned()).collect(),
            ..Report::default()
        }
    }

    fn job(key: &str, revision: u64) -> Value {
        json!({"filepath": filepath(key), "revision": revision})
    }

    #[test]
    fn a_lost_doubled_moved_or_invented_write_is_found() {
        let report = report(&[("a", 5), ("b", 6)], &["c"]);
        let problem = |jobs: &[Value]| check_jobs(jobs, &report).err().unwrap_or_default();
        assert_eq!(problem(&[job("a", 5), job("b", 6)]), "");
        assert_eq!(problem(&[job("a", 5), job("b", 6), job("c", 7)]), "");
        assert!(problem(&[job("a", 5)]).starts_with("lost: b"));
        assert!(problem(&[job("a", 5), job("b", 6), job("b", 7)]).contains("2 times"));
        assert!(problem(&[job("a", 5), job("b", 9)]).contains("acknowledged at 6"));
        assert!(problem(&[job("a", 5), job("b", 6), job("d", 7)]).contains("nobody was told"));
    }
}
