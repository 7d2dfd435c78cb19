//! What a client is told of a write that was tried several times under one request id.

use raft3d_core::{RejectionKind, RequestId, Response};

use super::api::{WriteError, WriteOutcome};
use super::write::Try;

/// What the tries of one write have come to.
///
/// Invariant: once a try may have been proposed, nothing but the outcome of that request, or that it
/// is unknown, is told (`what_was_perhaps_proposed_is_never_called_not_done`).
pub(super) struct Tried {
    request_id: RequestId,
    perhaps_proposed: bool,
    /// Why the leader takes no writes for now, if the last try met that.
    paused: Option<String>,
}

impl Tried {
    pub(super) const fn not_yet(request_id: RequestId) -> Self {
        Self {
            request_id,
            perhaps_proposed: false,
            paused: None,
        }
    }

    /// What the client is told after one more try; none if it is worth another one.
    pub(super) fn after(&mut self, tried: Try) -> Option<Result<WriteOutcome, WriteError>> {
        self.paused = None;
        let certain = match tried {
            Try::Done(outcome) if !is_of_this_try_alone(&outcome) => return Some(Ok(outcome)),
            Try::Done(outcome) => Ok(outcome),
            Try::Overloaded => Err(WriteError::Overloaded),
            Try::Refused(reason) => Err(WriteError::Unavailable { reason }),
            Try::Stopped(reason) => Err(WriteError::Stopped { reason }),
            Try::NotProposed => return None,
            Try::Paused(reason) => {
                self.paused = Some(reason);
                return None;
            }
            Try::Unknown => {
                self.perhaps_proposed = true;
                return None;
            }
        };
        match certain {
            certain if !self.perhaps_proposed => Some(certain),
            // The log has answered, and it will not answer otherwise: an earlier try may have been
            // done and its record be gone, or be under way still.
            Ok(_) => Some(Err(self.unknown())),
            // Another leader may know better.
            Err(_) => None,
        }
    }

    /// What the client is told when the time is up, or the node is closed for that reason.
    pub(super) fn at_the_end(&self, closed: Option<String>) -> WriteError {
        match closed {
            _ if self.perhaps_proposed => self.unknown(),
            Some(reason) => WriteError::Unavailable { reason },
            None => match &self.paused {
                Some(reason) => WriteError::Paused {
                    reason: reason.clone(),
                },
                None => WriteError::NoLeader,
            },
        }
    }

    /// Whether more tries are not worth a client's time, once it has had some patience: the leader
    /// takes no writes, and certainly nothing was done.
    pub(super) const fn may_give_up(&self) -> bool {
        self.paused.is_some() && !self.perhaps_proposed
    }

    fn unknown(&self) -> WriteError {
        WriteError::OutcomeUnknown {
            request_id: self.request_id.clone(),
        }
    }
}

/// Whether an outcome says that this copy of the request did nothing, and nothing of another copy,
/// which may have been done or may be done yet: what is not remembered of a request under its id.
fn is_of_this_try_alone(outcome: &WriteOutcome) -> bool {
    let Response::Rejected(rejection) = &outcome.response else {
        return false;
    };
    match rejection.kind {
        RejectionKind::DeadlineExceeded
        | RejectionKind::TooManyRequests
        | RejectionKind::KeyTooOld
        | RejectionKind::NotBootstrapped => !outcome.replayed,
        // Remembered, or the same for every copy whenever its turn comes.
        RejectionKind::InvalidField
        | RejectionKind::NotFound
        | RejectionKind::AlreadyExists
        | RejectionKind::UnknownReference
        | RejectionKind::UnknownState
        | RejectionKind::IllegalTransition
        | RejectionKind::PolicyDenied
        | RejectionKind::PolicyFailed
        | RejectionKind::NoPolicyBound
        | RejectionKind::DeductionExceedsRemaining
        | RejectionKind::ReservationExceedsAvailable
        | RejectionKind::RevisionMismatch
        | RejectionKind::RequestMismatch
        | RejectionKind::LimitReached
        | RejectionKind::ModuleInUse
        | RejectionKind::ActivationBlocked
        | RejectionKind::AlreadyBootstrapped => false,
    }
}

#[cfg(test)]
mod tests {
    use raft3d_core::{Accepted, Rejection, Revision};

    use super::*;

    fn outcome(response: Response, replayed: bool) -> WriteOutcome {
        WriteOutcome {
            revision: Revision(7),
            replayed,
            response,
            certain_since_ms: None,
        }
    }

    fn rejected(kind: RejectionKind) -> Try {
        Try::Done(outcome(Response::Rejected(Rejection::new(kind, "")), false))
    }

    /// Each thing that a try may come to, and whether it settles what became of the request: whatever
    /// else was perhaps proposed under its id.
    fn tries() -> Vec<(Try, bool)> {
        let accepted = Response::Accepted(Accepted::Done);
        let remembered = Response::Rejected(Rejection::new(RejectionKind::TooManyRequests, ""));
        vec![
            (Try::Done(outcome(accepted.clone(), false)), true),
            (Try::Done(outcome(accepted, true)), true),
            (Try::Done(outcome(remembered, true)), true),
            (rejected(RejectionKind::NotFound), true),
            (rejected(RejectionKind::RequestMismatch), true),
            (rejected(RejectionKind::DeadlineExceeded), false),
            (rejected(RejectionKind::TooManyRequests), false),
            (rejected(RejectionKind::KeyTooOld), false),
            (rejected(RejectionKind::NotBootstrapped), false),
            (Try::NotProposed, false),
            (Try::Overloaded, false),
            (Try::Refused("it does not decode".to_owned()), false),
            (Try::Stopped("an alarm".to_owned()), false),
            (Try::Paused("a clock".to_owned()), false),
            (Try::Unknown, false),
        ]
    }

    /// The client is told "deadline exceeded", "overloaded" and the like only if no try can have been
    /// proposed: over all sequences of up to three tries, and both ends.
    #[test]
    fn what_was_perhaps_proposed_is_never_called_not_done() {
        let count = tries().len();
        let mut unknown = 0;
        for length in 1..=3_u32 {
            for number in 0..count.pow(length) {
                for closed in [None, Some("it is stopping".to_owned())] {
                    let mut tried = Tried::not_yet(RequestId::new("r-1"));
                    let (mut perhaps, mut settled) = (false, false);
                    let mut told = None;
                    for place in 0..length {
                        let (next, settles) =
                            tries().swap_remove(number / count.pow(place) % count);
                        perhaps |= matches!(next, Try::Unknown);
                        settled = settles;
                        told = tried.after(next);
                        if told.is_some() {
                            break;
                        }
                    }
                    let told = told.unwrap_or_else(|| Err(tried.at_the_end(closed)));
                    let is_unknown = matches!(&told, Err(WriteError::OutcomeUnknown { .. }));
                    assert_eq!(is_unknown, perhaps && !settled, "{number}: {told:?}");
                    unknown += usize::from(is_unknown);
                }
            }
        }
        assert!(unknown > 100, "{unknown}");
    }

    #[test]
    fn what_was_certainly_not_proposed_is_told_at_once() {
        for (next, _) in tries() {
            let worth_another = matches!(next, Try::NotProposed | Try::Paused(_) | Try::Unknown);
            let mut tried = Tried::not_yet(RequestId::new("r-1"));
            assert_eq!(tried.after(next).is_none(), worth_another);
        }
    }
}
