//! Modules that want much memory, or a large table.

use raft3d_core::PolicyError::OutOfGas;

use super::Entry;
use crate::guest::{ALLOW, Guest, append_custom, escaped, many};

/// Writes to each 4 KiB of 2 MiB.
const TOUCH_ALL: &str = "(local $at i32) (loop $next
    (i32.store (local.get $at) (i32.const -1))
    (local.set $at (i32.add (local.get $at) (i32.const 4096)))
    (br_if $next (i32.lt_u (local.get $at) (i32.const 0x200000))))
    (i32.store8 (i32.const 16) (i32.const 0xa0))";

pub(super) fn entries() -> Vec<Entry> {
    let mut entries = growing();
    entries.extend(large());
    entries.extend(bulk());
    entries.extend(tables());
    entries
}

fn growing() -> Vec<Entry> {
    let until_refused = format!(
        "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) {ALLOW}"
    );
    let for_ever = "(loop (drop (memory.grow (i32.const 1))) (br 0)) (unreachable)";
    let touched = {
        let touch = TOUCH_ALL.replace("(local $at i32)", "");
        format!("(local $at i32) (drop (memory.grow (i32.const 31))) {touch} {ALLOW}")
    };
    vec![
        Entry::allows(
            "grow-until-refused",
            "grows page by page until it gets no more, and goes on",
            Guest::body(until_refused, ""),
        ),
        Entry::fails(
            "grow-for-ever",
            "grows for ever",
            Guest::body(for_ever, ""),
            OutOfGas,
        ),
        Entry::fails(
            "grow-by-4-gib",
            "wants all that 32 bits can address at once",
            Guest::body("(drop (memory.grow (i32.const -1))) (unreachable)", ""),
            OutOfGas,
        ),
        Entry::allows(
            "grow-and-touch",
            "grows to 2 MiB and writes to all of it",
            Guest::body(touched, ""),
        ),
    ]
}

fn large() -> Vec<Entry> {
    let segment = |bytes: usize| {
        let data = escaped(&vec![0x5a; bytes]);
        Guest {
            extra: format!("(data (i32.const 65536) \"{data}\")"),
            ..Guest::memory("16", ALLOW)
        }
    };
    let mut too_large = Guest::default().bytes("module-of-600-kib");
    append_custom(&mut too_large, "padding", &vec![0; 600 * 1024]);
    vec![
        Entry::allows(
            "memory-of-2-mib",
            "starts with all the memory that there is, and writes to all of it",
            Guest::memory("32", format!("{TOUCH_ALL} {ALLOW}")),
        ),
        Entry::allows(
            "memory-that-may-be-4-gib",
            "declares a maximum of 4 GiB",
            Guest::memory("1 65536", ALLOW),
        ),
        Entry::refused(
            "memory-of-33-pages",
            "starts with a page too many",
            Guest::memory("33", ALLOW),
            "memory_too_large",
        ),
        Entry::refused(
            "memory-of-4-gib",
            "starts with 4 GiB",
            Guest::memory("65536", ALLOW),
            "memory_too_large",
        ),
        Entry::allows("data-of-500-kb", "is data almost alone", segment(500_000)),
        Entry::raw(
            "module-of-600-kib",
            "is larger than a module may be",
            too_large,
            super::Expected::Refused("module_too_large"),
        ),
        Entry::allows(
            "data-of-256-segments",
            "writes the same place 255 times before it starts",
            Guest::extra(many(255, "(data (i32.const 128) \"overlapping\")")),
        ),
        Entry::refused(
            "data-of-257-segments",
            "has a segment too many",
            Guest::extra(many(256, "(data (i32.const 128) \"overlapping\")")),
            "too_many_data_segments",
        ),
        Entry::refused(
            "data-at-both-ends",
            "fills two bytes that lie all of its memory apart",
            Guest {
                extra: "(data (i32.const 0) \"a\") (data (i32.const 2097151) \"z\")".into(),
                ..Guest::memory("32", ALLOW)
            },
            "data_span_too_large",
        ),
        Entry::refused(
            "data-beyond-memory",
            "initialises what lies behind its memory",
            Guest::extra("(data (i32.const 65533) \"four\")"),
            "segment_out_of_bounds",
        ),
        Entry::refused(
            "data-at-minus-one",
            "initialises nothing, at the last address of all",
            Guest::extra("(data (i32.const -1) \"\")"),
            "segment_out_of_bounds",
        ),
    ]
}

fn bulk() -> Vec<Entry> {
    let again = |what: &str| format!("(loop {what} (br 0)) (unreachable)");
    let everything = "(memory.fill (i32.const 0) (i32.const 7) (i32.const 0x200000))";
    let passive = format!("(data $all \"{}\")", escaped(&vec![0x5a; 60_000]));
    vec![
        Entry::fails(
            "fill-in-a-loop",
            "fills its memory for ever",
            Guest::body(
                again("(memory.fill (i32.const 0) (i32.const 7) (i32.const 65536))"),
                "",
            ),
            OutOfGas,
        ),
        Entry::fails(
            "fill-2-mib",
            "fills 2 MiB at once, for ever",
            Guest::memory("32", again(everything)),
            OutOfGas,
        ),
        Entry::fails(
            "copy-in-a-loop",
            "copies its memory over itself for ever",
            Guest::body(
                again("(memory.copy (i32.const 1) (i32.const 0) (i32.const 65535))"),
                "",
            ),
            OutOfGas,
        ),
        Entry::fails(
            "init-in-a-loop",
            "copies a segment for ever",
            Guest::body(
                again("(memory.init $all (i32.const 0) (i32.const 0) (i32.const 60000))"),
                passive,
            ),
            OutOfGas,
        ),
        Entry::fails(
            "bulk-of-nothing",
            "fills, copies and initialises nothing, for ever",
            Guest::body(
                again(
                    "(memory.fill (i32.const 0) (i32.const 7) (i32.const 0))
                     (memory.copy (i32.const 0) (i32.const 0) (i32.const 0))
                     (memory.init $none (i32.const 0) (i32.const 0) (i32.const 0))",
                ),
                "(data $none \"\")",
            ),
            OutOfGas,
        ),
    ]
}

fn tables() -> Vec<Entry> {
    let one = "(table $t 4 funcref) ";
    let instruction = |text: &str| Guest::body(format!("{text} {ALLOW}"), one);
    let not_allowed = "instruction_not_allowed";
    let items = format!("(elem (i32.const 0) {})", many(2_500, "0 "));
    let refused: [(&str, &str, Guest, &str); 10] = [
        (
            "table-grow",
            "grows its table",
            instruction("(drop (table.grow $t (ref.null func) (i32.const 1000000)))"),
            not_allowed,
        ),
        (
            "table-fill",
            "fills its table",
            instruction("(table.fill $t (i32.const 0) (ref.null func) (i32.const 4))"),
            not_allowed,
        ),
        (
            "table-copy",
            "copies its table",
            instruction("(table.copy (i32.const 0) (i32.const 1) (i32.const 3))"),
            not_allowed,
        ),
        (
            "table-set",
            "changes its table",
            instruction("(table.set $t (i32.const 0) (ref.null func))"),
            not_allowed,
        ),
        (
            "table-of-2501",
            "has a table with an element too many",
            Guest::extra("(table 2501 funcref)"),
            "table_too_large",
        ),
        (
            "table-of-4-billion",
            "has a table of all that 32 bits can count",
            Guest::extra("(table 0xffffffff funcref)"),
            "table_too_large",
        ),
        (
            "two-tables",
            "has two tables",
            Guest::extra("(table 1 funcref) (table 1 funcref)"),
            "too_many_tables",
        ),
        (
            "elements-beyond-table",
            "initialises what lies behind its table",
            Guest::extra("(table 2 funcref) (elem (i32.const 2) 0)"),
            "segment_out_of_bounds",
        ),
        (
            "elements-in-65-segments",
            "has a segment of elements too many",
            Guest::extra(format!(
                "(table 1 funcref) {}",
                many(65, "(elem (i32.const 0) 0)")
            )),
            "too_many_element_segments",
        ),
        (
            "elements-12500",
            "initialises its table five times over",
            Guest::extra(format!("(table 2500 funcref) {}", many(5, &items))),
            "too_many_element_items",
        ),
    ];
    let refused = refused.map(|(name, does, guest, code)| Entry::refused(name, does, guest, code));
    let mut entries = Vec::from(refused);
    entries.push(Entry::allows(
        "table-of-2500",
        "has the largest table, initialised four times over",
        Guest::extra(format!("(table 2500 funcref) {}", many(4, &items))),
    ));
    entries
}
