//! How full the state is: each limit that writes may reach, beside what it counts, so that it is seen
//! coming.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use raft3d_engine::core::limits::{
    DECISIONS_BYTES_MAX, DECISIONS_KEPT_MAX, EVENTS_BYTES_MAX, EVENTS_KEPT_MAX, FILAMENTS_MAX,
    JOBS_MAX, KEYED_BYTES_MAX, KEYED_RECORDS_MAX, MODULES_MAX, PRINTERS_MAX,
};
use raft3d_engine::core::state::meta::{self, KeyPool, Totals};
use raft3d_engine::core::state::shares::ShareMax;
use raft3d_engine::core::state::shares::shown::{self, LargeShare};
use raft3d_engine::core::{LocalFault, ReadRows};

/// Shares that are shown by name, of verified actors and of others: the largest.
const SHARES_SHOWN_MAX: usize = 16;
const MS_PER_S: u64 = 1_000;

/// What the state holds at one moment.
#[derive(Default)]
pub(super) struct Fill {
    totals: Totals,
    /// Of verified actors, then of all others.
    large: [Vec<LargeShare>; 2],
}

/// A value with the labels that tell it from the others of its name.
type Shown = (Vec<(&'static str, String)>, u64);

/// The word for a pool of keys.
const fn pool_name(verified: bool) -> &'static str {
    if verified { "verified" } else { "unverified" }
}

impl Fill {
    /// Reads it.
    ///
    /// # Errors
    /// A fault of this replica's store.
    pub(super) fn read(rows: &dyn ReadRows) -> Result<Self, LocalFault> {
        let large = |verified| shown::largest(rows, verified, SHARES_SHOWN_MAX);
        Ok(Self {
            totals: meta::totals(rows)?,
            large: [large(true)?, large(false)?],
        })
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let rows = self.rows();
        let (now, max): (Vec<Shown>, Vec<Shown>) = rows.into_iter().map(split).unzip();
        gauges(encoder, "state_rows", "Rows of a table of the state", &now)?;
        let help = "Rows of that table at which the state takes no more, or forgets the oldest";
        gauges(encoder, "state_rows_max", help, &max)?;
        let bytes = self.bytes();
        let (now, max): (Vec<Shown>, Vec<Shown>) = bytes.into_iter().map(split).unzip();
        let help = "Bytes of a table of the state that is bounded in bytes";
        gauges(encoder, "state_bytes", help, &now)?;
        let help = "Bytes of that table at which the state takes no more, or forgets the oldest";
        gauges(encoder, "state_bytes_max", help, &max)?;
        self.shares(encoder)
    }

    fn pools(&self) -> [(bool, &KeyPool); 2] {
        [true, false].map(|verified| (verified, self.totals.key_pool(verified)))
    }

    /// Name, what there is, and how much there may be.
    fn rows(&self) -> Vec<(String, u64, u64)> {
        let totals = &self.totals;
        let mut rows = vec![
            ("printers".to_owned(), totals.printers, PRINTERS_MAX),
            ("filaments".to_owned(), totals.filaments, FILAMENTS_MAX),
            ("jobs".to_owned(), totals.jobs, JOBS_MAX),
            ("modules".to_owned(), totals.modules, MODULES_MAX),
            ("events".to_owned(), totals.events, EVENTS_KEPT_MAX),
            ("decisions".to_owned(), totals.decisions, DECISIONS_KEPT_MAX),
        ];
        rows.extend(self.pools().map(|(verified, pool)| {
            let name = format!("keys_{}", pool_name(verified));
            (name, pool.records, KEYED_RECORDS_MAX)
        }));
        rows
    }

    fn bytes(&self) -> Vec<(String, u64, u64)> {
        let decisions = self.totals.decisions_bytes;
        let events = self.totals.events_bytes;
        let mut bytes = vec![
            ("events".to_owned(), events, EVENTS_BYTES_MAX),
            ("decisions".to_owned(), decisions, DECISIONS_BYTES_MAX),
        ];
        bytes.extend(self.pools().map(|(verified, pool)| {
            let name = format!("keys_{}", pool_name(verified));
            (name, pool.bytes, KEYED_BYTES_MAX)
        }));
        bytes
    }

    fn shares(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let max = self.pools().map(|(verified, pool)| {
            let max = ShareMax::of(pool);
            let labels = vec![("actors", pool_name(verified).to_owned())];
            (labels, max)
        });
        let records: Vec<Shown> = max
            .iter()
            .map(|(l, max)| (l.clone(), max.records))
            .collect();
        let help = "Remembered keys that one actor may have now";
        gauges(encoder, "keys_share_records_max", help, &records)?;
        let bytes: Vec<Shown> = max.iter().map(|(l, max)| (l.clone(), max.bytes)).collect();
        let help = "Bytes of remembered keys that one actor may have now";
        gauges(encoder, "keys_share_bytes_max", help, &bytes)?;
        let help = "Remembered keys of the actors that have most";
        self.large(encoder, "keys_share_records", help, |it| it.share.records)?;
        let help = "Bytes of remembered keys of the actors that have most";
        self.large(encoder, "keys_share_bytes", help, |it| it.share.bytes)?;
        let help = "Log time since when the keys of these actors are certain, in seconds since \
                    the Unix epoch; 0 since ever";
        self.large(encoder, "keys_certain_since_seconds", help, |it| {
            it.share.forgotten.certain_since_ms.div_ceil(MS_PER_S)
        })
    }

    fn large(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        of: impl Fn(&LargeShare) -> u64,
    ) -> Result<(), fmt::Error> {
        let mut values = Vec::new();
        for ((verified, _), large) in self.pools().into_iter().zip(&self.large) {
            values.extend(large.iter().enumerate().map(|(place, share)| {
                let crowd = || format!("(a place in the crowd, {place})");
                let actor = share.actor.as_ref();
                let actor = actor.map_or_else(crowd, |actor| actor.name.clone());
                let pool = pool_name(verified).to_owned();
                (vec![("actors", pool), ("actor", actor)], of(share))
            }));
        }
        gauges(encoder, name, help, &values)
    }
}

/// What there is, and how much there may be, each under the table's name.
fn split((table, now, max): (String, u64, u64)) -> (Shown, Shown) {
    let labels = vec![("table", table)];
    ((labels.clone(), now), (labels, max))
}

fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: &[Shown],
) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        gauge(&mut metric, labels, *value)?;
    }
    Ok(())
}

fn gauge(
    metric: &mut MetricEncoder<'_>,
    labels: &Vec<(&'static str, String)>,
    value: u64,
) -> Result<(), fmt::Error> {
    metric.encode_family(labels)?.encode_gauge(&value)
}
