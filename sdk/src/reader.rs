//! Reads the CBOR (RFC 8949) that a host sends: definite lengths, and no floats to be looked at.
//!
//! A guest reads with this instead of minicbor's decoder, which would be two thirds of a small
//! module and half of its gas: a guest traps on bad input, so it needs no errors that say why.

use alloc::vec::Vec;

use crate::model::{
    ActorView, AdmissionInput, FilamentView, JobView, Label, PrinterStatus, PrinterView, Reported,
    TransitionInput,
};
use crate::quantity::Grams;

/// Major types of CBOR (RFC 8949, section 3.1).
const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;

/// The simple values `false`, `true` and `null`, as whole bytes.
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;

/// Reads one item after the other. `None` means: something else comes next, or nothing whole; what
/// was read up to there is then unspecified.
#[derive(Clone, Debug)]
pub struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    /// Reads from the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether nothing follows.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// An integer that is not negative.
    pub fn unsigned(&mut self) -> Option<u64> {
        self.head_of(UNSIGNED)
    }

    /// An integer.
    pub fn integer(&mut self) -> Option<i64> {
        let (major, value) = self.head()?;
        let value = i64::try_from(value).ok()?;
        match major {
            UNSIGNED => Some(value),
            NEGATIVE => Some(-1 - value),
            _ => None,
        }
    }

    /// A byte string.
    pub fn bytes(&mut self) -> Option<&'b [u8]> {
        let len = self.head_of(BYTES)?;
        self.take(len)
    }

    /// A text.
    pub fn text(&mut self) -> Option<&'b str> {
        let len = self.head_of(TEXT)?;
        core::str::from_utf8(self.take(len)?).ok()
    }

    /// `true` or `false`.
    pub fn boolean(&mut self) -> Option<bool> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        match *first {
            FALSE => Some(false),
            TRUE => Some(true),
            _ => None,
        }
    }

    /// Steps over a `null`, if one comes next.
    pub fn null(&mut self) -> bool {
        let rest = self.rest.strip_prefix(&[NULL]);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Number of elements of the array that comes next. The number is the sender's claim.
    pub fn array(&mut self) -> Option<u64> {
        self.head_of(ARRAY)
    }

    /// Number of entries of the map that comes next. The number is the sender's claim.
    pub fn map(&mut self) -> Option<u64> {
        self.head_of(MAP)
    }

    /// Steps over one item of any kind and all that is in it.
    pub fn skip(&mut self) -> Option<()> {
        let mut items = 1_u64;
        while items > 0 {
            let (major, value) = self.head()?;
            items -= 1;
            let inside = match major {
                BYTES | TEXT => {
                    self.take(value)?;
                    0
                }
                ARRAY => value,
                MAP => value.checked_mul(2)?,
                TAG => 1,
                _ => 0,
            };
            items = items.checked_add(inside)?;
        }
        Some(())
    }

    /// The argument of an item of this major type.
    fn head_of(&mut self, expected: u8) -> Option<u64> {
        let (major, value) = self.head()?;
        (major == expected).then_some(value)
    }

    /// Major type and argument of the item that comes next.
    #[inline(never)]
    fn head(&mut self) -> Option<(u8, u64)> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        let (major, short) = (first >> 5, first & 0x1f);
        let len = match short {
            0..24 => return Some((major, u64::from(short))),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            // 28 to 30 mean nothing, 31 an indefinite length.
            _ => return None,
        };
        let mut value = 0;
        for byte in self.take(len)? {
            value = value << 8 | u64::from(*byte);
        }
        // RFC 8949, section 3.3: a simple value in two bytes is at least 32.
        let malformed = major == SIMPLE && len == 1 && value < 32;
        (!malformed).then_some((major, value))
    }

    fn take(&mut self, len: u64) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(usize::try_from(len).ok()?)?;
        self.rest = rest;
        Some(taken)
    }
}

/// What can be read from a host's bytes.
pub trait FromWire<'b>: Sized {
    /// Reads the value.
    fn read(reader: &mut Reader<'b>) -> Option<Self>;

    /// The value of a key that is not there, where that is allowed.
    #[must_use]
    fn absent() -> Option<Self> {
        None
    }
}

impl<'b> FromWire<'b> for &'b str {
    fn read(reader: &mut Reader<'b>) -> Option<Self> {
        reader.text()
    }
}

impl FromWire<'_> for bool {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        reader.boolean()
    }
}

impl FromWire<'_> for u64 {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        reader.unsigned()
    }
}

impl FromWire<'_> for i32 {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        reader.integer()?.try_into().ok()
    }
}

impl FromWire<'_> for Grams {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Self::from_mg(reader.unsigned()?)
    }
}

impl FromWire<'_> for PrinterStatus {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        match reader.unsigned()? {
            0 => Some(Self::Active),
            1 => Some(Self::Maintenance),
            2 => Some(Self::Retired),
            _ => None,
        }
    }
}

impl<'b, T: FromWire<'b>> FromWire<'b> for Option<T> {
    fn read(reader: &mut Reader<'b>) -> Option<Self> {
        if reader.null() {
            Some(None)
        } else {
            T::read(reader).map(Some)
        }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<'b, T: FromWire<'b>> FromWire<'b> for Vec<T> {
    fn read(reader: &mut Reader<'b>) -> Option<Self> {
        let mut list = Self::new();
        for _ in 0..reader.array()? {
            list.push(T::read(reader)?);
        }
        Some(list)
    }
}

impl<'b> FromWire<'b> for Label<'b> {
    fn read(reader: &mut Reader<'b>) -> Option<Self> {
        let len = reader.array()?;
        let label = Self {
            key: reader.text()?,
            value: reader.text()?,
        };
        for _ in 2..len {
            reader.skip()?;
        }
        Some(label)
    }
}

/// Readers of maps with integer keys: a key that is not known is skipped, so that an old guest
/// accepts what a later host sends. The keys are those of `model.rs`; a test compares the two.
macro_rules! maps {
    ($($view:ident { $($key:literal: $field:ident),+ $(,)? })+) => {$(
        impl<'b> FromWire<'b> for $view<'b> {
            fn read(reader: &mut Reader<'b>) -> Option<Self> {
                $(let mut $field = FromWire::absent();)+
                for _ in 0..reader.map()? {
                    match reader.unsigned()? {
                        $($key => $field = Some(FromWire::read(reader)?),)+
                        _ => reader.skip()?,
                    }
                }
                Some(Self { $($field: $field?),+ })
            }
        }
    )+};
}

maps! {
    JobView {
        0: id, 1: printer_id, 2: filament_id, 3: filepath, 4: print_weight, 5: status,
        6: priority, 7: labels, 8: created_by, 9: created_at_ms, 10: deducted,
    }
    PrinterView {
        0: id, 1: company, 2: model, 3: status, 4: labels, 5: open_jobs, 6: occupying_jobs,
    }
    FilamentView {
        0: id, 1: material, 2: color, 3: total, 4: remaining, 5: reserved_by_others, 6: archived,
    }
    Reported { 0: used, 1: reason, 2: wants_override }
    AdmissionInput { 0: now_ms, 1: actor, 2: job, 3: printer, 4: filament, 5: creator }
    TransitionInput {
        0: now_ms, 1: actor, 2: job, 3: printer, 4: filament, 5: to, 6: reported,
        7: creator,
    }
}

/// A map like the others; it borrows nothing, so that the macro's lifetime does not fit.
impl FromWire<'_> for ActorView {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (mut open_jobs, mut reserved_mg) = (None, None);
        for _ in 0..reader.map()? {
            match reader.unsigned()? {
                0 => open_jobs = Some(reader.unsigned()?),
                1 => reserved_mg = Some(reader.unsigned()?),
                _ => reader.skip()?,
            }
        }
        Some(Self {
            open_jobs: open_jobs?,
            reserved_mg: reserved_mg?,
        })
    }
}

/// Reads a [`Call`](crate::wire::Call): the hook's input, and the configuration's bytes.
pub(crate) fn read_call<'b, T: FromWire<'b>>(bytes: &'b [u8]) -> Option<(T, &'b [u8])> {
    let mut reader = Reader::new(bytes);
    let (mut input, mut config) = (None, None);
    for _ in 0..reader.map()? {
        match reader.unsigned()? {
            0 => input = Some(T::read(&mut reader)?),
            1 => config = Some(reader.bytes()?),
            _ => reader.skip()?,
        }
    }
    Some((input?, config?))
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
