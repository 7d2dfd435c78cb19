//! Frames on a TCP stream.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use raft3d_engine::raft::frame::{self, Frame, MAGIC};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Read at once, in bytes, at most; frames read together share one buffer.
const READ_BYTES: usize = 64 * 1024;
/// With less room than this left in the buffer, in bytes, a new one is begun. Most reads bring one
/// small frame: a new buffer for each would cost more than the frame, and an entry that is kept
/// keeps the whole buffer that it came in.
const READ_ROOM_BYTES_MIN: usize = 4 * 1024;
/// Frames are brought together for one write up to so many bytes. What does not fit is written by
/// itself, behind a write of the few bytes before it: a group of writes is some 10 to 60 KiB.
const WRITE_BYTES: usize = 64 * 1024;
/// Read and written at once before a connection is greeted, in bytes: whoever has not said who it
/// is gets little memory.
const GREETING_BYTES: usize = 512;
/// Largest frame before a connection is greeted, in bytes.
const HELLO_BYTES_MAX: usize = 4 * 1024;

/// How long bytes may go without the other side's acknowledgement before a connection is lost.
/// Left to itself, TCP sends them again after ever longer pauses, and a connection from before a cut
/// keeps calls waiting long after the cut has healed.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(3);

/// Sets up a connection to a peer, on either side.
pub(super) fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let ms = u32::try_from(UNACKNOWLEDGED_MAX.as_millis()).unwrap_or(u32::MAX);
    // Linux alone has it (RFC 5482); elsewhere the limits on waiting for answers have to do.
    #[cfg(target_os = "linux")]
    rustix::net::sockopt::set_tcp_user_timeout(stream, ms)?;
    #[cfg(not(target_os = "linux"))]
    let _ = ms;
    Ok(())
}

/// Reads frames. Cancelling a read loses nothing.
pub(super) struct Reader {
    half: OwnedReadHalf,
    buffer: BytesMut,
    is_greeted: bool,
}

impl Reader {
    pub(super) fn new(half: OwnedReadHalf) -> Self {
        Self {
            half,
            buffer: BytesMut::new(),
            is_greeted: false,
        }
    }

    /// The handshake has succeeded.
    pub(super) fn greeted(self) -> Self {
        Self {
            is_greeted: true,
            ..self
        }
    }

    /// What was read and not taken yet.
    pub(super) fn buffer(&self) -> &BytesMut {
        &self.buffer
    }

    /// The next frame, if it was read whole.
    pub(super) fn take(&mut self) -> io::Result<Option<Frame>> {
        frame::take(&mut self.buffer).map_err(garbage)
    }

    /// The bytes that every connection begins with.
    pub(super) async fn magic(&mut self) -> io::Result<()> {
        while self.buffer.len() < MAGIC.len() {
            let so_far = MAGIC.get(..self.buffer.len()).unwrap_or_default();
            if self.buffer != so_far || !self.more().await? {
                return Err(garbage("the other side is not a node"));
            }
        }
        if self.buffer.split_to(MAGIC.len()) != MAGIC.as_slice() {
            return Err(garbage("the other side is not a node of this version"));
        }
        Ok(())
    }

    /// A frame of the handshake.
    pub(super) async fn hello(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(frame.body);
            }
            let announced = frame::announced(&self.buffer).map_err(garbage)?;
            if announced > Some(HELLO_BYTES_MAX) {
                return Err(garbage("the handshake is too long"));
            }
            if !self.more().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The next frame; none where the other side has closed between two.
    pub(super) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            if !self.more().await? {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    /// Reads what has arrived; false at the end.
    pub(super) async fn more(&mut self) -> io::Result<bool> {
        let (room_min, bytes) = match self.is_greeted {
            true => (READ_ROOM_BYTES_MIN, READ_BYTES),
            false => (1, GREETING_BYTES),
        };
        if self.buffer.capacity() - self.buffer.len() < room_min {
            self.buffer.reserve(bytes);
        }
        Ok(self.half.read_buf(&mut self.buffer).await? > 0)
    }
}

/// Writes frames.
pub(super) struct Writer {
    half: BufWriter<OwnedWriteHalf>,
}

impl Writer {
    pub(super) fn new(half: OwnedWriteHalf) -> Self {
        Self {
            half: BufWriter::with_capacity(GREETING_BYTES, half),
        }
    }

    /// The handshake has succeeded; what was written is sent.
    pub(super) fn greeted(self) -> Self {
        Self {
            half: BufWriter::with_capacity(WRITE_BYTES, self.half.into_inner()),
        }
    }

    pub(super) async fn magic(&mut self) -> io::Result<()> {
        self.half.write_all(&MAGIC).await
    }

    /// Buffers a frame.
    pub(super) async fn put(&mut self, id: u64, body: &[u8]) -> io::Result<()> {
        let header = frame::header(id, body).map_err(garbage)?;
        self.half.write_all(&header).await?;
        self.half.write_all(body).await
    }

    /// Sends what is buffered.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.half.flush().await
    }
}

pub(super) fn garbage(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used, reason = "a failed test is to panic")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_lost_soon_after_bytes_are_not_acknowledged() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await;
        let stream = stream.unwrap();
        set_options(&stream).unwrap();
        let ms = rustix::net::sockopt::tcp_user_timeout(&stream).unwrap();
        assert_eq!(u128::from(ms), UNACKNOWLEDGED_MAX.as_millis());
        assert!(stream.nodelay().unwrap());
    }
}
