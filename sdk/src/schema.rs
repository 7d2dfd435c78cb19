//! Natively only (feature `manifest`): a policy's manifest and its configuration's JSON Schema.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use std::io::{self, Write};

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::config::{ConfigValue, PolicyConfig};
use crate::manifest::{ABI_VERSION, ConfigName, Manifest};
use crate::policy::Policy;
use crate::quantity::Grams;

/// The manifest of `P`.
#[must_use]
pub fn manifest_of<P: Policy>() -> Manifest {
    Manifest {
        abi: ABI_VERSION,
        name: P::NAME.to_string(),
        version: P::VERSION.to_string(),
        description: P::DESCRIPTION.to_string(),
        hooks: P::HOOKS,
        config_schema: P::Config::HAS_FIELDS.then(config_schema::<P::Config>),
        lifecycle: P::lifecycle(),
        config_names: config_names::<P::Config>(),
        decides: P::DECIDES.iter().map(ToString::to_string).collect(),
        fallback: P::FALLBACK,
    }
}

/// What the texts of a configuration name, as its fields are marked.
#[must_use]
pub fn config_names<C: PolicyConfig>() -> Vec<ConfigName> {
    let mut found = Vec::new();
    C::names_within("", &mut found);
    found
}

/// Adds what a field of type `T` names, and what the fields within it do. Used by `config!`.
#[doc(hidden)]
pub fn add_names<T: ConfigValue>(
    at: &str,
    field: &str,
    mark: Option<ConfigName>,
    default: Option<T>,
    found: &mut Vec<ConfigName>,
) {
    // A struct inside has its defaults where it stands, which may be many places.
    let default = default
        .filter(|_| at.is_empty())
        .map(|value| to_json(&value));
    let at = format!("{at}/{field}");
    if let Some(mut mark) = mark {
        if let Some(value) = &default {
            collect_names(value, mark.keys, &mut mark.default);
        }
        mark.pointer = if mark.keys {
            at.clone()
        } else {
            T::texts_at(at.clone())
        };
        found.push(mark);
    }
    T::names_within(&at, found);
}

/// The names in a field's default.
fn collect_names(value: &Value, keys: bool, names: &mut Vec<String>) {
    match value {
        Value::String(name) => names.push(name.clone()),
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect_names(item, keys, names)),
        Value::Object(fields) if keys => names.extend(fields.keys().cloned()),
        Value::Object(fields) => fields
            .values()
            .for_each(|it| collect_names(it, keys, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The JSON Schema (2020-12) of a configuration, as JSON text.
#[must_use]
pub fn config_schema<C: PolicyConfig>() -> String {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings
        .into_generator()
        .into_root_schema_for::<C>()
        .as_value()
        .to_string()
}

/// Prints the manifest of `P` as CBOR: the whole body of a policy's manifest binary.
///
/// # Errors
/// Standard output cannot be written, or the manifest cannot be encoded.
pub fn print_manifest<P: Policy>() -> io::Result<()> {
    let bytes = minicbor::to_vec(manifest_of::<P>()).map_err(io::Error::other)?;
    io::stdout().write_all(&bytes)
}

/// A configuration's schema while it is put together. Used by `config!`.
#[doc(hidden)]
#[derive(Debug)]
pub struct ObjectSchema {
    description: String,
    properties: Map<String, Value>,
    required: Vec<Value>,
}

impl ObjectSchema {
    #[must_use]
    pub fn new(doc: &[&str]) -> Self {
        Self {
            description: sentence(doc),
            properties: Map::new(),
            required: Vec::new(),
        }
    }

    /// Adds a field of type `T`.
    #[must_use]
    pub fn field<T: JsonSchema + Serialize>(
        mut self,
        generator: &mut SchemaGenerator,
        name: &str,
        doc: &[&str],
        default: Option<T>,
    ) -> Self {
        let mut schema = generator.subschema_for::<T>();
        schema.insert("description".to_string(), sentence(doc).into());
        match default {
            Some(value) => {
                if let Ok(value) = serde_json::to_value(value) {
                    schema.insert("default".to_string(), value);
                }
            }
            None => self.required.push(name.into()),
        }
        self.properties.insert(name.to_string(), schema.to_value());
        self
    }

    #[must_use]
    pub fn finish(self) -> Schema {
        json_schema!({
            "type": "object",
            "description": self.description,
            "properties": self.properties,
            "required": self.required,
            "additionalProperties": false,
        })
    }
}

/// The lines of a doc comment as one text.
fn sentence(doc: &[&str]) -> String {
    doc.iter()
        .map(|line| line.trim())
        .collect::<Vec<_>>()
        .join(" ")
        .trim()
        .to_string()
}

/// A weight in a configuration: a whole number of milligrams.
impl JsonSchema for Grams {
    fn schema_name() -> Cow<'static, str> {
        "Milligrams".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "maximum": Self::MAX.mg() })
    }
}

/// A weight in a configuration: a whole number of milligrams.
impl Serialize for Grams {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.mg())
    }
}

/// Emits what puts a `config!` struct into a JSON Schema.
#[doc(hidden)]
#[macro_export]
macro_rules! __config_schema {
    (
        $name:ident [$($doc:literal)*] {
            $([$($field_doc:literal)*] $field:ident : $type:ty [$($default:expr)?]),*
        }
    ) => {
        impl $crate::__private::schemars::JsonSchema for $name {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                ::core::stringify!($name).into()
            }

            fn json_schema(
                generator: &mut $crate::__private::schemars::SchemaGenerator,
            ) -> $crate::__private::schemars::Schema {
                let _ = &generator;
                $crate::schema::ObjectSchema::new(&[$($doc),*])
                    $(.field::<$type>(
                        generator,
                        ::core::stringify!($field),
                        &[$($field_doc),*],
                        $crate::__config_default!($($default)?),
                    ))*
                    .finish()
            }
        }

        impl $crate::__private::serde::Serialize for $name {
            fn serialize<S: $crate::__private::serde::Serializer>(
                &self,
                serializer: S,
            ) -> ::core::result::Result<S::Ok, S::Error> {
                serializer.collect_map([
                    $((
                        ::core::stringify!($field),
                        $crate::schema::to_json(&self.$field),
                    )),*
                ] as [(&str, $crate::schema::Json); $crate::__config_count!($($field)*)])
            }
        }
    };
}

/// Emits what says which fields of a `config!` struct hold names.
#[doc(hidden)]
#[macro_export]
macro_rules! __config_names {
    ($([$($kind:ident $($flag:ident)*)?] $field:ident : $type:ty [$($default:expr)?]),*) => {
        fn names_within(
            at: &str,
            found: &mut ::std::vec::Vec<$crate::manifest::ConfigName>,
        ) {
            let _ = (at, &found);
            $($crate::schema::add_names::<$type>(
                at,
                ::core::stringify!($field),
                $crate::__config_mark!($($kind $($flag)*)?),
                $crate::__config_default!($($default)?),
                found,
            );)*
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __config_mark {
    () => {
        ::core::option::Option::None
    };
    ($kind:ident $($flag:ident)*) => {
        ::core::option::Option::Some($crate::manifest::ConfigName::$kind()$(.$flag())*)
    };
}

/// A JSON value. Used by `config!`.
#[doc(hidden)]
pub type Json = Value;

/// A value as JSON. Used by `config!`.
#[doc(hidden)]
pub fn to_json<T: Serialize>(value: &T) -> Json {
    serde_json::to_value(value).unwrap_or_default()
}

#[doc(hidden)]
#[macro_export]
macro_rules! __config_default {
    () => {
        ::core::option::Option::None
    };
    ($default:expr) => {
        ::core::option::Option::Some($default)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __config_count {
    () => { 0 };
    ($first:ident $($rest:ident)*) => { 1 + $crate::__config_count!($($rest)*) };
}
