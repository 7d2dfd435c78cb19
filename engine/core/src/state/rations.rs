//! The last part of a table is rationed, so that one client that fills it does not stop everybody.
//!
//! Nothing deletes printers, filaments and jobs, so a table that is full stays full. Its first nine
//! tenths are for whoever comes. In the last tenth an actor may create one row in [`RATIONS`] of it:
//! 781 printers or filaments, or 78,125 jobs. Whoever has done so is refused, and the others go on. So
//! a shop in which one account creates nearly everything meets the rule only where it would soon be
//! stopped altogether, and it has been warned by then.
//!
//! Names that nobody verified share the rations of the crowd by their hash, as they share places for
//! remembered keys (`shares.rs`): who invents names uses up half of the last tenth at the most, and
//! leaves the other half to verified actors.
//!
//! What was created is counted in the last tenth only, so that this costs nothing before.

use super::rows::Rows;
use super::shares::place_in_crowd;
use super::{codec, keys};
use crate::command::Actor;
use crate::error::LocalFault;
use crate::limits::{FILAMENTS_MAX, JOBS_MAX, KEYED_CROWDS, PRINTERS_MAX, RATIONED_PART, RATIONS};

/// Name of the table in errors.
const TABLE: &str = "rations";

// Half of the rations are for all who are not verified.
const _: () = assert!(RATIONS == 2 * KEYED_CROWDS as u64);

/// A table of which the last part is rationed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rationed {
    /// Printers.
    Printers,
    /// Filaments.
    Filaments,
    /// Print jobs.
    Jobs,
}

/// Why a row is not to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The table is full.
    Full,
    /// What is left of it is kept for others.
    RationUsedUp,
}

impl Rationed {
    /// What it holds, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Printers => "printers",
            Self::Filaments => "filaments",
            Self::Jobs => "print jobs",
        }
    }

    /// Most rows.
    #[must_use]
    pub const fn rows_max(self) -> u64 {
        match self {
            Self::Printers => PRINTERS_MAX,
            Self::Filaments => FILAMENTS_MAX,
            Self::Jobs => JOBS_MAX,
        }
    }

    /// From so many rows on each actor has a ration.
    #[must_use]
    pub const fn rationed_from(self) -> u64 {
        self.rows_max() - self.rows_max() / RATIONED_PART
    }

    /// Rows that an actor may create from then on.
    #[must_use]
    pub const fn ration(self) -> u64 {
        self.rows_max() / RATIONED_PART / RATIONS
    }

    const fn tag(self) -> u8 {
        match self {
            Self::Printers => keys::PRINTERS,
            Self::Filaments => keys::FILAMENTS,
            Self::Jobs => keys::JOBS,
        }
    }
}

/// Takes a place for one more row of `table`, which has `count`, out of the ration of `actor` if
/// places are rationed by now.
pub(crate) fn take(
    rows: &mut dyn Rows,
    table: Rationed,
    count: u64,
    actor: &Actor,
) -> Result<Result<(), Refused>, LocalFault> {
    if count < table.rationed_from() {
        return Ok(Ok(()));
    }
    if count >= table.rows_max() {
        return Ok(Err(Refused::Full));
    }
    let share = if actor.verified {
        keys::actor_share(actor)
    } else {
        keys::crowd_share(false, place_in_crowd(actor))
    };
    let key = keys::ration(table.tag(), &share);
    let used: u64 = codec::get(rows, TABLE, &key)?.unwrap_or_default();
    if used >= table.ration() {
        return Ok(Err(Refused::RationUsedUp));
    }
    rows.put(key, codec::encode(&(used + 1))?);
    Ok(Ok(()))
}
