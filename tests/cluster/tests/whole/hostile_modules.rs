//! Modules that mean harm: each is refused at upload or denied at evaluation, with its own code, on
//! every node alike, and the cluster goes on.

use raft3d_cluster_tests::{Client, Cluster, Options};
use raft3d_sdk::manifest::{ABI_VERSION, SECTION};
use raft3d_sdk::{Hook, HookSet, Manifest};
use serde_json::{Value, json};

use crate::support::{open_shop, rows};

/// What is wrong with a module whose text is good: what its hook does.
const LOOPS: &str = "(loop (br 0)) unreachable";
const RECURSES: &str = "(i64.add (i64.const 1) (call $admission (local.get 0) (local.get 1)))";
const ALLOCATES: &str =
    "(loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable";
const GARBAGE: &str = "(i64.const 0x20_00000004)";
const OUTSIDE: &str = "(i64.const 0x7fffffff_00000004)";
const TRAPS: &str = "unreachable";

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

/// Binds `module` in front of everything else, for jobs on TPU.
#[track_caller]
fn activate(client: &Client, id: &str, module: &Value) {
    let active = client.ruleset();
    let binding = json!({"id": id, "module": module, "hooks": ["admission"],
        "scope": {"filament_type": "TPU"}, "mode": "enforce", "percentage": 100,
        "lifecycle": false, "config": {}});
    let mut bindings: Vec<Value> = active["bindings"].as_array().expect("bindings").clone();
    bindings.retain(|binding| binding["scope"] == "all");
    bindings.insert(0, binding);
    let revision = active["revision"].as_u64().expect("a revision");
    client.put_ruleset(&json!(bindings), revision).expect(200);
}

#[test]
fn a_module_that_misbehaves_is_denied_with_its_own_code_on_every_node() {
    let cluster = Cluster::start("hostile-run", Options::nodes(3));
    open_shop(&cluster.client(0), 1000);
    cluster
        .client(0)
        .create_filament("f-tpu", "TPU", 1000)
        .expect(201);
    let cases: [(&str, &str, &[&str]); 6] = [
        ("loops", LOOPS, &["out_of_gas"]),
        ("recurses", RECURSES, &["stack_overflow"]),
        // It is told that there is no more memory, and gives up; or its gas ends before.
        ("allocates", ALLOCATES, &["unreachable", "out_of_gas"]),
        ("garbage", GARBAGE, &["bad_output"]),
        ("outside", OUTSIDE, &["bad_output_range"]),
        ("traps", TRAPS, &["unreachable"]),
    ];
    for (round, (name, body, codes)) in cases.into_iter().enumerate() {
        let through = cluster.client(round % 3);
        let uploaded = through.upload(&module(name, body, "")).expect(201).json();
        assert_eq!(uploaded["name"], name);
        activate(&through, &format!("harm-{name}"), &uploaded["sha256"]);
        let mut said: Option<Vec<String>> = None;
        for node in 0..3 {
            let client = cluster.client(node);
            let id = format!("{name}-{node}");
            let answer = client.create_job(&id, "p1", "f-tpu", 1).expect(422);
            let told = answer.codes();
            assert!(
                told.iter().any(|code| codes.contains(&code.as_str())),
                "{answer}"
            );
            assert!(
                *said.get_or_insert_with(|| told.clone()) == told,
                "{answer}, {said:?}"
            );
            client.get(&format!("/api/v1/print_jobs/{id}")).expect(404);
            // Jobs outside the binding's scope go on as ever.
            client
                .create_job(&format!("good-{name}-{node}"), "p1", "f1", 1)
                .expect(201);
        }
        println!("{name}: {said:?}");
        cluster.wait_converged(0);
    }
    // A bad policy can always be rolled back.
    let client = cluster.client(1);
    while client.create_job("tpu", "p1", "f-tpu", 1).status != 201 {
        let active = client.ruleset();
        assert_eq!(
            active["bindings"][0]["scope"],
            json!({"filament_type": "TPU"}),
            "{active}"
        );
        let mut bindings = active["bindings"].as_array().expect("bindings").clone();
        bindings.remove(0);
        let revision = active["revision"].as_u64().expect("a revision");
        client.put_ruleset(&json!(bindings), revision).expect(200);
    }
    cluster.wait_converged(0);
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
    client.upload(b"").expect_4xx();
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
