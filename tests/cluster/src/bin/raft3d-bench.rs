//! Measures a cluster of three real nodes on this machine: writes per second and their latency,
//! the outage when the leader is killed, and resident memory. Run by `cargo xtask bench`.
#![allow(
    clippy::expect_used,
    reason = "a measurement that fails says why and ends"
)]

use std::time::{Duration, Instant};

use clap::Parser;
use raft3d_cluster_tests::failover::times_to_accepted_write;
use raft3d_cluster_tests::{Cluster, Load, LoadOptions, Options};

/// Connections that are measured, one after the other.
const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];
/// How long a new cluster is left alone before its memory is measured.
const IDLE: Duration = Duration::from_secs(5);
/// Leaders that are killed.
const FAILOVERS: usize = 5;
/// Weight of the filament, in grams: the most that there is.
const SPOOL_G: u64 = 1_000_000_000;

/// Measures a cluster of three nodes on this machine.
#[derive(Parser)]
struct Args {
    /// Seconds of load for each number of connections.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
}

fn main() {
    let args = Args::parse();
    let mut cluster = Cluster::start("bench", Options::nodes(3));
    std::thread::sleep(IDLE);
    println!("resident memory, idle: {} MiB", resident(&cluster));
    let client = cluster.client(0);
    client.create_printer("p1").expect(201);
    client.create_filament("f1", "PLA", SPOOL_G).expect(201);

    println!("POST /api/v1/print_jobs, three nodes, fsync on, default ruleset:");
    println!(
        "{:>11}  {:>8}  {:>9}  {:>9}  {:>9}",
        "connections", "writes/s", "p50", "p99", "max"
    );
    for connections in CONNECTIONS {
        measure(&cluster, connections, Duration::from_secs(args.seconds));
    }
    println!("resident memory, after that: {} MiB", resident(&cluster));
    failovers(&mut cluster);
}

/// Load spread over all nodes; a single connection goes to the leader.
fn measure(cluster: &Cluster, connections: usize, time: Duration) {
    let leader = cluster.leader();
    let mut nodes: Vec<usize> = cluster.running().collect();
    nodes.sort_by_key(|node| *node != leader);
    let load = Load::start(LoadOptions {
        targets: nodes
            .into_iter()
            .map(|node| cluster.http_addr(node))
            .collect(),
        connections,
        prefix: format!("bench-{connections}"),
        printer: "p1".to_owned(),
        filament: "f1".to_owned(),
        grams: 1,
    });
    std::thread::sleep(time);
    let report = load.finish();
    let latencies = report.latencies();
    println!(
        "{connections:>11}  {:>8.0}  {:>9.2?}  {:>9.2?}  {:>9.2?}{}",
        report.per_second(),
        latencies.percentile(500),
        latencies.percentile(990),
        latencies.max(),
        remarks(report.retries, report.refused.len()),
    );
}

/// What a clean run has none of.
fn remarks(retries: u64, refused: usize) -> String {
    if retries == 0 && refused == 0 {
        return String::new();
    }
    format!("  ({retries} retries, {refused} refused)")
}

fn failovers(cluster: &mut Cluster) {
    let mut times = Vec::new();
    for round in 0..FAILOVERS {
        let leader = cluster.leader();
        let killed_at = Instant::now();
        cluster.kill9(leader);
        let survivors: Vec<_> = cluster
            .running()
            .map(|node| cluster.http_addr(node))
            .collect();
        let waited = times_to_accepted_write(&survivors, &format!("round-{round}"), killed_at);
        times.extend(waited.into_iter().min());
        cluster.restart(leader);
        cluster.wait_converged(0);
    }
    times.sort_unstable();
    println!("from kill -9 of the leader to the next accepted write: {times:.2?}");
}

/// Resident memory of each node, in MiB.
fn resident(cluster: &Cluster) -> String {
    let of_node = |node| {
        let path = format!("/proc/{}/status", cluster.pid(node));
        let status = std::fs::read_to_string(path).expect("a running node");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        format!("{:.1}", kib.unwrap_or(0) as f64 / 1024.0)
    };
    cluster
        .running()
        .map(of_node)
        .collect::<Vec<_>>()
        .join(", ")
}
