//! The JSON shapes of the API: what is read from bodies and what is shown.

pub(crate) mod clock;
pub(crate) mod cluster;
pub(crate) mod config;
pub(crate) mod decision;
pub(crate) mod evaluate;
pub(crate) mod filament;
pub(crate) mod hook_input;
pub(crate) mod job;
pub(crate) mod policy;
pub(crate) mod printer;
pub(crate) mod ruleset;
pub(crate) mod time;

use raft3d_engine::sdk::Grams;
use serde::ser::{Error, Serialize, Serializer};
use serde_json::value::RawValue;

/// Grams as a JSON number with exactly the digits that the weight has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GramsOut(pub(crate) Grams);

impl Serialize for GramsOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.0.to_string())
            .map_err(S::Error::custom)?
            .serialize(serializer)
    }
}
