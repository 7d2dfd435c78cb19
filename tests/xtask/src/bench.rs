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
    tools::etcd()?;
    // Each by itself: the server is to be the one that users build, without the features that
    // other members of the workspace switch on in what they share.
    let builds: [(&str, &[&str]); 3] = [
        ("build the server", &["-p", "raft3d-server"]),
        (
            "build the measure of a policy",
            &["-p", "raft3d-engine", "--example", "evaluate_cost"],
        ),
        ("build the load generator", &["-p", "raft3d-bench"]),
    ];
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
