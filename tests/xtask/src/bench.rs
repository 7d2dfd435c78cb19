//! `cargo xtask bench`: what a release build does on this machine, beside etcd.

use std::env::consts::EXE_SUFFIX;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::steps::{self, cargo, target_dir};
use crate::tools;

/// Builds what is measured, and measures with `args` of `raft3d-bench`.
///
/// # Errors
/// The first step that failed.
pub(crate) fn run(args: &[String]) -> Result<()> {
    // Each by itself: the server is to be the one that users build, without the features that
    // other members of the workspace switch on in what they share.
    let mut builds: Vec<(&str, &[&str])> = Vec::new();
    if needs_clusters(args) {
        if needs_etcd(args) {
            tools::etcd()?;
        }
        builds.push(("build the server", &["-p", "raft3d-server"]));
        builds.push((
            "build the measure of a policy",
            &["-p", "raft3d-engine", "--example", "evaluate_cost"],
        ));
    }
    builds.push(("build the load generator", &["-p", "raft3d-bench"]));
    for (what, which) in builds {
        let build = [&["build", "--release", "--locked"], which].concat();
        steps::run(what, &mut cargo(&build)?)?;
    }
    let release = target_dir()?.join("release");
    let program = |name: &str| release.join(format!("{name}{EXE_SUFFIX}"));
    let mut bench = Command::new(program("raft3d-bench"));
    bench.args(args).env("RAFT3D_BIN", program("raft3d")).env(
        "RAFT3D_EVALUATE_COST",
        program(
            &Path::new("examples")
                .join("evaluate_cost")
                .display()
                .to_string(),
        ),
    );
    steps::run("measure", &mut bench)
}

/// Parts of the benchmarks that start clusters, this system's and etcd's.
const OF_CLUSTERS: [&str; 6] = ["writes", "reads", "large", "failover", "readiness", "all"];

/// Parts that need none.
const WITHOUT: [&str; 2] = ["backtest", "gas"];

/// Whether anything that needs clusters is to be measured. Without a part, everything is.
fn needs_clusters(args: &[String]) -> bool {
    let names = |part: &&str| args.iter().any(|arg| arg == part);
    !WITHOUT.iter().any(names) || OF_CLUSTERS.iter().any(names)
}

/// Whether etcd is to be measured too: not if readiness is all that is asked of clusters.
fn needs_etcd(args: &[String]) -> bool {
    let names = |part: &str| args.iter().any(|arg| arg == part);
    let others = OF_CLUSTERS.iter().filter(|part| **part != "readiness");
    !names("readiness") || others.chain([&"uploads"]).any(|part| names(part))
}

#[cfg(test)]
mod tests {
    use super::{needs_clusters, needs_etcd};

    #[test]
    fn the_backtest_and_gas_need_no_cluster() {
        let args = |words: &str| -> Vec<String> { words.split(' ').map(str::to_owned).collect() };
        assert!(!needs_clusters(&args("backtest --records 1000")));
        assert!(!needs_clusters(&args("gas backtest")));
        assert!(needs_clusters(&args("backtest writes")));
        assert!(needs_clusters(&args("--rounds 3")));
        assert!(needs_clusters(&[]));
        assert!(needs_clusters(&args("readiness")) && !needs_etcd(&args("readiness")));
        assert!(needs_etcd(&args("readiness writes")) && needs_etcd(&[]));
    }
}
