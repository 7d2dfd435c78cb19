//! Random modules on three real nodes, eighteen in each ruleset, beside other clients' work.

use std::collections::BTreeMap;

use raft3d_sdk::Hook;

use crate::arena::{Arena, ENFORCED, MODULES, SHADOWED, Seen, Trial};
use crate::engines::summary;
use crate::random_modules;

/// What came of them.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Modules that were uploaded.
    pub uploaded: u64,
    /// Those that the cluster took; each was bound and asked, or its `check_config` forbade that.
    pub taken: u64,
    /// Those among them that no ruleset could bind.
    pub unbound: u64,
    /// Recorded decisions of these modules, by kind and code.
    pub decisions: BTreeMap<String, u64>,
    /// What the observers saw, one for each cluster.
    pub seen: Vec<Seen>,
}

impl Counts {
    /// One paragraph for people.
    #[must_use]
    pub fn told(&self) -> String {
        let Self {
            uploaded,
            taken,
            unbound,
            decisions,
            ..
        } = self;
        format!(
            "{taken} of {uploaded} modules taken, {unbound} not bound; decisions: {decisions:?}"
        )
    }

    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.uploaded += other.uploaded;
        self.taken += other.taken;
        self.unbound += other.unbound;
        self.seen.extend(other.seen);
        for (decision, count) in other.decisions {
            *self.decisions.entry(decision).or_default() += count;
        }
    }

    /// Holds them against what they must show.
    ///
    /// # Panics
    /// Less than half of the modules were asked.
    pub fn check(&self) {
        let asked = self.taken - self.unbound;
        assert!(asked * 2 >= self.uploaded, "{}", self.told());
        let decisions: u64 = self.decisions.values().sum();
        assert!(decisions >= asked, "{}", self.told());
    }
}

/// Plays the modules of these seeds, at most [`MODULES`], on one cluster; `done` is called after each
/// round with how many were in it.
///
/// # Panics
/// A module hurt the cluster: see [`Arena`]. The seeds are printed before.
#[must_use]
pub fn play(seeds: &[u64], mut done: impl FnMut(usize)) -> Counts {
    assert!(seeds.len() <= MODULES);
    let mut counts = Counts::default();
    let first = seeds.first().copied().unwrap_or_default();
    let count = seeds.len();
    println!("a cluster with {count} modules: --on-cluster {count} --seed {first}");
    let mut arena = Arena::open(&format!("hostile-random-{first}"));
    for seeds in seeds.chunks(ENFORCED + SHADOWED) {
        round(&mut arena, seeds, &mut counts);
        done(seeds.len());
    }
    counts.seen.push(arena.close());
    counts
}

fn round(arena: &mut Arena, seeds: &[u64], counts: &mut Counts) {
    let mut trials: Vec<Trial> = seeds
        .iter()
        .filter_map(|seed| upload(arena, *seed, counts))
        .collect();
    // One that cannot be bound keeps all others from it: it is found by binding it alone.
    let before = trials.len();
    if let Some(refused) = arena.refused_together(&trials) {
        trials.retain(|trial| !refused.contains(&trial.name));
    }
    counts.unbound += (before - trials.len()) as u64;
    let (enforced, shadowed) = trials.split_at(trials.len().min(ENFORCED));
    for (_, (kind, code, _)) in arena.round(enforced, shadowed) {
        *counts.decisions.entry(summary((&kind, code))).or_default() += 1;
    }
}

fn upload(arena: &mut Arena, seed: u64, counts: &mut Counts) -> Option<Trial> {
    counts.uploaded += 1;
    let answer = arena.upload(&random_modules::module(seed));
    match answer.status {
        200 | 201 => {}
        422 => return None,
        _ => panic!("the module of seed {seed}: {answer}"),
    }
    counts.taken += 1;
    Some(Trial {
        name: format!("seed-{seed}"),
        sha256: answer.json()["sha256"]
            .as_str()
            .expect("a digest")
            .to_owned(),
        hooks: Hook::ALL.into(),
    })
}
