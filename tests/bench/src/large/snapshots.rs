//! Latency of writes while a snapshot is taken, and while one is sent to a new node, beside the
//! other times of the same run.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use raft3d_checkers::report::Table;

use super::CLIENTS;
use crate::load::driver::LoadProcess;
use crate::load::{Answered, Until, Work, nearest_rank};
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
/// Fewest answers that a p99 is told of.
const ANSWERS_MIN: usize = 500;

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

/// Latencies of one kind of moment.
#[derive(Clone, Debug, Default)]
struct Latency {
    answers: usize,
    /// How long such moments were, in seconds.
    seconds: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
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
    moments.watch_taking(cluster, setting.window)?;
    bar.inc(1);
    bar.set_message("sent to a new node");
    let joined = Instant::now();
    let place = cluster.join()?;
    moments.now(Doing::Sending);
    cluster.wait_ready(place)?;
    let join_seconds = joined.elapsed().as_secs_f64();
    bar.inc(1);
    bar.set_message("normal");
    moments.watch(cluster, setting.window, |_| false);
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

/// From when on what goes on, in microseconds since the Unix epoch.
#[derive(Debug, Default)]
struct Moments(Vec<(u64, Doing)>);

impl Moments {
    /// From now on `doing` goes on.
    fn now(&mut self, doing: Doing) {
        if self.0.last().is_none_or(|(_, last)| *last != doing) {
            self.0.push((unix_us(), doing));
        }
    }

    /// Watches until a snapshot was taken and there were normal moments of `window` in all.
    fn watch_taking(&mut self, cluster: &Cluster, window: Duration) -> Result<()> {
        std::thread::sleep(WARM_UP);
        self.watch(cluster, SNAPSHOT_PATIENCE, |moments| {
            let taken = moments.0.iter().any(|(_, doing)| *doing == Doing::Taking);
            let over = moments
                .0
                .last()
                .is_some_and(|(_, doing)| *doing == Doing::Normal);
            taken && over && moments.lasted(Doing::Normal) >= window
        });
        Ok(())
    }

    /// Watches the folders of all nodes for `patience`, or until that is `enough`.
    fn watch(&mut self, cluster: &Cluster, patience: Duration, enough: impl Fn(&Self) -> bool) {
        let until = Instant::now() + patience;
        while Instant::now() < until && !enough(self) {
            let members = cluster.members().iter();
            let taking = members.map(|m| m.data()).any(is_taking_a_snapshot);
            self.now(if taking { Doing::Taking } else { Doing::Normal });
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Each stretch: from, until (exclusive), what.
    fn stretches(&self) -> impl Iterator<Item = (u64, u64, Doing)> {
        let ends = self.0.iter().skip(1).map(|(at, _)| *at);
        let ends = ends.chain(std::iter::once_with(unix_us));
        let stretches = self.0.iter().zip(ends);
        stretches.map(|((from, doing), until)| (*from, until, *doing))
    }

    fn lasted(&self, doing: Doing) -> Duration {
        let stretches = self.stretches().filter(|(_, _, what)| *what == doing);
        Duration::from_micros(stretches.map(|(from, until, _)| until - from).sum())
    }

    /// Latencies of the answers that came while `doing` went on.
    fn latency(&self, trace: &[Answered], doing: Doing) -> Latency {
        let stretches: Vec<_> = self.stretches().collect();
        let during = |answer: &&Answered| {
            let at = stretches.partition_point(|(from, _, _)| *from <= answer.at_us);
            let stretch = at.checked_sub(1).and_then(|at| stretches.get(at));
            stretch.is_some_and(|(_, _, what)| *what == doing)
        };
        let mut took: Vec<u32> = trace.iter().filter(during).map(|a| a.took_us).collect();
        took.sort_unstable();
        let ms = |quantile| f64::from(nearest_rank(&took, quantile)) / 1_000.0;
        Latency {
            answers: took.len(),
            seconds: self.lasted(doing).as_secs_f64(),
            p50_ms: ms(5_000),
            p99_ms: ms(9_900),
            max_ms: ms(10_000),
        }
    }
}

fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
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
        let head = [
            "while",
            "seconds",
            "writes a second",
            "p50 ms",
            "p99 ms",
            "largest ms",
        ];
        let title = "Latency of writes and snapshots, 64 clients, one run";
        let mut shown = table(title, &head);
        let sending = format!(
            "a new node joins (ready after {} s)",
            short(self.join_seconds)
        );
        for (what, latency) in [
            ("nothing else", &self.normal),
            ("a node takes a snapshot", &self.taking),
            (&sending, &self.sending),
        ] {
            shown.rows.push(vec![
                what.to_owned(),
                short(latency.seconds),
                short(latency.answers as f64 / latency.seconds.max(f64::EPSILON)),
                short(latency.p50_ms),
                short(latency.p99_ms),
                short(latency.max_ms),
            ]);
        }
        shown
    }

    pub(super) fn targets(&self, most: f64) -> Vec<Target> {
        let kinds = [("taken", &self.taking), ("sent", &self.sending)];
        kinds
            .into_iter()
            .map(|(kind, latency)| {
                let what = format!("p99 of writes while a snapshot of all jobs is {kind}");
                let must = format!("at most {most} x the normal one");
                if latency.answers < ANSWERS_MIN || self.normal.answers < ANSWERS_MIN {
                    let why = format!(
                        "{} answers then, {} normal ones",
                        latency.answers, self.normal.answers
                    );
                    return Target::unmeasured(what, must, why);
                }
                let ratio = latency.p99_ms / self.normal.p99_ms;
                Target::new(what, must, format!("{} x", short(ratio)), ratio <= most)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_where_they_came() {
        let moments = Moments(vec![
            (100, Doing::Normal),
            (200, Doing::Taking),
            (300, Doing::Normal),
        ]);
        let answered = |at_us, took_us| Answered { at_us, took_us };
        let trace = [
            answered(99, 1_000),
            answered(100, 2_000),
            answered(199, 3_000),
            answered(200, 40_000),
            answered(300, 5_000),
        ];
        let normal = moments.latency(&trace, Doing::Normal);
        assert_eq!((normal.answers, normal.max_ms), (3, 5.0));
        let taking = moments.latency(&trace, Doing::Taking);
        assert_eq!((taking.answers, taking.p99_ms), (1, 40.0));
        assert_eq!(moments.latency(&trace, Doing::Sending).answers, 0);
        assert_eq!(moments.lasted(Doing::Taking), Duration::from_micros(100));
    }
}
