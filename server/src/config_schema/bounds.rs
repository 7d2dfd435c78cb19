//! What comparing with a schema may cost, from the schema alone: it is walked as the validator will
//! walk it, every `$ref` followed, and refused where that does not end soon.

use regex::RegexBuilder;
use serde_json::{Map, Value};

use super::SchemaError;

/// Most values in a schema with every `$ref` written out.
const VALUES_MAX: usize = 8_192;
/// Deepest nesting of subschemas with every `$ref` written out. A `$ref` that leads back to itself
/// runs into this.
const DEPTH_MAX: usize = 48;
/// Most regular expressions with every `$ref` written out.
const PATTERNS_MAX: usize = 32;
/// Largest compiled regular expression, in bytes.
const PATTERN_BYTES_MAX: usize = 64 * 1024;
/// Most work of one comparison: values of the schema times those of the configuration.
const WORK_MAX: usize = 1_000_000;
/// Bytes of text that count as one value more.
const TEXT_BYTES_PER_VALUE: usize = 16;
/// The schema that schemas say they follow.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Keywords whose value is a schema.
const ONE: [&str; 11] = [
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords whose value is an array of schemas.
const ARRAY: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords whose value is an object of schemas.
const MAP: [&str; 3] = ["dependentSchemas", "patternProperties", "properties"];
/// Keywords whose value is looked at only through a `$ref`.
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];
/// Keywords that move what a `$ref` means. Nothing that describes a configuration needs them.
const REFUSED: [&str; 8] = [
    "$anchor",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$recursiveAnchor",
    "$recursiveRef",
    "$vocabulary",
    "dependencies",
];

/// What a comparison costs for each value of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    values: usize,
    /// Comparisons of every item with every other, or of every subschema with every field.
    squares: usize,
}

impl Cost {
    /// Walks through a schema.
    ///
    /// # Errors
    /// It holds what is not computed, or too much of something.
    pub(super) fn of(schema: &Value) -> Result<Self, SchemaError> {
        let mut walk = Walk {
            root: schema,
            cost: Self {
                values: 0,
                squares: 0,
            },
            patterns: 0,
        };
        walk.schema(schema, "", DEPTH_MAX)?;
        // Definitions that nothing refers to are read as well, but never computed.
        Ok(walk.cost)
    }

    /// Whether a comparison with `config` is worth its while.
    pub(super) fn allows(self, config: &Value) -> bool {
        let size = size_of(config);
        let linear = self.values.saturating_mul(size);
        let squared = self.squares.saturating_mul(size).saturating_mul(size);
        linear.saturating_add(squared) <= WORK_MAX
    }
}

/// Values, and text by its length. Configurations nest no deeper than bodies do.
fn size_of(value: &Value) -> usize {
    match value {
        Value::String(text) => 1 + text.len() / TEXT_BYTES_PER_VALUE,
        Value::Array(items) => 1 + items.iter().map(size_of).sum::<usize>(),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                name.len() / TEXT_BYTES_PER_VALUE + size_of(value)
            };
            1 + fields.iter().map(field).sum::<usize>()
        }
        _ => 1,
    }
}

struct Walk<'a> {
    root: &'a Value,
    cost: Cost,
    patterns: usize,
}

impl<'a> Walk<'a> {
    fn schema(&mut self, schema: &'a Value, at: &str, depth: usize) -> Result<(), SchemaError> {
        self.count(1, at)?;
        let Some(depth) = depth.checked_sub(1) else {
            let why = format!(
                "is nested deeper than {DEPTH_MAX} with every $ref written out, or refers to \
                 itself; write the configuration out"
            );
            return Err(refused(at, why));
        };
        // Whether anything else is a schema, the validator says.
        let Value::Object(fields) = schema else {
            return Ok(());
        };
        for (name, value) in fields {
            let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
            self.keyword(name, value, &at, depth)?;
        }
        Ok(())
    }

    fn keyword(
        &mut self,
        name: &str,
        value: &'a Value,
        at: &str,
        depth: usize,
    ) -> Result<(), SchemaError> {
        if REFUSED.contains(&name) {
            let why = "is not supported; write the schema without it, with $ref to #/$defs/…";
            return Err(refused(at, why));
        }
        if name.starts_with("unevaluated") || (name == "uniqueItems" && *value != false) {
            self.cost.squares += 1;
        }
        match (name, value) {
            ("$schema", Value::String(dialect)) if dialect.trim_end_matches('#') != DIALECT => {
                Err(refused(at, format!("must be {DIALECT}, not {dialect}")))
            }
            ("$ref", Value::String(to)) => {
                let target = self.target(to, at)?;
                self.schema(target, at, depth)
            }
            ("pattern", Value::String(pattern)) => self.pattern(pattern, at),
            (_, Value::Array(schemas)) if ARRAY.contains(&name) => {
                for (place, schema) in schemas.iter().enumerate() {
                    self.schema(schema, &format!("{at}/{place}"), depth)?;
                }
                Ok(())
            }
            (_, Value::Object(schemas)) if MAP.contains(&name) => {
                self.map(name, schemas, at, depth)
            }
            _ if ONE.contains(&name) => self.schema(value, at, depth),
            _ if DEFINITIONS.contains(&name) => Ok(()),
            _ => self.count(size_of(value), at),
        }
    }

    fn map(
        &mut self,
        name: &str,
        schemas: &'a Map<String, Value>,
        at: &str,
        depth: usize,
    ) -> Result<(), SchemaError> {
        for (key, schema) in schemas {
            let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
            if name == "patternProperties" {
                self.pattern(key, &at)?;
            }
            self.schema(schema, &at, depth)?;
        }
        Ok(())
    }

    /// What a `$ref` refers to: a place in the same schema.
    fn target(&self, to: &str, at: &str) -> Result<&'a Value, SchemaError> {
        let place = to.strip_prefix('#').filter(|place| !place.contains('%'));
        let local = place.filter(|place| place.is_empty() || place.starts_with('/'));
        let Some(local) = local else {
            let why = format!("{to} is not in this schema, and nothing is fetched; use #/$defs/…");
            return Err(refused(at, why));
        };
        let target = self.root.pointer(local);
        target.ok_or_else(|| refused(at, format!("there is nothing at {to}")))
    }

    fn pattern(&mut self, pattern: &str, at: &str) -> Result<(), SchemaError> {
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            let why = format!("is pattern {}; {PATTERNS_MAX} are allowed", self.patterns);
            return Err(refused(at, why));
        }
        let compiled = RegexBuilder::new(pattern)
            .size_limit(PATTERN_BYTES_MAX)
            .build();
        compiled.map(drop).map_err(|error| {
            let why = match error {
                regex::Error::CompiledTooBig(_) => {
                    format!("the pattern takes more than {PATTERN_BYTES_MAX} bytes")
                }
                _ => {
                    "the pattern is none that can be matched in linear time (no lookaround and no \
                      back-references)"
                        .to_owned()
                }
            };
            refused(at, why)
        })
    }

    fn count(&mut self, values: usize, at: &str) -> Result<(), SchemaError> {
        self.cost.values = self.cost.values.saturating_add(values);
        if self.cost.values > VALUES_MAX {
            let why = format!("more than {VALUES_MAX} values with every $ref written out");
            return Err(refused(at, why));
        }
        Ok(())
    }
}

fn refused(place: &str, why: impl Into<String>) -> SchemaError {
    SchemaError::Refused {
        place: place.to_owned(),
        why: why.into(),
    }
}
