//! Modules that never end, or never stop to call.

use raft3d_core::PolicyError::{OutOfGas, StackOverflow};

use super::{Entry, Expected, for_inputs};
use crate::guest::{Guest, many, numbered};

const FOR_EVER: &str = "(loop (br 0)) (unreachable)";

pub(super) fn entries() -> Vec<Entry> {
    let mut entries = loops();
    entries.extend(recursions());
    entries
}

fn loops() -> Vec<Entry> {
    let in_alloc = Guest {
        alloc: for_inputs(FOR_EVER),
        ..Guest::default()
    };
    let in_check = Guest {
        check: FOR_EVER.to_owned(),
        ..Guest::default()
    };
    let nested = format!(
        "{}(br 0){} (unreachable)",
        many(120, "(loop "),
        many(120, ")")
    );
    let dispatch = "(local $n i32) (loop $again
        (block $a (block $b (block $c
          (br_table $a $b $c (i32.rem_u (local.get $n) (i32.const 3))))))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br $again)) (unreachable)";
    let divides = "(local $n i64) (loop
        (local.set $n (i64.div_u (i64.const -1) (i64.or (local.get $n) (i64.const 1))))
        (br 0)) (unreachable)";
    let counts = "(local $n i64) (loop
        (local.set $n (i64.add (local.get $n) (i64.popcnt (i64.rotl (local.get $n) (i64.const 7)))))
        (br 0)) (unreachable)";
    let loads = "(local $n i32) (loop
        (i64.store (local.get $n) (i64.load (i32.and (local.get $n) (i32.const 0xfff8))))
        (local.set $n (i32.and (i32.add (local.get $n) (i32.const 4104)) (i32.const 0xfff8)))
        (br 0)) (unreachable)";
    vec![
        Entry::fails(
            "loop",
            "loops for ever",
            Guest::body(FOR_EVER, ""),
            OutOfGas,
        ),
        Entry::fails(
            "loop-in-alloc",
            "loops for ever when it is to give memory",
            in_alloc,
            OutOfGas,
        ),
        Entry::new(
            "loop-in-check-config",
            "loops for ever when its configuration is checked",
            in_check,
            Expected::Unbound(Some(OutOfGas)),
        ),
        Entry::fails(
            "loop-in-loops",
            "loops in the innermost of 120 loops",
            Guest::body(nested, ""),
            OutOfGas,
        ),
        Entry::fails(
            "loop-of-br-table",
            "jumps about through a table for ever",
            Guest::body(dispatch, ""),
            OutOfGas,
        ),
        Entry::fails(
            "loop-of-divisions",
            "divides for ever",
            Guest::body(divides, ""),
            OutOfGas,
        ),
        Entry::fails(
            "loop-of-popcnt",
            "counts bits for ever",
            Guest::body(counts, ""),
            OutOfGas,
        ),
        Entry::fails(
            "loop-over-memory",
            "jumps about in memory for ever",
            Guest::body(loads, ""),
            OutOfGas,
        ),
        Entry::fails(
            "fibonacci",
            "calls itself twice in every call, never deep",
            Guest::body(
                "(drop (call $fib (i32.const 90))) (unreachable)",
                "(func $fib (param i32) (result i32)
                   (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
                     (then (i32.const 1))
                     (else (i32.add
                       (call $fib (i32.sub (local.get 0) (i32.const 1)))
                       (call $fib (i32.sub (local.get 0) (i32.const 2)))))))",
            ),
            OutOfGas,
        ),
    ]
}

fn recursions() -> Vec<Entry> {
    let again = "(i64.add (i64.const 1) (call $hook (local.get 0) (local.get 1)))";
    let in_alloc = Guest {
        alloc: for_inputs("(i32.add (i32.const 1) (call $alloc (local.get 0)))"),
        ..Guest::default()
    };
    let mutual = "(func $ping (param i64) (call $pong (i64.add (local.get 0) (i64.const 1))))
        (func $pong (param i64) (call $ping (i64.mul (local.get 0) (i64.const 3))))";
    let indirect = "(type $t (func (param i64))) (table 2 2 funcref) (elem (i32.const 0) $a $b)
        (func $a (type $t) (call_indirect (type $t) (local.get 0) (i32.const 1)))
        (func $b (type $t) (call_indirect (type $t) (local.get 0) (i32.const 0)))";
    let locals = format!(
        "(func $down (param i64) (local {}) {} (call $down (local.get 1)) {})",
        many(256, "i64 "),
        numbered(256, |n| format!(
            "(local.set {} (i64.mul (local.get 0) (i64.const {n})))",
            n + 1
        )),
        numbered(256, |n| format!(
            "(i64.store (i32.const 2048) (local.get {}))",
            n + 1
        )),
    );
    let params = format!(
        "(func $down (param {}) (call $down {}))",
        many(32, "i64 "),
        numbered(32, |n| format!("(i64.add (local.get {n}) (i64.const 1)) ")),
    );
    let results = format!(
        "(func $many (param i64) (result {0}) (call $many (i64.add (local.get 0) (i64.const 1))))
         (func $down (param i64) (call $many (local.get 0)) {1})",
        many(32, "i64 "),
        many(32, "(drop) "),
    );
    let operands = format!(
        "(func $down (param i64) {} (call $down (local.get 0)) {})",
        numbered(1_500, |n| format!(
            "(i64.mul (local.get 0) (i64.const {n})) "
        )),
        many(1_500, "(i64.store (i32.const 2048) (i64.const 1)) (drop) "),
    );
    // Each of 127 nested blocks yields 32 values to the one around it.
    let blocks = format!(
        "(func $down (param i64) {} {} (call $down (local.get 0)) {} {})",
        many(127, &format!("(block (result {})", many(32, "i64 "))),
        many(32, "(local.get 0) "),
        many(127, ") "),
        many(32, "(drop) "),
    );
    let down = |call: &str, extra: &str| Guest::body(format!("{call} (i64.const 0)"), extra);
    let one = "(call $down (i64.const 1))";
    let wide = format!("(call $down {})", many(32, "(i64.const 1) "));
    vec![
        Entry::fails(
            "recursion",
            "calls itself without end",
            Guest::body(again, ""),
            StackOverflow,
        ),
        Entry::fails(
            "recursion-in-alloc",
            "calls itself without end when it is to give memory",
            in_alloc,
            StackOverflow,
        ),
        Entry::fails(
            "recursion-of-two",
            "two functions call each other without end",
            down("(call $ping (i64.const 1))", mutual),
            StackOverflow,
        ),
        Entry::fails(
            "recursion-through-table",
            "two functions call each other through a table without end",
            down("(call $a (i64.const 1))", indirect),
            StackOverflow,
        ),
        Entry::fails(
            "recursion-with-locals",
            "calls itself with 256 live locals in every frame",
            down(one, &locals),
            StackOverflow,
        ),
        Entry::fails(
            "recursion-with-parameters",
            "calls itself with 32 parameters",
            down(&wide, &params),
            StackOverflow,
        ),
        Entry::fails(
            "recursion-with-results",
            "calls itself for 32 results",
            down(one, &results),
            StackOverflow,
        ),
        Entry::fails(
            "recursion-with-operands",
            "calls itself with 1,500 values that are needed afterwards",
            down(one, &operands),
            StackOverflow,
        ),
        Entry::fails(
            "recursion-in-blocks",
            "calls itself within 127 blocks that give 32 values each",
            down(one, &blocks),
            StackOverflow,
        ),
    ]
}
