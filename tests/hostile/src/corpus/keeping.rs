//! Modules that try to keep something from one call to the next, or to see what was there before.
//! Each denies with `kept` where it succeeds.

use raft3d_sdk::Hook;

use super::Entry;
use crate::guest::{ALLOW, Guest};

/// `{0: {0: 1, 1: "kept", 2: "kept"}}` at 256: what is answered where something was kept.
const KEPT: &str = "(data (i32.const 256) \"\\a1\\00\\a3\\00\\01\\01\\64kept\\02\\64kept\")";
const DENY: &str = "(return (i64.const 0x100_00000011))";

/// Denies where `seen` is not zero; otherwise leaves something behind by `leave`, and allows.
fn keeps(seen: &str, leave: &str, extra: &str) -> Guest {
    Guest::body(
        format!("(if {seen} (then {DENY})) {leave} {ALLOW}"),
        format!("{KEPT} {extra}"),
    )
}

/// Whether any byte from `from` (which the input does not reach) to `to` is set.
fn scan(from: u32, to: u32) -> Guest {
    Guest {
        extra: format!("(global $at (mut i32) (i32.const {from})) {KEPT}"),
        ..Guest::body(
            format!(
                "(loop $next
                   (if (i64.ne (i64.load (global.get $at)) (i64.const 0)) (then {DENY}))
                   (i64.store (global.get $at) (i64.const -1))
                   (global.set $at (i32.add (global.get $at) (i32.const 8)))
                   (br_if $next (i32.lt_u (global.get $at) (i32.const {to}))))
                 {ALLOW}"
            ),
            "",
        )
    }
}

pub(super) fn entries() -> Vec<Entry> {
    let grown = {
        let guest = scan(0x10000, 0x20000);
        Guest {
            body: format!("(drop (memory.grow (i32.const 1))) {}", guest.body),
            ..guest
        }
    };
    let sparse = |pages: u32| {
        let end = pages * 65_536;
        Guest {
            memory: format!("(memory (export \"memory\") {pages})"),
            ..keeps(
                "(i32.const 0)",
                &format!(
                    "(local $at i32) (local.set $at (i32.const 0x10000))
                     (loop $next
                       (if (i32.load (local.get $at)) (then {DENY}))
                       (i32.store (local.get $at) (i32.const -1))
                       (local.set $at (i32.add (local.get $at) (i32.const 4096)))
                       (br_if $next (i32.lt_u (local.get $at) (i32.const {end}))))"
                ),
                "",
            )
        }
    };
    // Locals stand first in a body.
    let sparse = |pages| {
        let guest = sparse(pages);
        Guest {
            body: format!(
                "(local $at i32) {}",
                guest.body.replace("(local $at i32)", "")
            ),
            ..guest
        }
    };
    vec![
        Entry::allows(
            "keep-in-memory",
            "leaves a mark in memory",
            keeps(
                "(i32.load (i32.const 60000))",
                "(i32.store (i32.const 60000) (i32.const 1))",
                "",
            ),
        ),
        Entry::allows(
            "keep-in-data",
            "changes its own data",
            keeps(
                "(i32.ne (i32.load8_u (i32.const 512)) (i32.const 7))",
                "(i32.store8 (i32.const 512) (i32.const 8))",
                "(data (i32.const 512) \"\\07\")",
            ),
        ),
        Entry::allows(
            "keep-in-global",
            "leaves a mark in a global",
            keeps(
                "(global.get $mark)",
                "(global.set $mark (i32.const 1))",
                "(global $mark (mut i32) (i32.const 0))",
            ),
        ),
        Entry::allows(
            "keep-in-size",
            "leaves its memory larger",
            keeps(
                "(i32.ne (memory.size) (i32.const 1))",
                "(drop (memory.grow (i32.const 1)))",
                "",
            ),
        ),
        Entry::allows(
            "keep-dropped",
            "drops a segment that it needs",
            keeps(
                "(i32.const 0)",
                "(memory.init $once (i32.const 4096) (i32.const 0) (i32.const 4)) (data.drop $once)",
                "(data $once \"once\")",
            ),
        ),
        Entry::allows(
            "keep-between-exports",
            "leaves a mark when its configuration is checked",
            Guest {
                check: format!("(global.set $mark (i32.const 1)) {ALLOW}"),
                ..keeps(
                    "(global.get $mark)",
                    "",
                    "(global $mark (mut i32) (i32.const 0))",
                )
            },
        ),
        Entry::allows(
            "look-at-fresh-memory",
            "looks for anything in memory that it was just given, and fills it",
            scan(0x8000, 0x10000),
        ),
        Entry::allows(
            "look-at-grown-memory",
            "looks for anything in memory that it grew into, and fills it",
            grown,
        ),
        Entry::allows(
            "look-at-2-mib",
            "looks for anything in 2 MiB, and marks every page",
            sparse(32),
        ),
        Entry::fails(
            "answer-from-fresh-memory",
            "answers with memory that nobody wrote",
            Guest {
                hook: Hook::Admission,
                ..Guest::body("(i64.const 0x8000_00000010)", "")
            },
            raft3d_core::PolicyError::BadOutput,
        ),
    ]
}
