//! Modules that are much of something: at the limit they are taken, above it they are not.

use super::Entry;
use crate::guest::{ALLOW, Guest, many, numbered};

pub(super) fn entries() -> Vec<Entry> {
    let refused = above().into_iter().map(|(name, does, extra, code)| {
        let name = format!("too-many-{name}");
        Entry::refused(&name, does, Guest::extra(extra), code)
    });
    let taken = at().into_iter().map(|(name, does, extra)| {
        let name = format!("many-{name}");
        Entry::allows(&name, does, Guest::extra(extra))
    });
    refused.chain(taken).collect()
}

fn exports(count: usize) -> String {
    numbered(count, |n| format!("(export \"e{n}\" (func 0))"))
}

fn types(count: usize) -> String {
    // Each another one, in case somebody merges equal ones.
    numbered(count, |n| {
        let params = numbered(10, |bit| ["i32 ", "i64 "][n >> bit & 1].to_owned());
        format!("(type (func (param {params})))")
    })
}

fn above() -> Vec<(&'static str, &'static str, String, &'static str)> {
    vec![
        (
            "functions",
            "has 5,001 functions of its own",
            many(5_001, "(func)"),
            "too_many_functions",
        ),
        (
            "bytes-in-a-body",
            "has a body of 33,000 instructions",
            format!("(func {})", many(33_000, "(nop)")),
            "function_body_too_large",
        ),
        (
            "locals",
            "has a function with 257 locals",
            format!("(func (local {}))", many(257, "i32 ")),
            "too_many_locals",
        ),
        (
            "locals-in-all",
            "has 10,250 locals in all",
            many(41, &format!("(func (local {}))", many(250, "i64 "))),
            "too_many_locals_in_all",
        ),
        (
            "parameters",
            "has a function with 33 parameters",
            format!("(func (param {}))", many(33, "i32 ")),
            "too_many_parameters",
        ),
        (
            "results",
            "has a function with 33 results",
            format!("(func (result {}) (unreachable))", many(33, "i32 ")),
            "too_many_results",
        ),
        (
            "types",
            "has 1,001 types and more",
            types(1_001),
            "too_many_types",
        ),
        (
            "blocks-in-blocks",
            "has 129 nested blocks",
            format!("(func {}{})", many(129, "(block "), many(129, ")")),
            "nesting_too_deep",
        ),
        (
            "targets",
            "has a br_table with 1,025 targets",
            format!("(func (br_table {} (i32.const 0)))", many(1_026, "0 ")),
            "br_table_too_large",
        ),
        (
            "globals",
            "has 65 globals",
            many(65, "(global i32 (i32.const 0))"),
            "too_many_globals",
        ),
        ("exports", "has 65 exports", exports(60), "too_many_exports"),
        (
            "branches",
            "is so dense with branches that its counters make it too large",
            format!("(func {})", many(8_000, "(br_if 0 (i32.const 0))")),
            "instrumented_body_too_large",
        ),
        (
            "branches-in-all",
            "has 80 functions whose counters together make it too large",
            many(
                80,
                &format!("(func {})", many(1_500, "(br_if 0 (i32.const 0))")),
            ),
            "instrumented_module_too_large",
        ),
    ]
}

fn at() -> Vec<(&'static str, &'static str, String)> {
    vec![
        (
            "functions",
            "has 5,000 functions",
            many(5_000 - 4, "(func)"),
        ),
        (
            "locals",
            "has 10,000 locals in all, 250 in a function",
            many(40, &format!("(func (local {}))", many(250, "i64 "))),
        ),
        (
            "parameters-and-results",
            "has a function with 32 parameters and 32 results",
            format!(
                "(func (param {0}) (result {0}) (unreachable))",
                many(32, "i64 ")
            ),
        ),
        ("types", "has almost 1,000 types", types(990)),
        (
            "blocks-in-blocks",
            "has 128 nested blocks",
            format!("(func {}{})", many(128, "(block "), many(128, ")")),
        ),
        (
            "targets",
            "has a br_table with 1,024 targets",
            format!("(func (br_table {} (i32.const 0)))", many(1_025, "0 ")),
        ),
        (
            "globals",
            "has 64 globals",
            many(64, "(global (mut i64) (i64.const -1))"),
        ),
        ("exports", "has 64 exports", exports(59)),
    ]
}

/// A guest whose hook runs through every one of the nested blocks and the largest table before it
/// allows.
#[must_use]
pub(super) fn runs_through() -> Guest {
    let body = format!(
        "{} (br_table {} (i32.const 1023)) {} {ALLOW}",
        many(128, "(block "),
        numbered(1_025, |n| format!("{} ", n % 128)),
        many(128, ")"),
    );
    Guest::body(body, "")
}
