//! What applying costs, by itself: the state machine with the real rows and the real policies in
//! one process, without Raft, log and network.
//!
//! `cargo build --release --workspace --examples`, then
//! `target/release/examples/state_cost [JOBS] [FOLDER]`: fills a state with that many jobs
//! (1,000 by default) directly, opens it again, and measures on top of it. A folder that was filled
//! before is taken as it is.

mod measure;
mod shop;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use futures_util::stream;
use indicatif::{ProgressBar, ProgressStyle};
use raft3d_core::state::meta;
use raft3d_engine::raft::machine::{ApplyOptions, StateMachine, StateOptions};

use measure::{Cost, disk_mib, percentile_us, resident_mib};
use shop::{Host, Shop, Work};

type Failure = Box<dyn Error>;

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Entries measured for each kind of work and size of chunk.
const ENTRIES: u64 = 20_000;
/// Entries applied together, as few and many waiting clients make them.
const CHUNKS: [usize; 4] = [1, 8, 32, 64];
/// Entries in one chunk while filling.
const FILL_CHUNK: usize = 64;
/// Pace of the clients while a snapshot is written, in chunks of [`PACED_CHUNK`] a second.
const PACED_CHUNKS_PER_S: u64 = 100;
const PACED_CHUNK: usize = 16;
/// Chunks whose times make the normal percentiles.
const PACED_CHUNKS: usize = 500;

fn open(dir: &Path, host: &Arc<Host>) -> Result<StateMachine, Failure> {
    let options = StateOptions {
        data_dir: dir.to_owned(),
        purged_index: None,
        apply: ApplyOptions::default(),
    };
    Ok(StateMachine::open(options, Arc::clone(host) as _, None)?)
}

async fn apply(machine: &mut StateMachine, shop: &mut Shop, work: Work) -> Result<(), Failure> {
    use openraft::storage::RaftStateMachine;
    let entries: Vec<_> = shop
        .entries(work)
        .into_iter()
        .map(|e| Ok((e, None)))
        .collect();
    Ok(machine.apply(stream::iter(entries)).await?)
}

/// Brings the state to `jobs` jobs, with a policy host that allows everything at once.
async fn fill(machine: &mut StateMachine, shop: &mut Shop, jobs: u64) -> Result<(), Failure> {
    let stored = meta::totals(&machine.handle().view())?.jobs;
    let style = ProgressStyle::with_template("filling {bar:40} {pos}/{len} jobs, {eta} left")?;
    let bar = ProgressBar::new(jobs).with_style(style);
    shop.host.allow_all(true);
    for job in (stored..jobs).step_by(FILL_CHUNK) {
        let count = FILL_CHUNK.min((jobs - job) as usize);
        apply(machine, shop, Work::Create(count)).await?;
        bar.set_position(job);
    }
    shop.host.allow_all(false);
    bar.finish_and_clear();
    Ok(())
}

async fn costs(machine: &mut StateMachine, shop: &mut Shop) -> Result<(), Failure> {
    println!("entries a chunk       work   us/entry   CPU us/entry");
    for chunk in CHUNKS {
        for (name, work) in [
            ("create", Work::Create as fn(usize) -> Work),
            ("start", Work::Start),
            ("finish", Work::Finish),
        ] {
            let start = Cost::now();
            for _ in 0..ENTRIES / chunk as u64 {
                apply(machine, shop, work(chunk)).await?;
            }
            let (wall, cpu) = start.since(ENTRIES);
            println!("{chunk:>15} {name:>10} {wall:>10.1} {cpu:>14.1}");
        }
    }
    Ok(())
}

/// The times of paced chunks, in microseconds, until `enough` says so.
async fn paced(
    machine: &mut StateMachine,
    shop: &mut Shop,
    enough: impl Fn(usize) -> bool,
) -> Result<Vec<u64>, Failure> {
    let mut ticks =
        tokio::time::interval(std::time::Duration::from_millis(1_000 / PACED_CHUNKS_PER_S));
    let mut times = Vec::new();
    while !enough(times.len()) {
        ticks.tick().await;
        let start = Instant::now();
        apply(machine, shop, Work::Create(PACED_CHUNK)).await?;
        times.push(start.elapsed().as_micros() as u64);
    }
    times.sort_unstable();
    Ok(times)
}

async fn under_snapshot(machine: &mut StateMachine, shop: &mut Shop) -> Result<(), Failure> {
    let normal = paced(machine, shop, |chunks| chunks >= PACED_CHUNKS).await?;
    let handle = machine.handle();
    let start = Instant::now();
    let building = std::thread::spawn(move || handle.build_snapshot());
    let during = paced(machine, shop, |_| building.is_finished()).await?;
    let took = start.elapsed();
    let built = building.join().map_err(|_| "the builder panicked")??;
    println!(
        "chunks of {PACED_CHUNK}: p50 {} us, p99 {} us; while a snapshot of {} MiB is written \
         ({:.1} s): p50 {} us, p99 {} us",
        percentile_us(&normal, 50),
        percentile_us(&normal, 99),
        built.size_bytes() >> 20,
        took.as_secs_f64(),
        percentile_us(&during, 50),
        percentile_us(&during, 99),
    );
    Ok(())
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let jobs = arguments.next().map_or(Ok(1_000), |jobs| jobs.parse())?;
    let temporary = tempfile::tempdir()?;
    let dir = arguments
        .next()
        .map_or(temporary.path().join("node"), PathBuf::from);
    std::fs::create_dir_all(&dir)?;
    let host = Arc::new(Host::new(&temporary.path().join("modules"))?);

    let mut machine = open(&dir, &host)?;
    let mut shop = Shop::open(Arc::clone(&host), &machine.handle().view())?;
    if shop.is_empty() {
        apply(&mut machine, &mut shop, Work::Found).await?;
    }
    let start = Cost::now();
    fill(&mut machine, &mut shop, jobs).await?;
    let (wall, cpu) = start.since(jobs);
    println!("{jobs} jobs; filled in {wall:.1} us a job, CPU {cpu:.1}");
    println!("anonymous memory {} MiB", resident_mib()?);
    drop(machine);

    let start = Instant::now();
    let mut machine = open(&dir, &host)?;
    println!(
        "opened in {:.2} s at revision {}; {} MiB on disk, anonymous memory {} MiB",
        start.elapsed().as_secs_f64(),
        machine.handle().view().revision(),
        disk_mib(&dir.join("state"))?,
        resident_mib()?
    );
    shop.catch_up(&mut machine).await?;
    costs(&mut machine, &mut shop).await?;
    println!("anonymous memory {} MiB", resident_mib()?);
    under_snapshot(&mut machine, &mut shop).await?;
    println!("anonymous memory {} MiB", resident_mib()?);
    drop(machine);
    let start = Instant::now();
    let machine = open(&dir, &host)?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "opened with its snapshot in {seconds:.2} s at revision {}",
        machine.handle().view().revision()
    );
    Ok(())
}
