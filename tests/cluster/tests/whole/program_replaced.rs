//! The program's file is replaced under running nodes, as a package manager does: each goes on as the
//! program that it was started from, its compiling children too.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use raft3d_cluster_tests::process::binary;
use raft3d_cluster_tests::{Cluster, Options};
use serde_json::json;

use crate::support::{open_large_shop, prebuilt};

/// Puts `content` where `program` is, in one step and as a file of its own: what runs keeps the old
/// one. Nothing: the file is deleted.
fn replace(program: &Path, content: Option<&[u8]>) {
    let Some(content) = content else {
        fs::remove_file(program).expect("the program's file");
        return;
    };
    let new = program.with_extension("new");
    fs::write(&new, content).expect("the new file");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("the new file's mode");
    fs::rename(&new, program).expect("the replacement");
}

/// Modules that a node keeps compiled.
fn compiled(cluster: &Cluster, node: usize) -> usize {
    let folder = cluster.data(node).join("modules-cache");
    let files = fs::read_dir(folder).expect("the cache");
    let names = files.map(|file| file.expect("a file").file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(".native"))
        .count()
}

#[test]
fn a_node_compiles_with_the_program_that_it_was_started_from() {
    let mut cluster = Cluster::start("program-replaced", Options::nodes(3));
    let mut programs: Vec<PathBuf> = Vec::new();
    for node in 0..3 {
        cluster.kill9(node);
        let program = cluster.data(node).with_extension("program");
        fs::hard_link(binary(), &program).expect("a second name of the program");
        cluster.set_program(node, program.clone());
        cluster.restart(node);
        programs.push(program);
    }
    open_large_shop(&cluster.client(0));
    let before: Vec<usize> = (0..3).map(|node| compiled(&cluster, node)).collect();
    let script = b"#!/bin/sh\necho this is another program\n";
    let other = fs::read("/bin/true").expect("another program");
    replace(&programs[0], Some(script));
    replace(&programs[1], Some(&other));
    replace(&programs[2], None);

    let client = cluster.client(0);
    let module = fs::read(prebuilt("quota")).expect("the prebuilt module");
    let module = client.upload(&module).expect(201).json();
    let active = client.ruleset();
    let mut bindings = vec![json!({
        "id": "quota", "module": module["sha256"], "hooks": ["admission"], "mode": "enforce",
        "config": {"default": {"open_jobs_max": 1}},
    })];
    bindings.extend(active["bindings"].as_array().expect("bindings").clone());
    let revision = active["revision"].as_u64().expect("a revision");
    client.put_ruleset(&json!(bindings), revision).expect(200);
    client.create_job("first", "p1", "f1", 1).expect(201);
    let mut seen = 0;
    for node in 0..3 {
        let refused = cluster
            .client(node)
            .create_job(&format!("more-{node}"), "p1", "f1", 1)
            .expect(422);
        assert_eq!(refused.codes(), ["too_many_open_jobs"], "{refused}");
        seen = refused.revision().max(seen);
    }
    // Each of them has asked the module, compiled by itself, with the same result.
    cluster.wait_converged(seen);
    for (node, before) in before.iter().enumerate() {
        let after = compiled(&cluster, node);
        assert_eq!(after, before + 1, "node {node} has compiled the module");
    }
    for node in 0..3 {
        cluster.set_program(node, binary());
    }
}
