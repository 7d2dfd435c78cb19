//! Modules whose manifest is missing, broken, or not true.

use raft3d_sdk::manifest::SECTION;
use raft3d_sdk::{Claim, Hook, HookSet, Lifecycle, Manifest, State};

use super::{Entry, Expected, Outcome};
use crate::guest::{Guest, append_custom, assemble, many, with_manifest};

const BAD: Expected = Expected::Refused("bad_manifest");

pub(super) fn entries() -> Vec<Entry> {
    let mut entries = bytes();
    entries.extend(fields());
    entries.extend(lifecycles());
    entries.extend(schemas());
    entries
}

fn bytes() -> Vec<Entry> {
    let guest = Guest::default();
    let (text, good) = (guest.text(), guest.manifest("manifest"));
    let good = minicbor::to_vec(good).expect("a manifest");
    let raw = |name, does, manifest: &[u8], expected| {
        Entry::raw(name, does, with_manifest(&text, manifest), expected)
    };
    let mut twice = with_manifest(&text, &good);
    append_custom(&mut twice, SECTION, &good);
    let missing = Expected::Refused("no_manifest");
    vec![
        Entry::raw("manifest-missing", "has none", assemble(&text), missing),
        Entry::raw("manifest-twice", "has two", twice, BAD),
        raw("manifest-empty", "has an empty one", b"", BAD),
        raw("manifest-garbage", "has one that is no CBOR", b"\xff", BAD),
        raw(
            "manifest-cut",
            "has half of one",
            &good[..good.len() / 2],
            BAD,
        ),
        raw(
            "manifest-and-more",
            "has more behind it",
            &[&good[..], b"\0"].concat(),
            BAD,
        ),
        // An array in an array, and so on; and a text that says it has 2^63 bytes.
        raw(
            "manifest-deep",
            "has one of 60,000 nested arrays",
            &[0x81; 60_000],
            BAD,
        ),
        raw(
            "manifest-deep-field",
            "has a field of 60,000 nested arrays",
            &[&[0xa1, 0x09][..], &[0x81; 60_000]].concat(),
            BAD,
        ),
        raw(
            "manifest-liar",
            "has a name that says it is enormous",
            b"\xa1\x01\x7b\x7f\xff\xff\xff\xff\xff\xff\xff",
            BAD,
        ),
        raw(
            "manifest-list-liar",
            "has a lifecycle of 2^63 states",
            b"\xa1\x06\xa1\x00\x9b\x7f\xff\xff\xff\xff\xff\xff\xff",
            BAD,
        ),
        raw(
            "manifest-of-65-kib",
            "has one that is too large",
            &[0; 65 * 1024],
            Expected::Refused("manifest_too_large"),
        ),
    ]
}

/// A sound module, with a manifest that is changed.
fn with(
    name: &str,
    does: &'static str,
    change: impl FnOnce(&mut Manifest),
    expected: Expected,
) -> Entry {
    let guest = Guest::default();
    let mut manifest = guest.manifest(name);
    change(&mut manifest);
    let manifest = minicbor::to_vec(manifest).expect("a manifest");
    Entry::raw(
        name,
        does,
        with_manifest(&guest.text(), &manifest),
        expected,
    )
}

fn fields() -> Vec<Entry> {
    let unknown = minicbor::decode(&[9]).expect("a set of hooks");
    vec![
        with("manifest-abi", "is for another ABI", |m| m.abi = 2, BAD),
        with("manifest-no-name", "has no name", |m| m.name.clear(), BAD),
        with(
            "manifest-long-name",
            "has a long name",
            |m| m.name = many(65, "x"),
            BAD,
        ),
        with(
            "manifest-lines",
            "has a version of two lines",
            |m| m.version = "1\n2".into(),
            BAD,
        ),
        with(
            "manifest-long-text",
            "describes itself at length",
            |m| m.description = many(1_025, "x"),
            BAD,
        ),
        with(
            "manifest-no-hook",
            "answers nothing",
            |m| m.hooks = HookSet::of(&[]),
            BAD,
        ),
        with(
            "manifest-unknown-hook",
            "answers a hook that there is not",
            |m| m.hooks = unknown,
            BAD,
        ),
        with(
            "manifest-all-hooks",
            "says that it answers hooks that it does not have",
            |m| m.hooks = HookSet::of(&Hook::ALL),
            Expected::Refused("missing_export"),
        ),
        with(
            "manifest-other-hook",
            "names another hook than it has",
            |m| m.hooks = HookSet::of(&[Hook::Deduction]),
            Expected::Refused("undeclared_hook"),
        ),
    ]
}

fn state(name: &str) -> State {
    State {
        name: name.into(),
        ..State::default()
    }
}

/// Two states, changed.
fn lifecycle(name: &str, does: &'static str, change: impl FnOnce(&mut Lifecycle)) -> Entry {
    let mut lifecycle = Lifecycle {
        states: vec![
            State {
                initial: true,
                ..state("Queued")
            },
            State {
                terminal: true,
                ..state("Canceled")
            },
        ],
        claim: None,
        ..Lifecycle::default()
    };
    change(&mut lifecycle);
    with(name, does, |m| m.lifecycle = Some(lifecycle), BAD)
}

fn lifecycles() -> Vec<Entry> {
    let claim = |from: &str, to: &str| {
        Some(Claim {
            from: from.into(),
            to: to.into(),
        })
    };
    vec![
        lifecycle("lifecycle-empty", "knows no state", |l| l.states.clear()),
        lifecycle("lifecycle-no-start", "begins nowhere", |l| {
            l.states[0].initial = false
        }),
        lifecycle("lifecycle-two-starts", "begins twice", |l| {
            l.states[1].initial = true
        }),
        lifecycle("lifecycle-of-one-end", "begins at its end", |l| {
            l.states[0].terminal = true
        }),
        lifecycle("lifecycle-twins", "has two states of one name", |l| {
            l.states[0].name = "cancelED".into()
        }),
        lifecycle("lifecycle-nameless", "has a state without a name", |l| {
            l.states[0].name.clear()
        }),
        lifecycle(
            "lifecycle-names",
            "has a state with nine other names",
            |l| {
                l.states[0].aliases = (0..9).map(|n| format!("q{n}")).collect();
            },
        ),
        lifecycle("lifecycle-of-33", "has a state too many", |l| {
            l.states.extend((0..31).map(|n| state(&format!("S{n}"))));
        }),
        lifecycle(
            "lifecycle-claim-nowhere",
            "claims into a state that there is not",
            |l| l.claim = claim("Queued", "Nowhere"),
        ),
        lifecycle("lifecycle-claim-back", "claims what has ended", |l| {
            l.claim = claim("Canceled", "Queued")
        }),
    ]
}

fn schemas() -> Vec<Entry> {
    let with = |name, does, schema: String, expected| {
        with(name, does, |m| m.config_schema = Some(schema), expected)
    };
    let bad = Expected::RefusedByServer("bad_config_schema");
    let allows = Expected::Answers(Outcome::Allows);
    let large = format!(r#"{{"description":"{}"}}"#, many(60_000, "x"));
    let deep = format!(
        "{}{}",
        many(40, "{\"not\":"),
        "{}".to_owned() + &many(40, "}")
    );
    let too_deep = format!(
        "{}{}",
        many(7_500, "{\"not\":"),
        "{}".to_owned() + &many(7_500, "}")
    );
    vec![
        with("schema-of-60-kb", "has an enormous schema", large, allows),
        with("schema-of-40-levels", "has a deep schema", deep, allows),
        with(
            "schema-of-7500-levels",
            "has a schema that readers of JSON cannot read",
            too_deep,
            bad,
        ),
        with(
            "schema-of-brackets",
            "has a schema of brackets that never close",
            many(60_000, "["),
            bad,
        ),
        with(
            "schema-of-words",
            "has a schema that is no JSON",
            "none, sorry".to_owned(),
            bad,
        ),
        with(
            "schema-empty",
            "has a schema without anything",
            String::new(),
            bad,
        ),
        with("schema-of-two", "has two schemas", "{} {}".to_owned(), bad),
        with(
            "schema-injection",
            "has a schema that ends the answer it stands in",
            r#"{},"sha256":"00"#.to_owned(),
            bad,
        ),
    ]
}
