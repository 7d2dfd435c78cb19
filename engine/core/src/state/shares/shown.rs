//! The largest shares, for people.

use super::{KeyShare, TABLE};
use crate::command::Actor;
use crate::error::LocalFault;
use crate::state::rows::ReadRows;
use crate::state::{codec, keys};

/// One of the largest shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LargeShare {
    /// Whose it is; none for a place in the crowd.
    pub actor: Option<Actor>,
    /// What is in it.
    pub share: KeyShare,
}

/// The shares of a pool that are above the guaranteed part: up to `limit` of the largest, to within a
/// factor of two.
///
/// # Errors
/// A fault of this replica's store.
pub fn largest(
    rows: &dyn ReadRows,
    verified: bool,
    limit: usize,
) -> Result<Vec<LargeShare>, LocalFault> {
    let prefix = keys::large_shares_prefix(verified);
    let large = rows
        .scan(&prefix, None, limit)?
        .into_iter()
        .map(|(key, _)| {
            let unit = keys::unit_of_large_share(&key);
            let share: Option<KeyShare> = codec::get(rows, TABLE, &keys::share(unit))?;
            Ok(LargeShare {
                actor: keys::actor_of_share(unit),
                share: share.ok_or_else(|| LocalFault::CorruptRow {
                    table: TABLE,
                    detail: "a share that is not there is said to be large".to_owned(),
                })?,
            })
        });
    large.collect()
}
