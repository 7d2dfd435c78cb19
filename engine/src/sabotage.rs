//! Known bugs, put back on purpose: whoever tests a cluster must catch each of them.
//!
//! A switch is armed with [`arm`] in the process, or with `RAFT3D_SABOTAGE=reply-before-fsync` for
//! a whole process; several names are separated by commas. [`armed`] is asked at the real place of
//! each bug. Without `debug_assertions` it is the constant `false`: a release build has no bug to
//! arm.
//!
//! | bug | where it is | who must see it |
//! |---|---|---|
//! | `reply-before-fsync` | `storage/log/early.rs` | loss of unsynced bytes on a majority at once |
//! | `vote-before-sync` | `storage/log/early.rs` | the same, during elections |
//! | `stale-follower-read` | `raft/read.rs` | reads on a node that is cut off or lags |
//! | `unconfirmed-read-index` | `raft/read_index.rs` | reads on a leader that is cut off or was suspended |
//! | `deduction-outside-apply` | `raft/machine/sabotaged.rs` | any job that is done |
//! | `retry-without-dedup` | `raft/machine/sabotaged.rs` | lost answers and retries under one key |
//! | `clock-in-apply` | `raft/machine/sabotaged.rs` | digests; restarts that apply again |
//! | `guest-memory-reused` | `policy/runtime.rs` | a policy that counts its calls, and a restart |
//! | `fencing-off` | `raft/duties.rs` | together with a bug that makes one replica differ |
//!
//! A log store that is not the one of `storage/log` (a simulated one) has to honour
//! `reply-before-fsync` and `vote-before-sync` by itself: the callback of an append, or the answer
//! of `save_vote`, comes before what it tells of is durable.

use core::fmt;
use core::str::FromStr;

use thiserror::Error;

/// The environment variable that arms switches.
pub const VARIABLE: &str = "RAFT3D_SABOTAGE";

/// A bug that can be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// The log says that entries are durable before it wrote and synced them.
    ReplyBeforeFsync,
    /// Linearizable reads skip the read index.
    StaleFollowerRead,
    /// The leader tells a read index without asking whether it is still followed.
    UnconfirmedReadIndex,
    /// The node that proposed a transition deducts the grams once more, on its own rows only.
    DeductionOutsideApply,
    /// Exactly-once records are not looked up.
    RetryWithoutDedup,
    /// Apply stamps with the replica's own clock.
    ClockInApply,
    /// An instance of a policy, and its memory, serves more than one evaluation.
    GuestMemoryReused,
    /// A vote is reported before it is synced.
    VoteBeforeSync,
    /// A replica whose digest differs from the majority's goes on.
    FencingOff,
}

impl Bug {
    /// Every bug.
    pub const ALL: [Self; 9] = [
        Self::ReplyBeforeFsync,
        Self::StaleFollowerRead,
        Self::UnconfirmedReadIndex,
        Self::DeductionOutsideApply,
        Self::RetryWithoutDedup,
        Self::ClockInApply,
        Self::GuestMemoryReused,
        Self::VoteBeforeSync,
        Self::FencingOff,
    ];

    /// Its name, as [`VARIABLE`] takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReplyBeforeFsync => "reply-before-fsync",
            Self::StaleFollowerRead => "stale-follower-read",
            Self::UnconfirmedReadIndex => "unconfirmed-read-index",
            Self::DeductionOutsideApply => "deduction-outside-apply",
            Self::RetryWithoutDedup => "retry-without-dedup",
            Self::ClockInApply => "clock-in-apply",
            Self::GuestMemoryReused => "guest-memory-reused",
            Self::VoteBeforeSync => "vote-before-sync",
            Self::FencingOff => "fencing-off",
        }
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a text names no bug.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no bug '{0}' to put back; there are {names}", names = names())]
pub struct UnknownBug(String);

fn names() -> String {
    Bug::ALL.map(Bug::name).join(", ")
}

impl FromStr for Bug {
    type Err = UnknownBug;

    fn from_str(text: &str) -> Result<Self, UnknownBug> {
        let named = Self::ALL.into_iter().find(|bug| bug.name() == text);
        named.ok_or_else(|| UnknownBug(text.to_owned()))
    }
}

pub use switches::{arm, armed, disarm_all};

#[cfg(debug_assertions)]
mod switches {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::{Bug, VARIABLE};

    static ARMED: AtomicU32 = AtomicU32::new(0);
    static BY_ENVIRONMENT: OnceLock<u32> = OnceLock::new();

    const fn bit(bug: Bug) -> u32 {
        1 << bug as u32
    }

    /// Puts the bug back, for the whole process.
    pub fn arm(bug: Bug) {
        tracing::error!(%bug, "SABOTAGED: a known bug is put back; trust nothing of this process");
        ARMED.fetch_or(bit(bug), Ordering::SeqCst);
    }

    /// Takes every bug out again that [`arm`] put back; those of the environment stay.
    pub fn disarm_all() {
        ARMED.store(0, Ordering::SeqCst);
    }

    /// Whether the bug is put back.
    #[must_use]
    pub fn armed(bug: Bug) -> bool {
        let by_environment = BY_ENVIRONMENT.get_or_init(read_environment);
        (ARMED.load(Ordering::Relaxed) | by_environment) & bit(bug) != 0
    }

    #[expect(
        clippy::panic,
        reason = "a test that armed nothing would believe that its bug was not caught, or was"
    )]
    fn read_environment() -> u32 {
        let names = std::env::var(VARIABLE).unwrap_or_default();
        let names = names.split(',').map(str::trim);
        let bugs = names.filter(|name| !name.is_empty()).map(|name| {
            let bug: Bug = name
                .parse()
                .unwrap_or_else(|error| panic!("{VARIABLE}: {error}"));
            tracing::error!(%bug, "SABOTAGED: a known bug is put back; trust nothing of this node");
            bit(bug)
        });
        bugs.fold(0, |mask, bit| mask | bit)
    }
}

#[cfg(not(debug_assertions))]
mod switches {
    use super::Bug;

    /// There is nothing to arm in a release build.
    ///
    /// # Panics
    /// Always: a test that goes on would believe that the bug is there.
    #[expect(clippy::panic, reason = "only tests call this, and they must notice")]
    pub fn arm(bug: Bug) {
        panic!("this build has no switches: {bug} cannot be put back without debug_assertions");
    }

    /// There is nothing to take out.
    pub const fn disarm_all() {}

    /// No: a release build has no known bugs.
    #[must_use]
    pub const fn armed(_: Bug) -> bool {
        false
    }
}

/// Says loudly which bugs are put back, or that the environment asks for some that this build does
/// not have. Every node calls it when it starts.
pub fn announce() {
    let put_back = Bug::ALL.into_iter().filter(|bug| armed(*bug));
    let put_back: Vec<&str> = put_back.map(Bug::name).collect();
    if !put_back.is_empty() {
        let bugs = put_back.join(", ");
        tracing::error!(
            bugs,
            "SABOTAGED: this node has known bugs; it is for tests only"
        );
    } else if std::env::var_os(VARIABLE).is_some_and(|asked| !asked.is_empty()) {
        tracing::error!("{VARIABLE} is set, and this build has no bugs to put back");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test is to panic")]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_a_name_of_its_own() {
        for bug in Bug::ALL {
            assert_eq!(bug.to_string().parse(), Ok(bug));
        }
        let error = "clock".parse::<Bug>().unwrap_err().to_string();
        assert!(
            error.contains("'clock'") && error.contains("clock-in-apply"),
            "{error}"
        );
    }
}
