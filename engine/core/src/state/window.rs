//! Streams of which only the newest part is kept: where a reader may go on.

use thiserror::Error;

use crate::error::LocalFault;
use crate::ids::Revision;

/// What lies after the point at which a reader wants to go on is no longer all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "what came after revision {after} is no longer kept up to revision {deleted_to}; {}",
    match .oldest {
        Some(oldest) => format!("the oldest that is kept is of revision {oldest}"),
        None => "nothing is kept at present".to_owned(),
    }
)]
pub struct Gone {
    /// Where the reader wants to go on.
    pub after: Revision,
    /// Up to here nothing is kept. Who asks for what comes after it misses nothing more.
    pub deleted_to: Revision,
    /// The oldest that is kept.
    pub oldest: Option<Revision>,
}

/// Why a reader gets nothing.
#[derive(Debug, Error)]
pub enum ResumeError {
    /// What it wants to read is no longer all there.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// A fault of this replica's store.
    #[error(transparent)]
    Fault(#[from] LocalFault),
}

/// Refuses a reader that goes on after `after` and would miss something: `sees_all` says whether it
/// does not. Who names no place begins with the oldest that is kept, and misses nothing.
///
/// # Errors
/// [`ResumeError::Gone`], with what `oldest` finds.
pub(super) fn check(
    after: Option<Revision>,
    deleted_to: Option<Revision>,
    sees_all: impl FnOnce(Revision, Revision) -> bool,
    oldest: impl FnOnce() -> Result<Option<Revision>, LocalFault>,
) -> Result<(), ResumeError> {
    match (after, deleted_to) {
        (Some(after), Some(deleted_to)) if !sees_all(after, deleted_to) => Err(Gone {
            after,
            deleted_to,
            oldest: oldest()?,
        }
        .into()),
        _ => Ok(()),
    }
}

/// Of a stream with one record for each entry: whether one who saw the record of `after` misses
/// none, if those up to `deleted_to` are gone.
pub(super) fn one_for_each_entry(after: Revision, deleted_to: Revision) -> bool {
    after >= deleted_to
}
