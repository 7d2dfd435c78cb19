//! What all parts of a run share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::load::{Spec, Until, Work};
use crate::systems::{Cluster, Launch, System, raft3d_program};

/// Time in which a cluster comes up to speed before each measurement, in milliseconds.
const WARM_UP_MS: u64 = 1_500;

/// How much to measure, and where.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Interleaved rounds.
    pub rounds: usize,
    /// Length of a measured window.
    pub window: Duration,
    /// Further arguments for every node of ours; none for the figures that are published.
    pub node_args: Vec<String>,
    /// Another build of ours, to be measured in turns with this one.
    pub against: Option<PathBuf>,
    /// Where clusters keep their data: under `target/`, removed at the end.
    pub scratch: PathBuf,
    /// What may be used again by a later run.
    pub cache: PathBuf,
}

impl Setting {
    /// The systems that are measured in turns, in the order in which they are shown.
    #[must_use]
    pub fn systems(&self) -> Vec<System> {
        let against = self.against.as_ref().map(|_| System::Against);
        let all = [Some(System::Raft3d), against, Some(System::Etcd)];
        all.into_iter().flatten().collect()
    }

    /// What the nodes of `system` are started with.
    ///
    /// # Errors
    /// There is no such program.
    pub fn launch(&self, system: System) -> Result<Launch> {
        let (program, args) = match (system, &self.against) {
            (System::Raft3d, _) => (raft3d_program()?, &self.node_args[..]),
            (System::Against, Some(other)) => (other.clone(), &self.node_args[..]),
            (System::Against, None) => bail!("no other build was given: --against PROGRAM"),
            (System::Etcd, _) => (PathBuf::from("etcd"), &[][..]),
        };
        Ok(Launch {
            system,
            program,
            args: args.to_vec(),
        })
    }

    /// An empty folder for one cluster.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.scratch.join(name);
        remove(&folder)?;
        std::fs::create_dir_all(&folder).context("a folder for a cluster")?;
        Ok(folder)
    }

    /// A load of `clients` on the nodes at `places`, for one window.
    ///
    /// # Errors
    /// There is no such node.
    pub fn spec(
        &self,
        cluster: &Cluster,
        places: &[usize],
        work: Work,
        clients: usize,
        prefix: &str,
    ) -> Result<Spec> {
        let targets = places.iter().map(|place| cluster.address(*place));
        Ok(Spec {
            system: cluster.system(),
            work,
            targets: targets.collect::<Result<_>>()?,
            clients,
            prefix: prefix.to_owned(),
            until: Until::Time {
                warm_up_ms: WARM_UP_MS,
                window_ms: u64::try_from(self.window.as_millis())?,
            },
            trace: false,
        })
    }
}

/// A folder for the clusters of this run, named by our process id, under `parent`. What runs
/// that were killed have left there is removed.
///
/// # Errors
/// It cannot be made, or what is left cannot be removed.
pub fn scratch(parent: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(parent)?;
    for left in std::fs::read_dir(parent)? {
        let left = left?;
        if !Path::new("/proc").join(left.file_name()).exists() {
            remove(&left.path())?;
        }
    }
    let own = parent.join(std::process::id().to_string());
    std::fs::create_dir_all(&own)?;
    Ok(own)
}

/// Removes a folder and everything in it, where it is there.
///
/// # Errors
/// It is there and stays.
pub fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// All running nodes of a cluster, the leader first.
///
/// # Errors
/// None leads.
pub fn leader_first(cluster: &Cluster) -> Result<Vec<usize>> {
    let leader = cluster.leader()?;
    let mut places: Vec<usize> = cluster.running().collect();
    places.sort_by_key(|place| *place != leader);
    Ok(places)
}

/// A bar over `steps` steps, on standard error.
#[must_use]
pub fn bar(what: &'static str, steps: u64) -> ProgressBar {
    let template = "{prefix} [{bar:30}] {human_pos}/{human_len} {elapsed}, {eta} to go  {msg}";
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(steps)
        .with_prefix(what)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
