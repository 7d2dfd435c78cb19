//! The bytes of an envelope: what a log entry carries.

use minicbor::Decode;
use thiserror::Error;

use super::{Command, ENVELOPE_VERSION, Envelope};
use crate::limits::ENVELOPE_BYTES_MAX;
use crate::state::{decode_exactly, encode};

/// Why bytes are no envelope, or an envelope has no bytes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EnvelopeError {
    /// Larger than [`ENVELOPE_BYTES_MAX`].
    #[error("an envelope of {size} bytes exceeds the limit of {ENVELOPE_BYTES_MAX} bytes")]
    TooLarge {
        /// Size in bytes.
        size: usize,
    },
    /// Of a format that this program does not know.
    #[error("the envelope has version {found}; this program knows version {ENVELOPE_VERSION}")]
    Version {
        /// What it says.
        found: u16,
    },
    /// Not an envelope.
    #[error("not an envelope: {detail}")]
    Malformed {
        /// What the decoder said.
        detail: String,
    },
}

/// The part of an envelope that is the same in every version.
#[derive(Decode)]
#[cbor(map)]
struct VersionOnly {
    #[n(0)]
    version: u16,
}

impl Envelope {
    /// Encodes it.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, EnvelopeError> {
        let bytes = encode(self).map_err(|fault| EnvelopeError::Malformed {
            detail: fault.to_string(),
        })?;
        check_size(&bytes)?;
        Ok(bytes)
    }

    /// Decodes it.
    ///
    /// # Errors
    /// See [`EnvelopeError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        check_size(bytes)?;
        let malformed = |detail| EnvelopeError::Malformed { detail };
        let decoded: Result<Self, String> = decode_exactly(bytes);
        let found = match &decoded {
            Ok(envelope) => envelope.version,
            // Another version's fields need not decode.
            Err(_) => {
                decode_exactly(bytes).map_or(ENVELOPE_VERSION, |VersionOnly { version }| version)
            }
        };
        if found != ENVELOPE_VERSION {
            return Err(EnvelopeError::Version { found });
        }
        decoded.map_err(malformed)
    }
}

impl Command {
    /// BLAKE3 of its encoding: the hash by which a retry is told from another request.
    ///
    /// # Errors
    /// [`EnvelopeError::Malformed`] where it does not encode.
    pub fn request_hash(&self) -> Result<[u8; 32], EnvelopeError> {
        let bytes = encode(self).map_err(|fault| EnvelopeError::Malformed {
            detail: fault.to_string(),
        })?;
        Ok(*blake3::hash(&bytes).as_bytes())
    }
}

fn check_size(bytes: &[u8]) -> Result<(), EnvelopeError> {
    if bytes.len() > ENVELOPE_BYTES_MAX {
        return Err(EnvelopeError::TooLarge { size: bytes.len() });
    }
    Ok(())
}
