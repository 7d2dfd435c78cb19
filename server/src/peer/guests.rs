//! Who is connected, and how much each may hold: places and budgets.
//!
//! A node must be reachable for its members whatever strangers do. So nobody waits for a place:
//! whoever comes gets one, and the oldest of the same kind goes. Members have places and budgets of
//! their own, which no stranger takes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use raft3d_engine::raft::NodeId;
use raft3d_engine::raft::told::Told;
use raft3d_engine::raft::transport::{BODY_BYTES_MAX, Channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Most connections that have not said yet who dials.
const UNGREETED_MAX: usize = 64;
/// Most connections of nodes that are no members, as far as this node knows.
const STRANGERS_MAX: usize = 64;
/// Most connections of one member. One has a connection for each channel, and now and then a second.
const OF_A_MEMBER_MAX: usize = 16;
/// What a call counts at least, in bytes: the work for it takes memory too.
const CALL_BYTES_MIN: usize = 2 * KIB;
/// Most bytes of requests of all strangers that are being received or answered.
const STRANGERS_BYTES_MAX: usize = 16 * MIB;
/// Most bytes of answers to one member, or to all strangers, that wait to be written, over all of
/// their connections.
const ANSWERS_BYTES_MAX: usize = 16 * MIB;
/// Most bytes of them on one connection. One answer alone may have more.
const ANSWERS_OF_A_CONNECTION_BYTES_MAX: usize = 8 * MIB;
/// A budget counts in units of so many bytes.
const UNIT_BYTES: usize = KIB;

/// The times after which a connection is let go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Without having said who dials.
    pub(super) handshake: Duration,
    /// In the middle of a frame.
    pub(super) frame: Duration,
    /// While one answer is written: a peer that does not read.
    pub(super) write: Duration,
    /// Without a call under way, for a member: longer than a dialer keeps what it does not use.
    pub(super) idle_member: Duration,
    /// The same on the control channel, on which members ask one another several times a second.
    pub(super) idle_control: Duration,
    /// The same for a stranger.
    pub(super) idle_stranger: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(3),
            frame: Duration::from_secs(30),
            write: Duration::from_secs(30),
            idle_member: Duration::from_secs(180),
            idle_control: Duration::from_secs(20),
            idle_stranger: Duration::from_secs(30),
        }
    }
}

/// Kinds of connections that take one another's places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Row {
    Ungreeted,
    Stranger,
    Member(NodeId),
}

impl Row {
    const fn places(self) -> usize {
        match self {
            Self::Ungreeted => UNGREETED_MAX,
            Self::Stranger => STRANGERS_MAX,
            Self::Member(_) => OF_A_MEMBER_MAX,
        }
    }
}

/// What a connection of a channel may hold and take, in bytes.
struct Share {
    /// Largest frame.
    frame: usize,
    /// Requests of one connection that are being received or answered.
    connection: usize,
    /// The same of all members' connections of that channel.
    all: usize,
}

const fn share(channel: Channel) -> Share {
    let (frame, connection, all) = match channel {
        Channel::Control => (MIB, 2 * MIB, 32 * MIB),
        // Eight appends of a mebibyte are under way to one follower.
        Channel::Log => (BODY_BYTES_MAX, 16 * MIB, 64 * MIB),
        // One chunk after the other.
        Channel::Bulk => (2 * MIB, 4 * MIB, 32 * MIB),
        Channel::Forward => (BODY_BYTES_MAX, 16 * MIB, 64 * MIB),
    };
    Share {
        frame,
        connection,
        all,
    }
}

/// All connections of a listener.
pub(super) struct Guests {
    pub(super) patience: Patience,
    told: Told,
    rows: Mutex<BTreeMap<Row, BTreeMap<u64, oneshot::Sender<()>>>>,
    /// For as long as a connection of that kind is there.
    answers: Mutex<BTreeMap<Row, Weak<Semaphore>>>,
    strangers: Arc<Semaphore>,
    control: Arc<Semaphore>,
    log: Arc<Semaphore>,
    bulk: Arc<Semaphore>,
    forward: Arc<Semaphore>,
}

impl Guests {
    pub(super) fn new(patience: Patience) -> Arc<Self> {
        let members = |channel| semaphore(share(channel).all);
        Arc::new(Self {
            patience,
            told: Told::default(),
            rows: Mutex::default(),
            answers: Mutex::default(),
            strangers: semaphore(STRANGERS_BYTES_MAX),
            control: members(Channel::Control),
            log: members(Channel::Log),
            bulk: members(Channel::Bulk),
            forward: members(Channel::Forward),
        })
    }

    /// Gives the connection with that number a place at the door. What is answered ends when it has
    /// to go.
    pub(super) fn come(self: &Arc<Self>, number: u64) -> (Seat, oneshot::Receiver<()>) {
        let (stay, must_go) = oneshot::channel();
        self.put(Row::Ungreeted, number, stay);
        let seat = Seat {
            guests: Arc::clone(self),
            number,
            row: Row::Ungreeted,
        };
        (seat, must_go)
    }

    /// Whether a refusal of somebody at that address is to be told.
    pub(super) fn is_refusal_due(&self, from: IpAddr) -> bool {
        self.told.is_due(from.to_string())
    }

    fn put(&self, row: Row, number: u64, stay: oneshot::Sender<()>) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let places = rows.entry(row).or_default();
        places.insert(number, stay);
        while places.len() > row.places() {
            places.pop_first();
        }
    }

    fn take(&self, row: Row, number: u64) -> Option<oneshot::Sender<()>> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let places = rows.get_mut(&row)?;
        let stay = places.remove(&number);
        if places.is_empty() {
            rows.remove(&row);
        }
        stay
    }

    /// The budget of a new connection.
    pub(super) fn budget(&self, row: Row, channel: Channel) -> Budget {
        let share = share(channel);
        let all = match (row, channel) {
            (Row::Ungreeted | Row::Stranger, _) => &self.strangers,
            (Row::Member(_), Channel::Control) => &self.control,
            (Row::Member(_), Channel::Log) => &self.log,
            (Row::Member(_), Channel::Bulk) => &self.bulk,
            (Row::Member(_), Channel::Forward) => &self.forward,
        };
        Budget {
            frame_bytes_max: share.frame,
            connection: semaphore(share.connection),
            all: Arc::clone(all),
            answers: semaphore(ANSWERS_OF_A_CONNECTION_BYTES_MAX),
            all_answers: self.answers_of(row),
        }
    }

    /// What all connections of that kind share for their answers.
    fn answers_of(&self, row: Row) -> Arc<Semaphore> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|_, shared| shared.strong_count() > 0);
        if let Some(shared) = answers.get(&row).and_then(Weak::upgrade) {
            return shared;
        }
        let shared = semaphore(ANSWERS_BYTES_MAX);
        answers.insert(row, Arc::downgrade(&shared));
        shared
    }

    /// How long a connection may be without a call.
    pub(super) fn idle(&self, row: Row, channel: Channel) -> Duration {
        match (row, channel) {
            (Row::Member(_), Channel::Control) => self.patience.idle_control,
            (Row::Member(_), Channel::Log | Channel::Bulk | Channel::Forward) => {
                self.patience.idle_member
            }
            (Row::Ungreeted | Row::Stranger, _) => self.patience.idle_stranger,
        }
    }
}

fn semaphore(bytes: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(bytes / UNIT_BYTES))
}

/// A connection's place; given back when it is dropped.
pub(super) struct Seat {
    guests: Arc<Guests>,
    number: u64,
    row: Row,
}

impl Seat {
    /// Changes to another row. None when the place was given to somebody else meanwhile.
    pub(super) fn change(&mut self, row: Row) -> Option<()> {
        let stay = self.guests.take(self.row, self.number)?;
        self.row = row;
        self.guests.put(row, self.number, stay);
        Some(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.guests.take(self.row, self.number);
    }
}

/// The bytes that a connection may hold.
pub(super) struct Budget {
    /// Largest frame that is received, in bytes.
    pub(super) frame_bytes_max: usize,
    connection: Arc<Semaphore>,
    all: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    all_answers: Arc<Semaphore>,
}

/// Bytes taken from a budget, given back when it is dropped.
pub(super) struct Room {
    _connection: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// Waits until there is room for a request of so many bytes. Cancelling it takes nothing.
    pub(super) async fn take(&self, bytes: usize) -> Room {
        take(&self.connection, &self.all, bytes.max(CALL_BYTES_MIN)).await
    }

    /// Where room for answers is taken.
    pub(super) fn answers(&self) -> Answers {
        Answers {
            connection: Arc::clone(&self.answers),
            all: Arc::clone(&self.all_answers),
        }
    }
}

/// The bytes of answers that a connection may have waiting.
pub(super) struct Answers {
    connection: Arc<Semaphore>,
    all: Arc<Semaphore>,
}

impl Answers {
    /// Waits until there is room for an answer of so many bytes.
    pub(super) async fn take(&self, bytes: usize) -> Room {
        let bytes = bytes.min(ANSWERS_OF_A_CONNECTION_BYTES_MAX);
        take(&self.connection, &self.all, bytes).await
    }
}

async fn take(connection: &Arc<Semaphore>, all: &Arc<Semaphore>, bytes: usize) -> Room {
    let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
    // Neither is ever closed.
    let connection = Arc::clone(connection).acquire_many_owned(units).await;
    let all = Arc::clone(all).acquire_many_owned(units).await;
    Room {
        _connection: connection.ok(),
        _all: all.ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame that no budget can hold would be waited for without an end.
    #[test]
    fn every_frame_that_is_received_fits_every_budget() {
        for channel in [
            Channel::Control,
            Channel::Log,
            Channel::Bulk,
            Channel::Forward,
        ] {
            let Share {
                frame,
                connection,
                all,
            } = share(channel);
            assert!(frame <= BODY_BYTES_MAX && frame <= connection && connection <= all);
            assert!(frame <= STRANGERS_BYTES_MAX);
        }
    }
}
