//! Random modules on three nodes.

use raft3d_hostile::modules_on_cluster;
use raft3d_hostile::plan::Plan;

/// Modules of the ordinary run, twelve rulesets of them; `cargo xtask hostile` plays more.
const MODULES: u64 = 200;

#[test]
fn random_modules_do_not_hurt_a_cluster() {
    let plan = Plan::from_environment(MODULES, "random_modules_do_not_hurt_a_cluster");
    let seeds: Vec<u64> = plan.seeds().collect();
    let counts = modules_on_cluster::play(&seeds, |_| {});
    println!("{}", counts.told());
    counts.check();
}
