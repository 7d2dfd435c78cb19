//! A binding's configuration against the JSON Schema in its module's manifest: for good messages,
//! before anything is proposed. The module's own `check_config` decides.
//!
//! A manifest is written by a stranger. What a schema may cost is bounded before anything is
//! computed with it ([`bounds`]), its patterns take linear time, and nothing is ever fetched.

mod bounds;

use core::fmt;
use std::collections::BTreeSet;

use boon::{
    CompileError, Compiler, Draft, ErrorKind, SchemaIndex, Schemas, UrlLoader, ValidationError,
};
use serde_json::Value;

use bounds::Cost;

use crate::distinct::{TWICE, field_given_twice};

/// Code of a module whose schema cannot be used.
pub(crate) const BAD_SCHEMA: &str = "bad_config_schema";
/// Most failures that are told of one configuration.
pub(crate) const FAILURES_MAX: usize = 16;
/// Longest message of one failure, in bytes: messages repeat what the schema and the configuration
/// hold.
const MESSAGE_BYTES_MAX: usize = 256;
/// Under this name the compiler knows the schema. Nothing is asked there.
const LOCATION: &str = "https://raft3d.invalid/config";

/// Why a schema cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SchemaError {
    /// It is not JSON.
    #[error("config_schema is not JSON: {0}")]
    NotJson(String),
    /// It is not what JSON Schema (2020-12) says.
    #[error("config_schema is no valid JSON Schema (2020-12): {0}")]
    Invalid(String),
    /// It holds something that this server does not compute.
    #[error("config_schema {place}: {why}")]
    Refused {
        /// Where, as a JSON Pointer into the schema.
        place: String,
        /// What, and what is allowed.
        why: String,
    },
}

/// A place in a configuration that the schema does not allow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Failure {
    /// JSON Pointer into the configuration.
    pub(crate) pointer: String,
    /// What is wrong there.
    pub(crate) message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => f.write_str(&self.message),
            pointer => write!(f, "{pointer}: {}", self.message),
        }
    }
}

/// A schema that configurations can be compared with.
pub(crate) struct ConfigSchema {
    schemas: Schemas,
    root: SchemaIndex,
    cost: Cost,
}

/// Nothing is fetched: a schema stands by itself.
struct Nowhere;

impl UrlLoader for Nowhere {
    fn load(&self, url: &str) -> Result<Value, Box<dyn core::error::Error>> {
        Err(format!("{url} is not fetched").into())
    }
}

impl ConfigSchema {
    /// Reads a schema as a manifest holds it.
    ///
    /// # Errors
    /// See [`SchemaError`].
    pub(crate) fn parse(text: &str) -> Result<Self, SchemaError> {
        if let Some(place) = field_given_twice(text) {
            let why = TWICE.to_owned();
            return Err(SchemaError::Refused { place, why });
        }
        let schema: Value =
            serde_json::from_str(text).map_err(|error| SchemaError::NotJson(error.to_string()))?;
        let cost = Cost::of(&schema)?;
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V2020_12);
        compiler.use_loader(Box::new(Nowhere));
        let mut schemas = Schemas::new();
        compiler
            .add_resource(LOCATION, schema)
            .map_err(|error| invalid(&error))?;
        let root = compiler.compile(LOCATION, &mut schemas);
        let root = root.map_err(|error| invalid(&error))?;
        Ok(Self {
            schemas,
            root,
            cost,
        })
    }

    /// What the schema does not allow, by place: at most [`FAILURES_MAX`]. Empty where it allows
    /// all, and where comparing would cost too much: the module itself is asked in any case.
    pub(crate) fn failures(&self, config: &Value) -> Vec<Failure> {
        if !self.cost.allows(config) {
            return Vec::new();
        }
        let Err(error) = self.schemas.validate(config, self.root) else {
            return Vec::new();
        };
        let mut failures = BTreeSet::new();
        collect(&error, &mut failures);
        failures.into_iter().take(FAILURES_MAX).collect()
    }
}

fn invalid(error: &CompileError) -> SchemaError {
    let text = format!("{error:#}").replace(LOCATION, "");
    SchemaError::Invalid(cut(&one_line(&text)))
}

/// The innermost failures of a tree.
fn collect(error: &ValidationError<'_, '_>, into: &mut BTreeSet<Failure>) {
    if !error.causes.is_empty() {
        for cause in &error.causes {
            collect(cause, into);
        }
        return;
    }
    let at = error.instance_location.to_string();
    let mut add = |name: Option<&str>, message: String| {
        let pointer = match name {
            None => at.clone(),
            Some(name) => format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")),
        };
        into.insert(Failure {
            pointer,
            message: cut(&one_line(&message)),
        });
        // The first ones in order are kept, and never many more.
        if into.len() > FAILURES_MAX {
            into.pop_last();
        }
    };
    match &error.kind {
        ErrorKind::Required { want } => {
            for name in want {
                add(Some(name), "is required".to_owned());
            }
        }
        ErrorKind::AdditionalProperties { got } => {
            for name in got {
                add(
                    Some(name),
                    "is not a field of this configuration".to_owned(),
                );
            }
        }
        kind => add(None, kind.to_string()),
    }
}

fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ")
}

fn cut(text: &str) -> String {
    if text.len() <= MESSAGE_BYTES_MAX {
        return text.to_owned();
    }
    let mut kept: String = text
        .char_indices()
        .take_while(|(at, c)| at + c.len_utf8() < MESSAGE_BYTES_MAX - 2)
        .map(|(_, c)| c)
        .collect();
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests;
