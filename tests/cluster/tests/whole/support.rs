//! What several tests need.

use std::path::{Path, PathBuf};
use std::process::Command;

use raft3d_cluster_tests::process::binary;
use raft3d_cluster_tests::{Client, Cluster, Load, LoadOptions};
use serde_json::Value;

/// Weight of the filament that load goes to, in grams: more than any test uses up.
const PLENTY_G: u64 = 100_000_000;
/// Weight of each job of a load, in grams.
const JOB_G: u64 = 3;

/// Adds the printer `p1` and the filament `f1` (PLA) through `client`.
#[track_caller]
pub(crate) fn open_shop(client: &Client, grams: u64) {
    client.create_printer("p1").expect(201);
    client.create_filament("f1", "PLA", grams).expect(201);
}

/// Adds what a load needs.
#[track_caller]
pub(crate) fn open_large_shop(client: &Client) {
    open_shop(client, PLENTY_G);
}

/// Load on every node of the cluster.
pub(crate) fn load(cluster: &Cluster, prefix: &str) -> Load {
    Load::start(LoadOptions {
        targets: cluster
            .running()
            .map(|node| cluster.http_addr(node))
            .collect(),
        connections: 12,
        prefix: prefix.to_owned(),
        printer: "p1".to_owned(),
        filament: "f1".to_owned(),
        grams: JOB_G,
    })
}

/// Every row of the three resources as one node has them.
#[track_caller]
pub(crate) fn rows(client: &Client, min_revision: u64) -> Vec<Vec<Value>> {
    let resources = ["printers", "filaments", "print_jobs", "policies"];
    resources
        .iter()
        .map(|resource| client.list_stale(resource, min_revision))
        .collect()
}

/// A filament as one node has it now.
#[track_caller]
pub(crate) fn filament(client: &Client, id: &str) -> Value {
    client
        .get(&format!("/api/v1/filaments/{id}"))
        .expect(200)
        .json()
}

/// The file of a shipped module.
pub(crate) fn prebuilt(name: &str) -> PathBuf {
    let path = format!("../../policies/prebuilt/{name}.wasm");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs `raft3d` as an operator does; answers its exit code and all that it said.
pub(crate) fn raft3d(arguments: &[&str], folder: &Path, node: &str) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(folder);
    ended(command.env("RAFT3D_NODE", node))
}

/// Runs a command to its end; answers its exit code and all that it said.
pub(crate) fn ended(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("the program runs");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}
