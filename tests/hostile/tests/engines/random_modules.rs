//! Random modules: the same answers on every engine, and enough of them do something.

use raft3d_hostile::modules_on_engines::Modules;
use raft3d_hostile::plan::Plan;

/// Modules of the ordinary run; `cargo xtask hostile` plays more.
const MODULES: u64 = 200;

#[test]
fn random_modules_answer_the_same_on_every_engine() {
    let plan = Plan::from_environment(MODULES, "random_modules_answer_the_same_on_every_engine");
    let mut modules = Modules::new();
    plan.seeds().for_each(|seed| modules.play(seed));
    println!("{}", modules.counts.told());
    modules.counts.check();
}
