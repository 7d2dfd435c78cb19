//! What the tests of state and snapshots share: a plain model, made from a seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed test is to panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use raft3d_core::RequestId;
use raft3d_core::state::digest::Digest;
use raft3d_core::state::overlay::Changes;
use raft3d_core::state::rows::ReadRows;

use super::random::Random;
use super::{Change, Head, StateStore, StateView};
pub(crate) use crate::raft::testing::log_id;
use crate::raft::types::{Member, Membership, StoredMembership};

pub(crate) fn membership(index: u64) -> StoredMembership {
    let members: BTreeMap<u64, Member> = [(1, Member::default())].into();
    let membership = Membership::new(vec![BTreeSet::from([1])], members).unwrap();
    StoredMembership::new(Some(log_id(index)), membership)
}

/// The changes as a store takes them.
pub(crate) fn listed(changes: &Changes) -> Vec<Change<'_>> {
    changes
        .iter()
        .map(|(key, value)| (key.as_slice(), value.as_deref()))
        .collect()
}

/// Requests of one index were minted so far apart, in milliseconds.
const MINTED_SPREAD_MS: u64 = 20;

/// The key of a request that was minted then.
fn minted_key(at_ms: u64) -> Vec<u8> {
    let random = [0; 10];
    let id = RequestId::minted(at_ms, random);
    format!("\u{60}\0ann\0\u{1}{id}\0\u{1}").into_bytes()
}

/// The model's jobs have ids of so many first numbers.
const JOBS: u64 = 300;

/// The key of the job that a client gave that number.
pub(crate) fn job_key(number: usize) -> Vec<u8> {
    format!("\u{30}w{number:06}\0\u{1}").into_bytes()
}

/// What the rows should be after some log index. The changes of an index depend on the seed, the
/// index and the rows before it, so a model can be brought to any index again.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) seed: u64,
    pub(crate) index: u64,
    pub(crate) rows: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) digest: Digest,
}

impl Model {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            index: 0,
            rows: BTreeMap::new(),
            digest: Digest::default(),
        }
    }

    pub(crate) fn at(seed: u64, index: u64) -> Self {
        let mut model = Self::new(seed);
        while model.index < index {
            model.step();
        }
        model
    }

    /// The changes of the next index, already made in the model.
    pub(crate) fn step(&mut self) -> Changes {
        self.index += 1;
        let mut random = Random::new(self.seed ^ self.index.wrapping_mul(0x5851_f42d_4c95_7f2d));
        let mut changes = Changes::new();
        for _ in 0..1 + random.below(8) {
            let key = match ["a", "ab", "b\u{7f}", "job", ""][random.below(5) as usize] {
                "job" => job_key(random.below(JOBS) as usize),
                "" => minted_key(self.index + random.below(MINTED_SPREAD_MS)),
                table => format!("{table}/{:03}", random.below(200)).into_bytes(),
            };
            if random.below(4) == 0 {
                changes.insert(key, None);
            } else {
                let length = [0, 10, 300, 5_000][random.below(4) as usize];
                let value = (0..length).map(|_| random.next() as u8).collect();
                changes.insert(key, Some(value));
            }
        }
        for (key, value) in &changes {
            if let Some(old) = self.rows.remove(key) {
                self.digest.remove(key, &old);
            }
            if let Some(value) = value {
                self.digest.add(key, value);
                self.rows.insert(key.clone(), value.clone());
            }
        }
        changes
    }

    pub(crate) fn head(&self, generation: u64) -> Head {
        Head {
            generation,
            last_applied: Some(log_id(self.index)),
            membership: membership(self.index / 10),
            digest: self.digest,
        }
    }

    /// Writes the next index to `store`.
    pub(crate) fn commit_next(&mut self, store: &StateStore) {
        let changes = self.step();
        let generation = store.view().head().generation;
        store
            .commit(&listed(&changes), self.head(generation))
            .unwrap();
    }

    /// Applies the "log" up to `index`, from where the store is.
    pub(crate) fn replay(seed: u64, store: &StateStore, index: u64) -> Self {
        let mut model = Self::at(seed, store.view().revision().0);
        while model.index < index {
            model.commit_next(store);
        }
        model
    }

    /// Every row, the digest and the record beside them are the model's.
    pub(crate) fn check(&self, view: &StateView) {
        assert_eq!(view.revision().0, self.index);
        assert_eq!(view.digest(), self.digest);
        assert_eq!(view.recompute_digest().unwrap(), self.digest);
        if self.index > 0 {
            assert_eq!(view.last_applied(), Some(log_id(self.index)));
            assert_eq!(view.membership(), &membership(self.index / 10));
        }
        let rows = view.scan(b"", None, usize::MAX).unwrap();
        assert!(
            rows.into_iter().eq(self.rows.clone()),
            "the rows differ from the model's"
        );
        self.check_minted(view);
        for number in 0..2 * JOBS as usize {
            let key = job_key(number);
            let stored = self.rows.get(&key);
            assert_eq!(view.get(&key).unwrap().as_ref(), stored, "job {number}");
        }
    }

    /// Those that were minted later than any that is stored are found out without a search.
    pub(crate) fn check_minted(&self, view: &dyn ReadRows) {
        for at_ms in 0..=self.index + 2 * MINTED_SPREAD_MS {
            let key = minted_key(at_ms);
            let stored = self.rows.get(&key);
            assert_eq!(
                view.get(&key).unwrap().as_ref(),
                stored,
                "minted at {at_ms}"
            );
        }
    }
}

/// Copies a folder with everything in it.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Damages one file: cut short, a page zeroed, or a bit flipped. Says what it did.
pub(crate) fn damage(path: &Path, random: &mut Random) -> String {
    let mut bytes = fs::read(path).unwrap();
    if bytes.is_empty() {
        return format!("nothing: {} is empty", path.display());
    }
    let at = random.below(bytes.len() as u64) as usize;
    let what = match random.below(3) {
        0 => {
            bytes.truncate(at);
            "cut"
        }
        1 => {
            let page = at / 4096 * 4096;
            let end = (page + 4096).min(bytes.len());
            bytes[page..end].fill(0);
            "zeroed the page of"
        }
        _ => {
            bytes[at] ^= 1 << random.below(8);
            "flipped a bit in"
        }
    };
    fs::write(path, &bytes).unwrap();
    format!("{what} byte {at} of {}", path.display())
}
