//! Whether the maps of a CBOR item have each key once.
//!
//! RFC 8949 (section 5.6) leaves it to the reader which of two values it takes for one key, and
//! readers differ. So bytes of a stranger that hold such a map mean nothing here.

use alloc::borrow::Cow;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use minicbor::Decoder;
use minicbor::data::Type;
use minicbor::decode::Error;

/// A key, so that two spellings of one integer, text or byte string are one key: a length may be
/// written in more bytes than it needs, and a string in pieces.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key<'b> {
    Integer(i128),
    Text(Cow<'b, str>),
    Bytes(Cow<'b, [u8]>),
    /// The bytes of any other item.
    Other(&'b [u8]),
}

/// An array or a map that is not yet read to its end.
struct Open<'b> {
    /// Items or pairs to come; none where a break ends them.
    left: Option<u64>,
    /// The keys so far; none for an array.
    keys: Option<BTreeSet<Key<'b>>>,
}

/// Whether `bytes` are one well-formed item, in which no map at any depth has a key twice.
///
/// It does not recurse, so nesting costs memory in proportion to the bytes and no stack.
#[must_use]
pub fn keys_are_distinct(bytes: &[u8]) -> bool {
    walk(bytes).unwrap_or(false)
}

fn walk(bytes: &[u8]) -> Result<bool, Error> {
    let mut decoder = Decoder::new(bytes);
    let mut open: Vec<Open<'_>> = Vec::new();
    loop {
        if let Some(opened) = value(&mut decoder)? {
            open.push(opened);
        }
        // The next value, after all that ends here; and its key, if it is a map's.
        loop {
            let Some(innermost) = open.last_mut() else {
                return Ok(decoder.position() == bytes.len());
            };
            if ends(&mut decoder, innermost)? {
                open.pop();
                continue;
            }
            if let Some(keys) = &mut innermost.keys
                && !keys.insert(key(&mut decoder)?)
            {
                return Ok(false);
            }
            break;
        }
    }
}

/// Whether an item of that type is an integer (RFC 8949, major types 0 and 1).
#[must_use]
pub const fn is_integer(kind: Type) -> bool {
    matches!(
        kind,
        Type::U8
            | Type::U16
            | Type::U32
            | Type::U64
            | Type::I8
            | Type::I16
            | Type::I32
            | Type::I64
            | Type::Int
    )
}

/// Reads a value; of an array or a map only its head.
fn value<'b>(decoder: &mut Decoder<'b>) -> Result<Option<Open<'b>>, Error> {
    while decoder.datatype()? == Type::Tag {
        decoder.tag()?;
    }
    Ok(match decoder.datatype()? {
        Type::Array | Type::ArrayIndef => Some(Open {
            left: decoder.array()?,
            keys: None,
        }),
        Type::Map | Type::MapIndef => Some(Open {
            left: decoder.map()?,
            keys: Some(BTreeSet::new()),
        }),
        Type::Break => return Err(Error::message("a break where a value is due")),
        _ => {
            decoder.skip()?;
            None
        }
    })
}

/// Counts one item or pair of `open` down, or reads its break. Answers whether it ends here.
fn ends(decoder: &mut Decoder<'_>, open: &mut Open<'_>) -> Result<bool, Error> {
    match &mut open.left {
        Some(0) => Ok(true),
        Some(left) => {
            *left -= 1;
            Ok(false)
        }
        None if decoder.datatype()? == Type::Break => {
            decoder.set_position(decoder.position() + 1);
            Ok(true)
        }
        None => Ok(false),
    }
}

fn key<'b>(decoder: &mut Decoder<'b>) -> Result<Key<'b>, Error> {
    let kind = decoder.datatype()?;
    let start = decoder.position();
    Ok(match kind {
        _ if is_integer(kind) => Key::Integer(decoder.int()?.into()),
        Type::String => Key::Text(Cow::Borrowed(decoder.str()?)),
        Type::StringIndef => Key::Text(Cow::Owned(
            decoder.str_iter()?.collect::<Result<String, _>>()?,
        )),
        Type::Bytes => Key::Bytes(Cow::Borrowed(decoder.bytes()?)),
        Type::BytesIndef => {
            let mut whole = Vec::new();
            for piece in decoder.bytes_iter()? {
                whole.extend_from_slice(piece?);
            }
            Key::Bytes(Cow::Owned(whole))
        }
        _ => {
            decoder.skip()?;
            let bytes = decoder.input().get(start..decoder.position());
            Key::Other(bytes.unwrap_or_default())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn a_key_stands_once_in_each_map_at_any_depth() {
        for good in [
            &[0xa0][..],
            &[0x00],
            &[0xa2, 0x00, 0xf6, 0x01, 0xf6],
            // The same key in two maps, and -1 beside 0.
            &[0x82, 0xa1, 0x00, 0x00, 0xa1, 0x00, 0x00],
            &[0xa2, 0x00, 0x00, 0x20, 0x00],
            &[0xbf, 0x00, 0x9f, 0xff, 0x01, 0xa0, 0xff],
            // {"a": 0, "b": {"a": 0}}, and a tagged map.
            &[0xa2, 0x61, b'a', 0x00, 0x61, b'b', 0xa1, 0x61, b'a', 0x00],
            &[0xc1, 0xa1, 0x00, 0x00],
            // A text and bytes that are alike.
            &[0xa2, 0x61, b'a', 0x00, 0x41, b'a', 0x00],
        ] {
            assert!(keys_are_distinct(good), "{good:02x?}");
        }
        for bad in [
            &[0xa2, 0x00, 0xf6, 0x00, 0xf6][..],
            // Two spellings of zero.
            &[0xa2, 0x00, 0xf6, 0x18, 0x00, 0xf6],
            &[0xbf, 0x00, 0xf6, 0x00, 0xf6, 0xff],
            // Two spellings of "ab": with a longer length, and in pieces. The same as bytes.
            &[0xa2, 0x62, b'a', b'b', 0x00, 0x78, 0x02, b'a', b'b', 0x00],
            &[
                0xa2, 0x62, b'a', b'b', 0x00, 0x7f, 0x61, b'a', 0x61, b'b', 0xff, 0x00,
            ],
            &[0xa2, 0x42, b'a', b'b', 0x00, 0x58, 0x02, b'a', b'b', 0x00],
            &[
                0xa2, 0x42, b'a', b'b', 0x00, 0x5f, 0x41, b'a', 0x41, b'b', 0xff, 0x00,
            ],
            &[0x81, 0xa1, 0x07, 0xa2, 0x61, b'a', 0x00, 0x61, b'a', 0x01],
            &[0xc1, 0xa2, 0x00, 0x00, 0x00, 0x00],
            // Cut short, and with something after it.
            &[0xa2, 0x00, 0xf6],
            &[0xbf, 0x00, 0xf6],
            &[0xa0, 0x00],
            &[0xff],
            &[0x81, 0xff],
            &[],
        ] {
            assert!(!keys_are_distinct(bad), "{bad:02x?}");
        }
    }

    #[test]
    fn nesting_takes_no_stack() {
        let mut deep = vec![0x81; 1_000_000];
        assert!(!keys_are_distinct(&deep));
        deep.push(0x00);
        assert!(keys_are_distinct(&deep));
    }

    proptest! {
        #[test]
        fn garbage_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = keys_are_distinct(&bytes);
        }
    }
}
