//! Random calls, closes and crashes against a log that is a vector.

use std::sync::Arc;

use openraft::storage::RaftLogStorage;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use raft3d_engine::storage::log::{Disk, LogOptions, LogStore};

use crate::random::Random;
use crate::support::{Content, Image, TestDisk, append, append_only, entry, options, vote};

const CASES: u32 = 96;

#[derive(Clone, Debug)]
enum Call {
    Append {
        count: u64,
        length: usize,
    },
    /// Takes away this many of the last entries.
    Truncate(u64),
    /// Up to this many entries after the first.
    Purge(u64),
    Vote,
    /// This many before the end.
    Commit(u64),
    Sync,
    Close {
        cache_bytes_max: usize,
    },
    /// A power cut while this many entries are in flight, whose bytes are damaged.
    Crash {
        count: u64,
        seed: u64,
    },
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        6 => (1..6_u64, 0..4_000_usize).prop_map(|(count, length)| Call::Append { count, length }),
        2 => (0..8_u64).prop_map(Call::Truncate),
        1 => (0..30_u64).prop_map(Call::Purge),
        1 => Just(Call::Vote),
        1 => (0..4_u64).prop_map(Call::Commit),
        1 => Just(Call::Sync),
        1 => prop_oneof![Just(0_usize), Just(8_000), Just(1 << 20)]
            .prop_map(|cache_bytes_max| Call::Close { cache_bytes_max }),
        1 => (1..5_u64, any::<u64>()).prop_map(|(count, seed)| Call::Crash { count, seed }),
    ]
}

struct Run {
    dir: tempfile::TempDir,
    disk: Arc<TestDisk>,
    store: Option<LogStore>,
    model: Content,
    term: u64,
    cache_bytes_max: usize,
}

impl Run {
    fn new() -> Self {
        let mut run = Self {
            dir: tempfile::tempdir().unwrap(),
            disk: Arc::default(),
            store: None,
            model: Content {
                vote: None,
                committed: None,
                purged: None,
                last: None,
                entries: Vec::new(),
            },
            term: 1,
            cache_bytes_max: 0,
        };
        run.open();
        run
    }

    fn open(&mut self) {
        let small = LogOptions {
            segment_bytes: 32 << 10,
            cache_bytes_max: self.cache_bytes_max,
            ..options()
        };
        self.disk = Arc::default();
        let disk = Arc::clone(&self.disk) as Arc<dyn Disk>;
        self.store = Some(LogStore::open_on(self.dir.path(), small, disk).unwrap());
    }

    fn store(&mut self) -> &mut LogStore {
        self.store.as_mut().unwrap()
    }

    fn next(&mut self, count: u64, length: usize) -> Vec<raft3d_engine::raft::types::Entry> {
        let from = self.model.last.map_or(0, |id| id.index + 1);
        let term = self.term;
        (from..from + count)
            .map(|index| entry(term, index, vec![(index * 7 + term) as u8; length]))
            .collect()
    }

    fn cut_model(&mut self, keep: usize) {
        self.model.entries.truncate(keep);
        let last = self.model.entries.last().map(|entry| entry.log_id);
        self.model.last = last.or(self.model.purged);
        if self.model.committed.map(|id| id.index) > self.model.last.map(|id| id.index) {
            self.model.committed = self.model.last;
        }
    }

    async fn call(&mut self, call: Call) {
        match call {
            Call::Append { count, length } => {
                let new = self.next(count, length);
                append(self.store(), new.clone()).await;
                self.model.last = new.last().map(|entry| entry.log_id);
                self.model.entries.extend(new);
            }
            Call::Truncate(count) => {
                self.term += 1;
                let keep = self.model.entries.len().saturating_sub(count as usize);
                self.cut_model(keep);
                let last = self.model.last;
                self.store().truncate_after(last).await.unwrap();
            }
            Call::Purge(count) => {
                let nth = (count as usize).min(self.model.entries.len());
                let Some(last) = nth.checked_sub(1) else {
                    return;
                };
                let up_to = self.model.entries[last].log_id;
                self.model.entries.drain(..nth);
                self.model.purged = Some(up_to);
                self.store().purge(up_to).await.unwrap();
            }
            Call::Vote => {
                self.term += 1;
                self.model.vote = Some(vote(self.term));
                let vote = vote(self.term);
                self.store().save_vote(&vote).await.unwrap();
            }
            Call::Commit(before) => {
                let len = self.model.entries.len() as u64;
                let Some(nth) = len.checked_sub(before + 1) else {
                    return;
                };
                let committed = Some(self.model.entries[nth as usize].log_id);
                self.model.committed = committed;
                self.store().save_committed(committed).await.unwrap();
            }
            Call::Sync => self.store().synced().await.unwrap(),
            Call::Close { cache_bytes_max } => {
                self.store().close().await.unwrap();
                self.cache_bytes_max = cache_bytes_max;
                self.store = None;
                self.open();
            }
            Call::Crash { count, seed } => self.crash(count, seed).await,
        }
        let store = self.store.as_ref().unwrap();
        assert_eq!(Content::of(store).await, self.model);
    }

    async fn crash(&mut self, count: u64, seed: u64) {
        self.store().synced().await.unwrap();
        let new = self.next(count, 1_500);
        self.disk.hold();
        let answer = append_only(self.store(), new.clone()).await;
        self.disk.wait_for_sync();
        let mut image = Image::of(self.dir.path());
        let mut random = Random::new(seed);
        let write = self.disk.writes().last().unwrap().clone();
        let from = random.below(write.bytes) as usize;
        let bytes = &mut image.bytes(&write)[from..];
        if seed.is_multiple_of(2) {
            bytes.fill(0);
        } else {
            bytes[0] ^= 1 << random.below(8);
        }
        if seed.is_multiple_of(3) {
            // The watermark, too, as it was synced last.
            image
                .0
                .insert("watermark".to_owned(), self.disk.synced_watermark());
        }
        self.disk.release();
        answer.await.unwrap();
        self.store = None;
        self.dir = image.write();
        self.open();
        // Damage to padding leaves the batch whole.
        let found = Content::of(self.store.as_ref().unwrap()).await;
        if found.last == new.last().map(|entry| entry.log_id) {
            self.model.last = found.last;
            self.model.entries.extend(new);
        }
        // The committed log id is a hint: it may be older than the last that was saved.
        assert!(found.committed.map(|id| id.index) <= self.model.committed.map(|id| id.index));
        self.model.committed = found.committed;
    }
}

#[test]
fn random_calls_closes_and_crashes() {
    let seed = Random::seed("random_calls_closes_and_crashes");
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let calls = proptest::collection::vec(call(), 1..40);
    let done = runner.run(&calls, |calls| {
        runtime.block_on(async {
            let mut run = Run::new();
            for call in calls {
                run.call(call).await;
            }
        });
        Ok(())
    });
    done.unwrap();
}
