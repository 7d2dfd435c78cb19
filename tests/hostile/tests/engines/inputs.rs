//! The shipped policies with random calls: the same answers, bytes and gas alike, on every engine.
//! A test for each policy, so that they share the processors.

use raft3d_hostile::inputs_on_engines::Calls;
use raft3d_hostile::plan::Plan;
use raft3d_hostile::shipped;

/// Calls of each policy.
const CALLS: u64 = 10_000;

fn check(policy: &str, test: &str) {
    let policy = shipped::named(policy);
    let plan = Plan::from_environment(CALLS, &format!("inputs::{test}"));
    let mut calls = Calls::of(&policy);
    plan.seeds().for_each(|seed| calls.play(seed));
    println!("{}: {:?}", policy.name, calls.counts);
    calls.counts.check(&policy).unwrap();
}

/// A test for each policy, by the name of its module.
macro_rules! policies {
    ($($test:ident $name:literal)*) => {
        $(
            #[test]
            fn $test() {
                check($name, stringify!($test));
            }
        )*

        #[test]
        fn every_shipped_policy_has_its_test() {
            let shipped: Vec<_> = shipped::all().iter().map(|policy| policy.name).collect();
            assert_eq!(shipped, [$($name),*]);
        }
    };
}

policies! {
    standard_lifecycle "standard-lifecycle"
    standard_deduction "standard-deduction"
    approval "approval"
    exclusive_printer "exclusive-printer"
    material_match "material-match"
    quiet_hours "quiet-hours"
    quota "quota"
    safety_margin "safety-margin"
    waste_factor "waste-factor"
}
