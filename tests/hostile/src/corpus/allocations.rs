//! Modules whose allocation function gives no good place.

use raft3d_core::PolicyError::{BadAllocation, BadOutput, OutOfGas, Unreachable};

use super::{Entry, Expected};
use crate::guest::Guest;

/// A guest that gives this place, also for the configuration at an activation.
fn always(alloc: &str) -> Guest {
    Guest {
        alloc: alloc.to_owned(),
        ..Guest::default()
    }
}

/// A guest that is sound until a real input comes: an empty configuration is one byte.
fn later(alloc: &str) -> Guest {
    always(&super::for_inputs(alloc))
}

pub(super) fn entries() -> Vec<Entry> {
    let outside = [
        (
            "alloc-at-minus-one",
            "gives the last address of all",
            "(i32.const -1)",
        ),
        (
            "alloc-at-the-end",
            "gives the first address behind its memory",
            "(i32.const 65536)",
        ),
        (
            "alloc-too-near-the-end",
            "gives a place with room for one byte",
            "(i32.const 65535)",
        ),
        (
            "alloc-negative",
            "gives the middle of what 32 bits can address",
            "(i32.const 0x80000000)",
        ),
        (
            "alloc-wraps",
            "gives a place whose end wraps to 0",
            "(i32.sub (i32.const 0) (local.get 0))",
        ),
        (
            "alloc-gives-nothing",
            "is refused memory and gives -1",
            "(memory.grow (i32.const 300))",
        ),
    ];
    let outside =
        outside.map(|(name, does, alloc)| Entry::fails(name, does, later(alloc), BadAllocation));
    let mut entries = Vec::from(outside);
    let grows = "(drop (memory.grow (i32.const 3))) (i32.const 0x30000)";
    let own = "(i32.store8 (i32.const 16) (i32.const 0xa0)) (i64.const 0x10_00000001)";
    let overlapping = Guest {
        body: own.to_owned(),
        ..always("(i32.const 15)")
    };
    entries.extend([
        Entry::new(
            "alloc-never",
            "gives the last address of all, at once",
            always("(i32.const -1)"),
            Expected::Unbound(Some(BadAllocation)),
        ),
        Entry::new(
            "alloc-never-returns",
            "loops for ever when it is to give memory, at once",
            always("(loop (br 0)) (unreachable)"),
            Expected::Unbound(Some(OutOfGas)),
        ),
        Entry::fails(
            "alloc-traps",
            "traps when it is to give memory",
            later("unreachable"),
            Unreachable,
        ),
        // The answer's byte at 16 is then one of a text's inside the input.
        Entry::fails(
            "alloc-over-the-answer",
            "gives address 0, and its answer lies under the input",
            always("(i32.const 0)"),
            BadOutput,
        ),
        Entry::allows(
            "alloc-under-the-answer",
            "writes its answer over its input",
            overlapping,
        ),
        Entry::allows(
            "alloc-grows",
            "grows for the input and gives the last page",
            always(grows),
        ),
        Entry::allows(
            "alloc-odd",
            "gives an odd address",
            always("(i32.const 1021)"),
        ),
    ]);
    entries
}
