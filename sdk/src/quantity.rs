//! Weights as fixed-point numbers: whole milligrams inside, grams with up to three decimals
//! outside.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use minicbor::{Decode, Encode};

/// Milligrams in one gram.
const MG_PER_GRAM: u64 = 1_000;

/// A weight in whole milligrams, `0 ..= Grams::MAX`. Encoded in CBOR as an unsigned integer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Grams(#[n(0)] u64);

/// Why a text is not a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GramsError {
    /// Not a decimal number such as `120` or `120.25`.
    NotANumber,
    /// More than three decimals: milligrams are the smallest unit.
    TooFine,
    /// Negative.
    Negative,
    /// Above [`Grams::MAX`].
    TooLarge,
}

impl fmt::Display for GramsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotANumber => "must be a decimal number of grams such as 120 or 120.25",
            Self::TooFine => "must have at most three decimals (whole milligrams)",
            Self::Negative => "must not be negative",
            Self::TooLarge => "must not exceed 1000000000 grams",
        })
    }
}

impl Grams {
    /// No weight at all.
    pub const ZERO: Self = Self(0);
    /// The largest weight: 10^9 grams.
    pub const MAX: Self = Self(1_000_000_000 * MG_PER_GRAM);

    /// A weight from whole milligrams; `None` above [`Grams::MAX`].
    #[must_use]
    pub const fn from_mg(mg: u64) -> Option<Self> {
        if mg <= Self::MAX.0 {
            Some(Self(mg))
        } else {
            None
        }
    }

    /// A weight from whole grams; `None` above [`Grams::MAX`].
    #[must_use]
    pub const fn from_grams(grams: u64) -> Option<Self> {
        match grams.checked_mul(MG_PER_GRAM) {
            Some(mg) => Self::from_mg(mg),
            None => None,
        }
    }

    /// Whole milligrams.
    #[must_use]
    pub const fn mg(self) -> u64 {
        self.0
    }

    /// Sum; `None` above [`Grams::MAX`].
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(mg) => Self::from_mg(mg),
            None => None,
        }
    }

    /// Difference; `None` below zero.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(mg) => Some(Self(mg)),
            None => None,
        }
    }

    /// Difference, zero where it would be negative.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `self * factor / 1000`, rounded up; `None` above [`Grams::MAX`].
    #[must_use]
    pub const fn checked_per_mille(self, factor: u64) -> Option<Self> {
        match self.0.checked_mul(factor) {
            Some(product) => Self::from_mg(product.div_ceil(1_000)),
            None => None,
        }
    }
}

impl fmt::Display for Grams {
    /// `120`, `120.5`, `120.25`: no trailing zeros, no unit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (grams, mut fraction) = (self.0 / MG_PER_GRAM, self.0 % MG_PER_GRAM);
        if fraction == 0 {
            return write!(f, "{grams}");
        }
        let mut width = 3;
        while fraction.is_multiple_of(10) {
            fraction /= 10;
            width -= 1;
        }
        write!(f, "{grams}.{fraction:0width$}")
    }
}

impl FromStr for Grams {
    type Err = GramsError;

    /// Reads `120`, `120.25`, `1.2e2`: the decimal grammar of RFC 8259 numbers, computed without
    /// floats.
    fn from_str(text: &str) -> Result<Self, GramsError> {
        let text = text.trim();
        // One sign at most, and no recursion: a client may send a whole body of minus signs.
        match text.strip_prefix('-') {
            None => unsigned(text),
            Some(rest) if unsigned(rest)? == Self::ZERO => Ok(Self::ZERO),
            Some(_) => Err(GramsError::Negative),
        }
    }
}

/// A number without a sign.
fn unsigned(text: &str) -> Result<Grams, GramsError> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((m, e)) => (m, e.parse::<i32>().map_err(|_| GramsError::NotANumber)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    if whole.is_empty() || fraction.is_empty() {
        return Err(GramsError::NotANumber);
    }
    let mut digits = String::with_capacity(whole.len() + fraction.len());
    digits.push_str(whole);
    digits.push_str(fraction);
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(GramsError::NotANumber);
    }
    let fraction_len = i32::try_from(fraction.len()).map_err(|_| GramsError::TooFine)?;
    let power = 3_i32
        .checked_add(exponent)
        .and_then(|p| p.checked_sub(fraction_len));
    scale(&digits, power.ok_or(GramsError::TooLarge)?)
}

/// `digits * 10^power` milligrams.
fn scale(digits: &str, power: i32) -> Result<Grams, GramsError> {
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    let zeros =
        i32::try_from(digits.len() - significant.len()).map_err(|_| GramsError::TooLarge)?;
    if significant.is_empty() {
        return Ok(Grams::ZERO);
    }
    let power = power.checked_add(zeros).ok_or(GramsError::TooLarge)?;
    let power = u32::try_from(power).map_err(|_| GramsError::TooFine)?;
    let base = significant
        .parse::<u64>()
        .map_err(|_| GramsError::TooLarge)?;
    let mg = 10_u64
        .checked_pow(power)
        .and_then(|factor| base.checked_mul(factor));
    mg.and_then(Grams::from_mg).ok_or(GramsError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn check(text: &str, expected: Result<u64, GramsError>) {
        assert_eq!(text.parse::<Grams>().map(Grams::mg), expected, "{text}");
    }

    #[test]
    fn reads_decimal_grams_without_floats() {
        check("120", Ok(120_000));
        check("120.25", Ok(120_250));
        check(" 0.001 ", Ok(1));
        check("1.2e2", Ok(120_000));
        check("120.2500", Ok(120_250));
        check("-0", Ok(0));
        check("1e9", Ok(Grams::MAX.mg()));
        check("0.0005", Err(GramsError::TooFine));
        check("-1", Err(GramsError::Negative));
        check("1e10", Err(GramsError::TooLarge));
        check("99999999999999999999", Err(GramsError::TooLarge));
        check("1e99999999999", Err(GramsError::NotANumber));
        for bad in [
            "", "--1", "--0", "- 0", "abc", "1.", ".5", "1,5", "0x10", "NaN", "+1", "1e",
        ] {
            check(bad, Err(GramsError::NotANumber));
        }
    }

    /// It once went through a recursion of that depth, and took the whole node with it.
    #[test]
    fn many_minus_signs_are_no_number() {
        check(&"-".repeat(1_000_000), Err(GramsError::NotANumber));
    }

    #[test]
    fn shows_no_trailing_zeros() {
        for text in ["0", "1", "120.25", "0.001", "10.05", "1000000000"] {
            assert_eq!(
                text.parse::<Grams>().map(|g| g.to_string()),
                Ok(text.to_string())
            );
        }
    }
}
