//! Whether this replica may serve and propose, judged by what its peers say of their digests at
//! checkpoints. Clocks are judged in `clock.rs`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use raft3d_core::state::digest::Digest;

use super::message::CheckpointDigest;

/// What is wrong with this replica.
#[derive(Default)]
pub(super) struct Health {
    fence: Mutex<Option<String>>,
    /// Log index of the checkpoint on which no majority agrees; 0 where there is none.
    diverged_at: AtomicU64,
}

/// What the digests of the voters say about this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing speaks against it.
    Sound,
    /// A majority has another digest at this log index.
    Odd {
        /// Checkpoint.
        index: u64,
    },
    /// A majority answered, and no digest has one.
    NoMajority {
        /// Checkpoint.
        index: u64,
    },
}

impl Health {
    /// Why nothing is served, if so.
    pub(super) fn fenced(&self) -> Option<String> {
        self.fence
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Closes the replica until its state is rebuilt.
    pub(super) fn set_fence(&self, reason: String) {
        tracing::error!(reason, "this replica is fenced");
        *self.fence.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    /// Notes at which checkpoint no digest has a majority.
    pub(super) fn set_diverged(&self, at: Option<u64>) {
        self.diverged_at.store(at.unwrap_or(0), Ordering::Relaxed);
    }

    /// What an operator has to look at although reads are served.
    pub(super) fn alarm(&self) -> Option<String> {
        let index = self.diverged_at.load(Ordering::Relaxed);
        (index > 0).then(|| {
            format!(
                "no majority of the voters agrees on the state at revision {index}, so writes are \
                 stopped: stop one node after the other, delete the folder `state` in its data \
                 folder, and start it again; writes go on once the rebuilt states agree"
            )
        })
    }

    /// Whether this node, if it leads, must not propose entries.
    pub(super) fn may_not_propose(&self) -> bool {
        self.diverged_at.load(Ordering::Relaxed) > 0 || self.fenced().is_some()
    }
}

/// Why a replica is fenced, and the way back.
pub(super) fn fence_reason(index: u64) -> String {
    format!(
        "its state differs from the majority's at revision {index}: stop it, delete the folder \
         `state` in its data folder, and start it again to rebuild the state from its snapshot \
         and its log; if it is fenced again, its snapshot is wrong too: remove the member and let an \
         empty folder join"
    )
}

/// Compares this replica's checkpoints with those of the other voters that answered. A replica
/// that does not vote is judged too, and has no say.
pub(super) fn judge(
    mine: &[CheckpointDigest],
    others: &[Vec<CheckpointDigest>],
    voters: usize,
    is_voter: bool,
) -> Verdict {
    let majority = voters / 2 + 1;
    // The newest that a majority has reached tells.
    for own in mine.iter().rev() {
        let theirs = others.iter().filter_map(|reported| {
            reported
                .iter()
                .find(|c| c.index == own.index)
                .map(|c| c.digest)
        });
        let digests: Vec<Digest> = is_voter
            .then_some(own.digest)
            .into_iter()
            .chain(theirs)
            .collect();
        if digests.len() < majority {
            continue;
        }
        let mut votes: BTreeMap<String, usize> = BTreeMap::new();
        for digest in &digests {
            *votes.entry(digest.to_string()).or_default() += 1;
        }
        let index = own.index;
        return match votes.iter().find(|(_, votes)| **votes >= majority) {
            Some((digest, _)) if *digest == own.digest.to_string() => Verdict::Sound,
            Some(_) => Verdict::Odd { index },
            // Voters that did not answer yet may still make a majority.
            None if digests.len() < voters => Verdict::Sound,
            None => Verdict::NoMajority { index },
        };
    }
    Verdict::Sound
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(of: u8) -> Digest {
        let mut digest = Digest::default();
        digest.add(&[of], &[of]);
        digest
    }

    fn at(index: u64, of: u8) -> CheckpointDigest {
        CheckpointDigest {
            index,
            digest: digest(of),
        }
    }

    #[test]
    fn only_a_majority_fences_a_replica() {
        let cases: [(&[u8], usize, Verdict); 8] = [
            (&[1, 1, 1], 3, Verdict::Sound),
            (&[1, 2, 2], 3, Verdict::Odd { index: 7 }),
            (&[1, 1, 2], 3, Verdict::Sound),
            (&[1, 2], 3, Verdict::Sound),
            (&[1, 2, 3], 3, Verdict::NoMajority { index: 7 }),
            (&[1, 2], 2, Verdict::NoMajority { index: 7 }),
            (&[1], 1, Verdict::Sound),
            (&[1, 2, 2, 2, 1], 5, Verdict::Odd { index: 7 }),
        ];
        for (digests, voters, verdict) in cases {
            let mut reports = digests.iter().map(|d| vec![at(7, *d)]);
            let mine = reports.next().unwrap_or_default();
            let others: Vec<_> = reports.collect();
            assert_eq!(
                judge(&mine, &others, voters, true),
                verdict,
                "{digests:?} of {voters}"
            );
        }
    }

    #[test]
    fn replicas_are_compared_at_the_same_checkpoint() {
        // The others are behind at 9, and agree at 7.
        let others = vec![vec![at(7, 1)], vec![at(5, 2), at(7, 1)]];
        assert_eq!(
            judge(&[at(7, 1), at(9, 3)], &others, 3, true),
            Verdict::Sound
        );
        assert_eq!(
            judge(&[at(7, 2), at(9, 3)], &others, 3, true),
            Verdict::Odd { index: 7 }
        );
        assert_eq!(judge(&[at(8, 2)], &others, 3, true), Verdict::Sound);
        // A learner's digest makes no majority with an odd voter's.
        let others = vec![vec![at(7, 2)], vec![at(7, 1)], vec![at(7, 1)]];
        assert_eq!(
            judge(&[at(7, 2)], &others, 3, false),
            Verdict::Odd { index: 7 }
        );
    }
}
