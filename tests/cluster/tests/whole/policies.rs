//! A new policy at work: compiled here, uploaded through a follower, activated for everybody at one
//! log index, carried to a node that joins later, and still there after a restart.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use raft3d_cluster_tests::cluster::PATIENCE;
use raft3d_cluster_tests::process::wait_for;
use raft3d_cluster_tests::{Answer, Client, Cluster, Options};
use serde_json::{Value, json};

use crate::support::open_large_shop;

/// The example whose rule is watched.
const EXAMPLE: &str = "max-weight";

/// Compiles a policy crate of `examples/` through the SDK.
fn compile(example: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    xtask::guest::build(&root.join("examples").join(example)).expect("the example compiles")
}
