//! The datagrams of the simulated network.

/// What a datagram is. A *connection* is what one side remembers of the other: it ends with the
/// process of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Makes a connection: the dialer's `Hello`.
    Hello,
    /// The answer to it: `Welcome` or `Refusal`.
    Welcome,
    /// A request.
    Request,
    /// The answer to one.
    Answer,
    /// The connection is not known here.
    Reset,
    /// A client's call; its content lies in `ClientCalls`.
    Call,
    /// The answer to one.
    Reply,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Hello,
        Self::Welcome,
        Self::Request,
        Self::Answer,
        Self::Reset,
        Self::Call,
        Self::Reply,
    ];
}

/// One datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: Kind,
    /// The connection; of a client's call, its number.
    pub(crate) connection: u64,
    /// The request's place in the connection, from 0.
    pub(crate) sequence: u64,
    /// Of a request: the first one that still waits for its answer.
    pub(crate) waiting: u64,
    pub(crate) body: &'a [u8],
}

const HEADER_BYTES: usize = 1 + 3 * 8;

impl<'a> Frame<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let kind = Kind::ALL.iter().position(|kind| *kind == self.kind);
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.body.len());
        bytes.push(u8::try_from(kind.unwrap_or_default()).unwrap_or_default());
        for number in [self.connection, self.sequence, self.waiting] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(self.body);
        bytes
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (connection, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (waiting, body) = rest.split_first_chunk()?;
        Some(Self {
            kind: *Kind::ALL.get(usize::from(*kind))?,
            connection: u64::from_be_bytes(*connection),
            sequence: u64::from_be_bytes(*sequence),
            waiting: u64::from_be_bytes(*waiting),
            body,
        })
    }
}
