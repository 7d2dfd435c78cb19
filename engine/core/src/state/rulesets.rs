//! Rulesets: which modules decide what, as revisions.

use core::fmt;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use raft3d_sdk::{HookSet, Lifecycle};

use super::meta::Totals;
use super::rows::{ReadRows, Rows};
use super::{codec, keys};
use crate::command::Actor;
use crate::error::LocalFault;
use crate::ids::{BindingId, ModuleDigest, Revision};
use crate::limits::{
    DECISIONS_DAYS_DEFAULT, DECISIONS_DELETED_PER_APPLY_MAX, DECISIONS_KEPT_DEFAULT,
    RULESET_REVISIONS_MAX,
};

/// What a binding applies to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub enum Scope {
    /// Every job.
    #[default]
    #[n(0)]
    All,
    /// Jobs on printers with this label.
    #[n(1)]
    PrinterLabel {
        /// Key.
        #[n(0)]
        key: String,
        /// Value.
        #[n(1)]
        value: String,
    },
    /// Jobs that take this material (the API's `type`), without regard to ASCII case.
    #[n(2)]
    FilamentType(#[n(0)] String),
}

/// Whether a binding decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Mode {
    /// It decides.
    #[default]
    #[n(0)]
    Enforce,
    /// It is asked and recorded, and changes nothing, faults included.
    #[n(1)]
    Shadow,
}

/// Every kept revision fits one page.
const REVISIONS_PAGE_ROWS: usize = RULESET_REVISIONS_MAX as usize + 1;

/// Parts of 10,000 that make the whole.
pub const SHARE_ALL: u16 = 10_000;

/// One module at work.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Binding {
    /// Id; survives revisions, so that its share of jobs stays the same jobs.
    #[n(0)]
    pub id: BindingId,
    /// Module.
    #[n(1)]
    pub module: ModuleDigest,
    /// Hooks that it answers here; a subset of the manifest's.
    #[n(2)]
    pub hooks: HookSet,
    /// What it applies to.
    #[n(3)]
    pub scope: Scope,
    /// Whether it decides.
    #[n(4)]
    pub mode: Mode,
    /// Share of jobs in parts of 10,000, `0 ..= 10_000`.
    #[n(5)]
    pub share: u16,
    /// Whether it provides the lifecycle. Exactly one does: enforcing, scope all, whole share.
    #[n(6)]
    pub lifecycle: bool,
    /// Configuration: one CBOR map with text keys and no fractional numbers.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub config: Vec<u8>,
}

/// Which decision records are kept: the newest `count`, and none that is older than `days`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DecisionsKept {
    /// How many, `1 ..= DECISIONS_KEPT_MAX`. At times there are up to a sixteenth of them fewer, but
    /// at most 127: the oldest are deleted together.
    #[n(0)]
    pub count: u64,
    /// For how many days of log time, `1 ..= DECISIONS_DAYS_MAX`.
    #[n(1)]
    pub days: u64,
}

impl DecisionsKept {
    /// The span in milliseconds.
    pub(super) fn span_ms(self) -> u64 {
        self.days.saturating_mul(24 * 60 * 60 * 1_000)
    }

    /// How many records are deleted beyond those that are too many.
    pub(super) fn deleted_ahead(self) -> u64 {
        (self.count / 16).min(DECISIONS_DELETED_PER_APPLY_MAX as u64 - 1)
    }
}

impl Default for DecisionsKept {
    fn default() -> Self {
        Self {
            count: DECISIONS_KEPT_DEFAULT,
            days: DECISIONS_DAYS_DEFAULT,
        }
    }
}

/// An ordered list of bindings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ruleset {
    /// Asked in this order.
    #[n(0)]
    pub bindings: Vec<Binding>,
    /// What is kept of their decisions.
    #[n(1)]
    pub decisions_kept: DecisionsKept,
}

/// Something about a ruleset that its author should know.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Finding {
    /// JSON Pointer of the place in the ruleset; empty for the whole.
    #[n(0)]
    pub pointer: String,
    /// What is to be said of it: the end of a sentence that begins with the place.
    #[n(1)]
    pub message: String,
}

impl Finding {
    /// A finding at `pointer`.
    #[must_use]
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.pointer, self.message)
    }
}

/// A ruleset as it was activated.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RulesetRevision {
    /// Log index of the activation: the number that If-Match compares.
    #[n(0)]
    pub revision: Revision,
    /// The ruleset.
    #[n(1)]
    pub ruleset: Ruleset,
    /// Its lifecycle, copied from the manifest of the binding that provides it.
    #[n(2)]
    pub lifecycle: Lifecycle,
    /// Who activated it.
    #[n(3)]
    pub activated_by: Actor,
    /// Log time of the activation, milliseconds since the Unix epoch.
    #[n(4)]
    pub activated_at_ms: u64,
    /// Why.
    #[n(5)]
    pub reason: Option<String>,
    /// The revision that a rollback returned to.
    #[n(6)]
    pub rollback_of: Option<Revision>,
    /// What of it has no effect, or less than one may think.
    #[n(7)]
    #[cbor(default)]
    pub warnings: Vec<Finding>,
}

/// The active ruleset; none before the bootstrap.
///
/// # Errors
/// A fault of this replica's store.
pub fn active(rows: &dyn ReadRows) -> Result<Option<RulesetRevision>, LocalFault> {
    let Some(revision) = active_revision(rows)? else {
        return Ok(None);
    };
    let active = get(rows, revision)?;
    active.ok_or_else(|| missing(revision)).map(Some)
}

/// The active ruleset as it was decoded last: every entry about a job asks for it, and it seldom
/// changes. The row says whether it still holds, since the same bytes are the same ruleset.
#[derive(Clone, Debug, Default)]
pub struct DecodedRuleset(Option<(Vec<u8>, Arc<RulesetRevision>)>);

impl DecodedRuleset {
    /// The active ruleset; none before the bootstrap.
    pub(crate) fn active(
        &mut self,
        rows: &dyn ReadRows,
    ) -> Result<Option<Arc<RulesetRevision>>, LocalFault> {
        let Some(revision) = active_revision(rows)? else {
            return Ok(None);
        };
        let mut is_same = false;
        rows.read(&keys::ruleset(revision), &mut |row| {
            is_same = row.is_some() && self.0.as_ref().map(|(bytes, _)| bytes.as_slice()) == row;
        })?;
        if !is_same {
            let bytes = rows.get(&keys::ruleset(revision))?;
            let bytes = bytes.ok_or_else(|| missing(revision))?;
            let decoded = Arc::new(codec::decode("rulesets", &bytes)?);
            self.0 = Some((bytes, decoded));
        }
        Ok(self.0.as_ref().map(|(_, decoded)| Arc::clone(decoded)))
    }
}

fn active_revision(rows: &dyn ReadRows) -> Result<Option<Revision>, LocalFault> {
    codec::get(rows, "active ruleset", &keys::ACTIVE_RULESET)
}

fn missing(revision: Revision) -> LocalFault {
    let detail = format!("the active revision {revision} is missing");
    LocalFault::CorruptRow {
        table: "rulesets",
        detail,
    }
}

/// The revision in a row of the store; none if it is a row of another kind.
///
/// # Errors
/// The row is damaged.
pub fn of_row(key: &[u8], value: &[u8]) -> Result<Option<RulesetRevision>, LocalFault> {
    let is_one = key.first() == Some(&keys::RULESETS);
    is_one.then(|| codec::decode("rulesets", value)).transpose()
}

/// The revision of that log index, if it is kept.
///
/// # Errors
/// A fault of this replica's store.
pub fn get(rows: &dyn ReadRows, revision: Revision) -> Result<Option<RulesetRevision>, LocalFault> {
    codec::get(rows, "rulesets", &keys::ruleset(revision))
}

/// Puts a revision, newer than all, and makes it the active one; drops the oldest ones that are
/// then too many. Invariant: the active revision is the newest and so never dropped (guarded by
/// `the_oldest_of_too_many_revisions_is_dropped` in `tests/rulesets.rs`).
pub(crate) fn activate(
    rows: &mut dyn Rows,
    totals: &mut Totals,
    ruleset: &RulesetRevision,
) -> Result<(), LocalFault> {
    rows.put(keys::ruleset(ruleset.revision), codec::encode(ruleset)?);
    rows.put(
        keys::ACTIVE_RULESET.to_vec(),
        codec::encode(&ruleset.revision)?,
    );
    totals.rulesets += 1;
    let excess = totals.rulesets.saturating_sub(RULESET_REVISIONS_MAX);
    let excess_rows = usize::try_from(excess).unwrap_or(usize::MAX);
    for (key, _) in rows.scan(&[keys::RULESETS], None, excess_rows)? {
        rows.delete(&key);
        totals.rulesets -= 1;
    }
    Ok(())
}

/// Makes `ruleset` the active one among rows that nobody keeps.
pub(crate) fn pretend_active(
    rows: &mut dyn Rows,
    ruleset: &RulesetRevision,
) -> Result<(), LocalFault> {
    rows.put(keys::ruleset(ruleset.revision), codec::encode(ruleset)?);
    let active = codec::encode(&ruleset.revision)?;
    rows.put(keys::ACTIVE_RULESET.to_vec(), active);
    Ok(())
}

/// Up to `limit` revisions before `before`, newest first.
///
/// # Errors
/// A fault of this replica's store.
pub fn history(
    rows: &dyn ReadRows,
    before: Option<Revision>,
    limit: usize,
) -> Result<Vec<RulesetRevision>, LocalFault> {
    // Rows are read forwards alone; there are at most RULESET_REVISIONS_MAX of these.
    let mut kept = rows.scan(&[keys::RULESETS], None, REVISIONS_PAGE_ROWS)?;
    if let Some(before) = before {
        let before = keys::ruleset(before);
        kept.retain(|(key, _)| *key < before);
    }
    let newest = kept.iter().rev().take(limit);
    newest
        .map(|(_, value)| codec::decode("rulesets", value))
        .collect()
}
