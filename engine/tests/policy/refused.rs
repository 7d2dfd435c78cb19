//! What the static check refuses, each with its code; a refusal names limit, value and place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use raft3d_core::{ModuleDigest, PolicyCall, PolicyError, PolicyHost};
use raft3d_engine::policy::{
    CompileError, CompileLimits, Compiler, EngineSettings, HostOptions, UploadError, WasmHost,
    inspect, module_digest,
};
use raft3d_sdk::{Claim, Hook, HookSet, Lifecycle, Manifest, State};

use crate::support::{Source, TestHost, append_custom, guest, manifest, module, with_manifest};

fn code(bytes: &[u8]) -> &'static str {
    match inspect(bytes) {
        Ok(_) => "taken",
        Err(problem) => {
            assert!(!problem.message.is_empty());
            problem.code
        }
    }
}

/// A guest that is fine but for `extra`.
fn extra(text: &str) -> &'static str {
    code(&guest("(i64.const 0)", text))
}

fn body(text: &str) -> &'static str {
    code(&guest(text, ""))
}

#[test]
fn a_plain_guest_is_taken_with_its_use_of_each_limit() {
    let report = inspect(&guest("(i64.const 0)", "")).unwrap();
    assert_eq!(report.manifest, manifest());
    let functions = report
        .limits_used
        .iter()
        .find(|usage| usage.limit == "functions")
        .unwrap();
    assert_eq!((functions.value, functions.max), (4, 5_000));
}

#[test]
fn what_is_not_a_core_module() {
    assert_eq!(code(b""), "not_wasm");
    assert_eq!(code(b"#!/bin/sh"), "not_wasm");
    assert_eq!(code(b"\0asm\x0d\0\x01\0"), "not_core_module");
    assert_eq!(code(b"\0asm\x02\0\0\0"), "not_core_module");
    assert_eq!(code(b"\0asm\x01\0\0\0"), "no_memory");
    let mut large = guest("(i64.const 0)", "");
    append_custom(&mut large, "padding", &vec![0; 600 * 1024]);
    let problem = inspect(&large).unwrap_err();
    assert_eq!(problem.code, "module_too_large");
    let limit = problem.limit.unwrap();
    assert_eq!((limit.value, limit.max), (large.len() as u64, 512 * 1024));
    assert!(problem.message.contains("524288"), "{}", problem.message);
}

#[test]
fn what_reaches_outside() {
    let text = r#"(module (import "env" "clock" (func (result i64))))"#;
    let bytes = with_manifest(text, &minicbor::to_vec(manifest()).unwrap());
    let problem = inspect(&bytes).unwrap_err();
    assert_eq!(
        (problem.code, problem.place.as_deref()),
        ("imports", Some("import env.clock"))
    );
    assert_eq!(extra("(func $start) (start $start)"), "start_function");
}

#[test]
fn what_is_not_deterministic_or_not_needed() {
    assert_eq!(extra("(func (param f32))"), "float_type");
    assert_eq!(extra("(func (local f64))"), "float_type");
    assert_eq!(extra("(global f64 (f64.const 1))"), "float_type");
    assert_eq!(extra("(func (drop (f32.const 1)))"), "float_instruction");
    assert_eq!(
        body("(drop (i32.trunc_sat_f32_s (f32.const 1))) (i64.const 0)"),
        "float_instruction"
    );
    assert_eq!(
        body("(drop (block (result f32) (unreachable))) (i64.const 0)"),
        "float_type"
    );
    assert_eq!(extra("(func (param v128))"), "type_not_allowed");
    assert_eq!(extra("(func (param externref))"), "type_not_allowed");
    assert_eq!(
        extra("(func (drop (ref.null func)))"),
        "instruction_not_allowed"
    );
    assert_eq!(extra("(func (return_call 0))"), "instruction_not_allowed");
    assert_eq!(
        extra("(func (drop (i64.atomic.load (i32.const 0))))"),
        "instruction_not_allowed"
    );
    assert_eq!(extra("(memory 1)"), "feature_not_allowed");
    assert_eq!(extra("(tag)"), "feature_not_allowed");
    assert_eq!(extra("(table 1 externref)"), "type_not_allowed");
    assert_eq!(
        extra("(table 1 funcref) (elem declare func 0)"),
        "feature_not_allowed"
    );
    assert_eq!(
        extra("(global i32 (i32.add (i32.const 1) (i32.const 1)))"),
        "constant_expression"
    );
    assert_eq!(extra("(type (struct))"), "malformed");
    let problem = inspect(&guest("(drop (f64.const 1)) (i64.const 0)", "")).unwrap_err();
    assert!(problem.place.unwrap().starts_with("function 3, offset 0x"));
}

#[test]
fn what_llvm_writes_is_taken() {
    assert_eq!(
        extra(r#"(global (export "__heap_base") i32 (i32.const 1024))"#),
        "taken"
    );
    assert_eq!(
        extra("(func (result i32 i64) (i32.const 1) (i64.const 2))"),
        "taken"
    );
    assert_eq!(
        body("(drop (i32.extend8_s (i32.const 1))) (i64.const 0)"),
        "taken"
    );
    // `call_indirect` with a table index of five bytes.
    let short = guest(
        "(call_indirect (result i64) (i32.const 0))",
        "(table 1 funcref) (elem (i32.const 0) $f) (func $f (result i64) (i64.const 4))",
    );
    let place = short
        .windows(3)
        .position(|bytes| bytes == [0x41, 0x00, 0x11])
        .unwrap();
    // i32.const 0, call_indirect, type, table: the table's index is four bytes longer now, and so
    // are the body (whose length stands before its count of locals) and the code section.
    let mut long = short.clone();
    long.splice(place + 4..place + 5, [0x80, 0x80, 0x80, 0x80, 0x00]);
    long[place - 2] += 4;
    // Its id, its length, and five functions.
    let section = (0..place)
        .rev()
        .find(|at| long[*at] == 10 && long[*at + 2] == 5)
        .unwrap();
    long[section + 1] += 4;
    assert_eq!(code(&long), "taken");
    let host = TestHost::new();
    assert_eq!(host.admission(&long, b""), host.admission(&short, b""));
}

#[test]
fn bombs_for_the_compiler() {
    assert_eq!(extra(&"(func)".repeat(5_001)), "too_many_functions");
    assert_eq!(
        extra(&format!("(func {})", "(nop)".repeat(33_000))),
        "function_body_too_large"
    );
    assert_eq!(
        extra(&format!("(func (local {}))", "i32 ".repeat(257))),
        "too_many_locals"
    );
    let many = format!("(func (local {}))", "i64 ".repeat(250)).repeat(41);
    assert_eq!(extra(&many), "too_many_locals_in_all");
    assert_eq!(
        extra(&format!("(func (param {}))", "i32 ".repeat(33))),
        "too_many_parameters"
    );
    assert_eq!(
        extra(&format!(
            "(func {}{})",
            "(block ".repeat(129),
            ")".repeat(129)
        )),
        "nesting_too_deep"
    );
    assert_eq!(
        extra(&format!(
            "(func (br_table {} (i32.const 0)))",
            "0 ".repeat(1_026)
        )),
        "br_table_too_large"
    );
    assert_eq!(
        extra(&"(global i32 (i32.const 0))".repeat(65)),
        "too_many_globals"
    );
    assert_eq!(extra("(table 2501 funcref)"), "table_too_large");
    assert_eq!(
        extra("(table 1 funcref) (table 1 funcref)"),
        "too_many_tables"
    );
    assert_eq!(extra(&"(data \"\")".repeat(257)), "too_many_data_segments");
    assert_eq!(
        extra(&format!(
            "(table 1 funcref) {}",
            "(elem (i32.const 0) 0)".repeat(65)
        )),
        "too_many_element_segments"
    );
    assert_eq!(
        extra(&format!("(table 2500 funcref) {}", {
            let items = "0 ".repeat(2_500);
            format!("(elem (i32.const 0) {items})").repeat(5)
        })),
        "too_many_element_items"
    );
    assert_eq!(
        extra(
            &(0..70)
                .map(|n| format!("(export \"e{n}\" (func 0))"))
                .collect::<String>()
        ),
        "too_many_exports"
    );
    // Dense control flow grows most when the counters are put in.
    let dense = format!("(func {})", "(br_if 0 (i32.const 0))".repeat(8_000));
    assert_eq!(extra(&dense), "instrumented_body_too_large");
}

/// The largest value of each limit is still taken; `bombs_for_the_compiler` has the next one.
#[test]
fn each_limit_itself_is_taken() {
    for taken in [
        "(func)".repeat(5_000 - 4),
        format!("(func (local {}))", "i32 ".repeat(256)),
        format!("(func (local {}))", "i64 ".repeat(250)).repeat(40),
        format!("(func (param {}))", "i32 ".repeat(32)),
        format!("(func (result {}) (unreachable))", "i32 ".repeat(32)),
        format!("(func {}{})", "(block ".repeat(128), ")".repeat(128)),
        // The last one is the default, which is not counted.
        format!("(func (br_table {} (i32.const 0)))", "0 ".repeat(1_025)),
        "(global i32 (i32.const 0))".repeat(64),
        "(table 2500 funcref)".to_owned(),
        "(data \"\")".repeat(256),
        format!("(table 1 funcref) {}", "(elem (i32.const 0) 0)".repeat(64)),
        format!("(table 2500 funcref) {}", {
            let items = "0 ".repeat(2_500);
            format!("(elem (i32.const 0) {items})").repeat(4)
        }),
        "(table 2 funcref) (elem (i32.const 1) 0)".to_owned(),
        (0..59)
            .map(|n| format!("(export \"e{n}\" (func 0))"))
            .collect(),
    ] {
        assert_eq!(extra(&taken), "taken", "{:?}", taken.get(..60));
    }
    // And the next ones, where the test below goes further.
    let export = |n| format!("(export \"e{n}\" (func 0))");
    assert_eq!(
        extra(&(0..60).map(export).collect::<String>()),
        "too_many_exports"
    );
    let results = format!("(func (result {}) (unreachable))", "i32 ".repeat(33));
    assert_eq!(extra(&results), "too_many_results");
    assert_eq!(extra("(memory 1)"), "feature_not_allowed");
}

/// What an instance could trip over before a single instruction runs, and names that look like the
/// counters': all of it is decided from the bytes.
#[test]
fn what_would_fail_while_an_instance_is_made() {
    assert_eq!(extra("(func $s) (start $s)"), "start_function");
    assert_eq!(
        extra("(global (export \"raft3d:gas\") (mut i64) (i64.const 9))"),
        "reserved_export"
    );
    assert_eq!(
        extra("(global (export \"raft3d:stack\") (mut i32) (i32.const 9))"),
        "reserved_export"
    );
    assert_eq!(
        extra("(global (export \"gas\") (mut i64) (i64.const 9))"),
        "taken"
    );
    // A table without a maximum gets one: its own size.
    assert_eq!(
        extra("(table 3 funcref) (elem (i32.const 3) 0)"),
        "segment_out_of_bounds"
    );
    assert_eq!(extra("(table 3 funcref)"), "taken");
    assert_eq!(extra("(elem (i32.const 0) 0)"), "segment_out_of_bounds");
}

#[test]
fn segments_outside_memory_and_table() {
    assert_eq!(
        extra(r#"(data (i32.const 65533) "four")"#),
        "segment_out_of_bounds"
    );
    assert_eq!(
        extra(r#"(data (i32.const -1) "")"#),
        "segment_out_of_bounds"
    );
    assert_eq!(extra(r#"(data (i32.const 65532) "four")"#), "taken");
    assert_eq!(
        extra("(table 2 funcref) (elem (i32.const 2) 0)"),
        "segment_out_of_bounds"
    );
    let sized = |pages: u32| {
        code(&module(&format!(
            r#"(memory (export "memory") {pages})
               (func (export "raft3d_alloc") (param i32) (result i32) i32.const 1024)
               (func (export "admission") (param i32 i32) (result i64) i64.const 0)"#
        )))
    };
    assert_eq!((sized(256), sized(257)), ("taken", "memory_too_large"));
}

#[test]
fn exports_that_are_missing_or_wrong() {
    let cbor = minicbor::to_vec(manifest()).unwrap();
    let all = [
        r#"(memory (export "memory") 1)"#,
        r#"(func (export "raft3d_abi_1"))"#,
        r#"(func (export "raft3d_alloc") (param i32) (result i32) i32.const 1024)"#,
        r#"(func (export "check_config") (param i32 i32) (result i64) i64.const 0)"#,
        r#"(func (export "admission") (param i32 i32) (result i64) i64.const 0)"#,
    ];
    for missing in 1..all.len() {
        let text: String = all
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != missing)
            .map(|(_, f)| *f)
            .collect();
        assert_eq!(
            code(&with_manifest(&format!("(module {text})"), &cbor)),
            "missing_export"
        );
    }
    assert_eq!(
        extra(r#"(func (export "raft3d_abi_2"))"#),
        "several_abi_markers"
    );
    assert_eq!(extra(r#"(func (export "raft3d:gas"))"#), "reserved_export");
    assert_eq!(
        extra(r#"(func (export "deduction") (param i32))"#),
        "undeclared_hook"
    );
    let text = all.concat().replace("raft3d_abi_1", "raft3d_abi_2");
    assert_eq!(
        code(&with_manifest(&format!("(module {text})"), &cbor)),
        "unknown_abi"
    );
    let text = all.concat().replace(
        r#""admission") (param i32 i32)"#,
        r#""admission") (param i64)"#,
    );
    assert_eq!(
        code(&with_manifest(&format!("(module {text})"), &cbor)),
        "wrong_signature"
    );
}

#[test]
fn manifests_that_are_missing_or_wrong() {
    let text = r#"(module (memory (export "memory") 1)
        (func (export "raft3d_abi_1"))
        (func (export "raft3d_alloc") (param i32) (result i32) i32.const 1024)
        (func (export "check_config") (param i32 i32) (result i64) i64.const 0)
        (func (export "admission") (param i32 i32) (result i64) i64.const 0))"#;
    assert_eq!(code(&wat::parse_str(text).unwrap()), "no_manifest");
    let mut twice = guest("(i64.const 0)", "");
    append_custom(&mut twice, raft3d_sdk::manifest::SECTION, b"");
    assert_eq!(code(&twice), "bad_manifest");
    assert_eq!(code(&with_manifest(text, b"\xff")), "bad_manifest");
    assert_eq!(
        code(&with_manifest(text, &vec![0; 65 * 1024])),
        "manifest_too_large"
    );
    let mut trailing = minicbor::to_vec(manifest()).unwrap();
    trailing.push(0);
    assert_eq!(code(&with_manifest(text, &trailing)), "bad_manifest");

    let with = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = manifest();
        change(&mut manifest);
        code(&with_manifest(text, &minicbor::to_vec(manifest).unwrap()))
    };
    assert_eq!(with(&|_| {}), "taken");
    assert_eq!(with(&|m| m.abi = 2), "bad_manifest");
    assert_eq!(with(&|m| m.name.clear()), "bad_manifest");
    assert_eq!(with(&|m| m.name = "x".repeat(65)), "bad_manifest");
    assert_eq!(with(&|m| m.version = "1\n2".into()), "bad_manifest");
    assert_eq!(with(&|m| m.description = "x".repeat(1_025)), "bad_manifest");
    assert_eq!(with(&|m| m.hooks = HookSet::of(&[])), "bad_manifest");
    assert_eq!(
        with(&|m| m.hooks = HookSet::of(&Hook::ALL)),
        "missing_export"
    );
    assert_eq!(
        with(&|m| m.hooks = minicbor::decode(&[9]).unwrap()),
        "bad_manifest"
    );
}

#[test]
fn lifecycles_that_are_wrong() {
    let state = |name: &str| State {
        name: name.into(),
        ..State::default()
    };
    let good = || Lifecycle {
        states: vec![
            State {
                initial: true,
                ..state("Queued")
            },
            State {
                aliases: vec!["Cancelled".into()],
                terminal: true,
                ..state("Canceled")
            },
        ],
        claim: None,
    };
    let claim = |from: &str, to: &str| {
        Some(Claim {
            from: from.into(),
            to: to.into(),
        })
    };
    let with = |change: &dyn Fn(&mut Lifecycle)| {
        let mut lifecycle = good();
        change(&mut lifecycle);
        let manifest = Manifest {
            lifecycle: Some(lifecycle),
            ..manifest()
        };
        let mut bytes = guest("(i64.const 0)", "");
        // The guest's own manifest goes.
        let at = bytes
            .windows(15)
            .position(|part| part == b"raft3d:manifest")
            .unwrap();
        bytes.truncate(at - 3);
        append_custom(
            &mut bytes,
            raft3d_sdk::manifest::SECTION,
            &minicbor::to_vec(manifest).unwrap(),
        );
        code(&bytes)
    };
    assert_eq!(with(&|_| {}), "taken");
    assert_eq!(with(&|l| l.claim = claim("Queued", "Canceled")), "taken");
    assert_eq!(
        with(&|l| l.claim = claim("Canceled", "Queued")),
        "bad_manifest"
    );
    assert_eq!(
        with(&|l| l.claim = claim("Queued", "Nowhere")),
        "bad_manifest"
    );
    assert_eq!(with(&|l| l.states.clear()), "bad_manifest");
    assert_eq!(with(&|l| l.states[0].initial = false), "bad_manifest");
    assert_eq!(with(&|l| l.states[1].initial = true), "bad_manifest");
    assert_eq!(with(&|l| l.states[0].terminal = true), "bad_manifest");
    assert_eq!(
        with(&|l| l.states[0].name = "cancelled".into()),
        "bad_manifest"
    );
    assert_eq!(with(&|l| l.states[0].name.clear()), "bad_manifest");
    assert_eq!(
        with(&|l| l.states[0].aliases = vec!["x".into(); 9]),
        "bad_manifest"
    );
    assert_eq!(
        with(&|l| l.states.extend((0..31).map(|n| state(&format!("S{n}"))))),
        "bad_manifest"
    );
}

/// A compiler that must not be asked.
struct Untouchable(AtomicBool);

impl Compiler for Untouchable {
    fn compile(&self, module: &[u8], _: CompileLimits) -> Result<Vec<u8>, CompileError> {
        match inspect(module) {
            Err(problem) => Err(CompileError::Refused(problem)),
            Ok(_) => {
                self.0.store(true, Ordering::Relaxed);
                Err(CompileError::Crashed("asked".into()))
            }
        }
    }
}

#[test]
fn an_invalid_module_is_never_compiled_and_denies() {
    let dir = tempfile::tempdir().unwrap();
    let compiler = Arc::new(Untouchable(AtomicBool::new(false)));
    let host = WasmHost::new(HostOptions {
        cache_dir: dir.path().to_owned(),
        compiler: compiler.clone(),
        settings: EngineSettings {
            slots: 1,
            ..EngineSettings::default()
        },
    })
    .unwrap();
    let bytes = guest("(drop (f64.const 1)) (i64.const 0)", "");
    let digest: ModuleDigest = module_digest(&bytes);
    let call = PolicyCall {
        module: digest,
        export: raft3d_core::Export::Hook(Hook::Admission),
        input: b"",
    };
    host.prefetch(digest, &bytes).unwrap();
    for _ in 0..2 {
        let evaluation = host.evaluate(&call, &Source(Some(bytes.clone()))).unwrap();
        assert_eq!(evaluation.output, Err(PolicyError::InvalidModule));
    }
    assert!(host.is_compiled(digest), "it needs no compiler");
    assert!(matches!(
        host.prepare_upload(&bytes),
        Err(UploadError::Refused(_))
    ));
    assert!(!compiler.0.load(Ordering::Relaxed));
}
