//! Modules that are no modules, or whose bytes lie about their own shape.

use super::{Entry, Expected};
use crate::guest::{Guest, append_custom};

const MALFORMED: Expected = Expected::Refused("malformed");

pub(super) fn entries() -> Vec<Entry> {
    let mut entries = foreign();
    entries.extend(cut());
    entries.extend(lies());
    entries.extend(custom());
    entries
}

fn foreign() -> Vec<Entry> {
    let raw = |name, does, bytes: &[u8], code| {
        Entry::raw(name, does, bytes.to_vec(), Expected::Refused(code))
    };
    vec![
        raw(
            "script",
            "is a script",
            b"#!/bin/sh\necho hello\n",
            "not_wasm",
        ),
        raw(
            "elf",
            "is a program",
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0",
            "not_wasm",
        ),
        raw(
            "component",
            "is a component",
            b"\0asm\x0d\0\x01\0",
            "not_core_module",
        ),
        raw(
            "version-2",
            "is a module of version 2",
            b"\0asm\x02\0\0\0",
            "not_core_module",
        ),
        raw(
            "header",
            "is a header alone",
            b"\0asm\x01\0\0\0",
            "no_memory",
        ),
        raw(
            "text-format",
            "is WebAssembly as text",
            b"(module (memory 1))",
            "not_wasm",
        ),
    ]
}

fn sound() -> Vec<u8> {
    Guest::default().bytes("damaged")
}

/// A sound module, cut off.
fn cut() -> Vec<Entry> {
    let bytes = sound();
    let entry = |name: &str, does, len: usize, code| {
        Entry::raw(name, does, bytes[..len].to_vec(), Expected::Refused(code))
    };
    vec![
        entry("cut-in-the-magic", "lacks all but two bytes", 2, "not_wasm"),
        entry(
            "cut-in-the-version",
            "lacks all but six bytes",
            6,
            "not_core_module",
        ),
        entry(
            "cut-in-a-head",
            "ends after the first section's id",
            9,
            "malformed",
        ),
        entry("cut-in-the-types", "ends within its types", 14, "malformed"),
        entry(
            "cut-in-the-middle",
            "lacks its second half",
            bytes.len() / 2,
            "malformed",
        ),
        entry(
            "cut-by-a-byte",
            "lacks its last byte",
            bytes.len() - 1,
            "malformed",
        ),
    ]
}

/// The place of the content of the section with this id.
fn section(bytes: &[u8], id: u8) -> usize {
    // Every section of the sound module is shorter than 128 bytes, so lengths are one byte each.
    let mut at = 8;
    while bytes[at] != id {
        at += 2 + usize::from(bytes[at + 1]);
    }
    at + 2
}

/// A sound module with one byte that lies.
fn lies() -> Vec<Entry> {
    let (types, functions, memory, code) = (1, 3, 5, 10);
    let change = |name: &str, does, id: u8, offset: isize, to: u8, expected| {
        let mut bytes = sound();
        let at = section(&bytes, id).wrapping_add_signed(offset);
        assert_ne!(bytes[at], to, "{name} changes nothing");
        bytes[at] = to;
        Entry::raw(name, does, bytes, expected)
    };
    let insert = |name: &str, does, section: &[u8], code| {
        let mut bytes = sound();
        bytes.splice(8..8, section.iter().copied());
        Entry::raw(name, does, bytes, Expected::Refused(code))
    };
    vec![
        change(
            "lie-section-id",
            "has a section of an unknown kind",
            types,
            -2,
            0x3f,
            Expected::Refused("feature_not_allowed"),
        ),
        change(
            "lie-section-length",
            "has a section that is longer than it says",
            types,
            -1,
            3,
            MALFORMED,
        ),
        change(
            "lie-type-count",
            "has fewer types than it says",
            types,
            0,
            0x7f,
            MALFORMED,
        ),
        change(
            "lie-function-count",
            "has more functions than bodies",
            functions,
            0,
            3,
            MALFORMED,
        ),
        change(
            "lie-type-index",
            "has a function of a type that there is not",
            functions,
            1,
            0x7f,
            MALFORMED,
        ),
        change(
            "lie-memory-flags",
            "has a memory with flags that there are not",
            memory,
            1,
            0x80,
            MALFORMED,
        ),
        change(
            "lie-body-count",
            "has more bodies than functions",
            code,
            0,
            5,
            MALFORMED,
        ),
        change(
            "lie-body-length",
            "has a body that is longer than its section",
            code,
            1,
            0x70,
            MALFORMED,
        ),
        // 0xff is no instruction; the marker's body is two bytes long: no locals, end.
        change(
            "lie-instruction",
            "has an instruction that there is not",
            code,
            3,
            0xff,
            MALFORMED,
        ),
        insert(
            "lie-4-billion-types",
            "says that it has 4 billion types",
            b"\x01\x05\xff\xff\xff\xff\x0f",
            "too_many_types",
        ),
        insert(
            "lie-long-number",
            "has a length that is longer than a length may be",
            b"\x01\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00",
            "malformed",
        ),
        insert(
            "lie-section-of-4-gib",
            "has a section that says it has 4 GiB",
            b"\x00\xff\xff\xff\xff\x0f",
            "malformed",
        ),
        insert(
            "lie-section-twice",
            "has its types twice",
            b"\x01\x04\x01\x60\x00\x00",
            "malformed",
        ),
    ]
}

fn custom() -> Vec<Entry> {
    let with = |name: &str, does, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Guest::default().bytes(name);
        change(&mut bytes);
        let allows = Expected::Answers(super::Outcome::Allows);
        Entry::raw(name, does, bytes, allows)
    };
    vec![
        with(
            "custom-100000-sections",
            "has 100,000 custom sections",
            &|bytes| {
                bytes.extend([0, 2, 1, b'x'].repeat(100_000));
            },
        ),
        with(
            "custom-of-500-kb",
            "is a custom section almost alone",
            &|bytes| {
                append_custom(bytes, "padding", &vec![0; 500_000]);
            },
        ),
        with(
            "custom-bad-names",
            "has a section of names that are none",
            &|bytes| {
                append_custom(bytes, "name", &[0xff; 1_000]);
            },
        ),
        with(
            "custom-debug",
            "has debugging information that is none",
            &|bytes| {
                append_custom(bytes, ".debug_info", &[0xff; 10_000]);
                append_custom(bytes, "sourceMappingURL", b"\xff\xff\xff\xff\x0f");
            },
        ),
    ]
}
