//! Writes on their way to the leader and into its log, in groups.
//!
//! While the groups of this node are under way, the next one gathers; the leader gathers what other
//! nodes forward together with its own. So the number of messages, log frames, syncs and applied
//! chunks follows the time that one round takes, and not the number of clients: the cost of a round
//! is shared by all that wait for it. A write that comes when nothing is under way goes at once,
//! alone; right after a round, the leader holds a group for a moment ([`Crowd`]).

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use raft3d_core::limits::DEADLINE_MS_MAX;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::crowd::Crowd;
use super::encoding;
use super::message::{Answer, Ask, Request, WriteAnswer, WriteAsk, WritesAsk};
use super::node::{Node, WRITES_IN_FLIGHT_MAX};
use super::peers::PeerError;
use super::transport::{BODY_BYTES_MAX, Channel};
use super::types::NodeId;
use super::write::{Origin, Try, is_too_late};

/// Groups of one node under way to one leader. With few of them the writes of a busy node wait twice,
/// here and on the leader.
const GROUPS_IN_FLIGHT_MAX: usize = 32;
/// How long a leader that is none any more may still answer. Then its groups are asked for again,
/// under the same request ids, where the new one is: it may have fallen silent.
const LAST_ANSWERS: Duration = Duration::from_millis(100);
/// On the leader, a group goes beside others only when so many writes have gathered for it. Small
/// groups cost the most for each write; large ones keep the processors at work while the disks are.
const WRITES_WORTHWHILE: usize = 16;
/// The same on any other node: its groups become a part of the leader's, so that a small one costs
/// two messages and no round.
const FORWARDED_WORTHWHILE: usize = 4;
/// Parcels are put into a group until it holds so many writes.
pub const GROUP_WRITES_SOFT_MAX: usize = 512;
/// Parcels are put into a group until it holds so many bytes; a larger one goes alone.
pub const GROUP_BYTES_SOFT_MAX: usize = 256 * 1024;
/// Most bytes of answers to one group; a frame holds them and their surroundings.
const ANSWERS_BYTES_MAX: usize = BODY_BYTES_MAX - 64 * 1024;

/// Writes that came together and wait for their tries: one of a client, or a group of another node.
pub(super) struct Parcel {
    /// The encoded envelopes, not yet stamped.
    envelopes: Vec<Bytes>,
    /// Nobody waits for longer.
    deadline: Instant,
    /// Another node sent them to this one: they are not sent on.
    forwarded: bool,
    /// What came of them, one for each; dropped where that is not known.
    tried: oneshot::Sender<Vec<Try>>,
}

impl Parcel {
    fn bytes(&self) -> usize {
        self.envelopes.iter().map(Bytes::len).sum()
    }

    fn origin(&self) -> Origin {
        match self.forwarded {
            true => Origin::Peer,
            false => Origin::Here,
        }
    }

    /// Says the same of all of them. Whoever gave up does not listen.
    fn answer(self, tried: impl Fn() -> Try) {
        let all = self.envelopes.iter().map(|_| tried()).collect();
        let _ = self.tried.send(all);
    }
}

/// The way into the groups.
pub(super) struct Groups {
    queue: mpsc::Sender<Parcel>,
}

impl Groups {
    pub(super) fn new() -> (Self, mpsc::Receiver<Parcel>) {
        // Own ones and forwarded ones are counted each, before they come here.
        let (queue, parcels) = mpsc::channel(2 * WRITES_IN_FLIGHT_MAX);
        (Self { queue }, parcels)
    }

    /// Tries a write of this node once, at whoever leads, together with others.
    pub(super) async fn try_once(&self, envelope: Bytes, deadline: Instant) -> Try {
        let tries = self.put(vec![envelope], deadline, false).await;
        tries.into_iter().next().unwrap_or(Try::Unknown)
    }

    /// One try for each.
    async fn put(&self, envelopes: Vec<Bytes>, deadline: Instant, forwarded: bool) -> Vec<Try> {
        let count = envelopes.len();
        let all = |tried: fn() -> Try| (0..count).map(|_| tried()).collect();
        let (tried, outcome) = oneshot::channel();
        let parcel = Parcel {
            envelopes,
            deadline,
            forwarded,
            tried,
        };
        if self.queue.try_send(parcel).is_err() {
            return all(|| Try::NotProposed);
        }
        match timeout_at(deadline, outcome).await {
            Ok(Ok(tries)) => tries,
            // The deadline has passed, or the node has stopped, with the writes under way.
            Ok(Err(_)) | Err(_) => all(|| Try::Unknown),
        }
    }
}

/// Sends groups until the node stops.
pub(super) async fn run(node: Node, mut queue: mpsc::Receiver<Parcel>) {
    let mut changes = node.inner.raft.server_metrics();
    let mut under_way = UnderWay::of(node.id());
    let mut gathering = Gathering::default();
    let mut crowd = Crowd::default();
    loop {
        while let Ok(next) = queue.try_recv() {
            gathering.put(next);
        }
        if under_way.towards(node.inner.current_leader()) {
            crowd = Crowd::default();
        }
        let have_room = under_way.have_room(gathering.writes);
        let held_until = crowd.held_until(gathering.writes);
        if have_room && held_until.is_none_or(|until| until <= Instant::now()) {
            under_way.begin(&node, gathering.next_group());
            continue;
        }
        // In this order always: a simulation that is run again must do the same again.
        tokio::select! {
            biased;
            Some(ended) = under_way.groups.next() => {
                if under_way.end(&ended) {
                    let (now, writes) = (Instant::now(), ended.writes + gathering.writes);
                    crowd.round(now, now - ended.begun, writes);
                }
            }
            next = queue.recv() => match next {
                Some(next) => gathering.put(next),
                None => return,
            },
            () = sleep_until(held_until.unwrap_or_else(Instant::now)), if have_room => {}
            // Another leader is not to wait for what is under way to the last one.
            changed = changes.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// What waits for the next group.
#[derive(Default)]
struct Gathering {
    parcels: VecDeque<Parcel>,
    /// In all of them together.
    writes: usize,
}

impl Gathering {
    fn put(&mut self, parcel: Parcel) {
        self.writes += parcel.envelopes.len();
        self.parcels.push_back(parcel);
    }

    /// Takes the next group. What nobody waits for any more is left out: it was never sent.
    fn next_group(&mut self) -> Vec<Parcel> {
        let (mut writes, mut bytes) = (0, 0);
        let mut group: Vec<Parcel> = Vec::new();
        while let Some(next) = self.parcels.pop_front() {
            writes += next.envelopes.len();
            bytes += next.bytes();
            let is_full = writes > GROUP_WRITES_SOFT_MAX || bytes > GROUP_BYTES_SOFT_MAX;
            if is_full && !group.is_empty() {
                self.parcels.push_front(next);
                break;
            }
            self.writes -= next.envelopes.len();
            if !next.tried.is_closed() {
                group.push(next);
            }
        }
        group
    }
}

/// The groups that are under way.
struct UnderWay {
    /// This node.
    own: NodeId,
    groups: FuturesUnordered<BoxFuture<'static, Ended>>,
    leader: watch::Sender<Option<NodeId>>,
    /// Counts the changes of `leader`.
    epoch: u64,
    /// Groups of this epoch.
    count: usize,
}

/// A group that came back.
struct Ended {
    epoch: u64,
    writes: usize,
    begun: Instant,
}

impl UnderWay {
    fn of(own: NodeId) -> Self {
        Self {
            own,
            groups: FuturesUnordered::new(),
            leader: watch::Sender::new(None),
            epoch: 0,
            count: 0,
        }
    }

    /// Whether they go to another node, if they go anywhere.
    fn is_forwarded(&self) -> bool {
        *self.leader.borrow() != Some(self.own)
    }

    /// From now on they go to `leader`. Whether that is another one.
    fn towards(&mut self, leader: Option<NodeId>) -> bool {
        let is_new = *self.leader.borrow() != leader;
        if is_new {
            self.leader.send_replace(leader);
            self.epoch += 1;
            self.count = 0;
        }
        is_new
    }

    fn have_room(&self, writes: usize) -> bool {
        let worthwhile = if self.is_forwarded() {
            FORWARDED_WORTHWHILE
        } else {
            WRITES_WORTHWHILE
        };
        match self.count {
            0 => writes > 0,
            count => writes >= worthwhile && count < GROUPS_IN_FLIGHT_MAX,
        }
    }

    fn begin(&mut self, node: &Node, group: Vec<Parcel>) {
        let (node, leader) = (node.clone(), self.leader.subscribe());
        let ended = Ended {
            epoch: self.epoch,
            writes: group.iter().map(|parcel| parcel.envelopes.len()).sum(),
            begun: Instant::now(),
        };
        let sent = async move {
            node.send_group(leader, group).await;
            ended
        };
        self.count += 1;
        self.groups.push(sent.boxed());
    }

    /// Whether a round of this node's own log has ended. Elsewhere nothing is held: those writes wait
    /// for the leader's group besides.
    fn end(&mut self, ended: &Ended) -> bool {
        let is_current = ended.epoch == self.epoch;
        self.count -= usize::from(is_current);
        is_current && !self.is_forwarded()
    }
}

impl Node {
    /// Sends a group to whoever leads, and hands on what came of each write.
    async fn send_group(&self, mut leads: watch::Receiver<Option<NodeId>>, group: Vec<Parcel>) {
        let leader = *leads.borrow();
        if leader == Some(self.id()) {
            return self.propose_group(group).await;
        }
        let (forwarded, own): (Vec<_>, Vec<_>) =
            group.into_iter().partition(|parcel| parcel.forwarded);
        // Whoever sent them finds the leader.
        forwarded
            .into_iter()
            .for_each(|parcel| parcel.answer(|| Try::NotProposed));
        let member = leader.and_then(|leader| Some((leader, self.inner.member(leader)?)));
        let Some((leader, member)) = member else {
            own.into_iter()
                .for_each(|parcel| parcel.answer(|| Try::NotProposed));
            return;
        };
        let now = Instant::now();
        let writes = own.iter().flat_map(|parcel| {
            let timeout_ms = millis(parcel.deadline.saturating_duration_since(now));
            let envelopes = parcel.envelopes.iter().cloned();
            envelopes.map(move |envelope| WriteAsk {
                envelope,
                timeout_ms,
            })
        });
        let request = Request::Ask(Ask::Writes(WritesAsk {
            writes: writes.collect(),
        }));
        let deadline = own.iter().map(|parcel| parcel.deadline).max();
        let timeout = deadline.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let peers = &self.inner.peers;
        let asked = peers.ask(Channel::Forward, leader, &member, &request, timeout);
        let replaced = async {
            // Who stops asks nobody again.
            let _ = leads.wait_for(|now| *now != Some(leader)).await;
            sleep(LAST_ANSWERS).await;
        };
        let asked = tokio::select! {
            biased;
            asked = asked => Some(asked),
            () = replaced => None,
        };
        let tried: fn() -> Try = match asked {
            Some(Ok(Answer::Writes { answers })) => {
                let mut tries = answers.into_iter().map(Try::from);
                for parcel in own {
                    let these = tries.by_ref().take(parcel.envelopes.len()).collect();
                    let _ = parcel.tried.send(these);
                }
                return;
            }
            Some(Ok(Answer::NotLeader { .. })) => || Try::NotProposed,
            // The group as a whole is not understood. Each of its writes says so to its client.
            Some(Err(PeerError::Refused(reason))) => {
                own.into_iter()
                    .for_each(|parcel| parcel.answer(|| Try::Refused(reason.clone())));
                return;
            }
            Some(Err(error)) if error.no_effect() => || Try::NotProposed,
            Some(Ok(_) | Err(_)) | None => || Try::Unknown,
        };
        own.into_iter().for_each(|parcel| parcel.answer(tried));
    }

    /// Proposes a group on this node, which is the leader or thinks so.
    async fn propose_group(&self, group: Vec<Parcel>) {
        let Some(deadline) = group.iter().map(|parcel| parcel.deadline).max() else {
            return;
        };
        let mut writes = Vec::new();
        for parcel in &group {
            let origin = parcel.origin();
            writes.extend(parcel.envelopes.iter().map(|write| (write, origin)));
        }
        let mut tries = self.propose(writes, deadline).await;
        for parcel in group {
            let mut these = Vec::with_capacity(parcel.envelopes.len());
            for _ in &parcel.envelopes {
                let tried = tries.next().await;
                if matches!(&tried, Try::Done(outcome) if is_too_late(outcome)) {
                    self.inner.look_at_log_time();
                }
                these.push(tried);
            }
            let _ = parcel.tried.send(these);
        }
    }

    /// Writes that the node `from` took, on the leader.
    pub(super) async fn forwarded_writes(&self, from: Option<NodeId>, ask: WritesAsk) -> Answer {
        let count = ask.writes.len();
        let all = |answer: WriteAnswer| Answer::Writes {
            answers: vec![answer; count],
        };
        if let Some(reason) = self.inner.closed_or_fenced() {
            tracing::debug!(reason, "forwarded writes are not taken");
            return all(WriteAnswer::NotNow);
        }
        let leader = self.inner.current_leader();
        if leader != Some(self.id()) {
            return Answer::NotLeader { leader };
        }
        let permits = u32::try_from(count).unwrap_or(u32::MAX);
        let Ok(_permits) = self.inner.forwarded_writes.try_acquire_many(permits) else {
            return all(WriteAnswer::Overloaded);
        };
        let longest_ms = ask.writes.iter().map(|write| write.timeout_ms).max();
        let timeout_ms = longest_ms.unwrap_or(0).min(DEADLINE_MS_MAX);
        let deadline = Instant::now() + Duration::from_millis(timeout_ms);
        let envelopes = ask.writes.into_iter().map(|write| write.envelope);
        let groups = &self.inner.groups;
        let tries = groups.put(envelopes.collect(), deadline, true).await;
        let refused = tries.iter().find_map(|tried| match tried {
            Try::Refused(reason) => Some(reason),
            _ => None,
        });
        if let Some(reason) = refused
            && self.inner.told.is_due(format!("write {from:?}"))
        {
            tracing::warn!(from, reason, "a forwarded write is refused");
        }
        let mut room = ANSWERS_BYTES_MAX;
        let answers = tries
            .into_iter()
            .map(|tried| fitting(WriteAnswer::from(tried), &mut room));
        Answer::Writes {
            answers: answers.collect(),
        }
    }
}

/// `answer` where there is still room for it. What is not told is asked for again, under the same
/// request id, and then told from its record.
fn fitting(answer: WriteAnswer, room: &mut usize) -> WriteAnswer {
    *room = room.saturating_sub(encoding::encoded_bytes(&answer));
    if *room > 0 {
        answer
    } else {
        WriteAnswer::Unknown
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use raft3d_core::Revision;
    use raft3d_core::{Accepted, Response};

    use super::super::api::WriteOutcome;
    use super::*;

    fn parcel(writes: usize, bytes: usize) -> (Parcel, oneshot::Receiver<Vec<Try>>) {
        let (tried, outcome) = oneshot::channel();
        let parcel = Parcel {
            envelopes: vec![Bytes::from(vec![0; bytes]); writes],
            deadline: Instant::now(),
            forwarded: false,
            tried,
        };
        (parcel, outcome)
    }

    fn sizes(gathering: &mut Gathering) -> Vec<usize> {
        let group = gathering.next_group();
        group.iter().map(|parcel| parcel.envelopes.len()).collect()
    }

    #[test]
    fn groups_hold_what_fits_in_the_order_in_which_it_came() {
        let mut gathering = Gathering::default();
        let (max, large) = (GROUP_WRITES_SOFT_MAX, GROUP_BYTES_SOFT_MAX + 1);
        let parcels = [
            (3, 1),
            (max - 3, 1),
            (1, 1),
            (1, large),
            (2, 1),
            (max + 1, 1),
        ];
        let mut waiting = Vec::new();
        for (writes, bytes) in parcels {
            let (parcel, outcome) = parcel(writes, bytes);
            gathering.put(parcel);
            waiting.push(outcome);
        }
        assert_eq!(sizes(&mut gathering), [3, max - 3]);
        assert_eq!(sizes(&mut gathering), [1]);
        assert_eq!(sizes(&mut gathering), [1], "a large one goes alone");
        assert_eq!(sizes(&mut gathering), [2]);
        assert_eq!(sizes(&mut gathering), [max + 1]);
        assert_eq!(gathering.writes, 0);
    }

    #[test]
    fn what_nobody_waits_for_is_not_sent() {
        let mut gathering = Gathering::default();
        let (kept, _outcome) = parcel(2, 1);
        let (given_up, outcome) = parcel(5, 1);
        drop(outcome);
        gathering.put(given_up);
        gathering.put(kept);
        assert_eq!(gathering.writes, 7);
        assert_eq!(sizes(&mut gathering), [2]);
        assert_eq!(gathering.writes, 0);
    }

    #[test]
    fn small_groups_wait_for_their_turn_and_a_new_leader_does_not() {
        let mut under_way = UnderWay::of(1);
        assert!(under_way.towards(Some(1)) && !under_way.towards(Some(1)));
        assert!(under_way.have_room(1) && !under_way.have_room(0));
        let ended = |epoch| Ended {
            epoch,
            writes: 1,
            begun: Instant::now(),
        };
        let first = under_way.epoch;
        under_way.count = 1;
        assert!(!under_way.have_room(WRITES_WORTHWHILE - 1));
        assert!(under_way.have_room(WRITES_WORTHWHILE));
        assert!(under_way.end(&ended(first)), "a round of the leader's log");
        under_way.count = GROUPS_IN_FLIGHT_MAX;
        assert!(!under_way.have_room(WRITES_WORTHWHILE));
        assert!(!under_way.is_forwarded() && under_way.towards(Some(2)));
        assert!(under_way.is_forwarded());
        assert!(under_way.have_room(1));
        under_way.count = 1;
        assert!(!under_way.end(&ended(first)));
        assert!(!under_way.have_room(1), "it went to the first leader");
        assert!(!under_way.have_room(FORWARDED_WORTHWHILE - 1));
        assert!(under_way.have_room(FORWARDED_WORTHWHILE));
        let holds = under_way.end(&ended(under_way.epoch));
        assert!(!holds, "the leader holds them");
        assert!(under_way.have_room(1));
    }

    #[test]
    fn answers_that_do_not_fit_a_frame_are_unknown() {
        let done = || {
            WriteAnswer::Done(WriteOutcome {
                revision: Revision(1),
                replayed: false,
                response: Response::Accepted(Accepted::Done),
                certain_since_ms: None,
            })
        };
        let bytes = encoding::encoded_bytes(&done());
        assert_eq!(bytes, encoding::to_vec(&done()).len());
        let mut room = 2 * bytes + 1;
        assert_eq!(fitting(done(), &mut room), done());
        assert_eq!(fitting(done(), &mut room), done());
        assert_eq!(fitting(done(), &mut room), WriteAnswer::Unknown);
        assert_eq!(fitting(done(), &mut room), WriteAnswer::Unknown);
    }
}
