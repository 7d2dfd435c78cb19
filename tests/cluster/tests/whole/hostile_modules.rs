//! Modules that break a rule are refused at upload on every node and leave nothing behind. What
//! becomes of the others: `tests/hostile`.

use raft3d_cluster_tests::{Cluster, Options};
use raft3d_sdk::manifest::{ABI_VERSION, SECTION};
use raft3d_sdk::{Hook, HookSet, Manifest};

use crate::support::rows;

/// A module with the hook `admission`. Its configuration is always fine.
fn module(name: &str, body: &str, extra: &str) -> Vec<u8> {
    let manifest = Manifest {
        abi: ABI_VERSION,
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        description: "Means harm.".to_owned(),
        hooks: HookSet::of(&[Hook::Admission]),
        config_schema: None,
        lifecycle: None,
        ..Manifest::default()
    };
    let manifest = minicbor::to_vec(&manifest).expect("a manifest");
    let manifest: String = manifest
        .iter()
        .map(|byte| format!("\\{byte:02x}"))
        .collect();
    let text = format!(
        r#"(module
            {extra}
            (@custom "{SECTION}" "{manifest}")
            (memory (export "memory") 1)
            ;; An empty map (all is well) at 16, four bytes that are no CBOR at 32.
            (data (i32.const 16) "\a0")
            (data (i32.const 32) "\ff\ff\ff\ff")
            (func (export "raft3d_abi_1"))
            (func (export "raft3d_alloc") (param i32) (result i32) (i32.const 1024))
            (func (export "check_config") (param i32 i32) (result i64) (i64.const 0x10_00000001))
            (func $admission (export "admission") (param i32 i32) (result i64) {body}))"#
    );
    wat::parse_str(&text).expect("the module's text")
}

#[test]
fn a_module_that_breaks_a_rule_is_refused_at_upload_on_every_node() {
    let cluster = Cluster::start("hostile-upload", Options::nodes(3));
    let import = r#"(import "env" "clock" (func (result i64)))"#;
    let good = "(i64.const 0x10_00000001)";
    let no_manifest = wat::parse_str(r#"(module (memory (export "memory") 1))"#);
    let refused: Vec<(&str, Vec<u8>)> = vec![
        ("imports", module("import", good, import)),
        (
            "float_instruction",
            module("float", "(drop (f64.const 1)) (i64.const 0)", ""),
        ),
        (
            "start_function",
            module("start", good, "(func $s) (start $s)"),
        ),
        ("function_body_too_large", large_function()),
        ("no_manifest", no_manifest.expect("a module")),
        ("not_core_module", b"\0asm\x0d\0\x01\0".to_vec()),
        ("not_wasm", b"#!/bin/sh\necho hello\n".to_vec()),
    ];
    let before = rows(&cluster.client(0), 0);
    for node in 0..3 {
        let client = cluster.client(node);
        for (code, bytes) in &refused {
            let answer = client.upload(bytes).expect(422);
            assert_eq!(answer.codes(), [*code], "node {node}: {answer}");
        }
        client.upload(&large(600 * 1024)).expect(413);
    }
    cluster.wait_converged(0);
    for node in 0..3 {
        assert_eq!(rows(&cluster.client(node), 0), before, "node {node}");
    }

    // Told to be something else, or empty.
    let client = cluster.client(1);
    let json = [("content-type", "application/json")];
    client
        .call("POST", "/api/v1/policies", &json, Some(b"{}"))
        .expect(415);
    client.upload(b"").expect(422);
    // A good module is still welcome, and known the second time.
    let fine = module("fine", good, "");
    client.upload(&fine).expect(201);
    cluster.client(2).upload(&fine).expect(200);
}

/// A sound module that is too large: a custom section full of zeros.
fn large(bytes: usize) -> Vec<u8> {
    let zeros = "\\00".repeat(bytes);
    module(
        "large",
        "(i64.const 0x10_00000001)",
        &format!("(@custom \"padding\" \"{zeros}\")"),
    )
}

/// A function body above 32 KiB.
fn large_function() -> Vec<u8> {
    let body = "(drop (i32.const 1))".repeat(40_000 / 3);
    module(
        "large-function",
        &format!("{body} (i64.const 0x10_00000001)"),
        "",
    )
}
