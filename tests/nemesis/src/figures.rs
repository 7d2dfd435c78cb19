//! The figures of a run, for `target/report/nemesis.json`.

use std::collections::BTreeMap;
use std::time::Duration;

use raft3d_checkers::report::{Report, Table};

use crate::disk::{self, Taken};
use crate::faults::KINDS;
use crate::net;
use crate::round::Outcome;

/// What came of all rounds so far.
#[derive(Debug, Default)]
pub struct Figures {
    rounds: u64,
    answers: BTreeMap<&'static str, u64>,
    recoveries: BTreeMap<&'static str, Vec<Duration>>,
    judged: BTreeMap<&'static str, u64>,
    longest_outage: Duration,
    disks: disk::Counts,
    net: net::Counts,
    taken: Taken,
    undecided: u64,
    violations: Vec<String>,
}

impl Figures {
    /// Adds a round; `replay` is the line that plays it again.
    pub fn add(&mut self, outcome: &Outcome, replay: &str) {
        self.rounds += 1;
        for (kind, many) in &outcome.answers {
            *self.answers.entry(kind).or_default() += many;
        }
        for healed in &outcome.healed {
            let recoveries = self.recoveries.entry(healed.kind).or_default();
            recoveries.push(healed.recovery);
        }
        for (what, many) in &outcome.judged {
            let sum = self.judged.entry(what).or_default();
            // The longest of something is no sum.
            *sum = if what.contains("longest") {
                (*sum).max(*many)
            } else {
                *sum + many
            };
        }
        self.longest_outage = self.longest_outage.max(outcome.longest_outage);
        self.disks = self.disks.and(outcome.disks);
        self.net = self.net.and(outcome.net);
        self.taken = self.taken.and(outcome.taken);
        self.undecided += outcome.undecided.len() as u64;
        for violation in &outcome.violations {
            self.violations
                .push(format!("{violation}\nreplay: {replay}"));
        }
    }

    /// Violations so far.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Faults injected so far.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.recoveries.values().map(Vec::len).sum()
    }

    /// As a report; `missing` are the kinds that this machine cannot have, with the reason.
    #[must_use]
    pub fn report(
        &self,
        command: &str,
        took: Duration,
        missing: &BTreeMap<&'static str, String>,
    ) -> Report {
        let mut report = Report::new("nemesis", command);
        report.seconds = took.as_secs();
        report.figure("rounds, each a fresh cluster", self.rounds);
        let operations: u64 = self.answers.values().sum();
        report.figure("operations", operations);
        report.figure("faults injected", self.faults());
        report.figure(
            "longest time without an accepted write",
            seconds(self.longest_outage),
        );
        let mut all: Vec<Duration> = self.recoveries.values().flatten().copied().collect();
        all.sort();
        let (median, worst) = (all.get(all.len() / 2), all.last());
        let show = |time: Option<&Duration>| time.map_or_else(String::new, |time| seconds(*time));
        report.figure(
            "from healing to the next accepted write, median",
            show(median),
        );
        report.figure(
            "from healing to the next accepted write, worst",
            show(worst),
        );
        report.figure(
            "sectors that power cuts took back or tore",
            self.taken.sectors,
        );
        report.figure("wrong bits in what was not synced", self.taken.flipped);
        report.figure("names that power cuts took back", self.taken.names);
        report.figure("syncs of the disks", self.disks.syncs);
        report.figure("writes refused by full disks", self.disks.refused);
        report.figure("syncs that failed", self.disks.failed);
        report.figure("chunks held up by cuts", self.net.held);
        report.figure("chunks delayed", self.net.delayed);
        report.figure("connections reset", self.net.reset);
        report.figure("judgements without a decision", self.undecided);
        report.figure("violations", self.violations.len());
        report.tables = vec![
            self.faults_table(missing),
            counts("What clients were told", &self.answers),
            counts("What the judges looked at", &self.judged),
        ];
        report.violations = self.violations.clone();
        report
    }

    fn faults_table(&self, missing: &BTreeMap<&'static str, String>) -> Table {
        let head = ["fault", "times", "recovery, median", "recovery, worst"];
        let rows = KINDS.iter().map(|kind| {
            if let Some(why) = missing.get(kind.name) {
                let not_run = format!("not run: {why}");
                return vec![kind.name.to_owned(), not_run, String::new(), String::new()];
            }
            let mut times = self.recoveries.get(kind.name).cloned().unwrap_or_default();
            times.sort();
            let show =
                |time: Option<&Duration>| time.map_or_else(String::new, |time| seconds(*time));
            vec![
                kind.name.to_owned(),
                times.len().to_string(),
                show(times.get(times.len() / 2)),
                show(times.last()),
            ]
        });
        Table {
            title: "Faults, and from healing to the next accepted write".to_owned(),
            head: head.map(str::to_owned).to_vec(),
            rows: rows.collect(),
        }
    }
}

fn counts(title: &str, counts: &BTreeMap<&'static str, u64>) -> Table {
    let rows = counts.iter();
    Table {
        title: title.to_owned(),
        head: vec!["what".to_owned(), "times".to_owned()],
        rows: rows
            .map(|(what, many)| vec![(*what).to_owned(), many.to_string()])
            .collect(),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
