//! Modules whose answers are not answers: out of memory, too long, or no CBOR of the right shape.

use raft3d_core::PolicyError::{BadOutput, BadOutputRange, Unreachable};
use raft3d_sdk::Hook;

use super::{Entry, Expected, Outcome};
use crate::guest::{ALLOW, Guest, many};

pub(super) fn entries() -> Vec<Entry> {
    let mut entries = places();
    entries.extend(shapes());
    entries.extend(denials());
    entries.extend(allowed());
    entries.extend(deductions());
    entries.extend(configurations());
    entries
}

fn places() -> Vec<Entry> {
    [
        (
            "answer-far-away",
            "answers from the end of what 32 bits can address",
            0xffff_ffff_0000_0010_u64,
        ),
        (
            "answer-over-the-end",
            "answers a byte beyond memory",
            0x0000_fff0_0000_0011,
        ),
        (
            "answer-that-wraps",
            "answers from the last address on to the first",
            0xffff_ffff_0000_0002,
        ),
        (
            "answer-too-long",
            "answers a byte more than is allowed",
            0x4001,
        ),
        (
            "answer-of-4-gib",
            "answers all that 32 bits can count",
            0x0000_0000_ffff_ffff,
        ),
        ("answer-of-ones", "answers with all bits set", u64::MAX),
    ]
    .map(|(name, does, packed)| {
        let guest = Guest::body(format!("(i64.const {packed:#x})"), "");
        Entry::fails(name, does, guest, BadOutputRange)
    })
    .into()
}

fn bad(name: &str, does: &'static str, answer: &[u8]) -> Entry {
    Entry::fails(
        name,
        does,
        Guest::answering(Hook::Admission, answer),
        BadOutput,
    )
}

fn shapes() -> Vec<Entry> {
    let zeros = Guest::body("(i64.const 0x4000)", "");
    // {9: {9: {9: …
    let deep = [0xa1, 0x09].repeat(8_000);
    // The same, closed, under a key that is skipped.
    let mut deep_and_whole = [0xa1, 0x09].repeat(8_000);
    deep_and_whole.push(0xa0);
    vec![
        Entry::fails(
            "answer-of-zeros",
            "answers 16 KiB of zeros",
            zeros,
            BadOutput,
        ),
        bad("answer-empty", "answers nothing", b""),
        bad("answer-null", "answers null", b"\xf6"),
        bad("answer-number", "answers a number", b"\x01"),
        bad("answer-text", "answers a text", b"\x65allow"),
        bad("answer-array", "answers an array", b"\x80"),
        bad("answer-break", "answers the end of something", b"\xff"),
        bad("answer-reserved", "answers with a reserved length", b"\xbc"),
        bad(
            "answer-cut",
            "answers half a denial",
            b"\xa1\x00\xa3\x00\x01\x01\x63no",
        ),
        bad("answer-and-more", "answers twice", b"\xa0\xa0"),
        bad(
            "answer-deep-and-cut",
            "answers 8,000 nested maps that never end",
            &deep,
        ),
        Entry::new(
            "answer-deep",
            "answers 8,000 nested maps under a key that nobody knows",
            Guest::answering(Hook::Admission, &deep_and_whole),
            Expected::Answers(Outcome::Allows),
        ),
        bad(
            "answer-map-liar",
            "answers a map that says it is enormous",
            b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
        ),
        bad(
            "answer-array-liar",
            "answers 2^63 warnings",
            b"\xa1\x01\x9b\x7f\xff\xff\xff\xff\xff\xff\xff",
        ),
        bad(
            "answer-text-liar",
            "answers a code of 4 GiB",
            b"\xa1\x00\xa3\x00\x01\x01\x7a\xff\xff\xff\xffno",
        ),
        bad(
            "answer-bytes-liar",
            "answers bytes that say they are enormous under a key that nobody knows",
            b"\xa1\x09\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
        ),
        bad(
            "answer-deny-number",
            "denies with a number",
            b"\xa1\x00\x01",
        ),
        bad(
            "answer-class-nine",
            "denies with a class that there is not",
            b"\xa1\x00\xa3\x00\x09\x01\x62no\x02\x62no",
        ),
        bad(
            "answer-code-number",
            "denies with a number for a code",
            b"\xa1\x00\xa3\x00\x01\x01\x05\x02\x62no",
        ),
        bad(
            "answer-no-code",
            "denies without a code",
            b"\xa1\x00\xa2\x00\x01\x02\x62no",
        ),
        bad(
            "answer-bad-utf8",
            "denies with a message that is no UTF-8",
            b"\xa1\x00\xa3\x00\x01\x01\x62no\x02\x62\xff\xfe",
        ),
        bad(
            "answer-float-class",
            "denies with a float for a class",
            b"\xa1\x00\xa3\x00\xf9\x3c\x00\x01\x62no\x02\x62no",
        ),
        bad(
            "answer-unknown-text",
            "answers bad UTF-8 under a key that nobody knows",
            b"\xa1\x09\x62\xff\xfe",
        ),
        bad(
            "answer-text-keys",
            "answers with names for keys",
            b"\xa1\x64deny\xf6",
        ),
    ]
}

/// `{0: {0: 1, 1: code, 2: message}}`.
fn deny(code: &str, message: &str) -> Vec<u8> {
    let mut bytes = vec![0xa1, 0x00, 0xa3, 0x00, 0x01, 0x01];
    text(&mut bytes, code);
    bytes.push(0x02);
    text(&mut bytes, message);
    bytes
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(0x79);
    bytes.extend((text.len() as u16).to_be_bytes());
    bytes.extend(text.as_bytes());
}

fn denials() -> Vec<Entry> {
    let mut with_field = deny("no", "no");
    with_field[2] = 0xa4;
    with_field.push(0x03);
    let mut no_pointer = with_field.clone();
    text(&mut with_field, &many(257, "/"));
    text(&mut no_pointer, "status");
    let warning = {
        let mut bytes = vec![0xa2, 0x00];
        text(&mut bytes, "careful");
        bytes.push(0x01);
        text(&mut bytes, "careful");
        bytes
    };
    let warnings = |count: u8| {
        [
            &[0xa1, 0x01, 0x80 + count][..],
            &warning.repeat(count.into()),
        ]
        .concat()
    };
    let denies = |name: &str, does, answer: &[u8], code| {
        Entry::new(
            name,
            does,
            Guest::answering(Hook::Admission, answer),
            Expected::Answers(Outcome::Denies(code)),
        )
    };
    vec![
        denies("deny", "denies as it should", &deny("no", "No."), "no"),
        denies(
            "deny-at-length",
            "denies with the longest message",
            &deny("no", &many(512, "x")),
            "no",
        ),
        bad(
            "deny-too-long",
            "denies with a message that is too long",
            &deny("no", &many(513, "x")),
        ),
        bad(
            "deny-with-a-book",
            "denies with a message of 16,000 bytes",
            &deny("no", &many(16_000, "x")),
        ),
        bad(
            "deny-two-lines",
            "denies with a message of two lines",
            &deny("no", "no\nno"),
        ),
        bad(
            "deny-escape",
            "denies with a message for terminals",
            &deny("no", "\u{1b}[2J"),
        ),
        bad(
            "deny-long-code",
            "denies with a code of 65 bytes",
            &deny(&many(65, "x"), "no"),
        ),
        bad(
            "deny-empty-code",
            "denies with an empty code",
            &deny("", "no"),
        ),
        bad(
            "deny-loud-code",
            "denies with a code in capitals",
            &deny("NO", "no"),
        ),
        bad(
            "deny-long-field",
            "denies with a pointer that is too long",
            &with_field,
        ),
        bad("warn-9-times", "warns once too often", &warnings(9)),
        Entry::allows(
            "warn-8-times",
            "warns as often as it may",
            Guest::answering(Hook::Admission, &warnings(8)),
        ),
        // {0: deny, 0: deny} and {0: deny, 0: null}: readers differ in which of two they take.
        bad(
            "deny-twice",
            "denies with two codes under one key",
            &[
                &[0xa2][..],
                &deny("first", "no")[1..],
                &deny("second", "no")[1..],
            ]
            .concat(),
        ),
        bad(
            "deny-and-allow",
            "denies, and allows under the same key",
            &[&[0xa2][..], &deny("no", "no")[1..], &[0x00, 0xf6]].concat(),
        ),
        bad(
            "deny-field-no-pointer",
            "denies with a field that is no JSON Pointer",
            &no_pointer,
        ),
    ]
}

/// Unusual, and allowed by the ABI.
fn allowed() -> Vec<Entry> {
    let rows: [(&str, &str, &[u8]); 4] = [
        (
            "answer-indefinite",
            "answers a map of indefinite length",
            b"\xbf\xff",
        ),
        (
            "answer-long-head",
            "answers an empty map, its length in eight bytes",
            b"\xbb\0\0\0\0\0\0\0\0",
        ),
        (
            "answer-unknown-float",
            "answers a float under a key that nobody knows",
            b"\xa1\x09\xfb\x7f\xf8\0\0\0\0\0\x01",
        ),
        (
            "answer-unknown-tag",
            "answers a tag under a key that nobody knows",
            b"\xa1\x09\xc1\x01",
        ),
    ];
    rows.map(|(name, does, answer)| {
        Entry::allows(name, does, Guest::answering(Hook::Admission, answer))
    })
    .into()
}

fn deductions() -> Vec<Entry> {
    let deduction = |name: &str, does, answer: &[u8], outcome| {
        let guest = Guest::answering(Hook::Deduction, answer);
        Entry::new(name, does, guest, Expected::Answers(outcome))
    };
    let fails = Outcome::Fails(BadOutput);
    vec![
        deduction(
            "take-nothing",
            "takes nothing, and decides so",
            b"\xa1\x00\x00",
            Outcome::Takes(0),
        ),
        deduction("take-pass", "passes", b"\xa0", Outcome::Passes),
        deduction(
            "take-everything",
            "takes more than any spool has",
            b"\xa1\x00\x1b\0\0\0\xe8\xd4\xa5\x10\0",
            Outcome::Takes(1_000_000_000_000),
        ),
        deduction(
            "take-too-much",
            "takes a milligram more than a weight may be",
            b"\xa1\x00\x1b\0\0\0\xe8\xd4\xa5\x10\x01",
            fails,
        ),
        deduction(
            "take-2-64",
            "takes all that 64 bits can count",
            b"\xa1\x00\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
            fails,
        ),
        deduction(
            "take-negative",
            "gives filament back",
            b"\xa1\x00\x38\x63",
            fails,
        ),
        deduction(
            "take-float",
            "takes half a milligram",
            b"\xa1\x00\xf9\x38\x00",
            fails,
        ),
        deduction("take-text", "takes a text", b"\xa1\x00\x61\x31", fails),
        deduction(
            "take-for-a-book",
            "gives a reason that is too long",
            &take_because(1_025),
            fails,
        ),
        deduction(
            "take-for-long",
            "gives the longest reason",
            &take_because(1_024),
            Outcome::Takes(1),
        ),
    ]
}

/// `{0: 1, 1: "xxx…"}`.
fn take_because(reason_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![0xa2, 0x00, 0x01, 0x01];
    text(&mut bytes, &many(reason_bytes, "x"));
    bytes
}

fn configurations() -> Vec<Entry> {
    let checking = |check: &str, extra: &str| Guest {
        check: check.to_owned(),
        ..Guest::body(ALLOW, extra)
    };
    let at_2048 = |bytes: &str| format!("(data (i32.const 2048) \"{bytes}\")");
    vec![
        Entry::new(
            "check-traps",
            "traps when its configuration is checked",
            checking("unreachable", ""),
            Expected::Unbound(Some(Unreachable)),
        ),
        Entry::new(
            "check-garbage",
            "says nothing that can be read when its configuration is checked",
            checking("(i64.const 0x800_00000004)", &at_2048("\\ff\\ff\\ff\\ff")),
            Expected::Unbound(Some(BadOutput)),
        ),
        Entry::new(
            "check-outside",
            "answers from outside its memory when its configuration is checked",
            checking("(i64.const -1)", ""),
            Expected::Unbound(Some(BadOutputRange)),
        ),
        Entry::new(
            "check-never-good",
            "takes no configuration",
            checking("(i64.const 0x800_00000007)", &at_2048("\\a1\\00\\64nope")),
            Expected::Unbound(None),
        ),
    ]
}
