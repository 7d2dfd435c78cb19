//! Modules within every static limit that are hard to compile.

use super::{Entry, Expected, Outcome};
use crate::guest::{Guest, many, numbered};

pub(super) fn entries() -> Vec<Entry> {
    [
        (
            "compile-jumps",
            "jumps from everywhere to everywhere with 250 locals",
            jumps(),
        ),
        (
            "compile-tables",
            "jumps through many tables of 1,024 targets",
            tables(),
        ),
        (
            "compile-chains",
            "computes one value from thousands",
            chains(),
        ),
        (
            "compile-results",
            "hands 32 values through nested blocks",
            results(),
        ),
        (
            "compile-loops",
            "nests 100 loops, each with locals of its own",
            loops(),
        ),
        (
            "compile-calls",
            "has 4,900 functions that call each other",
            calls(),
        ),
        ("compile-dead", "has 30 KiB of code that cannot run", dead()),
    ]
    .map(|(name, does, extra)| {
        let heavy = Expected::Heavy(Outcome::Allows);
        Entry::new(name, does, Guest::extra(extra), heavy)
    })
    .into()
}

/// Every local has another value on every way: a phi each, in each of 120 blocks.
fn jumps() -> String {
    let locals = 250;
    let body = format!(
        "{} {} {}",
        many(120, "(block "),
        "(br_table 0 30 60 90 110 119 (local.get 0))",
        numbered(120, |block| {
            let set = numbered(20, |n| {
                let local = 1 + (block * 37 + n * 11) % locals;
                let other = 1 + (block * 53 + n * 7) % locals;
                format!("(local.set {local} (i32.add (local.get {other}) (i32.const {n})))")
            });
            format!(
                "{set} (br_if {} (local.get 5)))",
                (block % 3).min(119 - block)
            )
        }),
    );
    let locals = many(locals, "i32 ");
    many(6, &format!("(func (param i32) (local {locals}) {body})"))
}

fn tables() -> String {
    let table = format!(
        "(br_table {} (local.get 0))",
        numbered(1_024, |n| format!("{} ", n % 100))
    );
    let body = format!(
        "{} {table} {}",
        many(100, "(block "),
        many(
            100,
            &format!(
                "{} )",
                "(local.set 0 (i32.add (local.get 0) (i32.const 1)))"
            )
        )
    );
    many(40, &format!("(func (param i32) {body})"))
}

fn chains() -> String {
    let sums = numbered(2_500, |n| {
        format!("(i64.xor (i64.mul (local.get 0) (i64.const {n})) ")
    });
    many(
        3,
        &format!(
            "(func (param i64) (result i64) {sums} (local.get 0) {})",
            many(2_500, ")")
        ),
    )
}

fn results() -> String {
    let (many_values, gets) = (many(32, "i64 "), many(32, "(local.get 0) "));
    let body = format!(
        "{} {gets} {} {}",
        many(127, &format!("(block (result {many_values}) ")),
        many(127, "(br_if 0 (i32.const 1)) ) "),
        many(32, "(drop) "),
    );
    many(20, &format!("(func (param i64) {body})"))
}

fn loops() -> String {
    let locals = 200;
    let body = format!(
        "{} {}",
        numbered(100, |n| format!(
            "(loop (local.set {} (i64.add (local.get {}) (local.get {})))",
            n % locals,
            (n + 1) % locals,
            (n + 17) % locals
        )),
        numbered(100, |n| format!(
            "(local.set {} (i64.add (local.get {}) (i64.const 1)))
             (br_if {} (i64.eqz (local.get {}))))",
            (n + 3) % locals,
            (n + 5) % locals,
            (n % 50).min(99 - n),
            (n + 7) % locals
        )),
    );
    many(
        25,
        &format!("(func (local {}) {body})", many(locals, "i64 ")),
    )
}

fn calls() -> String {
    numbered(4_900, |n| {
        format!(
            "(func $f{n} (param i32) (result i32) (call $f{} (call $f{} (local.get 0))))",
            (n * 7 + 1) % 4_900,
            (n * 13 + 5) % 4_900
        )
    })
}

fn dead() -> String {
    let body = numbered(5_000, |n| format!("(drop (i32.const {n}))"));
    many(10, &format!("(func (unreachable) {body})"))
}
