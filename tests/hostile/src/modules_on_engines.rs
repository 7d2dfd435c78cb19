//! Random modules on engines that are set differently.

use std::collections::BTreeMap;

use raft3d_core::Export;
use raft3d_engine::policy::{inspect, instrument};
use raft3d_sdk::{Hook, wire};

use crate::engines::{COMPILED, Engines, INTERPRETED, Module, plain_input, read, summary};
use crate::random_modules;

/// Compiled code is removed from the disk after so many modules.
const FORGET_AFTER: u64 = 50;

/// What came of them.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Modules that were made.
    pub modules: u64,
    /// Those that the static check took; each of them was run.
    pub run: u64,
    /// The others, by the code of the refusal.
    pub refused: BTreeMap<&'static str, u64>,
    /// Answers of hooks, by kind and code.
    pub answers: BTreeMap<String, u64>,
    /// Gas of all hooks.
    pub gas: u64,
}

impl Counts {
    /// One paragraph for people.
    #[must_use]
    pub fn told(&self) -> String {
        let Self {
            modules,
            run,
            refused,
            answers,
            gas,
        } = self;
        format!(
            "{run} of {modules} modules run for {gas} gas; refused: {refused:?}; answers: {answers:?}"
        )
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.modules += other.modules;
        self.run += other.run;
        self.gas += other.gas;
        for (code, count) in &other.refused {
            *self.refused.entry(code).or_default() += count;
        }
        for (answer, count) in &other.answers {
            *self.answers.entry(answer.clone()).or_default() += count;
        }
    }

    /// Holds them against what they must show.
    ///
    /// # Panics
    /// Less than half of the modules were run, or hardly any did anything.
    pub fn check(&self) {
        assert!(self.run * 2 >= self.modules, "{}", self.told());
        let seen = |code: &str| self.answers.get(code).copied().unwrap_or_default();
        let answered = seen("allow") + seen("deny") + seen("pass") + seen("take");
        // Bytes that came from memory, mostly no answer.
        let came = answered + seen("failed bad_output");
        assert!(came > 0 && seen("failed out_of_gas") > 0, "{}", self.told());
    }
}

/// Engines that play modules.
pub struct Modules {
    engines: Engines,
    /// What came of them.
    pub counts: Counts,
}

impl Modules {
    /// On the engine of nodes, on the one that differs most from it, and on the interpreter.
    #[must_use]
    pub fn new() -> Self {
        Self {
            engines: Engines::and([COMPILED[3], INTERPRETED]),
            counts: Counts::default(),
        }
    }

    /// Plays the module of that seed.
    ///
    /// # Panics
    /// Two engines differ, or the module is a fault of an engine. The seed is printed before.
    pub fn play(&mut self, seed: u64) {
        let told = Told(seed);
        self.counts.modules += 1;
        self.run(&random_modules::module(seed));
        drop(told);
        if self.counts.modules.is_multiple_of(FORGET_AFTER) {
            self.engines.forget();
        }
    }

    fn run(&mut self, bytes: &[u8]) {
        let counts = &mut self.counts;
        if let Err(problem) = inspect(bytes) {
            assert_eq!(instrument::instrumented(bytes), Err(problem.clone()));
            *counts.refused.entry(problem.code).or_default() += 1;
            return;
        }
        counts.run += 1;
        let module = Module::new(bytes.to_vec());
        let _ = self
            .engines
            .agree(&module, Export::CheckConfig, wire::EMPTY_CONFIG);
        for hook in Hook::ALL {
            let input = plain_input(hook);
            let answer = self.engines.agree(&module, Export::Hook(hook), &input);
            let again = self.engines.agree(&module, Export::Hook(hook), &input);
            assert_eq!(again, answer, "a second time");
            counts.gas += answer.gas;
            *counts
                .answers
                .entry(summary(read(hook, &answer)))
                .or_default() += 1;
        }
    }
}

impl Default for Modules {
    fn default() -> Self {
        Self::new()
    }
}

/// Says which module it was, where something panics.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "module of seed {0}: cargo xtask hostile --modules 1 --seed {0}",
                self.0
            );
        }
    }
}
