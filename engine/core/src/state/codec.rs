//! Values of rows: CBOR with integer keys, by minicbor. Golden bytes of one row of each kind are
//! tested (`tests/golden.rs`).

use std::convert::Infallible;

use minicbor::encode::Write;
use minicbor::{Decode, Encode};

use super::rows::ReadRows;
use crate::error::LocalFault;

/// Bytes that most values fit: growing a vector from nothing costs more than encoding them does.
const USUAL_BYTES: usize = 512;

/// Bytes under construction.
///
/// minicbor writes a value in pieces of a few bytes, through a function of `Vec` that is not
/// inlined: it and the copying behind it cost as much as the encoding.
struct Bytes(Vec<u8>);

impl Write for Bytes {
    type Error = Infallible;

    #[inline(always)]
    fn write_all(&mut self, piece: &[u8]) -> Result<(), Infallible> {
        self.0.extend_from_slice(piece);
        Ok(())
    }
}

/// The bytes of a value. Writing to memory does not fail; an encoder that says so is broken, and
/// that is a fault of this program, not of the entry.
pub(crate) fn encode<T: Encode<()>>(value: &T) -> Result<Vec<u8>, LocalFault> {
    let mut bytes = Bytes(Vec::with_capacity(USUAL_BYTES));
    match minicbor::encode(value, &mut bytes) {
        Ok(()) => Ok(bytes.0),
        Err(error) => Err(LocalFault::Runtime(format!("encoding: {error}"))),
    }
}

/// The value of a row of `table`.
pub(crate) fn decode<'b, T: Decode<'b, ()>>(
    table: &'static str,
    bytes: &'b [u8],
) -> Result<T, LocalFault> {
    decode_exactly(bytes).map_err(|detail| LocalFault::CorruptRow { table, detail })
}

/// The value that fills `bytes` to the last one.
pub(crate) fn decode_exactly<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, String> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let value = decoder.decode().map_err(|error| error.to_string())?;
    match bytes.len().saturating_sub(decoder.position()) {
        0 => Ok(value),
        rest => Err(format!("{rest} bytes follow the value")),
    }
}

/// The first element of the array that `bytes` of a row of `table` are; the others are not looked
/// at.
pub(crate) fn decode_first<'b, T: Decode<'b, ()>>(
    table: &'static str,
    bytes: &'b [u8],
) -> Result<T, LocalFault> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let first = decoder.array().and_then(|_| decoder.decode());
    first.map_err(|error| LocalFault::CorruptRow {
        table,
        detail: error.to_string(),
    })
}

/// The value under `key`, if there is one.
pub(crate) fn get<T: for<'b> Decode<'b, ()>>(
    rows: &dyn ReadRows,
    table: &'static str,
    key: &[u8],
) -> Result<Option<T>, LocalFault> {
    let mut decoded = Ok(None);
    rows.read(key, &mut |value| {
        decoded = value.map(|bytes| decode(table, bytes)).transpose();
    })?;
    decoded
}

/// The values of one page of rows.
pub(crate) fn scan<T: for<'b> Decode<'b, ()>>(
    rows: &dyn ReadRows,
    table: &'static str,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<T>, LocalFault> {
    let page = rows.scan(prefix, after, limit)?;
    page.iter().map(|(_, bytes)| decode(table, bytes)).collect()
}
