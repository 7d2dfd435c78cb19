//! Modules that use what policies may not use: above all, floats wherever they could hide.

use super::Entry;
use crate::guest::{ALLOW, Guest};

pub(super) fn entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> = floats().into_iter().map(entry("float")).collect();
    entries.extend(vectors_and_threads().into_iter().map(entry("feature")));
    entries.extend(later_proposals().into_iter().map(entry("feature")));
    entries
}

type Row = (&'static str, &'static str, Guest, &'static str);

fn entry(group: &str) -> impl Fn(Row) -> Entry {
    move |(name, does, guest, code)| Entry::refused(&format!("{group}-{name}"), does, guest, code)
}

/// Runs `instructions`, and allows.
fn runs(instructions: &str) -> Guest {
    Guest::body(format!("{instructions} {ALLOW}"), "")
}

fn floats() -> Vec<Row> {
    let (ty, op) = ("float_type", "float_instruction");
    vec![
        (
            "in-parameter",
            "has a parameter that is a float",
            Guest::extra("(func (param f32))"),
            ty,
        ),
        (
            "in-result",
            "has a result that is a float",
            Guest::extra("(func (result f64) (unreachable))"),
            ty,
        ),
        (
            "in-unused-type",
            "has a type with a float that nothing uses",
            Guest::extra("(type (func (param i32 f64)))"),
            ty,
        ),
        (
            "in-local",
            "has a local that is a float",
            Guest::extra("(func (local f64))"),
            ty,
        ),
        (
            "in-global",
            "has a global that is a float",
            Guest::extra("(global f64 (f64.const 1))"),
            ty,
        ),
        (
            "in-global-init",
            "initialises an integer with a float",
            Guest::extra("(global i32 (f32.const 1))"),
            "float_constant",
        ),
        (
            "in-data-offset",
            "places data at a float",
            Guest::extra("(data (f32.const 1) \"x\")"),
            "float_constant",
        ),
        (
            "in-block-type",
            "has a block that gives a float",
            runs("(drop (block (result f32) (unreachable)))"),
            ty,
        ),
        (
            "in-if-type",
            "has an if that gives a float",
            runs(
                "(drop (if (result f64) (i32.const 1) (then (unreachable)) (else (unreachable))))",
            ),
            ty,
        ),
        (
            "constant",
            "has a constant that is a float",
            runs("(drop (f64.const 1))"),
            op,
        ),
        (
            "load",
            "loads a float",
            runs("(drop (f32.load (i32.const 0)))"),
            op,
        ),
        (
            "store",
            "stores a float",
            runs("(f64.store (i32.const 0) (f64.const 0))"),
            op,
        ),
        (
            "arithmetic",
            "adds two floats that never run",
            runs("(br_if 0 (i64.const 0) (i32.const 0)) (drop) (unreachable) (drop (f64.add))"),
            op,
        ),
        (
            "conversion",
            "makes a float of an integer",
            runs("(drop (f64.convert_i64_u (i64.const 1)))"),
            op,
        ),
        (
            "reinterpretation",
            "takes an integer's bits for a float",
            runs("(drop (f32.reinterpret_i32 (i32.const 1)))"),
            op,
        ),
        (
            "saturating",
            "rounds a float, saturating",
            runs("(drop (i32.trunc_sat_f32_s (f32.const 1)))"),
            op,
        ),
        (
            "after-return",
            "has a float in code that cannot run",
            Guest::body(format!("(return {ALLOW}) (drop (f32.const 0))"), ""),
            op,
        ),
    ]
}

fn vectors_and_threads() -> Vec<Row> {
    let (ty, op) = ("type_not_allowed", "instruction_not_allowed");
    let shared = r#"(memory (export "memory") 1 1 shared)"#;
    let shared = Guest {
        memory: shared.to_owned(),
        ..Guest::default()
    };
    vec![
        (
            "vector-parameter",
            "has a vector for a parameter",
            Guest::extra("(func (param v128))"),
            ty,
        ),
        (
            "vector-local",
            "has a vector for a local",
            Guest::extra("(func (local v128))"),
            ty,
        ),
        (
            "vector-instruction",
            "works on vectors",
            runs("(drop (i32x4.extract_lane 0 (v128.load (i32.const 0))))"),
            op,
        ),
        (
            "vector-of-floats",
            "works on vectors of floats",
            runs("(drop (v128.any_true (f32x4.splat (f32.const 1))))"),
            "float_instruction",
        ),
        (
            "vector-relaxed",
            "works on vectors as the processor likes",
            runs(
                "(drop (v128.any_true (i8x16.relaxed_swizzle (v128.load (i32.const 0)) (v128.load (i32.const 0)))))",
            ),
            op,
        ),
        (
            "atomic-load",
            "loads atomically",
            runs("(drop (i64.atomic.load (i32.const 0)))"),
            op,
        ),
        (
            "atomic-add",
            "adds atomically",
            runs("(drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))"),
            op,
        ),
        (
            "atomic-wait",
            "waits for another thread",
            runs("(drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))"),
            op,
        ),
        ("atomic-fence", "fences", runs("(atomic.fence)"), op),
        (
            "shared-memory",
            "shares its memory",
            shared,
            "feature_not_allowed",
        ),
    ]
}

fn later_proposals() -> Vec<Row> {
    let (ty, op) = ("type_not_allowed", "instruction_not_allowed");
    let feature = "feature_not_allowed";
    let memory64 = Guest {
        memory: r#"(memory (export "memory") i64 1)"#.to_owned(),
        data: String::new(),
        ..Guest::default()
    };
    let small_pages = Guest {
        memory: r#"(memory (export "memory") 65536 (pagesize 1))"#.to_owned(),
        ..Guest::default()
    };
    vec![
        (
            "start",
            "runs something before it is asked",
            Guest::extra("(func $s) (start $s)"),
            "start_function",
        ),
        (
            "start-loop",
            "loops for ever before it is asked",
            Guest::extra("(func $s (loop (br 0))) (start $s)"),
            "start_function",
        ),
        (
            "two-memories",
            "has two memories",
            Guest::extra("(memory 1)"),
            feature,
        ),
        ("memory64", "has a memory of 64 bits", memory64, feature),
        (
            "small-pages",
            "has a memory with pages of one byte",
            small_pages,
            feature,
        ),
        (
            "tail-call",
            "calls itself for ever without a frame",
            Guest::extra("(func (return_call 0))"),
            op,
        ),
        (
            "tag",
            "declares an exception",
            Guest::extra("(tag)"),
            feature,
        ),
        (
            "try",
            "catches exceptions",
            runs("(block (try_table (catch_all 0) (nop)))"),
            op,
        ),
        (
            "extern-table",
            "has a table of foreign things",
            Guest::extra("(table 1 externref)"),
            ty,
        ),
        (
            "reference-local",
            "has a local that is a reference",
            Guest::extra("(func (local funcref))"),
            ty,
        ),
        (
            "reference-of-function",
            "takes a reference",
            Guest::body(
                format!("(drop (ref.func $hook)) {ALLOW}"),
                "(elem declare func $hook)",
            ),
            feature,
        ),
        (
            "reference-null",
            "compares with null",
            runs("(drop (ref.is_null (ref.null func)))"),
            op,
        ),
        (
            "passive-elements",
            "has elements that are not in a table",
            Guest::extra("(table 1 funcref) (elem func 0)"),
            feature,
        ),
        (
            "garbage-collection",
            "declares a structure",
            Guest::extra("(type (struct))"),
            "malformed",
        ),
        (
            "long-constant",
            "computes a constant",
            Guest::extra("(global i32 (i32.add (i32.const 1) (i32.const 1)))"),
            "constant_expression",
        ),
        (
            "wide-arithmetic",
            "adds numbers of 128 bits",
            runs(
                "(drop (drop (i64.add128 (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1))))",
            ),
            op,
        ),
    ]
}
