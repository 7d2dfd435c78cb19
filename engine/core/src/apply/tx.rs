//! What a command works on: the rows with its own changes on top, the totals, its events.

use std::sync::Arc;

use super::entry_gas::EntryGas;
use super::recorder::Recorder;
use crate::command::Actor;
use crate::error::LocalFault;
use crate::event::EventKind;
use crate::ids::{FilamentId, PrinterId, Revision};
use crate::limits::GENERATED_ID_PREFIX;
use crate::outcome::Accepted;
use crate::rejection::{Rejection, RejectionKind};
use crate::state::filaments::Filament;
use crate::state::meta::Totals;
use crate::state::overlay::{Changes, Overlay};
use crate::state::printers::Printer;
use crate::state::rations::{self, Rationed, Refused};
use crate::state::rows::ReadRows;
use crate::state::rulesets::{DecodedRuleset, RulesetRevision};
use crate::state::{filaments, printers};

/// Why a command stops.
#[derive(Debug)]
pub(super) enum Stop {
    /// The outcome is a rejection.
    Rejected(Box<Rejection>),
    /// There is no outcome: this replica failed.
    Fault(LocalFault),
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(Box::new(rejection))
    }
}

impl From<Box<Rejection>> for Stop {
    fn from(rejection: Box<Rejection>) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<LocalFault> for Stop {
    fn from(fault: LocalFault) -> Self {
        Self::Fault(fault)
    }
}

/// What running a command comes to.
pub(super) type Done = Result<Accepted, Stop>;

/// One command's transaction.
pub(super) struct Tx<'a> {
    pub(super) rows: Overlay<&'a dyn ReadRows>,
    pub(super) totals: Totals,
    /// Log index of the entry.
    pub(super) revision: Revision,
    pub(super) actor: &'a Actor,
    /// What the policies were asked and said.
    pub(super) recorder: Recorder,
    /// What the policies may still use.
    pub(super) gas: EntryGas,
    decoded: &'a mut DecodedRuleset,
    events: Vec<EventKind>,
}

impl<'a> Tx<'a> {
    pub(super) fn new(
        rows: &'a dyn ReadRows,
        totals: Totals,
        revision: Revision,
        actor: &'a Actor,
        decoded: &'a mut DecodedRuleset,
    ) -> Self {
        Self {
            rows: Overlay::new(rows),
            totals,
            revision,
            actor,
            recorder: Recorder::default(),
            gas: EntryGas::default(),
            decoded,
            events: Vec::new(),
        }
    }

    pub(super) fn into_parts(self) -> (Changes, Totals, Vec<EventKind>) {
        (self.rows.into_changes(), self.totals, self.events)
    }

    /// Log time, milliseconds since the Unix epoch.
    pub(super) fn now_ms(&self) -> u64 {
        self.totals.log_time_ms
    }

    /// The engine epoch that this entry is applied under.
    pub(super) fn epoch(&self) -> u32 {
        self.totals.epoch
    }

    pub(super) fn emit(&mut self, event: EventKind) {
        self.events.push(event);
    }

    /// An id that no client may choose: an entry makes at most one of each kind.
    pub(super) fn generated_id(&self) -> String {
        format!("{GENERATED_ID_PREFIX}{}", self.revision)
    }

    /// A place for one more row of `table`, which has `count`.
    pub(super) fn take_place(&mut self, table: Rationed, count: u64) -> Result<(), Stop> {
        let (what, max) = (table.name(), table.rows_max());
        let message = match rations::take(&mut self.rows, table, count, self.actor)? {
            Ok(()) => return Ok(()),
            Err(Refused::Full) => {
                format!("there are {count} {what} already, as many as are allowed")
            }
            Err(Refused::RationUsedUp) => format!(
                "there are {count} {what} already; of the rest, up to {max}, this actor has created \
                 its part, {}, and what is left is kept for others",
                table.ration()
            ),
        };
        Err(Rejection::new(RejectionKind::LimitReached, message).into())
    }

    /// The active ruleset, which every bootstrapped cluster has.
    pub(super) fn ruleset(&mut self) -> Result<Arc<RulesetRevision>, Stop> {
        Ok(self.decoded.active(&self.rows)?.ok_or_else(|| {
            Rejection::new(RejectionKind::NotBootstrapped, "there is no active ruleset")
        })?)
    }

    /// The printer and the filament that a stored job names. Nothing deletes those while jobs name
    /// them, so a missing one is damage.
    pub(super) fn parts_of_job(
        &self,
        printer: &PrinterId,
        filament: &FilamentId,
    ) -> Result<(Printer, Filament), Stop> {
        let missing = |table, id: &str| {
            let detail = format!("{id} is missing, although a job names it");
            Stop::Fault(LocalFault::CorruptRow { table, detail })
        };
        let found = printers::get(&self.rows, printer)?;
        let printer_row = found.ok_or_else(|| missing("printers", printer.as_str()))?;
        let found = filaments::get(&self.rows, filament)?;
        let filament_row = found.ok_or_else(|| missing("filaments", filament.as_str()))?;
        Ok((printer_row, filament_row))
    }
}

/// A rejection because `what` has that id already.
pub(super) fn already_exists(what: &str, id: &str) -> Rejection {
    let message = format!("a {what} with id '{id}' exists already");
    Rejection::new(RejectionKind::AlreadyExists, message).at("/id")
}

/// Whether one more row fits below the cap of a table.
pub(super) fn check_cap(what: &str, count: u64, max: u64) -> Result<(), Stop> {
    if count < max {
        return Ok(());
    }
    let message = format!("there are {count} {what} already, as many as are allowed");
    Err(Rejection::new(RejectionKind::LimitReached, message).into())
}
