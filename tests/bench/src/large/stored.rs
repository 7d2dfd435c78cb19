//! Getting a cluster with so many jobs: filled through its API, or a copy of one that was.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use raft3d_cluster_tests::ports::Port;
use serde::{Deserialize, Serialize};

use super::memory_mib;
use crate::load::Work;
use crate::measure::fill;
use crate::setting::{Setting, bar, remove};
use crate::systems::{Cluster, System};

/// Folder of the cluster that is measured, in the scratch folder.
pub(super) const FOLDER: &str = "large";
/// Beside the data folders in the cache: what the cluster was.
const DESCRIPTION: &str = "cluster.json";
/// Ids of the jobs start so.
const PREFIX: &str = "job";

/// A cluster that was filled, and what was seen meanwhile.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Stored {
    /// Jobs stored a second.
    pub per_second: f64,
    /// Resident anonymous memory of each node right after that, in MiB.
    pub memory_mib: Vec<f64>,
    /// Its (client, peer) ports: members know one another by them.
    ports: Vec<(u16, u16)>,
}

/// A cluster that is ready and holds `jobs` jobs.
pub(super) fn obtain(setting: &Setting, jobs: u64, refill: bool) -> Result<(Cluster, Stored)> {
    let cached = setting.cache.join(format!("jobs-{jobs}"));
    if !refill && cached.join(DESCRIPTION).is_file() {
        match reuse(setting, &cached) {
            Ok(both) => return Ok(both),
            // Another format, or a port that somebody has: it is only a cache.
            Err(error) => eprintln!("the filled cluster of before is of no use: {error:#}"),
        }
    }
    remove(&cached)?;
    let folder = setting.folder(FOLDER)?;
    let stored = fill_new(setting, &folder, jobs)?;
    copy(&folder, &cached)?;
    std::fs::write(cached.join(DESCRIPTION), serde_json::to_vec(&stored)?)?;
    let cluster = start(setting, &folder, &stored)?;
    Ok((cluster, stored))
}

fn reuse(setting: &Setting, cached: &Path) -> Result<(Cluster, Stored)> {
    let stored: Stored = serde_json::from_slice(&std::fs::read(cached.join(DESCRIPTION))?)?;
    eprintln!(
        "using a copy of {} (--refill makes it anew)",
        cached.display()
    );
    let folder = setting.scratch.join(FOLDER);
    remove(&folder)?;
    copy(cached, &folder)?;
    let cluster = start(setting, &folder, &stored)?;
    Ok((cluster, stored))
}

fn start(setting: &Setting, folder: &Path, stored: &Stored) -> Result<Cluster> {
    let claim = |port| Port::try_claim(port).with_context(|| format!("port {port} is taken"));
    let ports = stored.ports.iter();
    let ports = ports.map(|(client, peer)| Ok((claim(*client)?, claim(*peer)?)));
    let ports: Vec<_> = ports.collect::<Result<_>>()?;
    Cluster::start_at(setting.launch(System::Raft3d)?, folder, ports)
}

/// Fills a new cluster and stops it as an operator would.
fn fill_new(setting: &Setting, folder: &Path, jobs: u64) -> Result<Stored> {
    let mut cluster = Cluster::start(setting.launch(System::Raft3d)?, folder)?;
    cluster.open_shop()?;
    let bar = bar("jobs stored", jobs);
    let outcome = fill(setting, &cluster, Work::Write, jobs, PREFIX, |stored| {
        bar.set_position(stored)
    })?;
    bar.finish_and_clear();
    cluster.wait_level()?;
    let stored = Stored {
        per_second: outcome.per_second(),
        memory_mib: memory_mib(&cluster)?,
        ports: cluster.ports(),
    };
    for place in 0..cluster.members().len() {
        cluster.stop(place)?;
    }
    Ok(stored)
}

/// Copies a folder, sharing blocks where the file system can.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let copied = Command::new("cp")
        .args(["--archive", "--reflink=auto"])
        .args([from, to])
        .status()?;
    ensure!(copied.success(), "cannot copy {}", from.display());
    Ok(())
}
