//! Typed configurations, as an author's crate sees them.
#![allow(
    clippy::unwrap_used,
    reason = "A test may end where a value is missing."
)]

use std::collections::BTreeMap;

use raft3d_sdk::config::{ConfigValue, texts};
use raft3d_sdk::reader::Reader;
use raft3d_sdk::testkit::{self, Value, grams};
use raft3d_sdk::{Grams, NoConfig, PolicyConfig};

raft3d_sdk::config! {
    /// One supplier.
    pub struct Supplier {
        /// Its name.
        name: String,
        /// Whether it delivers on Sundays.
        sundays: bool = false,
    }
}

raft3d_sdk::config! {
    /// A field of every kind.
    pub struct Everything {
        /// Heaviest job in milligrams.
        heaviest_in_mg: Grams,
        /// Materials.
        materials: Vec<String> = texts(["PLA"]),
        /// Jobs.
        jobs: u8 = 3,
        /// Level.
        level: i64 = -1,
        /// Note.
        note: Option<String> = None,
        /// Suppliers.
        suppliers: Vec<Supplier> = Vec::new(),
        /// Limits by key.
        limits: BTreeMap<String, u32> = BTreeMap::new(),
    }
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(
        fields
            .into_iter()
            .map(|(key, value)| (key.to_string(), value))
            .collect(),
    )
}

#[test]
fn what_is_left_out_is_the_default() {
    let config =
        Everything::from_cbor(&testkit::config([("heaviest_in_mg", 1_500.into())])).unwrap();
    assert_eq!(
        config,
        Everything {
            heaviest_in_mg: grams("1.5"),
            materials: vec!["PLA".to_string()],
            jobs: 3,
            level: -1,
            note: None,
            suppliers: Vec::new(),
            limits: BTreeMap::new(),
        }
    );
}

#[test]
fn every_kind_of_value_is_read() {
    let bytes = testkit::config([
        ("heaviest_in_mg", 0.into()),
        ("materials", ["ASA", "PC"].into()),
        ("jobs", 255.into()),
        ("level", (-7).into()),
        ("note", "hello".into()),
        (
            "suppliers",
            Value::List(vec![object([
                ("name", "X".into()),
                ("sundays", true.into()),
            ])]),
        ),
        ("limits", object([("a", 1.into()), ("b", 2.into())])),
    ]);
    let config = Everything::from_cbor(&bytes).unwrap();
    assert_eq!(
        config,
        Everything {
            heaviest_in_mg: Grams::ZERO,
            materials: texts(["ASA", "PC"]),
            jobs: 255,
            level: -7,
            note: Some("hello".to_string()),
            suppliers: vec![Supplier {
                name: "X".to_string(),
                sundays: true
            }],
            limits: [("a".to_string(), 1), ("b".to_string(), 2)].into(),
        }
    );
    let null = testkit::config([("heaviest_in_mg", 0.into()), ("note", Value::Null)]);
    assert_eq!(Everything::from_cbor(&null).unwrap().note, None);
}

#[test]
fn an_error_names_the_place() {
    let problem = |name: &str, value: Value| {
        let bytes = testkit::config([("heaviest_in_mg", 0.into()), (name, value)]);
        let error = Everything::from_cbor(&bytes).unwrap_err();
        (error.pointer, error.problem)
    };
    let at = |pointer: &str, problem| (pointer.to_string(), problem);
    assert_eq!(
        problem("jobs", 256.into()),
        at("/jobs", "must be a whole number from 0 to 255")
    );
    assert_eq!(
        problem("level", "x".into()),
        at("/level", "must be a whole number")
    );
    assert_eq!(problem("note", 1.into()), at("/note", "must be text"));
    assert_eq!(
        problem("materials", [1].into()),
        at("/materials/0", "must be text")
    );
    assert_eq!(
        problem("j~o/b", true.into()),
        at("/j~0o~1b", "is not a known field")
    );
    assert_eq!(
        problem("heaviest_in_mg", 1.into()),
        at("/heaviest_in_mg", "is given twice")
    );
    assert_eq!(
        problem("limits", object([("a", 1.into()), ("b", (-1).into())])),
        at("/limits/b", "must be a whole number from 0 to 4294967295")
    );
    let nameless = Value::List(vec![object([("name", "X".into())]), object([])]);
    assert_eq!(
        problem("suppliers", nameless),
        at("/suppliers/1/name", "is required")
    );
    let missing = Everything::from_cbor(&testkit::no_config()).unwrap_err();
    assert_eq!(
        (missing.pointer, missing.problem),
        at("/heaviest_in_mg", "is required")
    );
}

#[test]
fn fractions_tags_and_streams_are_refused() {
    // {"level": 1.0}, {"level": 1.0 as half}, {"level": tag(1)}, {_ "level": 1}, {1: 1}
    let key = b"\x65level";
    for value in [
        &[0xfa, 0x3f, 0x80, 0, 0][..],
        &[0xf9, 0x3c, 0],
        &[0xc1, 0x01],
    ] {
        let bytes = [&[0xa1], &key[..], value].concat();
        assert_eq!(Everything::from_cbor(&bytes).unwrap_err().pointer, "/level");
    }
    for bytes in [
        &[0xbf, 0xff][..],
        &[0xa1, 0x01, 0x01],
        &[0xa1],
        &[],
        &[0xf6],
        &[0xa0, 0xa0],
    ] {
        assert_eq!(
            NoConfig::from_cbor(bytes).unwrap_err().pointer,
            "",
            "{bytes:?}"
        );
    }
}

#[test]
fn a_claimed_length_costs_nothing() {
    // An array of 2^63 texts that are not there.
    let bytes = [0x9b, 0x80, 0, 0, 0, 0, 0, 0, 0];
    assert!(Vec::<String>::read(&mut Reader::new(&bytes)).is_err());
}

#[cfg(feature = "manifest")]
#[test]
fn the_schema_says_the_same() {
    let text = raft3d_sdk::schema::config_schema::<Everything>();
    let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["required"], serde_json::json!(["heaviest_in_mg"]));
    assert_eq!(schema["description"], "A field of every kind.");
    let properties = &schema["properties"];
    assert_eq!(
        properties["heaviest_in_mg"],
        serde_json::json!({
            "type": "integer", "minimum": 0, "maximum": 1_000_000_000_000_u64,
            "description": "Heaviest job in milligrams.",
        })
    );
    assert_eq!(
        properties["materials"]["default"],
        serde_json::json!(["PLA"])
    );
    assert_eq!(properties["jobs"]["maximum"], 255);
    assert_eq!(
        properties["suppliers"]["items"]["required"],
        serde_json::json!(["name"])
    );
}
