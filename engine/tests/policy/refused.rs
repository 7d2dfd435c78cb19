//! The static check from close up: a refusal names limit, value and place, and the largest value of
//! each limit is taken. The table of what is refused is in `tests/hostile`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use raft3d_core::{ModuleDigest, PolicyCall, PolicyError, PolicyHost};
use raft3d_engine::policy::{
    CompileError, CompileLimits, Compiler, EngineSettings, HostOptions, UploadError, WasmHost,
    inspect, module_digest,
};
use raft3d_sdk::{Hook, Manifest};

use crate::support::{Source, TestHost, append_custom, guest, manifest, with_manifest};

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
    let problem = inspect(&guest("(drop (f64.const 1)) (i64.const 0)", "")).unwrap_err();
    assert_eq!(problem.code, "float_instruction");
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

/// The largest value of each limit is still taken; the table in `tests/hostile` has the next one.
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
    // And the next ones, where the table goes further.
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
    let call = PolicyCall::new(digest, raft3d_core::Export::Hook(Hook::Admission), b"");
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

/// Readers differ in which of two values they take, so the bytes would not say what was uploaded.
#[test]
fn a_manifest_that_gives_a_key_twice_is_refused() {
    let text = r#"(module
        (memory (export "memory") 1)
        (func (export "raft3d_abi_1"))
        (func (export "raft3d_alloc") (param i32) (result i32) i32.const 1024)
        (func (export "check_config") (param i32 i32) (result i64) i64.const 0)
        (func (export "admission") (param i32 i32) (result i64) i64.const 0))"#;
    let sound = minicbor::to_vec(manifest()).unwrap();
    assert_eq!(code(&with_manifest(text, &sound)), "taken");
    // Its map, with the first pair once more.
    let mut twice = sound.clone();
    assert_eq!((sound[0] >> 5, sound[2] < 24), (5, true));
    twice[0] += 1;
    twice.extend_from_slice(&sound[1..3]);
    assert_eq!(minicbor::decode::<Manifest>(&twice).unwrap(), manifest());
    let problem = inspect(&with_manifest(text, &twice)).unwrap_err();
    assert_eq!(problem.code, "bad_manifest");
    assert!(
        problem.message.contains("a key more than once"),
        "{problem}"
    );
}
