//! The time that a request's id carries: by it a request whose answer was forgotten is told from one
//! that is new.

use crate::ids::RequestId;
use crate::limits::KEY_AHEAD_MS_MAX;

/// Bits of one character of a ULID.
const ULID_BITS: u32 = 5;
/// Characters of a ULID, and those of them that are its time.
const ULID_CHARACTERS: (usize, usize) = (26, 10);
/// Where the hyphens of a UUID's text are, and how long that is (RFC 9562, section 4).
const UUID_HYPHENS: [usize; 4] = [8, 13, 18, 23];
const UUID_CHARACTERS: usize = 36;

/// When a client made this key, milliseconds since the Unix epoch: of a UUID of version 7 in its
/// usual text (RFC 9562, section 5.7) or a ULID in capital letters. None for any other key, and for
/// one whose time is more than an hour ahead of `log_time_ms`: that is no clock to rely on.
#[must_use]
pub fn of_key(id: &RequestId, log_time_ms: u64) -> Option<u64> {
    let text = id.as_str().as_bytes();
    let at_ms = uuid7(text).or_else(|| ulid(text))?;
    (at_ms <= log_time_ms.saturating_add(KEY_AHEAD_MS_MAX)).then_some(at_ms)
}

/// When a node minted this id, milliseconds since the Unix epoch; none if none did.
pub(crate) fn of_minted(id: &RequestId) -> Option<u64> {
    RequestId::minted_at_ms(id.as_str().as_bytes())
}

fn uuid7(text: &[u8]) -> Option<u64> {
    let has_form = text.len() == UUID_CHARACTERS
        && text.iter().enumerate().all(|(at, byte)| {
            if UUID_HYPHENS.contains(&at) {
                *byte == b'-'
            } else {
                byte.is_ascii_hexdigit()
            }
        });
    let is_7 = text.get(14) == Some(&b'7')
        && matches!(text.get(19), Some(b'8' | b'9' | b'a' | b'b' | b'A' | b'B'));
    if !(has_form && is_7) {
        return None;
    }
    let hex = |range| u64::from_str_radix(str::from_utf8(text.get(range)?).ok()?, 16).ok();
    Some((hex(0..8)? << 16) | hex(9..13)?)
}

fn ulid(text: &[u8]) -> Option<u64> {
    let (characters, of_time) = ULID_CHARACTERS;
    if text.len() != characters || !matches!(text.first(), Some(b'0'..=b'7')) {
        return None;
    }
    let mut at_ms = 0;
    for (at, byte) in text.iter().enumerate() {
        let digit = crockford(*byte)?;
        if at < of_time {
            at_ms = (at_ms << ULID_BITS) | digit;
        }
    }
    Some(at_ms)
}

/// The value of a digit of Crockford's base 32: no I, L, O and U.
fn crockford(byte: u8) -> Option<u64> {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let place = DIGITS.iter().position(|digit| *digit == byte)?;
    u64::try_from(place).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test is to panic")]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<u64> {
        of_key(&RequestId::new(text), u64::MAX)
    }

    #[test]
    fn keys_that_carry_their_time_are_known_by_their_form() {
        // The examples of RFC 9562, appendix A.6, and of the ULID's specification.
        let uuid = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
        assert_eq!(at(uuid), Some(0x017f_22e2_79b0));
        assert_eq!(at(&uuid.to_uppercase()), Some(0x017f_22e2_79b0));
        assert_eq!(at("01ARZ3NDEKTSV4RRFFQ69G5FAV"), Some(1_469_922_850_259));
        assert_eq!(at("7ZZZZZZZZZZZZZZZZZZZZZZZZZ"), Some((1 << 48) - 1));
    }

    #[test]
    fn other_keys_carry_none() {
        for opaque in [
            "",
            "k1",
            // Version 4, another variant, no hyphens, a hyphen too few, not hex.
            "017f22e2-79b0-4cc3-98c4-dc0c0c07398f",
            "017f22e2-79b0-7cc3-c8c4-dc0c0c07398f",
            "017f22e279b07cc398c4dc0c0c07398f",
            "017f22e2-79b0-7cc3-98c4adc0c0c07398f",
            "017f22e2-79b0-7cc3-98c4-dc0c0c07398g",
            // Too long, too large, letters that are none of its digits.
            "01ARZ3NDEKTSV4RRFFQ69G5FAVX",
            "81ARZ3NDEKTSV4RRFFQ69G5FAV",
            "01ARZ3NDEKTSV4RRFFQ69G5FAU",
            "01arz3ndektsv4rrffq69g5fav",
        ] {
            assert_eq!(at(opaque), None, "{opaque}");
        }
        // An hour ahead is a clock that is wrong, not one that is late.
        let id = RequestId::new("01ARZ3NDEKTSV4RRFFQ69G5FAV");
        let made_ms = 1_469_922_850_259;
        for (log_time_ms, known) in [
            (made_ms - 3_600_001, false),
            (made_ms - 3_600_000, true),
            (made_ms, true),
            (u64::MAX, true),
        ] {
            assert_eq!(of_key(&id, log_time_ms).is_some(), known, "{log_time_ms}");
        }
    }
}
