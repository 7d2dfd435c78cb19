//! Applying an entry: the one place where state changes.

use crate::command::Envelope;
use crate::error::LocalFault;
use crate::ids::Revision;
use crate::outcome::Outcome;
use crate::policy::PolicyHost;
use crate::state::digest::Digest;
use crate::state::rows::Rows;

/// Applies the entry at log index `index` to `rows` and keeps `digest` in step with every row that
/// changes. Synchronous and deterministic. A rejected entry changes nothing but its exactly-once
/// record, log time and the expired rows that it cleans up.
///
/// # Errors
/// A fault of this replica: `rows` and `digest` are then to be thrown away together with
/// everything since the last batch, and the replica stops.
pub fn apply(
    _rows: &mut dyn Rows,
    _digest: &mut Digest,
    _index: Revision,
    _envelope: &Envelope,
    _host: &dyn PolicyHost,
) -> Result<Outcome, LocalFault> {
    Err(LocalFault::Runtime("apply is not built yet".to_owned()))
}
