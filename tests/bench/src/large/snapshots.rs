//! Latency of writes while a snapshot is taken, and while one is sent to a new node, beside the
//! other times of the same run.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use raft3d_checkers::report::Table;

use super::CLIENTS;
use crate::load::driver::LoadProcess;
use crate::load::{Until, Work};
use crate::moments::{Latency, Moments};
use crate::setting::{Setting, bar, leader_first};
use crate::stats::short;
use crate::systems::Cluster;
use crate::table::table;
use crate::targets::Target;

/// How often the folders of snapshots are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A file of a snapshot that is being written ends so.
const BEING_WRITTEN: &str = "tmp";
/// Answers this long after the start of the load are not looked at.
const WARM_UP: Duration = Duration::from_secs(2);
/// Longest wait for a snapshot: of a million jobs one is taken every million entries or so.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(300);

/// What goes on at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Nothing but writes.
    Normal,
    /// At least one node takes a snapshot.
    Taking,
    /// A new node is let in and gets everything; nobody may know who else takes a snapshot then.
    Sending,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshots {
    normal: Latency,
    taking: Latency,
    sending: Latency,
    /// From the new node's start to its being ready, in seconds.
    join_seconds: f64,
}

/// Measures under one load from its beginning to its end; leaves the new node in the cluster.
pub(super) fn measure(setting: &Setting, cluster: &mut Cluster) -> Result<Snapshots> {
    let places = leader_first(cluster)?;
    let mut spec = setting.spec(cluster, &places, Work::Write, CLIENTS, "snap")?;
    spec.until = Until::Told;
    spec.trace = true;
    let mut load = LoadProcess::start(&spec)?;
    load.wait_begin()?;
    let bar = bar("snapshots", 3);
    bar.set_message("taken");
    let mut moments = Moments::default();
    watch_taking(&mut moments, cluster, setting.window);
    bar.inc(1);
    bar.set_message("sent to a new node");
    let joined = Instant::now();
    let place = cluster.join()?;
    moments.now(Doing::Sending);
    cluster.wait_ready(place)?;
    let join_seconds = joined.elapsed().as_secs_f64();
    bar.inc(1);
    bar.set_message("normal");
    watch(&mut moments, cluster, setting.window, |_| false);
    bar.inc(1);
    load.stop();
    load.wait_end(|_| {})?;
    bar.finish_and_clear();
    let outcome = load.outcome()?;
    cluster.wait_level()?;
    Ok(Snapshots {
        normal: moments.latency(&outcome.trace, Doing::Normal),
        taking: moments.latency(&outcome.trace, Doing::Taking),
        sending: moments.latency(&outcome.trace, Doing::Sending),
        join_seconds,
    })
}

/// Watches until a snapshot was taken and there were normal moments of `window` in all.
fn watch_taking(moments: &mut Moments<Doing>, cluster: &Cluster, window: Duration) {
    std::thread::sleep(WARM_UP);
    watch(moments, cluster, SNAPSHOT_PATIENCE, |moments| {
        let taken = moments.has(Doing::Taking) && moments.is(Doing::Normal);
        taken && moments.lasted(Doing::Normal) >= window
    });
}

/// Watches the folders of all nodes for `patience`, or until that is `enough`.
fn watch(
    moments: &mut Moments<Doing>,
    cluster: &Cluster,
    patience: Duration,
    enough: impl Fn(&Moments<Doing>) -> bool,
) {
    let until = Instant::now() + patience;
    while Instant::now() < until && !enough(moments) {
        let members = cluster.members().iter();
        let taking = members.map(|m| m.data()).any(is_taking_a_snapshot);
        moments.now(if taking { Doing::Taking } else { Doing::Normal });
        std::thread::sleep(LOOK_EVERY);
    }
}

fn is_taking_a_snapshot(data: &Path) -> bool {
    let Ok(files) = std::fs::read_dir(data.join("snapshots")) else {
        return false;
    };
    files.flatten().any(|file| {
        let path = file.path();
        path.extension()
            .is_some_and(|suffix| suffix == BEING_WRITTEN)
    })
}

impl Snapshots {
    pub(super) fn table(&self) -> Table {
        let title = "Latency of writes and snapshots, 64 clients, one run";
        let mut shown = table(title, &Latency::HEAD);
        let sending = format!(
            "a new node joins (ready after {} s)",
            short(self.join_seconds)
        );
        for (what, latency) in [
            ("nothing else", &self.normal),
            ("a node takes a snapshot", &self.taking),
            (&sending, &self.sending),
        ] {
            shown.rows.push(latency.row(what));
        }
        shown
    }

    pub(super) fn targets(&self, most: f64) -> Vec<Target> {
        let kinds = [("taken", &self.taking), ("sent", &self.sending)];
        let target = |(kind, latency): (&str, &Latency)| {
            let what = format!("p99 of writes while a snapshot of all jobs is {kind}");
            latency.target(&self.normal, &what, most)
        };
        kinds.into_iter().map(target).collect()
    }
}
