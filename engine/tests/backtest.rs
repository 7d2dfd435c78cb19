//! Backtests over records as apply would have written them, with real modules.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "tests"
)]

#[path = "policy/support.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::Path;

use raft3d_core::state::decisions::{Decision, DecisionRecord, Verdict};
use raft3d_core::state::rulesets::Mode;
use raft3d_core::{BindingId, Export, JobId, ModuleDigest, PolicyError, Revision};
use raft3d_engine::backtest::{Against, BacktestError, Candidate, Change, Options, Report, run};
use raft3d_engine::policy::{Workbench, module_digest};
use raft3d_sdk::testkit::{admission, transition};
use raft3d_sdk::wire::EMPTY_CONFIG;
use raft3d_sdk::{DenyClass, Grams, Hook};
use support::guest;

/// Records of a run: several batches for each processor.
const RECORDS: u64 = 500;

fn prebuilt(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/prebuilt");
    std::fs::read(folder.join(format!("{name}.wasm"))).unwrap()
}

fn decision(binding: &str, module: &[u8], hook: Hook, verdict: Verdict) -> Decision {
    Decision {
        binding: BindingId::new(binding),
        module: module_digest(module),
        abi: 1,
        hook,
        mode: Mode::Enforce,
        input_digest: [0; 32],
        verdict,
        warnings: Vec::new(),
        gas: 1,
    }
}

fn record(revision: u64, input: Vec<u8>, decisions: Vec<Decision>) -> DecisionRecord {
    DecisionRecord {
        revision: Revision(revision),
        at_ms: 1_000 * revision,
        epoch: 1,
        ruleset: Revision(1),
        job: JobId::new(format!("job{revision}")),
        input,
        decisions,
    }
}

fn grams(grams: u64) -> Grams {
    Grams::from_grams(grams).unwrap()
}

/// A new job of so many grams on a spool with 800 g.
fn new_job(weight: u64) -> Vec<u8> {
    let mut input = admission();
    input.job.print_weight = grams(weight);
    minicbor::to_vec(&input).unwrap()
}

/// A job of so many grams that becomes Done.
fn done(weight: u64) -> Vec<u8> {
    let mut input = transition("Running", "Done");
    input.job.print_weight = grams(weight);
    minicbor::to_vec(&input).unwrap()
}

fn options(same_name: &[&[u8]]) -> Options {
    let digests: BTreeSet<ModuleDigest> = same_name.iter().map(|it| module_digest(it)).collect();
    Options {
        binding: None,
        same_name: digests,
        examples_max: 2,
    }
}

fn tested(candidate: &Candidate, options: &Options, records: &[DecisionRecord]) -> Report {
    let report = run::<BacktestError>(candidate, options, |feed| {
        for record in records {
            assert!(feed.push(record.clone()));
        }
        Ok(())
    });
    report.unwrap()
}

/// Every fourth is denied for its material, as `materials` without PLA would.
fn admissions(module: &[u8]) -> Vec<DecisionRecord> {
    let denied = Verdict::Deny {
        class: DenyClass::Denied,
        code: "too_heavy".to_owned(),
        message: "no".to_owned(),
    };
    let verdict = |n: u64| match n % 4 {
        0 => denied.clone(),
        _ => Verdict::Allow,
    };
    let one = |n| {
        let said = decision("life", module, Hook::Admission, verdict(n));
        record(n, new_job(n), vec![said])
    };
    (1..=RECORDS).map(one).collect()
}

#[test]
fn the_report_counts_every_difference_whatever_the_number_of_processors() {
    let module = prebuilt("standard-lifecycle");
    let records = admissions(&module);
    let mut reports = Vec::new();
    for threads in [1, 3] {
        let candidate = Candidate::new(&module, EMPTY_CONFIG, threads).unwrap();
        reports.push(tested(&candidate, &options(&[&module]), &records));
    }
    // Gas is kept in the order in which it came; what is told of it is the same.
    let told = |report: &Report| {
        let tally = &report.hooks[0].tally;
        (
            report.records,
            report.span_ms,
            (tally.evaluated, tally.same, tally.changes.clone()),
            tally.examples.clone(),
            (tally.gas_median(), tally.gas_max()),
        )
    };
    assert_eq!(told(&reports[0]), told(&reports[1]));

    let report = &reports[0];
    let hooks: Vec<_> = report.hooks.iter().map(|hook| hook.hook).collect();
    assert_eq!(hooks, [Hook::Admission, Hook::Transition]);
    let admission = &report.hooks[0];
    assert_eq!(admission.against, Against::Binding(BindingId::new("life")));
    let tally = &admission.tally;
    assert_eq!((tally.evaluated, tally.same), (RECORDS, RECORDS * 3 / 4));
    assert_eq!(tally.count(Change::NowAllowed), RECORDS / 4);
    assert_eq!((report.changed(), report.records), (RECORDS / 4, RECORDS));
    assert_eq!(report.span_ms, Some((1_000, 1_000 * RECORDS)));
    let kept: Vec<_> = tally.examples[&Change::NowAllowed]
        .iter()
        .map(|example| (example.revision.0, example.actor.as_str()))
        .collect();
    let actor = admission_actor();
    assert_eq!(kept, [(4, actor), (8, actor)]);
    let (median, max) = (tally.gas_median().unwrap(), tally.gas_max().unwrap());
    assert!(0 < median && median <= max && max < 1_000_000);
    assert_eq!(report.hooks[1].tally.evaluated, 0);
}

fn admission_actor() -> &'static str {
    admission().actor
}

#[test]
fn grams_are_summed_and_compared() {
    let module = prebuilt("standard-deduction");
    let taken = |n: u64, extra: u64| Verdict::Take {
        grams: grams(n + extra),
        reason: String::new(),
    };
    let one = |n: u64| {
        let said = decision("deduct", &module, Hook::Deduction, taken(n, n % 2));
        record(n, done(n), vec![said])
    };
    let records: Vec<_> = (1..=100).map(one).collect();
    let candidate = Candidate::new(&module, EMPTY_CONFIG, 2).unwrap();
    let report = tested(&candidate, &options(&[&module]), &records);
    let tally = &report.hooks[0].tally;
    assert_eq!((tally.same, tally.count(Change::OtherGrams)), (50, 50));
    assert_eq!(tally.taken_before_mg, (5_050 + 50) * 1_000);
    assert_eq!(tally.taken_after_mg, 5_050 * 1_000);
}

#[test]
fn without_one_binding_of_its_name_it_is_a_rule_more() {
    let module = prebuilt("standard-lifecycle");
    let mut records = admissions(&module);
    // Two bindings of the candidate's module: neither is meant, so all that was denied stays so.
    records[1].decisions[0].binding = BindingId::new("other");
    let candidate = Candidate::new(&module, EMPTY_CONFIG, 2).unwrap();
    let report = tested(&candidate, &options(&[&module]), &records);
    assert_eq!(report.hooks[0].against, Against::Overall);
    assert_eq!(report.changed(), 0);
    // None of them is the candidate's.
    let report = tested(&candidate, &options(&[]), &records);
    assert_eq!(report.hooks[0].against, Against::Overall);
    assert_eq!((report.changed(), report.evaluated()), (0, RECORDS));
    // One is named.
    let named = Options {
        binding: Some(BindingId::new("other")),
        ..options(&[])
    };
    let report = tested(&candidate, &named, &records);
    assert_eq!((report.evaluated(), report.changed()), (1, 0));
}

#[test]
fn a_candidate_that_fails_says_how_often_and_why() {
    let words = r#"(func (export "raft3d_panic") (result i64) (i64.const 0x4000000004))"#;
    let body = "(i32.store (i32.const 64) (i32.const 0x37207461)) (unreachable)";
    let panics = guest(body, words);
    // This guest answers `check_config` with nothing, which is no verdict.
    let refused = Candidate::new(&panics, EMPTY_CONFIG, 1).err().unwrap();
    assert!(refused.to_string().contains("check_config"), "{refused}");

    // As `panics`, with a `check_config` that answers an empty map.
    let text = format!(
        r#"(module
             (memory (export "memory") 1)
             (data (i32.const 512) "\a0")
             (func (export "raft3d_abi_1"))
             (func (export "raft3d_alloc") (param i32) (result i32) i32.const 1024)
             (func (export "check_config") (param i32 i32) (result i64)
               i64.const 0x20000000001)
             (func (export "admission") (param i32 i32) (result i64) {body})
             {words})"#
    );
    let manifest = minicbor::to_vec(support::manifest()).unwrap();
    let panics = support::with_manifest(&text, &manifest);
    let candidate = Candidate::new(&panics, EMPTY_CONFIG, 2).unwrap();
    let records = admissions(&prebuilt("standard-lifecycle"));
    let report = tested(&candidate, &options(&[]), &records);
    let tally = &report.hooks[0].tally;
    // What was denied stays denied, whatever the candidate does.
    assert_eq!(tally.count(Change::Failed), RECORDS * 3 / 4);
    assert_eq!(tally.failed_by_code["unreachable"], RECORDS * 3 / 4);
    let first = &tally.examples[&Change::Failed][0];
    assert_eq!(first.after, Verdict::Failed(PolicyError::Unreachable));
    assert_eq!(first.panic.as_deref(), Some("at 7"));
}

#[test]
fn what_the_feed_says_ends_it() {
    #[derive(Debug)]
    enum Ended {
        Feed,
        Other,
    }
    impl From<BacktestError> for Ended {
        fn from(_: BacktestError) -> Self {
            Self::Other
        }
    }
    let module = prebuilt("standard-lifecycle");
    let candidate = Candidate::new(&module, EMPTY_CONFIG, 2).unwrap();
    let ended = run(&candidate, &options(&[]), |feed| {
        feed.push(admissions(&module)[0].clone());
        Err(Ended::Feed)
    });
    assert!(matches!(ended, Err(Ended::Feed)), "{ended:?}");
    let nothing = tested(&candidate, &options(&[]), &[]);
    assert_eq!((nothing.records, nothing.span_ms), (0, None));
    assert_eq!(nothing.hooks[0].tally.gas_median(), None);
}

#[test]
fn several_questions_at_once_have_the_answers_of_one() {
    let module = prebuilt("standard-lifecycle");
    let bench = Workbench::with_slots(&module, 2).unwrap();
    let call = raft3d_core::state::decisions::call(&new_job(5), EMPTY_CONFIG).unwrap();
    let ask = || {
        bench
            .evaluate(Export::Hook(Hook::Admission), &call)
            .unwrap()
    };
    let expected = ask();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..50).map(|_| ask()).collect::<Vec<_>>()))
            .collect();
        for thread in threads {
            let all = thread.join().unwrap();
            assert!(all.iter().all(|trial| *trial == expected));
        }
    });
}
