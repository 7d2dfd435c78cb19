//! Modules that trap, in every way that there is.

use raft3d_core::PolicyError::{
    BadIndirectCall, DivisionByZero, IntegerOverflow, MemoryOutOfBounds, Unreachable,
};
use raft3d_sdk::Hook;

use super::{Entry, shapes};
use crate::guest::{ALLOW, Guest};

/// A table whose only function has another signature than `$hooked`.
const TABLE: &str = "(table 4 funcref) (elem (i32.const 0) $other)
    (type $hooked (func (result i64)))
    (func $other (result i32) (i32.const 1))";

pub(super) fn entries() -> Vec<Entry> {
    // A zero that no compiler knows.
    let zero = "(i32.sub (local.get 1) (local.get 1))";
    let divides = format!("(i64.extend_i32_u (i32.div_u (i32.const 1) {zero}))");
    let remains = format!("(i64.rem_s (i64.const 1) (i64.extend_i32_u {zero}))");
    let rows = [
        ("trap", "traps", "(unreachable)", "", Unreachable),
        (
            "load-outside",
            "loads from the last address of all",
            "(i64.load (i32.const -1))",
            "",
            MemoryOutOfBounds,
        ),
        (
            "load-far-offset",
            "loads with the largest offset",
            "(i64.load offset=0xffffffff (i32.const -1))",
            "",
            MemoryOutOfBounds,
        ),
        (
            "load-over-the-end",
            "loads the last byte and seven more",
            "(i64.load (i32.const 65535))",
            "",
            MemoryOutOfBounds,
        ),
        (
            "store-outside",
            "stores behind its memory",
            "(i64.store (i32.const 65532) (i64.const -1)) (i64.const 0)",
            "",
            MemoryOutOfBounds,
        ),
        (
            "fill-outside",
            "fills more than its memory",
            "(memory.fill (i32.const 0) (i32.const 7) (i32.const 70000)) (i64.const 0)",
            "",
            MemoryOutOfBounds,
        ),
        (
            "copy-outside",
            "copies from behind its memory",
            "(memory.copy (i32.const 0) (i32.const 65530) (i32.const 7)) (i64.const 0)",
            "",
            MemoryOutOfBounds,
        ),
        (
            "init-outside",
            "copies more than its segment has",
            "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 5)) (i64.const 0)",
            "(data $d \"four\")",
            MemoryOutOfBounds,
        ),
        (
            "init-dropped",
            "copies a segment that it dropped",
            "(data.drop $d) (memory.init $d (i32.const 0) (i32.const 0) (i32.const 4)) (i64.const 0)",
            "(data $d \"four\")",
            MemoryOutOfBounds,
        ),
        (
            "divide-by-zero",
            "divides by zero",
            divides.as_str(),
            "",
            DivisionByZero,
        ),
        (
            "remainder-of-zero",
            "asks for the remainder of a division by zero",
            remains.as_str(),
            "",
            DivisionByZero,
        ),
        (
            "divide-min-by-minus-one",
            "divides the smallest number by -1",
            "(i64.div_s (i64.const 0x8000000000000000) (i64.const -1))",
            "",
            IntegerOverflow,
        ),
        (
            "call-outside-table",
            "calls what lies behind its table",
            "(call_indirect (type $hooked) (i32.const 99))",
            TABLE,
            BadIndirectCall,
        ),
        (
            "call-empty-element",
            "calls an empty element of its table",
            "(call_indirect (type $hooked) (i32.const 1))",
            TABLE,
            BadIndirectCall,
        ),
        (
            "call-other-signature",
            "calls a function of another signature",
            "(call_indirect (type $hooked) (i32.const 0))",
            TABLE,
            BadIndirectCall,
        ),
    ];
    let mut entries: Vec<Entry> = rows
        .into_iter()
        .map(|(name, does, body, extra, error)| {
            Entry::fails(name, does, Guest::body(body, extra), error)
        })
        .collect();
    let in_transition = Guest {
        hook: Hook::Transition,
        ..Guest::body("(unreachable)", "")
    };
    let in_deduction = Guest {
        hook: Hook::Deduction,
        ..Guest::body("(unreachable)", "")
    };
    let late =
        "(i64.store (i32.const 16) (i64.const 0xa0)) (i32.store (i32.const -1) (i32.const 0))";
    entries.extend([
        Entry::fails("trap-in-transition", "traps at a transition", in_transition, Unreachable),
        Entry::fails("trap-in-deduction", "traps at a deduction", in_deduction, Unreachable),
        Entry::fails("trap-at-last", "has its answer ready and traps", Guest::body(format!("{late} {ALLOW}"), ""), MemoryOutOfBounds),
        Entry::allows("remainder-min-of-minus-one", "asks for the remainder that overflows on processors, and is zero", Guest::body(
            format!("(br_if 0 (i64.const -1) (i64.ne (i64.const 0) (i64.rem_s (i64.shl (i64.const 1) (i64.extend_i32_u (i32.or (i32.const 63) (i32.shr_u (local.get 1) (i32.const 31))))) (i64.const -1)))) (drop) {ALLOW}"),
            "",
        )),
        Entry::allows("jumps-about", "runs through 128 nested blocks and the largest table", shapes::runs_through()),
    ]);
    entries
}
