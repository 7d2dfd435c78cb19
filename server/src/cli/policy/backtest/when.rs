//! Times on the command line.

use core::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::http::parse_time;

/// A time, or how long ago it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Milliseconds since the Unix epoch.
    At(u64),
    /// Milliseconds ago.
    Ago(u64),
}

impl When {
    /// Milliseconds since the Unix epoch.
    pub(super) fn at_ms(self, now_ms: u64) -> u64 {
        match self {
            Self::At(at_ms) => at_ms,
            Self::Ago(ago_ms) => now_ms.saturating_sub(ago_ms),
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(at_ms) = parse_time(text) {
            return Ok(Self::At(at_ms));
        }
        let units = [
            ('d', 86_400_000),
            ('h', 3_600_000),
            ('m', 60_000),
            ('s', 1_000),
        ];
        let ago = units.iter().find_map(|(unit, ms)| {
            let number = text.strip_suffix(*unit)?.parse::<u64>().ok()?;
            number.checked_mul(*ms)
        });
        ago.map(Self::Ago).ok_or_else(|| {
            "must be an age such as 7d, 12h, 30m or 90s, or a time such as 2026-11-22T14:05:09Z"
                .to_owned()
        })
    }
}

/// This machine's time, milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_times_are_understood() {
        for (text, expected) in [
            ("7d", Some(When::Ago(604_800_000))),
            ("12h", Some(When::Ago(43_200_000))),
            ("30m", Some(When::Ago(1_800_000))),
            ("0s", Some(When::Ago(0))),
            ("1970-01-01T00:00:01Z", Some(When::At(1_000))),
            ("7", None),
            ("d", None),
            ("-1d", None),
            ("1.5d", None),
            ("18446744073709551615d", None),
            ("yesterday", None),
        ] {
            assert_eq!(text.parse::<When>().ok(), expected, "{text}");
        }
        assert_eq!(When::Ago(5).at_ms(3), 0);
        assert_eq!(When::Ago(5).at_ms(8), 3);
        assert_eq!(When::At(5).at_ms(8), 5);
    }
}
