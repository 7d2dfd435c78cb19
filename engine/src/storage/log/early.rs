//! Two known bugs for tests to catch ([`crate::sabotage`]): answers that come too early.

use std::mem;

use tokio::sync::oneshot;

use super::shared::Op;
use crate::sabotage::{Bug, armed};

/// Tells whoever waits for `ops` that they are durable, before anything is written: only where the
/// switch of that bug is armed.
pub(super) fn answer(ops: &mut [Op]) {
    for op in ops {
        match op {
            Op::Entries(entries) if armed(Bug::ReplyBeforeFsync) => {
                if let Some(callback) = entries.callback.take() {
                    callback.io_completed(Ok(()));
                }
            }
            Op::Vote(_, done) if armed(Bug::VoteBeforeSync) => {
                let (nobody, _) = oneshot::channel();
                // Nobody waits where the caller was cancelled.
                let _ = mem::replace(done, nobody).send(Ok(()));
            }
            _ => {}
        }
    }
}
