//! Decision records: what the policies were asked about an entry, and what each of them said.
//!
//! One record for each entry that asked any policy, rejected ones included: the question is the same
//! for all of them, so it is kept once. The newest are kept, as many and for as long as the active
//! ruleset says.

use minicbor::encode::{Encoder, Error, Write};
use minicbor::{Decode, Encode};
use raft3d_sdk::wire::{self, Call};
use raft3d_sdk::{DeductionOutput, DenyClass, Grams, Hook, RuleOutput, Warning};

use super::entries::{self, EntryWith, Skipped};
use super::meta::{self, Totals};
use super::rows::{ReadRows, Rows};
use super::rulesets::{DecisionsKept, Mode};
use super::window::{self, ResumeError};
use super::{codec, jobs, keys};
use crate::error::LocalFault;
use crate::ids::{BindingId, JobId, ModuleDigest, Revision};
use crate::limits::{DECISIONS_BYTES_MAX, DECISIONS_DELETED_PER_APPLY_MAX};
use crate::policy::PolicyError;

/// Bytes by which records go below their limit when they are above it, so that not every entry looks
/// for the oldest.
const DECISIONS_BYTES_AHEAD: u64 = 64 * 1024;
/// Bytes of an evaluation beside its texts, about: digests, numbers, and what a store adds.
const EVALUATION_BYTES: usize = 128;

/// What a policy said.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Verdict {
    /// The rule allows it.
    #[n(0)]
    Allow,
    /// The rule denies it.
    #[n(1)]
    Deny {
        /// Class.
        #[n(0)]
        class: DenyClass,
        /// Stable code for programs.
        #[n(1)]
        code: String,
        /// One sentence for people.
        #[n(2)]
        message: String,
    },
    /// It leaves the deduction to the next binding.
    #[n(2)]
    Pass,
    /// This much is to be taken.
    #[n(3)]
    Take {
        /// How much; may be zero.
        #[n(0)]
        grams: Grams,
        /// Why.
        #[n(1)]
        reason: String,
    },
    /// It gave no usable answer, which denies.
    #[n(4)]
    Failed(#[n(0)] PolicyError),
}

impl From<&RuleOutput> for Verdict {
    fn from(output: &RuleOutput) -> Self {
        match output.deny.clone() {
            None => Self::Allow,
            Some(deny) => Self::Deny {
                class: deny.class,
                code: deny.code,
                message: deny.message,
            },
        }
    }
}

impl From<&DeductionOutput> for Verdict {
    fn from(output: &DeductionOutput) -> Self {
        let reason = output.reason.clone();
        match output.take {
            None => Self::Pass,
            Some(grams) => Self::Take { grams, reason },
        }
    }
}

impl Verdict {
    /// What apply makes of an evaluation of `hook`.
    #[must_use]
    pub fn of(hook: Hook, output: &Result<Vec<u8>, PolicyError>) -> Self {
        let read = |bytes: &Vec<u8>| match hook {
            Hook::Admission | Hook::Transition => {
                wire::decode_rule_output(bytes).map(|output| Self::from(&output))
            }
            Hook::Deduction => {
                wire::decode_deduction_output(bytes).map(|output| Self::from(&output))
            }
        };
        match output {
            Ok(bytes) => read(bytes).unwrap_or(Self::Failed(PolicyError::BadOutput)),
            Err(error) => Self::Failed(*error),
        }
    }

    /// Whether it refuses the request.
    #[must_use]
    pub const fn refuses(&self) -> bool {
        matches!(self, Self::Deny { .. } | Self::Failed(_))
    }
}

/// One evaluation.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Decision {
    /// Binding that was asked.
    #[n(0)]
    pub binding: BindingId,
    /// Its module.
    #[n(1)]
    pub module: ModuleDigest,
    /// ABI version of the call.
    #[n(2)]
    pub abi: u32,
    /// Hook.
    #[n(3)]
    pub hook: Hook,
    /// Whether the binding decides.
    #[n(4)]
    pub mode: Mode,
    /// BLAKE3 of what the module was sent: the record's input and the binding's configuration.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub input_digest: [u8; 32],
    /// What it said.
    #[n(6)]
    pub verdict: Verdict,
    /// Remarks that change nothing.
    #[n(7)]
    pub warnings: Vec<Warning>,
    /// Gas used, up to the budget.
    #[n(8)]
    pub gas: u64,
}

/// All evaluations of one entry, in the order in which they were made.
///
/// No duration: a record is replicated state, and how long an evaluation took is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionRecord {
    /// Log index of the entry.
    pub revision: Revision,
    /// Log time, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Engine epoch that it was computed under.
    pub epoch: u32,
    /// Revision of the ruleset that was active.
    pub ruleset: Revision,
    /// Job in question; one that was not admitted has no row of its own.
    pub job: JobId,
    /// The hooks' input as CBOR, without a configuration: an `AdmissionInput` where the hook is
    /// `admission`, otherwise a `TransitionInput`.
    pub input: Vec<u8>,
    /// The evaluations.
    pub decisions: Vec<Decision>,
}

/// A [`DecisionRecord`] as a part of its entry's row, which has the rest of it.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Evaluations {
    #[n(0)]
    pub(crate) epoch: u32,
    #[n(1)]
    pub(crate) ruleset: Revision,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(crate) input: Vec<u8>,
    #[n(3)]
    pub(crate) decisions: Vec<Decision>,
}

impl Evaluations {
    /// How many bytes they take in their entry's row, about.
    pub(crate) fn bytes(&self) -> u64 {
        let said = |decision: &Decision| {
            let words = match &decision.verdict {
                Verdict::Deny { code, message, .. } => code.len() + message.len(),
                Verdict::Take { reason, .. } => reason.len(),
                Verdict::Allow | Verdict::Pass | Verdict::Failed(_) => 0,
            };
            let remarks = decision.warnings.iter();
            let remarks: usize = remarks.map(|it| it.code.len() + it.message.len()).sum();
            EVALUATION_BYTES + decision.binding.as_str().len() + words + remarks
        };
        let said: usize = self.decisions.iter().map(said).sum();
        u64::try_from(self.input.len() + said).unwrap_or(u64::MAX)
    }
}

/// The evaluations of an entry, and nothing else of what it came to.
type OfEntry = EntryWith<Skipped, Evaluations, Skipped>;

/// The record of an entry, if it asked any policy.
fn record(revision: Revision, entry: OfEntry) -> Option<DecisionRecord> {
    let evaluations = entry.parts.evaluations?;
    Some(DecisionRecord {
        revision,
        at_ms: entry.head.at_ms,
        epoch: evaluations.epoch,
        ruleset: evaluations.ruleset,
        job: entry.head.job?,
        input: evaluations.input,
        decisions: evaluations.decisions,
    })
}

/// What a module with this configuration is called with, for the input of a record.
///
/// # Errors
/// A fault of this program: encoding into memory does not fail.
pub fn call(input: &[u8], config: &[u8]) -> Result<Vec<u8>, LocalFault> {
    let input = Encoded(input);
    codec::encode(&Call { input, config })
}

/// Finds the records among the rows of a store, which it is shown one after the other.
#[derive(Debug, Default)]
pub struct RecordsOfRows {
    deleted_to: Option<Revision>,
}

impl RecordsOfRows {
    /// The record in the next row; none where there is none. The rows are to come sorted by key.
    ///
    /// # Errors
    /// The row is damaged.
    pub fn next(&mut self, key: &[u8], value: &[u8]) -> Result<Option<DecisionRecord>, LocalFault> {
        if let Some(totals) = meta::totals_of_row(key, value)? {
            self.deleted_to = totals.decisions_deleted_to;
        }
        let entry = entries::of_row(key, value)?;
        let kept = entry.filter(|(revision, _)| Some(*revision) > self.deleted_to);
        Ok(kept.and_then(|(revision, entry)| record(revision, entry)))
    }
}

/// Names what a module was sent: [`Decision::input_digest`].
#[must_use]
pub fn call_digest(call: &[u8]) -> [u8; 32] {
    *blake3::hash(call).as_bytes()
}

/// A value that is encoded already.
struct Encoded<'a>(&'a [u8]);

impl<C> Encode<C> for Encoded<'_> {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), Error<W::Error>> {
        e.writer_mut().write_all(self.0).map_err(Error::write)
    }
}

/// Up to `limit` records after the revision `after`, oldest first.
///
/// Entries that asked no policy are passed over, however many there are.
///
/// # Errors
/// Some of the records after `after` are no longer kept, or a fault of this replica's store.
pub fn list(
    rows: &dyn ReadRows,
    after: Option<Revision>,
    limit: usize,
) -> Result<Vec<DecisionRecord>, ResumeError> {
    let deleted_to = deleted_to(rows)?;
    let sees_all = window::one_for_each_entry;
    window::check(after, deleted_to, sees_all, || oldest(rows, deleted_to))?;
    Ok(entries::list(rows, after.max(deleted_to), limit, record)?)
}

/// The oldest entry whose record is kept.
fn oldest(
    rows: &dyn ReadRows,
    deleted_to: Option<Revision>,
) -> Result<Option<Revision>, LocalFault> {
    let first = entries::list(rows, deleted_to, 1, record)?;
    Ok(first.first().map(|record| record.revision))
}

/// Up to `limit` records about `job` after the revision `after`, oldest first.
///
/// # Errors
/// Some of the records after `after` may no longer be kept, or a fault of this replica's store.
pub fn of_job(
    rows: &dyn ReadRows,
    job: &JobId,
    after: Option<Revision>,
    limit: usize,
) -> Result<Vec<DecisionRecord>, ResumeError> {
    let records = kept_of_job(rows, job, after, limit)?;
    let deleted_to = deleted_to(rows)?;
    // Of a job that is younger than all that was forgotten, nothing was.
    let created = jobs::get(rows, job)?.map(|job| job.created_revision);
    if created.is_none_or(|created| Some(created) <= deleted_to) {
        let sees_all = window::one_for_each_entry;
        window::check(after, deleted_to, sees_all, || {
            let first = kept_of_job(rows, job, None, 1)?;
            Ok(first.first().map(|record| record.revision))
        })?;
    }
    Ok(records)
}

fn kept_of_job(
    rows: &dyn ReadRows,
    job: &JobId,
    after: Option<Revision>,
    limit: usize,
) -> Result<Vec<DecisionRecord>, LocalFault> {
    let start = after.map(|revision| keys::decision_of_job(job, revision));
    let prefix = keys::decisions_of_job_prefix(job);
    let page = rows.scan(&prefix, start.as_deref(), limit)?;
    let found = |(key, _): &(Vec<u8>, Vec<u8>)| {
        let revision = keys::revision_at_end(key);
        let entry = revision.map(|revision| entries::get(rows, revision));
        let entry = entry.transpose()?.flatten();
        let both = revision.zip(entry);
        let found = both.and_then(|(revision, entry)| record(revision, entry));
        found.ok_or_else(|| LocalFault::CorruptRow {
            table: "decisions of a job",
            detail: "a row names no record".to_owned(),
        })
    };
    let mut records: Vec<DecisionRecord> = page.iter().map(found).collect::<Result<_, _>>()?;
    if let Some(creation) = of_creation(rows, job, after)? {
        let later = |record: &DecisionRecord| record.revision > creation.revision;
        let at = records.iter().position(later).unwrap_or(records.len());
        records.insert(at, creation);
        records.truncate(limit);
    }
    Ok(records)
}

/// The record of the entry that created `job`, where that is after `after`. No row of the index
/// names it, because the job's own row does.
fn of_creation(
    rows: &dyn ReadRows,
    job: &JobId,
    after: Option<Revision>,
) -> Result<Option<DecisionRecord>, LocalFault> {
    let Some(job) = jobs::get(rows, job)? else {
        return Ok(None);
    };
    let created = job.created_revision;
    if Some(created) <= after.max(deleted_to(rows)?) {
        return Ok(None);
    }
    let entry = entries::get(rows, created)?;
    Ok(entry.and_then(|entry| record(created, entry)))
}

/// The newest entry whose record has left the window; none while it holds every record there was.
///
/// # Errors
/// A fault of this replica's store.
pub fn deleted_to(rows: &dyn ReadRows) -> Result<Option<Revision>, LocalFault> {
    Ok(meta::totals(rows)?.decisions_deleted_to)
}

/// An entry that asked policies.
pub(crate) struct Counted<'a> {
    pub(crate) revision: Revision,
    /// [`Evaluations::bytes`].
    pub(crate) bytes: u64,
    /// The job that they were asked about, unless the entry created it.
    pub(crate) job: Option<&'a JobId>,
}

/// Counts an entry that asked policies, and forgets the oldest where there are then too many, too
/// large or too old ones, at most [`DECISIONS_DELETED_PER_APPLY_MAX`].
pub(crate) fn count(
    rows: &mut dyn Rows,
    totals: &mut Totals,
    record: &Counted<'_>,
    kept: DecisionsKept,
) -> Result<(), LocalFault> {
    if let Some(job) = record.job {
        rows.put(keys::decision_of_job(job, record.revision), Vec::new());
    }
    let now_ms = totals.log_time_ms;
    if totals.decisions == 0 {
        totals.decisions_oldest_ms = now_ms;
    }
    totals.decisions += 1;
    totals.decisions_bytes = totals.decisions_bytes.saturating_add(record.bytes);
    let oldest_ms = now_ms.saturating_sub(kept.span_ms());
    let is_large = totals.decisions_bytes > DECISIONS_BYTES_MAX;
    if totals.decisions <= kept.count && !is_large && totals.decisions_oldest_ms >= oldest_ms {
        return Ok(());
    }
    // Where there is one too many, more go at once, so that not every entry looks for the oldest.
    let mut excess = match totals.decisions.saturating_sub(kept.count) {
        0 => 0,
        excess => excess + kept.deleted_ahead(),
    };
    let bytes_kept = if is_large {
        DECISIONS_BYTES_MAX - DECISIONS_BYTES_AHEAD
    } else {
        DECISIONS_BYTES_MAX
    };
    let limit = DECISIONS_DELETED_PER_APPLY_MAX;
    let after = totals.decisions_deleted_to;
    for oldest in entries::page::<JobId, Skipped, Skipped>(rows, after, limit)? {
        if let Some(job) = &oldest.head.job {
            totals.decisions_oldest_ms = oldest.head.at_ms;
            // What was just written stays, however few are to be kept.
            let fits = excess == 0 && totals.decisions_bytes <= bytes_kept;
            let is_young = fits && oldest.head.at_ms >= oldest_ms;
            if is_young || oldest.revision == record.revision {
                break;
            }
            excess = excess.saturating_sub(1);
            if !oldest.head.is_creation {
                let key = keys::decision_of_job(job, oldest.revision);
                rows.delete_known(&key, &[]);
            }
            totals.decisions -= 1;
            let bytes = oldest.head.decision_bytes;
            totals.decisions_bytes = totals.decisions_bytes.saturating_sub(bytes);
        }
        totals.decisions_deleted_to = Some(oldest.revision);
        oldest.delete_if_spent(rows, totals);
    }
    Ok(())
}
