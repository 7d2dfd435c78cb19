//! Latencies of one traced load, told apart by what else went on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::load::{Answered, nearest_rank};
use crate::stats::short;
use crate::targets::Target;

/// Fewest answers that a p99 is told of.
const ANSWERS_MIN: usize = 500;

/// From when on what goes on, in microseconds since the Unix epoch.
#[derive(Debug)]
pub(crate) struct Moments<D>(Vec<(u64, D)>);

impl<D> Default for Moments<D> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Latencies of one kind of moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latency {
    pub(crate) answers: usize,
    /// How long such moments were, in seconds.
    pub(crate) seconds: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl<D: Copy + PartialEq> Moments<D> {
    /// From now on `doing` goes on.
    pub(crate) fn now(&mut self, doing: D) {
        if self.0.last().is_none_or(|(_, last)| *last != doing) {
            self.0.push((unix_us(), doing));
        }
    }

    /// Whether `doing` was seen.
    pub(crate) fn has(&self, doing: D) -> bool {
        self.0.iter().any(|(_, what)| *what == doing)
    }

    /// Whether `doing` goes on.
    pub(crate) fn is(&self, doing: D) -> bool {
        self.0.last().is_some_and(|(_, what)| *what == doing)
    }

    /// Each stretch: from, until (exclusive), what.
    fn stretches(&self) -> impl Iterator<Item = (u64, u64, D)> {
        let ends = self.0.iter().skip(1).map(|(at, _)| *at);
        let ends = ends.chain(std::iter::once_with(unix_us));
        let stretches = self.0.iter().zip(ends);
        stretches.map(|((from, doing), until)| (*from, until, *doing))
    }

    pub(crate) fn lasted(&self, doing: D) -> Duration {
        let stretches = self.stretches().filter(|(_, _, what)| *what == doing);
        Duration::from_micros(stretches.map(|(from, until, _)| until - from).sum())
    }

    /// Latencies of the answers that came while `doing` went on.
    pub(crate) fn latency(&self, trace: &[Answered], doing: D) -> Latency {
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

impl Latency {
    /// Columns of [`row`](Self::row).
    pub(crate) const HEAD: [&'static str; 6] = [
        "while",
        "seconds",
        "writes a second",
        "p50 ms",
        "p99 ms",
        "largest ms",
    ];

    pub(crate) fn row(&self, what: &str) -> Vec<String> {
        vec![
            what.to_owned(),
            short(self.seconds),
            short(self.answers as f64 / self.seconds.max(f64::EPSILON)),
            short(self.p50_ms),
            short(self.p99_ms),
            short(self.max_ms),
        ]
    }

    /// That this p99 is at most so many times the normal one.
    pub(crate) fn target(&self, normal: &Self, what: &str, most: f64) -> Target {
        let must = format!("at most {most} x the normal one");
        if self.answers < ANSWERS_MIN || normal.answers < ANSWERS_MIN {
            let why = format!(
                "{} answers then, {} normal ones",
                self.answers, normal.answers
            );
            return Target::unmeasured(what, must, why);
        }
        let ratio = self.p99_ms / normal.p99_ms;
        Target::new(what, must, format!("{} x", short(ratio)), ratio <= most)
    }
}

fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_where_they_came() {
        let moments = Moments(vec![(100, "normal"), (200, "busy"), (300, "normal")]);
        let answered = |at_us, took_us| Answered { at_us, took_us };
        let trace = [
            answered(99, 1_000),
            answered(100, 2_000),
            answered(199, 3_000),
            answered(200, 40_000),
            answered(300, 5_000),
        ];
        let normal = moments.latency(&trace, "normal");
        assert_eq!((normal.answers, normal.max_ms), (3, 5.0));
        let busy = moments.latency(&trace, "busy");
        assert_eq!((busy.answers, busy.p99_ms), (1, 40.0));
        assert_eq!(moments.latency(&trace, "never").answers, 0);
        assert_eq!(moments.lasted("busy"), Duration::from_micros(100));
    }
}
