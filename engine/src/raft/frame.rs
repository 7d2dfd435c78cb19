//! Frames: how requests and responses follow one another on a byte stream between peers.
//!
//! `[body length: u32][CRC-32C of id and body: u32][call id: u64][body]`, all little endian. TCP's
//! own checksum is too weak for log entries (16 bits); a frame that fails the check closes the
//! connection.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

use super::transport::BODY_BYTES_MAX;

/// First bytes of every connection between peers.
pub const MAGIC: [u8; 8] = *b"raft3dp\x01";
/// Bytes before a body.
pub const HEADER_BYTES: usize = 16;

/// Bytes that are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A length above the limit: garbage, or a peer that does not keep the protocol.
    #[error("a frame of {0} bytes is larger than a frame may be")]
    TooLarge(usize),
    /// Damaged on its way.
    #[error("a frame's checksum does not match")]
    Checksum,
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The call that it belongs to, unique among those in flight on its connection.
    pub id: u64,
    /// The message.
    pub body: Bytes,
}

/// The header of a frame with that id and body.
///
/// # Errors
/// The body is larger than [`BODY_BYTES_MAX`].
pub fn header(id: u64, body: &[u8]) -> Result<[u8; HEADER_BYTES], FrameError> {
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    if body.len() > BODY_BYTES_MAX {
        return Err(FrameError::TooLarge(body.len()));
    }
    let mut header = [0; HEADER_BYTES];
    let mut out = header.as_mut_slice();
    out.put_u32_le(len);
    out.put_u32_le(checksum(id, body));
    out.put_u64_le(id);
    Ok(header)
}

/// How long the body of the next frame is, in bytes; none while its header is not complete.
///
/// # Errors
/// It says that it is longer than a body may be.
pub fn announced(read: &BytesMut) -> Result<Option<usize>, FrameError> {
    let Some(mut header) = read.get(..HEADER_BYTES) else {
        return Ok(None);
    };
    match header.get_u32_le() as usize {
        len if len > BODY_BYTES_MAX => Err(FrameError::TooLarge(len)),
        len => Ok(Some(len)),
    }
}

/// Takes the next frame out of what was read so far; none while it is not complete.
///
/// # Errors
/// The bytes are not a frame: the connection has to be closed.
pub fn take(read: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some(mut header) = read.get(..HEADER_BYTES) else {
        return Ok(None);
    };
    let Some(len) = announced(read)? else {
        return Ok(None);
    };
    header.advance(4);
    let sum = header.get_u32_le();
    let id = header.get_u64_le();
    if read.len() - HEADER_BYTES < len {
        // Grows with what arrives and not with what a header claims.
        return Ok(None);
    }
    read.advance(HEADER_BYTES);
    let body = read.split_to(len).freeze();
    if checksum(id, &body) != sum {
        return Err(FrameError::Checksum);
    }
    Ok(Some(Frame { id, body }))
}

fn checksum(id: u64, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&id.to_le_bytes()), body)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn bytes(id: u64, body: &[u8]) -> Vec<u8> {
        [header(id, body).unwrap().as_slice(), body].concat()
    }

    #[test]
    fn frames_come_out_whole_however_they_arrive() {
        let sent: Vec<_> = (0..20u64)
            .map(|n| (n, vec![n as u8; n as usize * 7]))
            .collect();
        let stream: Vec<u8> = sent
            .iter()
            .flat_map(|(id, body)| bytes(*id, body))
            .collect();
        for step in [1, 3, 16, 17, 1000, stream.len()] {
            let mut read = BytesMut::new();
            let mut got = Vec::new();
            for piece in stream.chunks(step) {
                read.extend_from_slice(piece);
                while let Some(frame) = take(&mut read).unwrap() {
                    got.push((frame.id, frame.body.to_vec()));
                }
            }
            assert_eq!(got, sent, "in steps of {step}");
            assert!(read.is_empty());
        }
    }

    #[test]
    fn a_flipped_bit_never_makes_a_frame() {
        let good = bytes(77, b"some body");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let taken = take(&mut BytesMut::from(bad.as_slice()));
            assert!(!matches!(taken, Ok(Some(_))), "bit {bit}");
        }
    }

    #[test]
    fn a_large_length_is_refused_before_it_is_awaited() {
        let mut read = BytesMut::from([0xff; HEADER_BYTES].as_slice());
        assert_eq!(
            take(&mut read),
            Err(FrameError::TooLarge(u32::MAX as usize))
        );
        assert!(header(1, &vec![0; BODY_BYTES_MAX + 1]).is_err());
    }
}
