//! Ids, revisions and digests: newtypes, so that one cannot be taken for another.

use core::fmt;

use minicbor::{Decode, Encode};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] String);

        impl $name {
            /// Takes `text` as it is; limits are checked where commands are (`command::check`).
            #[must_use]
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The id's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// Id of a printer.
    PrinterId
);
text_id!(
    /// Id of a filament.
    FilamentId
);
text_id!(
    /// Id of a print job.
    JobId
);
text_id!(
    /// Id of a binding; survives the revisions of the ruleset.
    BindingId
);
text_id!(
    /// Id of a request, for exactly-once: the client's `Idempotency-Key`, or minted by a node.
    RequestId
);

/// Digits of the time in a minted request id.
const MINTED_TIME_DIGITS: usize = 12;

impl RequestId {
    /// Digits of a minted id.
    pub(crate) const MINTED_DIGITS: usize = 32;

    /// The id that a node mints at `now_ms`, milliseconds since the Unix epoch, for a request that
    /// came without one: as in a UUID of version 7 (RFC 9562) the low 48 bits of the time come
    /// first, so that the records of requests that come together lie together. `random` follows, so
    /// that no two nodes mint the same.
    #[must_use]
    pub fn minted(now_ms: u64, random: [u8; 10]) -> Self {
        let time = now_ms & 0xffff_ffff_ffff;
        Self::new(format!("{time:012x}{}", hex::encode(random)))
    }

    /// The time in such an id, milliseconds since the Unix epoch; none where `text` is another one.
    pub(crate) fn minted_at_ms(text: &[u8]) -> Option<u64> {
        let is_minted = text.len() == Self::MINTED_DIGITS
            && text
                .iter()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let time = text.get(..MINTED_TIME_DIGITS).filter(|_| is_minted)?;
        u64::from_str_radix(str::from_utf8(time).ok()?, 16).ok()
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode,
        )]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id!(
    /// A point in the history of the state: the Raft log index of the entry that made it.
    Revision
);

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl core::str::FromStr for $name {
            type Err = hex::FromHexError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }
    };
}

byte_id!(
    /// SHA-256 (FIPS 180-4) of a module's original bytes; shown as 64 hex digits.
    ModuleDigest, 32
);
byte_id!(
    /// The random identity of a cluster, made when it is bootstrapped; shown as 32 hex digits.
    ClusterId, 16
);

/// Id of an event: the entry that emitted it and its place among that entry's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(array)]
pub struct EventId {
    /// Log index.
    #[n(0)]
    pub revision: Revision,
    /// Place, from 0.
    #[n(1)]
    pub sequence: u32,
}
