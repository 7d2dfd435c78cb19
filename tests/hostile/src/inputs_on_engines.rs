//! Random calls of the shipped policies, on engines that are set differently.

use std::collections::BTreeMap;

use raft3d_core::Export;
use raft3d_fuzz::Random;
use raft3d_sdk::wire;

use crate::engines::{Engines, Module, read, summary};
use crate::inputs::Inputs;
use crate::shipped::Shipped;

/// How many calls of each kind were answered how: `admission allow`, `check_config bad`.
#[derive(Clone, Debug, Default)]
pub struct Counts(pub BTreeMap<String, u64>);

impl Counts {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            *self.0.entry(name.clone()).or_default() += count;
        }
    }

    /// Holds them against what a policy with these hooks must show: both sides of each decision.
    ///
    /// # Errors
    /// What never happened.
    pub fn check(&self, policy: &Shipped) -> Result<(), String> {
        let hooks = policy.hooks.iter().flat_map(|hook| {
            let sides = match hook {
                raft3d_sdk::Hook::Deduction => ["pass", "take"],
                _ => ["allow", "deny"],
            };
            sides.map(|side| format!("{} {side}", hook.name()))
        });
        let configs = ["check_config good", "check_config bad"].map(str::to_owned);
        let missing: Vec<_> = hooks
            .chain(configs)
            .filter(|name| !self.0.contains_key(name))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!("{}: never {missing:?}; {self:?}", policy.name))
    }
}

/// Calls of one policy, and what came of them.
pub struct Calls {
    name: &'static str,
    module: Module,
    inputs: Inputs,
    engines: Engines,
    /// What came of them.
    pub counts: Counts,
}

impl Calls {
    /// Calls of that policy, on every engine.
    #[must_use]
    pub fn of(policy: &Shipped) -> Self {
        Self {
            name: policy.name,
            module: policy.module(),
            inputs: Inputs::of(policy),
            engines: Engines::all(),
            counts: Counts::default(),
        }
    }

    /// Plays the call of that seed.
    ///
    /// # Panics
    /// Two engines differ, or the call is a fault of an engine. The seed is printed before.
    pub fn play(&mut self, seed: u64) {
        let told = Told(self.name, seed);
        let (export, input) = self.inputs.random(&mut Random::new(seed));
        let answer = self.engines.agree(&self.module, export, &input);
        drop(told);
        let came = match export {
            Export::Hook(hook) => summary(read(hook, &answer)),
            Export::CheckConfig => match &answer.output {
                Err(error) => format!("failed {}", error.code()),
                Ok(bytes) => match wire::decode_config_verdict(bytes) {
                    Ok(verdict) if verdict.problem.is_none() => "good".to_owned(),
                    Ok(_) => "bad".to_owned(),
                    Err(_) => "failed bad_output".to_owned(),
                },
            },
        };
        let name = format!("{} {came}", export.name());
        *self.counts.0.entry(name).or_default() += 1;
    }
}

/// Says which call it was, where something panics.
struct Told(&'static str, u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "a call of {0} with the seed {1}: cargo xtask hostile --policy {0} --inputs 1 --seed {1}",
                self.0, self.1
            );
        }
    }
}
