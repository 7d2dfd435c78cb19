//! A binding's configuration: JSON outside, CBOR inside. Fractional numbers have no place in it.

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use raft3d_engine::core::limits::CONFIG_BYTES_MAX;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::distinct::{TWICE, field_given_twice};
use crate::http::problem::Problem;

/// Deepest nesting that is shown; JSON bodies cannot nest deeper than 128 (`serde_json`).
const DEPTH_MAX: usize = 128;

/// A CBOR map with text keys in sorted order, so that equal configurations have equal bytes.
pub(crate) fn to_cbor(at: &str, raw: &RawValue) -> Result<Vec<u8>, Problem> {
    if let Some(pointer) = field_given_twice(raw.get()) {
        return Err(Problem::field(&format!("{at}{pointer}"), TWICE));
    }
    let value = serde_json::from_str::<Value>(raw.get())
        .map_err(|error| Problem::field(at, format!("is not understood: {error}")))?;
    if !value.is_object() {
        return Err(Problem::field(at, "must be an object"));
    }
    let mut encoder = Encoder::new(Vec::new());
    encode(&mut encoder, at, &value)?;
    let bytes = encoder.into_writer();
    if bytes.len() > CONFIG_BYTES_MAX {
        let why = format!("must not exceed {CONFIG_BYTES_MAX} bytes of CBOR");
        return Err(Problem::field(at, why));
    }
    Ok(bytes)
}

/// The configuration of a binding that gives none: a map of no pairs (RFC 8949).
pub const EMPTY_CONFIG: &[u8] = &[0xa0];

fn encode(encoder: &mut Encoder<Vec<u8>>, at: &str, value: &Value) -> Result<(), Problem> {
    let done = match value {
        Value::Null => encoder.null().map(drop),
        Value::Bool(flag) => encoder.bool(*flag).map(drop),
        Value::String(text) => encoder.str(text).map(drop),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => encoder.u64(number).map(drop),
            (None, Some(number)) => encoder.i64(number).map(drop),
            (None, None) => {
                let why = "must be a whole number of at most 64 bits \
                           (write factors per mille and weights in milligrams)";
                return Err(Problem::field(at, why));
            }
        },
        Value::Array(items) => {
            encoder
                .array(items.len() as u64)
                .map_err(Problem::internal)?;
            for (place, item) in items.iter().enumerate() {
                encode(encoder, &format!("{at}/{place}"), item)?;
            }
            Ok(())
        }
        Value::Object(fields) => {
            encoder
                .map(fields.len() as u64)
                .map_err(Problem::internal)?;
            for (name, field) in fields {
                encoder.str(name).map_err(Problem::internal)?;
                let name = name.replace('~', "~0").replace('/', "~1");
                encode(encoder, &format!("{at}/{name}"), field)?;
            }
            Ok(())
        }
    };
    done.map_err(Problem::internal)
}

/// The configuration as JSON; null where the bytes are none that [`to_cbor`] makes.
pub(crate) fn to_json(bytes: &[u8]) -> Value {
    decode(&mut Decoder::new(bytes), DEPTH_MAX).unwrap_or_default()
}

fn decode(decoder: &mut Decoder<'_>, depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    Some(match decoder.datatype().ok()? {
        Type::Null => decoder.null().ok().map(|()| Value::Null)?,
        Type::Bool => decoder.bool().ok()?.into(),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => decoder.u64().ok()?.into(),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => decoder.i64().ok()?.into(),
        Type::String => decoder.str().ok()?.into(),
        Type::Array => {
            let mut items = Vec::new();
            for _ in 0..decoder.array().ok()?? {
                items.push(decode(decoder, depth)?);
            }
            items.into()
        }
        Type::Map => {
            let mut fields = Map::new();
            for _ in 0..decoder.map().ok()?? {
                let name = decoder.str().ok()?.to_owned();
                fields.insert(name, decode(decoder, depth)?);
            }
            fields.into()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn cbor(text: &str) -> Result<Vec<u8>, String> {
        let raw = RawValue::from_string(text.to_owned()).unwrap();
        to_cbor("/config", &raw).map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn what_is_stored_is_what_is_shown() {
        for text in [
            "{}",
            r#"{"a":[1,-1,true,null,"x"],"b":{"c":{}},"max":18446744073709551615}"#,
            r#"{"min":-9223372036854775808}"#,
        ] {
            let shown = to_json(&cbor(text).unwrap());
            assert_eq!(shown.to_string(), text);
        }
        assert_eq!(cbor("{}").unwrap(), EMPTY_CONFIG);
    }

    #[test]
    fn equal_configurations_have_equal_bytes() {
        assert_eq!(cbor(r#"{"a":1,"b":2}"#), cbor(r#"{ "b" : 2, "a" : 1 }"#));
    }

    #[test]
    fn a_field_given_twice_is_refused_with_its_place() {
        for (text, place) in [
            (r#"{"a":1,"a":2}"#, "config/a: is given more than once"),
            (
                r#"{"a":{"b":[0,{"c":1,"c":1}]}}"#,
                "config/a/b/1/c: is given",
            ),
        ] {
            let refused = cbor(text).unwrap_err();
            assert!(refused.starts_with(place), "{text}: {refused}");
        }
    }

    #[test]
    fn fractions_are_refused_with_their_place() {
        for (text, place) in [
            (r#"{"a":{"b":[1,0.5]}}"#, "config/a/b/1: "),
            (r#"{"x/y":1.0}"#, "config/x~1y: "),
            (r#"{"big":18446744073709551616}"#, "config/big: "),
            ("[]", "config: "),
        ] {
            assert!(cbor(text).unwrap_err().starts_with(place), "{text}");
        }
    }
}
