//! `/metrics`: the node and its policies, as Prometheus reads them (OpenMetrics 1.0, text).
//!
//! What a policy is asked on this replica is counted here, by replica: each evaluates every entry.

mod fill;

use std::collections::BTreeMap;
use std::fmt;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use raft3d_engine::core::state::modules;
use raft3d_engine::core::{Export, ModuleDigest, ReadRows};
use raft3d_engine::policy::tally::{
    Asked, Cost, GAS_BOUNDS, Histogram, PolicyTallies, TIME_BOUNDS_NS, Verdicts,
};
use raft3d_engine::raft::api::{Consistency, NodeStatus, ReadOptions, Role};

use super::limits::{CONNECTIONS_MAX, CONNECTIONS_OF_ONE_MAX, READ_TIME_MAX};
use super::places::{self, Sender};
use super::problem::Problem;
use super::{App, reply};
use fill::Fill;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const NS_PER_S: f64 = 1e9;

pub(super) async fn metrics(State(app): State<App>, sender: Sender) -> Result<Response, Problem> {
    let status = app.backend.status();
    let tallies = app.backend.policy_tallies();
    let applied = status.applied;
    let (names, fill) = of_state(&app, &tallies).await;
    let figures = Figures {
        status,
        tallies,
        names,
        fill,
        connections: sender.figures(),
    };
    let mut registry = Registry::with_prefix("raft3d");
    registry.register_collector(Box::new(figures));
    let mut text = String::new();
    encode(&mut text, &registry).map_err(Problem::internal)?;
    Ok(reply::of_now(CONTENT_TYPE, applied, Body::from(text)))
}

/// The names that modules give themselves, and how full the state is. A node that cannot say it has
/// metrics all the same.
async fn of_state(
    app: &App,
    tallies: &PolicyTallies,
) -> (BTreeMap<ModuleDigest, String>, Option<Fill>) {
    let digests: Vec<_> = tallies
        .costs
        .iter()
        .map(|((module, _), _)| *module)
        .collect();
    let options = ReadOptions {
        consistency: Consistency::Stale,
        min_revision: None,
        timeout: READ_TIME_MAX,
    };
    let read = app.read(options, move |rows| {
        Ok((look_up(rows, &digests), Some(Fill::read(rows)?)))
    });
    read.await.map(|(_, both)| both).unwrap_or_default()
}

fn look_up(rows: &dyn ReadRows, digests: &[ModuleDigest]) -> BTreeMap<ModuleDigest, String> {
    let name = |digest: &ModuleDigest| {
        let info = modules::get(rows, *digest).ok().flatten()?;
        Some((*digest, info.manifest.name))
    };
    digests.iter().filter_map(name).collect()
}

/// Everything that is shown, taken at one moment.
struct Figures {
    status: NodeStatus,
    tallies: PolicyTallies,
    names: BTreeMap<ModuleDigest, String>,
    /// None where it could not be read.
    fill: Option<Fill>,
    connections: places::Figures,
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Figures({})", self.status.node_id)
    }
}

type Labels = Vec<(&'static str, String)>;

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.node(&mut encoder)?;
        self.times(&mut encoder)?;
        self.connections(&mut encoder)?;
        if let Some(fill) = &self.fill {
            fill.encode(&mut encoder)?;
        }
        self.verdicts(&mut encoder)?;
        self.denials(&mut encoder)?;
        self.failures(&mut encoder)?;
        self.gas(&mut encoder)?;
        self.time(&mut encoder)
    }
}

impl Figures {
    fn node(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let status = &self.status;
        let is_leader = u64::from(status.role == Role::Leader);
        let is_ready = u64::from(status.not_ready.is_none());
        let gauges = [
            (
                "ready",
                "Whether this node serves reads and writes",
                is_ready,
            ),
            ("leader", "Whether this node is the leader", is_leader),
            (
                "clock_trusted",
                "Whether this node would stamp entries with its clock",
                u64::from(status.clock.waits.is_none()),
            ),
            (
                "table_merges_stopped",
                "Whether the thread that merges this node's table files has failed",
                u64::from(status.disk.merges_stopped),
            ),
            (
                "table_merges_waiting",
                "Whether table files are not merged before there is room on the disk",
                u64::from(status.disk.merges_wait),
            ),
            ("term", "Raft term", status.term),
            (
                "last_log_index",
                "Last index of this node's log",
                status.last_log_index,
            ),
            (
                "applied_revision",
                "Last log index that is applied here",
                status.applied.0,
            ),
            (
                "snapshot_index",
                "Log index of the newest snapshot",
                status.snapshot_index,
            ),
            (
                "purged_index",
                "Log index up to which the log is purged",
                status.purged_index,
            ),
            (
                "engine_epoch",
                "Engine epoch in force",
                u64::from(status.engine_epoch),
            ),
        ];
        for (name, help, value) in gauges {
            let mut gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            gauge.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// How full the places for clients' connections are.
    fn connections(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now = &self.connections;
        let gauges = [
            (
                "http_connections",
                "Connections of clients",
                now.connections,
            ),
            (
                "http_connections_max",
                "Connections at which one goes for each that comes",
                CONNECTIONS_MAX,
            ),
            (
                "http_addresses",
                "Addresses that clients' connections come from",
                now.addresses,
            ),
            (
                "http_connections_of_one_address",
                "Connections of the address that has most",
                now.most_of_one,
            ),
            (
                "http_connections_of_one_address_max",
                "Connections that one address may have",
                CONNECTIONS_OF_ONE_MAX,
            ),
        ];
        for (name, help, value) in gauges {
            let mut gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            gauge.encode_gauge(&(value as u64))?;
        }
        let counters = [
            (
                "http_connections_refused",
                "Connections refused because their address had too many",
                now.refused,
            ),
            (
                "http_connections_displaced",
                "Connections that had to go for others",
                now.displaced,
            ),
        ];
        for (name, help, value) in counters {
            let mut counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            counter.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    /// Times of this node, and what its disk has left.
    fn times(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let clock = &self.status.clock;
        let gauges = [
            (
                "log_time_ahead",
                "By how much log time is ahead of this node's clock with the offset",
                clock.log_time_ahead_ms(),
            ),
            (
                "clock_offset",
                "By how much log time is set ahead of the leaders' clocks",
                clock.offset_ms,
            ),
            (
                "log_oldest_unsynced",
                "How long the oldest write to this node's log has waited for its sync",
                self.status.disk.oldest_unsynced_ms,
            ),
        ];
        for (name, help, ms) in gauges {
            let (unit, kind) = (Some(&Unit::Seconds), MetricType::Gauge);
            let mut gauge = encoder.encode_descriptor(name, help, unit, kind)?;
            gauge.encode_gauge(&seconds(ms))?;
        }
        let Some(free) = self.status.disk.free_bytes else {
            return Ok(());
        };
        let help = "Bytes that are free on the disk of this node's data folder";
        let (unit, kind) = (Some(&Unit::Bytes), MetricType::Gauge);
        let mut gauge = encoder.encode_descriptor("disk_free", help, unit, kind)?;
        gauge.encode_gauge(&free)
    }

    fn policy(&self, module: ModuleDigest) -> Labels {
        let name = self.names.get(&module).cloned().unwrap_or_default();
        vec![("policy", name), ("module", module.to_string())]
    }

    fn asked(&self, asked: &Asked) -> Labels {
        let mode = if asked.is_shadow { "shadow" } else { "enforce" };
        let mut labels = self.policy(asked.module);
        labels.push(("binding", asked.binding.to_string()));
        labels.push(("hook", asked.hook.name().to_owned()));
        labels.push(("mode", mode.to_owned()));
        labels
    }

    fn verdicts(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Evaluations of a policy in apply, by verdict";
        self.count(encoder, "policy_evaluations", help, "verdict", |verdicts| {
            let denied = verdicts.denied.iter().map(|(_, count)| count).sum();
            let failed = verdicts.failed.iter().map(|(_, count)| count).sum();
            [
                ("allow", verdicts.allowed),
                ("deny", denied),
                ("pass", verdicts.passed),
                ("take", verdicts.taken),
                ("failed", failed),
            ]
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(verdict, count)| (verdict.to_owned(), count))
            .collect()
        })
    }

    fn denials(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Denials by a policy, by its code";
        self.count(encoder, "policy_denials", help, "code", |verdicts| {
            verdicts.denied.clone()
        })
    }

    fn failures(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Evaluations without a usable answer, which deny, by error";
        self.count(encoder, "policy_faults", help, "error", |verdicts| {
            let failed = verdicts.failed.iter();
            failed
                .map(|(code, count)| ((*code).to_owned(), *count))
                .collect()
        })
    }

    /// One counter of each binding and hook, by one more label.
    fn count(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        label: &'static str,
        counts: impl Fn(&Verdicts) -> Vec<(String, u64)>,
    ) -> Result<(), fmt::Error> {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (asked, verdicts) in &self.tallies.verdicts {
            for (value, count) in counts(verdicts) {
                let mut labels = self.asked(asked);
                labels.push((label, value));
                let mut one = metric.encode_family(&labels)?;
                one.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        Ok(())
    }

    fn gas(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Gas of an evaluation";
        let kind = MetricType::Histogram;
        let metric = encoder.encode_descriptor("policy_gas", help, None, kind)?;
        self.histogram(metric, &GAS_BOUNDS, 1.0, |cost| &cost.gas)
    }

    fn time(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (name, help) = ("policy_evaluation", "Time of an evaluation on this node");
        let (unit, kind) = (Some(&Unit::Seconds), MetricType::Histogram);
        let metric = encoder.encode_descriptor(name, help, unit, kind)?;
        self.histogram(metric, &TIME_BOUNDS_NS, NS_PER_S, |cost| &cost.time_ns)
    }

    /// One histogram of each module and export.
    fn histogram(
        &self,
        mut metric: MetricEncoder<'_>,
        bounds: &[u64; 10],
        per_unit: f64,
        of: impl Fn(&Cost) -> &Histogram,
    ) -> Result<(), fmt::Error> {
        for ((module, export), cost) in &self.tallies.costs {
            let (histogram, labels) = (of(cost), self.export(*module, *export));
            let (sum, buckets) = scaled(histogram, bounds, per_unit);
            let mut one = metric.encode_family(&labels)?;
            one.encode_histogram::<NoLabelSet>(sum, histogram.count(), &buckets, None)?;
        }
        Ok(())
    }

    fn export(&self, module: ModuleDigest, export: Export) -> impl EncodeLabelSet + use<> {
        let mut labels = self.policy(module);
        labels.push(("export", export.name().to_owned()));
        labels
    }
}

/// Milliseconds as seconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "what is shown need not be exact beyond 2^53"
)]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

/// Sum and buckets of a histogram in a larger unit.
#[expect(
    clippy::cast_precision_loss,
    reason = "what is shown need not be exact beyond 2^53"
)]
fn scaled(histogram: &Histogram, bounds: &[u64; 10], per_unit: f64) -> (f64, Vec<(f64, u64)>) {
    let bounds = bounds.iter().map(|bound| *bound as f64 / per_unit);
    let bounds = bounds.chain([f64::INFINITY]);
    let buckets = bounds.zip(histogram.counts).collect();
    (histogram.sum as f64 / per_unit, buckets)
}
