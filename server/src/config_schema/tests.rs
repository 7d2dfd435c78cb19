#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use serde_json::json;

use super::*;

/// Longest that a hostile schema may keep anybody busy; on a busy machine, unoptimised.
const TIME_MAX: Duration = Duration::from_secs(10);

fn failures(schema: &Value, config: &Value) -> Vec<String> {
    let schema = ConfigSchema::parse(&schema.to_string()).unwrap();
    let failures = schema.failures(config);
    failures.iter().map(Failure::to_string).collect()
}

/// What a schema is refused with; none where it is taken.
fn refusal(schema: &Value) -> Option<String> {
    let begun = Instant::now();
    let parsed = ConfigSchema::parse(&schema.to_string());
    let refusal = parsed.err().map(|error| error.to_string());
    assert!(begun.elapsed() < TIME_MAX, "{:?}", begun.elapsed());
    refusal
}

fn check_refused(schema: &Value, part: &str) {
    let refusal = refusal(schema).unwrap_or_default();
    assert!(refusal.contains(part), "{part:?}: {refusal:?}");
}

/// As the SDK writes them.
fn limits() -> Value {
    json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
        "title": "Config", "additionalProperties": false, "required": ["grams"],
        "properties": {
            "grams": {"type": "integer", "minimum": 1, "format": "uint32"},
            "names": {"type": "array", "items": {"type": "string"}, "default": []},
            "by/name": {"type": "object", "additionalProperties": {"$ref": "#/$defs/limit"}},
        },
        "$defs": {"limit": {"type": ["integer", "null"], "maximum": 9}}})
}

#[test]
fn every_failure_is_told_with_its_place() {
    let good = json!({"grams": 5, "names": ["a"], "by/name": {"x": 9, "y": null}});
    assert_eq!(failures(&limits(), &good), [""; 0]);
    let bad = json!({"names": ["a", 5], "by/name": {"x": 10}, "colour": 1});
    assert_eq!(
        failures(&limits(), &bad),
        [
            "/by~1name/x: must be <=9, but got 10",
            "/colour: is not a field of this configuration",
            "/grams: is required",
            "/names/1: want string, but got number",
        ]
    );
    assert_eq!(failures(&json!(false), &json!({})).len(), 1);
}

#[test]
fn failures_are_bounded() {
    let unknown: serde_json::Map<_, _> = (0..500)
        .map(|n| (format!("field{n:03}"), json!(1)))
        .collect();
    let all = failures(
        &json!({"additionalProperties": false}),
        &Value::Object(unknown),
    );
    assert_eq!(all.len(), FAILURES_MAX);
    assert!(all.first().unwrap().starts_with("/field000: "));
    let long = json!({"enum": ["x".repeat(10_000)]});
    let message = failures(&long, &json!({})).pop().unwrap();
    assert!(message.len() <= MESSAGE_BYTES_MAX, "{message}");
}

#[test]
fn what_is_no_schema_is_refused_with_its_place() {
    let not_json = ConfigSchema::parse("{").err().unwrap().to_string();
    assert!(
        not_json.starts_with("config_schema is not JSON: "),
        "{not_json}"
    );
    check_refused(&json!({"type": "integr"}), "no valid JSON Schema");
    check_refused(
        &json!({"properties": {"a": {"minimum": "1"}}}),
        "/properties/a/minimum",
    );
    check_refused(&json!([]), "no valid JSON Schema");
    check_refused(
        &json!({"$schema": "http://json-schema.org/draft-07/schema#"}),
        "/$schema",
    );
    check_refused(&json!({"$ref": "#/$defs/none"}), "nothing at #/$defs/none");
    // A property may be called like a keyword.
    assert_eq!(
        refusal(&json!({"properties": {"$id": {"type": "string"}, "pattern": true}})),
        None
    );
}

#[test]
fn nothing_is_fetched() {
    for to in [
        "http://127.0.0.1:1/x.json",
        "file:///etc/hostname",
        "other.json#/a",
        "#name",
        "#/%24defs/a",
    ] {
        let schema = json!({"properties": {"a": {"$ref": to}}, "$defs": {"a": {}}});
        check_refused(&schema, "/properties/a/$ref: ");
    }
    for keyword in ["$id", "$anchor", "$dynamicRef", "$dynamicAnchor"] {
        check_refused(&json!({"items": {keyword: "http://127.0.0.1:1/"}}), keyword);
    }
    check_refused(&json!({"$schema": "http://127.0.0.1:1/"}), "/$schema");
}

#[test]
fn a_schema_that_refers_to_itself_is_refused() {
    check_refused(&json!({"$ref": "#"}), "refers to itself");
    let tree = json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}});
    assert!(refusal(&tree).is_some());
    let mutual = json!({"$ref": "#/$defs/a", "$defs": {
        "a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}});
    check_refused(&mutual, "refers to itself");
}

#[test]
fn doubling_references_and_deep_nesting_are_refused() {
    let mut defs = serde_json::Map::new();
    for n in 0..16 {
        let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
        defs.insert(format!("d{n}"), json!({"allOf": [next, next]}));
    }
    defs.insert("d16".to_owned(), json!({"type": "integer"}));
    check_refused(
        &json!({"$ref": "#/$defs/d0", "$defs": defs}),
        "values with every $ref",
    );
    let mut deep = json!({});
    for _ in 0..60 {
        deep = json!({"items": deep});
    }
    check_refused(&deep, "nested deeper");
    let text = format!("{}{}", "{\"not\":".repeat(20_000), "}".repeat(20_000));
    assert!(matches!(
        ConfigSchema::parse(&text),
        Err(SchemaError::NotJson(_))
    ));
}

#[test]
fn patterns_take_linear_time_and_little_room() {
    let config = json!({"a": "a".repeat(16_000)});
    let schema = json!({"properties": {"a": {"pattern": "^(a+)+$|(a|aa)*b"}}});
    let begun = Instant::now();
    assert_eq!(failures(&schema, &config), [""; 0]);
    let schema = json!({"properties": {"a": {"pattern": "^(a|aa)*b$"}}});
    assert_eq!(failures(&schema, &config).len(), 1);
    assert!(begun.elapsed() < TIME_MAX);
    let pattern = |pattern: &str| json!({"pattern": pattern});
    check_refused(
        &pattern("(((a{100}){100}){100}){100}"),
        "more than 65536 bytes",
    );
    check_refused(&pattern("(?=a)b"), "linear time");
    check_refused(&pattern("(a)\\1"), "linear time");
    check_refused(
        &json!({"patternProperties": {"(": {}}}),
        "/patternProperties/(",
    );
    let many: Vec<_> = (0..33).map(|n| pattern(&format!("a{n}"))).collect();
    check_refused(&json!({"allOf": many}), "32 are allowed");
}

#[test]
fn what_would_take_too_long_is_left_to_the_module() {
    let items: Vec<_> = (0..8_000).map(|n| json!(n % 7_999)).collect();
    let config = json!({"a": items});
    let schema = json!({"properties": {"a": {"uniqueItems": true}}});
    assert_eq!(failures(&schema, &config), [""; 0]);
    assert_eq!(failures(&schema, &json!({"a": [1, 2, 1]})).len(), 1);
    let each = json!({"anyOf": vec![json!({"type": "string"}); 1_000]});
    let begun = Instant::now();
    assert_eq!(
        failures(&json!({"properties": {"a": {"items": each}}}), &config),
        [""; 0]
    );
    assert!(begun.elapsed() < TIME_MAX);
}

#[test]
fn the_schemas_of_the_shipped_policies_are_taken() {
    for module in crate::library::modules() {
        let report = raft3d_engine::policy::inspect(module).unwrap();
        if let Some(schema) = report.manifest.config_schema {
            let parsed = ConfigSchema::parse(&schema).map(drop);
            assert_eq!(parsed, Ok(()), "{}", report.manifest.name);
        }
    }
}

/// Numbers that follow from a seed (Marsaglia, "Xorshift RNGs").
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        let at = self.below(choices.len());
        choices.get(at).copied().unwrap_or_default()
    }
}

/// Keywords that a schema may have, and some that it may not.
const KEYWORDS: [&str; 38] = [
    "type",
    "enum",
    "const",
    "properties",
    "patternProperties",
    "additionalProperties",
    "items",
    "prefixItems",
    "contains",
    "minContains",
    "maxContains",
    "uniqueItems",
    "required",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "dependentRequired",
    "propertyNames",
    "unevaluatedProperties",
    "unevaluatedItems",
    "$ref",
    "$defs",
    "pattern",
    "minLength",
    "maximum",
    "multipleOf",
    "minProperties",
    "maxItems",
    "format",
    "contentSchema",
    "$id",
    "$dynamicRef",
    "x-unknown",
];
const PATTERNS: [&str; 6] = [
    "^a+$",
    "(a|aa)*b",
    "[\\w\\d]{0,40}",
    "\\p{L}",
    "(?=x)",
    "\\cA(",
];
const REFS: [&str; 5] = ["#", "#/$defs/a", "#/$defs/b", "#/properties/a", "#/allOf/0"];
const NAMES: [&str; 4] = ["a", "b", "$ref", "x~y/z"];

/// A schema, or what looks like one; fewer keywords further in, so that it ends.
fn schema(random: &mut Random, depth: usize) -> Value {
    if depth == 0 || random.below(8) == 0 {
        return json!(random.below(3) > 0);
    }
    let mut fields = serde_json::Map::new();
    for _ in 0..1 + random.below(4) {
        let name = random.of(&KEYWORDS);
        fields.insert(name.to_owned(), keyword(random, name, depth - 1));
    }
    Value::Object(fields)
}

fn keyword(random: &mut Random, name: &str, depth: usize) -> Value {
    // Now and then, what has no business there.
    if random.below(30) == 0 {
        return config(random, 2);
    }
    match name {
        "type" => json!(random.of(&["string", "integer", "object", "array", "null", "number"])),
        "enum" => json!([config(random, 1), config(random, 1)]),
        "const" => config(random, 2),
        "required" => json!([random.of(&NAMES)]),
        "dependentRequired" => json!({random.of(&NAMES): [random.of(&NAMES)]}),
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => {
            json!([schema(random, depth), schema(random, depth)])
        }
        "patternProperties" => json!({random.of(&PATTERNS): schema(random, depth)}),
        "properties" | "dependentSchemas" | "$defs" => {
            json!({random.of(&NAMES): schema(random, depth), "b": schema(random, depth)})
        }
        "$ref" | "$dynamicRef" | "$id" => json!(random.of(&REFS)),
        "pattern" => json!(random.of(&PATTERNS)),
        "format" => json!(random.of(&["date", "regex", "uri", "none"])),
        "uniqueItems" => json!(true),
        "multipleOf" => json!(1 + random.below(9)),
        "minContains" | "maxContains" | "minLength" | "maximum" | "minProperties" | "maxItems" => {
            json!(random.below(5))
        }
        _ => schema(random, depth),
    }
}

fn config(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 4 } else { 6 }) {
        0 => Value::Null,
        1 => json!(random.below(1_000)),
        2 => json!("aab".repeat(random.below(50))),
        3 => json!(random.below(2) == 0),
        4 => (0..random.below(6))
            .map(|_| config(random, depth - 1))
            .collect(),
        _ => {
            let count = random.below(4);
            let one =
                |random: &mut Random| (random.of(&NAMES).to_owned(), config(random, depth - 1));
            Value::Object((0..count).map(|_| one(random)).collect())
        }
    }
}

#[test]
fn whatever_a_schema_holds_it_is_answered_soon_and_briefly() {
    let given = std::env::var("RAFT3D_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).unwrap();
        u64::from_le_bytes(bytes) | 1
    });
    println!("seed {seed}; replay: RAFT3D_SEED={seed} cargo test --workspace --lib config_schema");
    let mut random = Random(seed);
    let (mut taken, mut failed) = (0, 0);
    for _ in 0..3_000 {
        let (depth, nesting) = (1 + random.below(5), random.below(5));
        let schema = schema(&mut random, depth);
        let config = config(&mut random, nesting);
        let begun = Instant::now();
        if let Ok(parsed) = ConfigSchema::parse(&schema.to_string()) {
            taken += 1;
            let failures = parsed.failures(&config);
            failed += usize::from(!failures.is_empty());
            assert!(failures.len() <= FAILURES_MAX, "{schema} {config}");
            for failure in failures {
                assert!(failure.message.len() <= MESSAGE_BYTES_MAX, "{failure}");
            }
        }
        assert!(begun.elapsed() < TIME_MAX, "{schema} {config}");
    }
    assert!(
        taken > 300 && failed > 100,
        "{taken} were taken, {failed} failed"
    );
}
