//! `/metrics`.

use raft3d_engine::core::{BindingId, Export, ModuleDigest};
use raft3d_engine::policy::tally::{Asked, Cost, Histogram, PolicyTallies, Verdicts};
use raft3d_engine::sdk::Hook;

use super::Shop;

/// Two denials of a binding whose names want to be more than names.
fn tallies() -> PolicyTallies {
    let module = ModuleDigest([0xab; 32]);
    let asked = Asked {
        binding: BindingId::new("late \"night\" rule"),
        module,
        hook: Hook::Admission,
        is_shadow: true,
    };
    let verdicts = Verdicts {
        allowed: 3,
        denied: vec![("too\nlate".to_owned(), 2)],
        failed: vec![("out_of_gas", 1)],
        ..Verdicts::default()
    };
    let cost = Cost {
        gas: Histogram {
            counts: [0, 0, 0, 4, 0, 0, 0, 0, 0, 1, 1],
            sum: 2_040_000,
        },
        time_ns: Histogram {
            counts: [0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0],
            sum: 48_000,
        },
    };
    PolicyTallies {
        costs: vec![((module, Export::Hook(Hook::Admission)), cost)],
        verdicts: vec![(asked, verdicts)],
    }
}

#[tokio::test]
async fn metrics_show_the_node_and_its_policies() {
    let shop = Shop::stocked().await;
    shop.set_tallies(tallies());
    let shown = shop.get("/metrics").await;
    assert_eq!(shown.status, 200);
    let kind = shown.header("content-type").unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let lines: Vec<&str> = shown.text.lines().collect();
    let has = |line: &str| assert!(lines.contains(&line), "no {line} in\n{}", shown.text);
    has("# TYPE raft3d_applied_revision gauge");
    has(&format!("raft3d_applied_revision {}", shop.log_index()));
    has("raft3d_leader 1");
    has("raft3d_log_oldest_unsynced_seconds 1.5");
    has("raft3d_disk_free_bytes 1073741824");
    has("raft3d_engine_epoch 1");
    let module = "ab".repeat(32);
    let who = format!(
        "policy=\"\",module=\"{module}\",binding=\"late \\\"night\\\" rule\",hook=\"admission\",mode=\"shadow\""
    );
    for (verdict, count) in [("allow", 3), ("deny", 2), ("failed", 1)] {
        has(&format!(
            "raft3d_policy_evaluations_total{{{who},verdict=\"{verdict}\"}} {count}"
        ));
    }
    has(&format!(
        "raft3d_policy_denials_total{{{who},code=\"too\\nlate\"}} 2"
    ));
    has(&format!(
        "raft3d_policy_faults_total{{{who},error=\"out_of_gas\"}} 1"
    ));
    let what = format!("policy=\"\",module=\"{module}\",export=\"admission\"");
    has(&format!("raft3d_policy_gas_count{{{what}}} 6"));
    has(&format!(
        "raft3d_policy_gas_bucket{{le=\"10000.0\",{what}}} 4"
    ));
    has(&format!("raft3d_policy_gas_bucket{{le=\"+Inf\",{what}}} 6"));
    has(&format!(
        "raft3d_policy_evaluation_seconds_sum{{{what}}} 0.000048"
    ));
    assert_eq!(lines.last(), Some(&"# EOF"));
}

/// A limit that nobody thought about is one that a client can use up for everybody.
#[test]
fn every_limit_is_in_the_table() {
    let architecture = include_str!("../../../../ARCHITECTURE.md");
    let from = architecture.find("## Limits").unwrap();
    let table = &architecture[from..];
    let sources = [
        include_str!("../../../../engine/core/src/limits.rs"),
        include_str!("../../../../engine/src/bounds.rs"),
        include_str!("../limits.rs"),
        include_str!("../../peer/guests.rs"),
        include_str!("../../backend.rs"),
    ];
    let other = [
        "GENERATED_ID_PREFIX",
        "COMPILED_PATIENCE",
        "UNIT_BYTES",
        "KIB",
        "MIB",
        "_",
    ];
    let mut missing = Vec::new();
    for line in sources.iter().flat_map(|source| source.lines()) {
        let name = line
            .split_once("const ")
            .and_then(|(_, rest)| rest.split_once(": "));
        let Some((name, _)) = name else { continue };
        let is_name = name
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        if is_name && !other.contains(&name) && !table.contains(&format!("`{name}`")) {
            missing.push(name);
        }
    }
    assert!(missing.is_empty(), "say who reaches them: {missing:?}");
}
