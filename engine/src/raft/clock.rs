//! The clock that stamps entries: stamps only while something speaks for it, and never behind the
//! log's own time.
//!
//! The state keeps the greatest stamp, so one leader with a clock that is ahead would take the log's
//! time along for good. Three things speak for a clock: the other voters' clocks, the log's last
//! stamp, and the monotonic clock, which nobody sets. [`StampClock::compare`] weighs them:
//!
//! - A majority of the voters, this node among them, has the same time: the clock is *confirmed*,
//!   and stays so for as long as it goes with the monotonic clock.
//! - Nobody can be asked, and at the start the clock went on from the log's last stamp within the
//!   hour: it is *plausible*.
//! - A voter with another time counts against it if as much speaks for that voter's clock; then
//!   neither stamps. A majority against it outweighs everything.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use raft3d_core::Revision;
use raft3d_core::state::meta::{ClockOffset, LogTime};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::time::{CLOCK_SKEW_MS_MAX, Clock, ClockEvidence, ClockStatus, START_AHEAD_MS_MAX, span};
use super::types::NodeId;

/// How an operator vouches for a clock.
const VOUCH: &str = "say so with `raft3d clock trust` (PUT /api/v1/cluster/clock with \
    \"trust_clock\": true), or restart it with --trust-clock";
const NOT_COMPARED: &str = "its clock was not compared with the other voters' yet";

/// The wall clock of a node, and what is known about it.
pub(super) struct StampClock {
    wall: Clock,
    started: Instant,
    /// The wall clock less the monotonic one, in milliseconds, when it was last found to be right.
    sound_ms: AtomicI64,
    /// The greatest log time that was seen, in milliseconds since the Unix epoch.
    log_time_ms: AtomicU64,
    offset: Mutex<ClockOffset>,
    trust: Mutex<Trust>,
    leader: Mutex<Option<LeaderClock>>,
    suspected: Notify,
    compared: AtomicBool,
    /// By how much it had jumped at the last look, in milliseconds; 0 if it had not.
    jump_ms: AtomicI64,
}

/// What the last comparison came to.
struct Trust {
    evidence: ClockEvidence,
    /// Why nothing is stamped.
    waits: Option<String>,
    /// Whether that was told to the log.
    told: bool,
}

/// What the leader said of its clock.
struct LeaderClock {
    clock_ms: u64,
    told: Instant,
    waits: Option<String>,
}

/// What another voter said of its clock.
#[derive(Clone, Debug)]
pub(super) struct ClockWord {
    pub(super) node_id: NodeId,
    /// By how much its clock is ahead of this node's, in milliseconds; what the question took is no
    /// difference.
    pub(super) ahead_ms: i64,
    pub(super) evidence: ClockEvidence,
}

/// Who has a say about a clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Voters {
    /// Their number.
    pub(super) count: usize,
    /// Whether this node is one of them.
    pub(super) own: bool,
}

impl StampClock {
    /// `vouched`: an operator says that the clock is right.
    pub(super) fn new(wall: Clock, vouched: bool) -> Self {
        let waits = NOT_COMPARED.to_owned();
        let evidence = if vouched {
            ClockEvidence::Confirmed
        } else {
            ClockEvidence::None
        };
        let trust = Trust {
            evidence,
            waits: Some(waits),
            told: false,
        };
        let clock = Self {
            wall,
            started: Instant::now(),
            sound_ms: AtomicI64::new(0),
            log_time_ms: AtomicU64::new(0),
            offset: Mutex::default(),
            trust: Mutex::new(trust),
            leader: Mutex::new(None),
            suspected: Notify::new(),
            compared: AtomicBool::new(false),
            jump_ms: AtomicI64::new(0),
        };
        clock.found_sound();
        clock
    }

    /// An operator says that the clock is right, as with `--trust-clock` at a start. A majority that
    /// has another time outweighs it at the next comparison.
    pub(super) fn vouch(&self) {
        self.found_sound();
        lock(&self.trust).evidence = ClockEvidence::Confirmed;
    }

    /// The wall clock, milliseconds since the Unix epoch.
    pub(super) fn now_ms(&self) -> u64 {
        (self.wall)()
    }

    /// What the wall clock says of log time.
    fn log_clock_ms(&self) -> u64 {
        self.now_ms().saturating_add(lock(&self.offset).ms)
    }

    /// The stamp of an entry that is proposed now: not before the log's time, which a leader with
    /// another clock may have taken ahead. An entry stamped earlier would be too late at once.
    pub(super) fn stamp_ms(&self) -> u64 {
        self.not_before_log_time(self.log_clock_ms())
    }

    fn not_before_log_time(&self, ms: u64) -> u64 {
        ms.max(self.log_time_ms.load(Ordering::Relaxed))
    }

    /// The log time that the leader's stamps have reached, as far as this node knows: by the
    /// leader's clock, so that a node whose own is wrong still gives deadlines that can be met.
    pub(super) fn leader_log_time_ms(&self, leads: bool) -> u64 {
        let leaders_ms = lock(&self.leader).as_ref().map(|leader| {
            let since = u64::try_from(leader.told.elapsed().as_millis()).unwrap_or(u64::MAX);
            leader.clock_ms.saturating_add(since)
        });
        let clock_ms = match leaders_ms {
            Some(ms) if !leads => ms.saturating_add(lock(&self.offset).ms),
            _ => self.log_clock_ms(),
        };
        self.not_before_log_time(clock_ms)
    }

    /// Notes the log's time, and by how much it is set ahead.
    pub(super) fn saw_log_time(&self, log: LogTime) {
        self.log_time_ms.fetch_max(log.now_ms, Ordering::Relaxed);
        *lock(&self.offset) = log.offset;
    }

    /// Notes what the leader, another node, says of its clock; none while it is not known.
    pub(super) fn saw_leader(&self, status: Option<&ClockStatus>) {
        *lock(&self.leader) = status.map(|status| LeaderClock {
            clock_ms: status.clock_ms,
            told: Instant::now(),
            // One that has just begun says nothing of its clock yet.
            waits: (status.waits.clone()).filter(|reason| reason != NOT_COMPARED),
        });
    }

    /// Why the leader, another node, stamps nothing, if it said so.
    pub(super) fn leader_waits(&self) -> Option<String> {
        lock(&self.leader).as_ref()?.waits.clone()
    }

    /// Why nothing may be stamped now, if so. A jump is met here first: it has the clocks compared.
    pub(super) fn waits(&self) -> Option<String> {
        if self.jumped().is_some() {
            self.suspected.notify_one();
        }
        self.known_waits()
    }

    /// The same as of the last look: whoever only shows it looks at no clock.
    pub(super) fn known_waits(&self) -> Option<String> {
        match self.jump_ms.load(Ordering::Relaxed) {
            0 => lock(&self.trust).waits.clone(),
            ms => Some(jump_reason(ms)),
        }
    }

    /// Why this node is not ready yet, whether it leads or not: it could not take over.
    pub(super) fn not_compared(&self) -> Option<String> {
        let compared = self.compared.load(Ordering::Relaxed);
        (!compared).then(|| NOT_COMPARED.to_owned())
    }

    /// Waits until somebody met a jump.
    pub(super) async fn suspected(&self) {
        self.suspected.notified().await;
    }

    /// The clock, for the other nodes and for people.
    pub(super) fn status(&self) -> ClockStatus {
        let offset = *lock(&self.offset);
        ClockStatus {
            clock_ms: self.now_ms(),
            log_time_ms: self.log_time_ms.load(Ordering::Relaxed),
            offset_ms: offset.ms,
            adjusted_at: Revision(offset.revision.0),
            evidence: self.evidence(),
            waits: self.known_waits(),
        }
    }

    /// What speaks for the clock now: after a jump, nothing does.
    fn evidence(&self) -> ClockEvidence {
        match self.jump_ms.load(Ordering::Relaxed) {
            0 => lock(&self.trust).evidence,
            _ => ClockEvidence::None,
        }
    }

    /// Weighs what the other voters said. `log_is_known`: whether the node has applied what its log
    /// held, so that the log's time is that of the log's last stamp.
    pub(super) fn compare(&self, words: &[ClockWord], voters: Voters, log_is_known: bool) {
        self.compared.store(true, Ordering::Relaxed);
        let jumped = self.jumped();
        let mut own = self.evidence();
        let agrees = |word: &&ClockWord| word.ahead_ms.unsigned_abs() <= CLOCK_SKEW_MS_MAX;
        let agree = words.iter().filter(agrees).count() + usize::from(voters.own);
        let against: Vec<&ClockWord> = words.iter().filter(|word| !agrees(word)).collect();
        let majority = voters.count / 2 + 1;
        let alone = voters.own && voters.count == 1;
        if !alone && agree >= majority {
            return self.judged(ClockEvidence::Confirmed, None, true);
        }
        if let Some(word) = against.first().filter(|_| against.len() >= majority) {
            return self.judged(ClockEvidence::None, Some(odd_reason(word)), true);
        }
        // Among others, a clock that was set while it ran waits for their word; alone it is as after
        // a start.
        if own == ClockEvidence::None && log_is_known && (alone || jumped.is_none()) {
            own = self.judge_by_log(alone);
        }
        let as_good = |word: &&&ClockWord| word.evidence >= own.max(ClockEvidence::Plausible);
        let waits = match (own, against.iter().find(as_good)) {
            (ClockEvidence::None, _) => Some(self.start_reason(jumped, alone, log_is_known)),
            (_, Some(word)) => Some(differ_reason(word)),
            (_, None) => None,
        };
        self.judged(own, waits, log_is_known);
    }

    fn judged(&self, evidence: ClockEvidence, waits: Option<String>, is_final: bool) {
        if waits.is_none() {
            self.found_sound();
        }
        let mut trust = lock(&self.trust);
        let told = match &waits {
            Some(reason) if is_final && !trust.told => {
                tracing::error!(reason, "this node stamps no entries");
                true
            }
            Some(_) => trust.told,
            None if trust.told => {
                tracing::info!(?evidence, "this node stamps entries again");
                false
            }
            None => false,
        };
        *trust = Trust {
            evidence,
            waits,
            told,
        };
    }

    /// What the log's last stamp says of the clock. A log without any says nothing, and founding a
    /// cluster alone is no risk: there is nothing to poison yet.
    fn judge_by_log(&self, alone: bool) -> ClockEvidence {
        let last_ms = self.log_time_ms.load(Ordering::Relaxed);
        if last_ms == 0 {
            return if alone {
                ClockEvidence::Plausible
            } else {
                ClockEvidence::None
            };
        }
        let clock_ms = self.log_clock_ms();
        let is_plausible = clock_ms.saturating_add(CLOCK_SKEW_MS_MAX) >= last_ms
            && clock_ms <= last_ms.saturating_add(START_AHEAD_MS_MAX);
        if is_plausible {
            ClockEvidence::Plausible
        } else {
            ClockEvidence::None
        }
    }

    /// Why a clock waits for which nothing speaks.
    fn start_reason(&self, jumped: Option<i64>, alone: bool, log_is_known: bool) -> String {
        if let Some(ms) = jumped.filter(|_| !alone) {
            return jump_reason(ms);
        }
        if !log_is_known {
            return "it still applies its log, and its clock was not confirmed yet".to_owned();
        }
        let (clock_ms, last_ms) = (
            self.log_clock_ms(),
            self.log_time_ms.load(Ordering::Relaxed),
        );
        let side = if clock_ms > last_ms {
            "ahead of"
        } else {
            "behind"
        };
        let apart = span(clock_ms.abs_diff(last_ms));
        let ask = if alone {
            "there is no other voter to ask: set the clock right, or, if it is right"
        } else {
            "no majority of the voters has the same time yet: start the other voters and set the \
             clock that is wrong, or, on a node whose clock is right"
        };
        format!("its clock is {apart} {side} the log's last stamp, and {ask}, {VOUCH}")
    }

    /// The clock is taken for right as it is now, whatever it did.
    fn found_sound(&self) {
        self.sound_ms.store(self.drift_ms(), Ordering::Relaxed);
        self.jump_ms.store(0, Ordering::Relaxed);
    }

    /// By how much it has jumped since it was last found to be right, if that is too much.
    fn jumped(&self) -> Option<i64> {
        let moved = self
            .drift_ms()
            .saturating_sub(self.sound_ms.load(Ordering::Relaxed));
        let jumped = (moved.unsigned_abs() > CLOCK_SKEW_MS_MAX).then_some(moved);
        self.jump_ms.store(jumped.unwrap_or(0), Ordering::Relaxed);
        jumped
    }

    fn drift_ms(&self) -> i64 {
        let wall = i64::try_from(self.now_ms()).unwrap_or(i64::MAX);
        let monotonic = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        wall.saturating_sub(monotonic)
    }
}

fn jump_reason(ms: i64) -> String {
    let (apart, way) = (
        span(ms.unsigned_abs()),
        if ms > 0 { "ahead" } else { "back" },
    );
    format!(
        "its clock has jumped {apart} {way}, and no majority of the voters has the same time: set \
         the clock right, or, if it is right, {VOUCH}"
    )
}

fn odd_reason(word: &ClockWord) -> String {
    let apart = span(word.ahead_ms.unsigned_abs());
    let way = if word.ahead_ms > 0 { "behind" } else { "ahead" };
    format!("its clock is {apart} {way} of the other voters': set the clock right")
}

fn differ_reason(word: &ClockWord) -> String {
    let apart = span(word.ahead_ms.unsigned_abs());
    let way = if word.ahead_ms > 0 { "ahead" } else { "behind" };
    format!(
        "the clock of node {} is {apart} {way} of its own, and no majority of the voters says \
         which is right: set the one that is wrong, or, on the node whose clock is right, {VOUCH} \
         (not on the other one)",
        word.node_id
    )
}

/// Locks; what is behind is whole whoever panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "clock_tests.rs"]
mod tests;
