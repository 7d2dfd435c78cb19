//! How fast the Raft log is on this disk, and what it takes in memory.
//!
//! `cargo run --release -p raft3d-engine --example log_speed [FOLDER]`

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::storage::RaftLogStorageExt;
use raft3d_engine::raft::types::{Entry, EntryPayload, LeaderId, LogId, Proposal};
use raft3d_engine::storage::log::{LogOptions, LogStore};

const ENTRY_BYTES: usize = 300;
const ENTRIES_IN_MEMORY: u64 = 1_000_000;
const MEASURE: Duration = Duration::from_secs(3);

fn entries(from: u64, count: u64) -> Vec<Entry> {
    let payload = Bytes::from(vec![7; ENTRY_BYTES]);
    let entry = |index| Entry {
        log_id: LogId {
            leader_id: LeaderId {
                term: 1,
                node_id: 1,
            },
            index,
        },
        payload: EntryPayload::Normal(Proposal(payload.clone())),
    };
    (from..from + count).map(entry).collect()
}

/// Resident memory of this process, MiB.
fn resident_mib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.ok_or("no VmRSS")?.parse::<u64>()? >> 10)
}

async fn batches(dir: &Path, batch: u64) -> Result<(), Box<dyn Error>> {
    let mut store = LogStore::open(dir, LogOptions::default())?;
    let (mut next, mut batches) = (0, 0_u32);
    let start = Instant::now();
    while start.elapsed() < MEASURE {
        store.blocking_append(entries(next, batch)).await?;
        next += batch;
        batches += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{batch:>4} entries a batch: {:>7.0} batches/s {:>9.0} entries/s",
        f64::from(batches) / seconds,
        next as f64 / seconds
    );
    store.close().await?;
    Ok(())
}

async fn memory(dir: &Path) -> Result<(), Box<dyn Error>> {
    let before = resident_mib()?;
    let mut store = LogStore::open(dir, LogOptions::default())?;
    for from in (0..ENTRIES_IN_MEMORY).step_by(1_000) {
        store.blocking_append(entries(from, 1_000)).await?;
    }
    let written = resident_mib()?;
    store.close().await?;
    drop(store);
    let start = Instant::now();
    let store = LogStore::open(dir, LogOptions::default())?;
    println!(
        "{ENTRIES_IN_MEMORY} entries of {ENTRY_BYTES} B: resident {before} MiB before, {written} \
         MiB after writing, {} MiB after opening again, which took {} ms",
        resident_mib()?,
        start.elapsed().as_millis()
    );
    store.close().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let given = std::env::args().nth(1);
    let dir = match &given {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    for batch in [1, 16, 256] {
        batches(&dir.path().join(batch.to_string()), batch).await?;
    }
    memory(&dir.path().join("memory")).await
}
