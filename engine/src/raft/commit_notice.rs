//! Appends that bring nothing but a newer commit index travel with the next entries.
//!
//! When a group is committed and no entries wait for a follower, openraft tells it at once, in an
//! append without entries. Under load the next entries follow within a millisecond or two and tell
//! the same: so such an append waits a moment for them, and is left out when they come. That spares
//! up to half of the appends. What it costs: a follower applies that much later.
//!
//! Raft does not need the notice (Ongaro 2014, "Consensus: Bridging Theory and Practice", section
//! 3.5: followers learn what is committed from any later append). openraft matches answers by log
//! id, not by order: what was left out is answered with whatever reaches its log id. Where a notice
//! is lost with its stream, entries that are sent again or the next heartbeat bring the commit.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::Fuse;
use futures_util::{Stream, StreamExt};
use openraft::raft::AppendEntriesRequest;
use tokio::time::{Sleep, sleep};

use super::types::TypeConfig;

/// How long a notice waits for entries. Timers tick in milliseconds.
pub(super) const NOTICE_HELD: Duration = Duration::from_millis(1);

type Append = AppendEntriesRequest<TypeConfig>;

/// The appends of one stream to one follower.
pub(super) struct WithNextEntries<S> {
    appends: Fuse<S>,
    wait: Duration,
    held: Option<(Append, Pin<Box<Sleep>>)>,
}

impl<S: Stream> WithNextEntries<S> {
    /// Notices wait for so long.
    pub(super) fn new(appends: S, wait: Duration) -> Self {
        Self {
            appends: appends.fuse(),
            wait,
            held: None,
        }
    }
}

impl<S: Stream<Item = Append> + Unpin> Stream for WithNextEntries<S> {
    type Item = Append;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Append>> {
        let this = &mut *self;
        while let Poll::Ready(next) = this.appends.poll_next_unpin(cx) {
            match next {
                Some(append) if append.entries.is_empty() => {
                    // A newer one takes the place of the older, but waits no longer than that.
                    let timer = this.held.take().map(|(_, timer)| timer);
                    let timer = timer.unwrap_or_else(|| Box::pin(sleep(this.wait)));
                    this.held = Some((append, timer));
                }
                Some(append) => {
                    this.held = None;
                    return Poll::Ready(Some(append));
                }
                // Heartbeats are streams of one append, and so is what finds out where a follower's
                // log ends: they do not wait.
                None => return Poll::Ready(this.held.take().map(|(append, _)| append)),
            }
        }
        match &mut this.held {
            Some((_, timer)) => {
                std::task::ready!(timer.as_mut().poll(cx));
                Poll::Ready(this.held.take().map(|(append, _)| append))
            }
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test is to panic")]
mod tests {
    use futures_util::FutureExt;
    use futures_util::stream::{self, BoxStream};
    use openraft::entry::RaftEntry;
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;
    use crate::raft::testing::{log_id, vote};
    use crate::raft::types::Entry;

    /// Timers tick in milliseconds, so it is many of them.
    const WAIT: Duration = Duration::from_millis(100);

    /// With entries up to `last`, if it is more than `committed`.
    fn append(committed: u64, last: u64) -> Append {
        AppendEntriesRequest {
            vote: vote(),
            prev_log_id: Some(log_id(committed)),
            entries: (committed + 1..=last)
                .map(|index| Entry::new_blank(log_id(index)))
                .collect(),
            leader_commit: Some(log_id(committed)),
        }
    }

    fn session() -> (
        mpsc::UnboundedSender<Append>,
        WithNextEntries<BoxStream<'static, Append>>,
    ) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let appends = stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        });
        (sender, WithNextEntries::new(appends.boxed(), WAIT))
    }

    /// What goes next: what is committed and how many entries, and after how many times [`WAIT`].
    async fn next(appends: &mut WithNextEntries<BoxStream<'static, Append>>) -> (u64, usize, u128) {
        let start = Instant::now();
        let append = appends.next().await.unwrap();
        let committed = append.leader_commit.unwrap().index;
        let waits = start.elapsed().as_millis() / WAIT.as_millis();
        (committed, append.entries.len(), waits)
    }

    #[tokio::test(start_paused = true)]
    async fn a_notice_goes_with_the_next_entries_or_alone_after_a_moment() {
        let (sender, mut appends) = session();
        let send = |committed, last| sender.send(append(committed, last)).unwrap();
        send(5, 8);
        assert_eq!(next(&mut appends).await, (5, 3, 0));
        send(8, 8);
        send(8, 12);
        assert_eq!(next(&mut appends).await, (8, 4, 0));
        send(12, 12);
        assert_eq!(next(&mut appends).await, (12, 0, 1));
        send(13, 13);
        send(14, 14);
        assert_eq!(next(&mut appends).await, (14, 0, 1), "one for both");

        // What comes later does not make it wait longer.
        send(15, 15);
        let (slow, ()) = tokio::join!(next(&mut appends), async {
            sleep(WAIT * 3 / 4).await;
            send(16, 16);
            sleep(WAIT * 3 / 4).await;
            send(16, 17);
        });
        assert_eq!(slow, (16, 0, 1));
        assert_eq!(next(&mut appends).await, (16, 1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_notice_that_has_waited_long_enough_still_goes_with_entries() {
        let (sender, mut appends) = session();
        let send = |committed, last| sender.send(append(committed, last)).unwrap();
        send(8, 8);
        assert!(appends.next().now_or_never().is_none());
        sleep(WAIT * 2).await;
        send(8, 9);
        assert_eq!(next(&mut appends).await, (8, 1, 0));
        assert!(appends.next().now_or_never().is_none());
    }

    /// As the network asks: several at a time, and again whenever one is answered.
    #[tokio::test(start_paused = true)]
    async fn a_notice_waits_also_where_answers_come_meanwhile() {
        let (sender, appends) = session();
        let send = |committed, last| sender.send(append(committed, last)).unwrap();
        let start = Instant::now();
        let mut answers = appends
            .map(|append| async move {
                sleep(WAIT / 4).await;
                append.entries.len()
            })
            .buffered(8);
        let mut next = async || (answers.next().await.unwrap(), start.elapsed());
        send(5, 8);
        send(8, 8);
        assert_eq!(next().await, (3, WAIT / 4));
        send(8, 10);
        assert_eq!(next().await, (2, WAIT / 2), "the notice went with them");
        send(10, 10);
        assert_eq!(next().await, (0, WAIT / 2 + WAIT + WAIT / 4));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_append_of_a_stream_is_not_held() {
        let (sender, mut appends) = session();
        sender.send(append(5, 5)).unwrap();
        drop(sender);
        assert_eq!(next(&mut appends).await, (5, 0, 0));
        assert!(appends.next().await.is_none());
        assert!(appends.next().await.is_none());
    }
}
