//! Whether a binding's configuration is what every replica and every guest reads alike: one CBOR
//! map with text keys and no fractional numbers.
//!
//! What is said here ends in stored answers, so every word is ours: a decoder's own message may
//! change with its next release, and replicas of two builds would then store different bytes.

use minicbor::Decoder;
use minicbor::data::Type;
use raft3d_sdk::distinct::{is_integer, keys_are_distinct};

use crate::limits::{CONFIG_BYTES_MAX, CONFIG_NESTING_MAX};

/// What is wrong with `config`, if anything.
pub(super) fn problem(config: &[u8]) -> Option<String> {
    if config.len() > CONFIG_BYTES_MAX {
        return Some(format!(
            "it has {} bytes; {CONFIG_BYTES_MAX} are allowed",
            config.len()
        ));
    }
    let mut decoder = Decoder::new(config);
    if !matches!(decoder.datatype(), Ok(Type::Map)) {
        return Some("it is not a CBOR map of definite length".to_owned());
    }
    match value(&mut decoder, CONFIG_NESTING_MAX) {
        Err(problem) => Some(problem),
        Ok(()) if decoder.position() != config.len() => Some("bytes follow the map".to_owned()),
        Ok(()) if !keys_are_distinct(config) => Some("a map has a key more than once".to_owned()),
        Ok(()) => None,
    }
}

/// Reads one value. The recursion ends with `nesting`.
fn value(decoder: &mut Decoder<'_>, nesting: usize) -> Result<(), String> {
    let malformed = |_: minicbor::decode::Error| "it does not decode".to_owned();
    let Some(nesting) = nesting.checked_sub(1) else {
        return Err(format!("it is nested deeper than {CONFIG_NESTING_MAX}"));
    };
    match decoder.datatype().map_err(malformed)? {
        Type::Map => {
            let pairs = decoder.map().map_err(malformed)?.unwrap_or_default();
            for _ in 0..pairs {
                decoder
                    .str()
                    .map_err(|_| "a map has a key that is no text".to_owned())?;
                value(decoder, nesting)?;
            }
            Ok(())
        }
        Type::Array => {
            let items = decoder.array().map_err(malformed)?.unwrap_or_default();
            (0..items).try_for_each(|_| value(decoder, nesting))
        }
        Type::F16 | Type::F32 | Type::F64 => {
            Err("it holds a fractional number; use per mille or milligrams".to_owned())
        }
        Type::Bool | Type::Null | Type::String => decoder.skip().map_err(malformed),
        kind if is_integer(kind) => decoder.skip().map_err(malformed),
        _ => Err("it holds a value of a type that JSON does not have".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: &[u8], expected: Option<&str>) {
        let problem = problem(config);
        match expected {
            None => assert_eq!(problem, None, "{config:02x?}"),
            Some(part) => {
                assert!(
                    problem.as_ref().is_some_and(|p| p.contains(part)),
                    "{problem:?}"
                );
            }
        }
    }

    #[test]
    fn a_configuration_is_json_without_fractions() {
        check(&[0xa0], None);
        check(
            &[0xa1, 0x61, b'a', 0x82, 0x01, 0xa1, 0x61, b'b', 0xf6],
            None,
        );
        check(&[0xa1, 0x61, b'a', 0x20], None);
        check(&[], Some("not a CBOR map"));
        check(&[0x80], Some("not a CBOR map"));
        check(&[0xbf, 0xff], Some("definite length"));
        check(&[0xa1, 0x01, 0x01], Some("no text"));
        check(&[0xa1, 0x61, b'a'], Some("does not decode"));
        check(&[0xa1, 0x61, b'a', 0xf9, 0x3c, 0x00], Some("fractional"));
        check(
            &[0xa1, 0x61, b'a', 0xfb, 0, 0, 0, 0, 0, 0, 0, 0],
            Some("fractional"),
        );
        check(&[0xa1, 0x61, b'a', 0x41, 0x00], Some("JSON does not have"));
        check(&[0xa1, 0x61, b'a', 0x9f, 0xff], Some("JSON does not have"));
        check(&[0xa0, 0xa0], Some("bytes follow"));
        let twice = [0xa2, 0x61, b'a', 0x00, 0x61, b'a', 0x01];
        check(&twice, Some("more than once"));
        check(
            &[&[0xa1, 0x61, b'b'][..], &twice].concat(),
            Some("more than once"),
        );
        check(
            &[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            Some("no text"),
        );
        let mut deep = vec![0xa1, 0x61, b'a'];
        deep.resize(3 + CONFIG_NESTING_MAX, 0x81);
        deep.push(0x01);
        check(&deep, Some("deeper"));
        // Maps count as lists do.
        let mut deep = [0xa1, 0x61, b'a'].repeat(CONFIG_NESTING_MAX);
        deep.push(0x01);
        check(&deep, Some("deeper"));
        deep.drain(..3);
        check(&deep, None);
        check(&vec![0xa0; CONFIG_BYTES_MAX + 1], Some("bytes"));
    }
}
