//! Modules that are not what the ABI asks for: exports and imports.

use super::{Entry, Expected};
use crate::guest::{Guest, with_manifest};

pub(super) fn entries() -> Vec<Entry> {
    let mut entries = missing();
    entries.extend(replaced());
    entries.extend(imports());
    entries.extend(added());
    entries
}

const MARKER: &str = r#"(func (export "raft3d_abi_1"))"#;

/// A sound module's text with `from` replaced by `to`.
fn changed(name: &str, does: &'static str, (from, to): (&str, &str), code: &'static str) -> Entry {
    let guest = Guest::default();
    let text = guest.text();
    assert!(text.contains(from), "{name}: there is no {from}");
    let manifest = minicbor::to_vec(guest.manifest(name)).expect("a manifest");
    let bytes = with_manifest(&text.replace(from, to), &manifest);
    Entry::raw(name, does, bytes, Expected::Refused(code))
}

fn missing() -> Vec<Entry> {
    [
        (
            "no-memory-export",
            "keeps its memory to itself",
            (r#"(export "memory")"#, ""),
        ),
        ("no-marker", "does not say what ABI it speaks", (MARKER, "")),
        (
            "no-alloc",
            "gives no memory",
            (r#"(export "raft3d_alloc")"#, ""),
        ),
        (
            "no-check-config",
            "checks no configuration",
            (r#"(export "check_config")"#, ""),
        ),
        (
            "no-hook",
            "does not have the hook that its manifest names",
            (r#"(export "admission")"#, ""),
        ),
    ]
    .map(|(name, does, change)| changed(name, does, change, "missing_export"))
    .into()
}

fn replaced() -> Vec<Entry> {
    let global = |name: &str| format!(r#"(global (export "{name}") i32 (i32.const 0)) (func "#);
    let (alloc, hook) = (global("raft3d_alloc"), global("admission"));
    [
        (
            "memory-is-a-function",
            "calls a function `memory`",
            (
                r#"(memory (export "memory") 1)"#,
                r#"(memory 1) (func (export "memory"))"#,
            ),
            "missing_export",
        ),
        (
            "alloc-is-a-global",
            "calls a global `raft3d_alloc`",
            (r#"(func $alloc (export "raft3d_alloc")"#, alloc.as_str()),
            "missing_export",
        ),
        (
            "hook-is-a-global",
            "calls a global `admission`",
            (r#"(func $hook (export "admission")"#, hook.as_str()),
            "missing_export",
        ),
        (
            "marker-with-parameter",
            "has a marker that wants something",
            (MARKER, r#"(func (export "raft3d_abi_1") (param i32))"#),
            "wrong_signature",
        ),
        (
            "alloc-of-64-bits",
            "is asked for memory with 64 bits",
            (
                r#""raft3d_alloc") (param i32)"#,
                r#""raft3d_alloc") (param i64)"#,
            ),
            "wrong_signature",
        ),
        (
            "hook-of-one-parameter",
            "has a hook that wants one parameter",
            (
                r#""admission") (param i32 i32)"#,
                r#""admission") (param i64)"#,
            ),
            "wrong_signature",
        ),
        (
            "check-of-three-parameters",
            "has a `check_config` that wants three parameters",
            (
                r#""check_config") (param i32 i32)"#,
                r#""check_config") (param i32 i32 i32)"#,
            ),
            "wrong_signature",
        ),
        (
            "abi-of-tomorrow",
            "speaks another ABI",
            ("raft3d_abi_1", "raft3d_abi_2"),
            "unknown_abi",
        ),
        (
            "abi-of-nobody",
            "speaks an ABI with a long name",
            ("raft3d_abi_1", "raft3d_abi_999999999999999999999999999999"),
            "unknown_abi",
        ),
    ]
    .map(|(name, does, change, code)| changed(name, does, change, code))
    .into()
}

fn imports() -> Vec<Entry> {
    let importing = |what: &str| Guest {
        first: what.to_owned(),
        ..Guest::default()
    };
    [
        (
            "import-clock",
            "asks for the time",
            r#"(import "env" "clock" (func (result i64)))"#,
        ),
        (
            "import-wasi",
            "asks for random numbers",
            r#"(import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))"#,
        ),
        (
            "import-global",
            "asks for a global",
            r#"(import "env" "g" (global i32))"#,
        ),
        (
            "import-table",
            "asks for a table",
            r#"(import "env" "t" (table 1 funcref))"#,
        ),
    ]
    .map(|(name, does, what)| Entry::refused(name, does, importing(what), "imports"))
    .into()
}

fn added() -> Vec<Entry> {
    [
        (
            "two-markers",
            "speaks two ABIs",
            r#"(func (export "raft3d_abi_2"))"#,
            "several_abi_markers",
        ),
        (
            "gas-counter",
            "has a gas counter of its own",
            r#"(global (export "raft3d:gas") (mut i64) (i64.const -1))"#,
            "reserved_export",
        ),
        (
            "stack-counter",
            "has a stack counter of its own",
            r#"(global (export "raft3d:stack") (mut i32) (i32.const 0x7fffffff))"#,
            "reserved_export",
        ),
        (
            "reserved-name",
            "exports what may mean something one day",
            r#"(func (export "raft3d_free"))"#,
            "reserved_export",
        ),
        (
            "hidden-hook",
            "has a hook that its manifest does not name",
            r#"(func (export "deduction") (param i32 i32) (result i64) unreachable)"#,
            "undeclared_hook",
        ),
        (
            "panic-with-parameter",
            "has a `raft3d_panic` that wants something",
            r#"(func (export "raft3d_panic") (param i32) (result i64) unreachable)"#,
            "wrong_signature",
        ),
    ]
    .map(|(name, does, extra, code)| Entry::refused(name, does, Guest::extra(extra), code))
    .into()
}
