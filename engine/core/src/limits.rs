//! Every limit of the replicated state, with its unit. Part of the engine epoch: changing one
//! changes what apply computes.

pub use raft3d_sdk::limits::*;

/// Densest filament, in milligrams per cubic centimetre: no metal comes near.
pub const DENSITY_MG_PER_CM3_MAX: u64 = 100_000;
/// Thickest filament, in micrometres.
pub const DIAMETER_UM_MAX: u64 = 100_000;
/// Deepest nesting of a binding's configuration.
pub const CONFIG_NESTING_MAX: usize = 32;
/// Longest name, version or description of a module, in bytes of UTF-8.
pub const MANIFEST_TEXT_BYTES_MAX: usize = 1024;
/// Longest request id, in bytes of UTF-8.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// Largest module, in bytes.
pub const MODULE_BYTES_MAX: usize = 512 * 1024;
/// Most modules kept.
pub const MODULES_MAX: u64 = 256;
/// Most enforcing bindings in one ruleset.
pub const BINDINGS_ENFORCING_MAX: usize = 16;
/// Most shadow bindings in one ruleset.
pub const BINDINGS_SHADOW_MAX: usize = 4;
/// Most findings about one ruleset that are told and kept, of each kind.
pub const FINDINGS_MAX: usize = 32;
/// Most ruleset revisions kept; older ones are dropped, the active one never.
pub const RULESET_REVISIONS_MAX: u64 = 100;
/// Most printers.
pub const PRINTERS_MAX: u64 = 1_000_000;
/// Most filaments.
pub const FILAMENTS_MAX: u64 = 1_000_000;
/// Most print jobs.
pub const JOBS_MAX: u64 = 100_000_000;
/// The last part of the tables of printers, filaments and jobs is rationed: one row in so many.
pub const RATIONED_PART: u64 = 10;
/// What one actor may create in that part: one row of it in so many.
pub const RATIONS: u64 = 128;
/// Answers to clients' keys that are kept at once, for verified actors and as many for others. Those
/// that every share is guaranteed ([`KEYED_RECORDS_GUARANTEED`]) come on top.
pub const KEYED_RECORDS_MAX: u64 = 2_000_000;
/// The bytes of these, keys included.
pub const KEYED_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Answers that every share may keep, however full everything is.
pub const KEYED_RECORDS_GUARANTEED: u64 = 64;
/// The bytes of these; the last of them may go beyond.
pub const KEYED_BYTES_GUARANTEED: u64 = 64 * 1024;
/// Most actors with a share of their own, verified ones and others each.
pub const KEYED_ACTORS_MAX: u64 = 4_096;
/// Shares that all further actors have together, by the hash of their names.
pub const KEYED_CROWDS: u8 = 64;
/// How long the answer to a client's key is remembered, in milliseconds of record time (24 h).
pub const CLIENT_REQUEST_KEPT_MS: u64 = 24 * 60 * 60 * 1_000;
/// For how long it is remembered at least, however many keys its actor uses, in milliseconds of record
/// time (15 minutes).
pub const CLIENT_REQUEST_KEPT_MS_MIN: u64 = 15 * 60 * 1_000;
/// By how much record time goes on with one entry at most, in milliseconds: a clock that jumps ahead
/// does not forget everything at once. Not less than what a refused client is told to wait.
pub const RECORD_TIME_STEP_MS_MAX: u64 = CLIENT_REQUEST_KEPT_MS_MIN;
/// By how much record time goes on with one entry at least, in microseconds: a clock that stands still
/// keeps nothing for ever. No cluster applies entries faster than that, so it is never ahead.
pub const RECORD_TIME_STEP_US_MIN: u64 = 50;
/// A key's own time that is further ahead of log time tells nothing, in milliseconds.
pub const KEY_AHEAD_MS_MAX: u64 = 60 * 60 * 1_000;
/// Answers to ids that nodes minted are forgotten so many entries later, also if log time stands still.
pub const MINTED_REQUEST_KEPT_ENTRIES_MAX: u64 = 1_000_000;
/// For how long a client may ask again under an id that a node minted for it, in milliseconds: older
/// ones of that form are taken for the client's own keys.
pub const MINTED_REQUEST_TOLD_MS: u64 = 24 * 60 * 60 * 1_000;
/// An id minted by a node is remembered this many times the request's time to its deadline, or
/// longer ([`MINTED_REQUEST_KEPT_MS_MIN`]).
pub const MINTED_REQUEST_KEPT_FACTOR: u64 = 2;
/// For how long every id minted by a node is remembered at least, in milliseconds of log time:
/// that of the usual time to a deadline.
pub const MINTED_REQUEST_KEPT_MS_MIN: u64 = 20_000;
/// Longest time from proposal to deadline, in milliseconds.
pub const DEADLINE_MS_MAX: u64 = 60_000;
/// Most expired rows that one apply deletes.
pub const EXPIRED_ROWS_PER_APPLY_MAX: usize = 64;
/// Events kept for readers that resume.
pub const EVENTS_KEPT_MAX: u64 = 10_000;
/// Bytes of events that are kept, however few they are.
pub const EVENTS_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Decision records kept where a ruleset does not say how many.
pub const DECISIONS_KEPT_DEFAULT: u64 = 200_000;
/// Most decision records that a ruleset may keep.
pub const DECISIONS_KEPT_MAX: u64 = 1_000_000;
/// Bytes of decision records that are kept, however many a ruleset keeps.
pub const DECISIONS_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Days of log time for which decision records are kept where a ruleset does not say it.
pub const DECISIONS_DAYS_DEFAULT: u64 = 30;
/// Most days of log time for which a ruleset may keep decision records.
pub const DECISIONS_DAYS_MAX: u64 = 3_660;
/// Most decision records that one apply deletes.
pub const DECISIONS_DELETED_PER_APPLY_MAX: usize = 128;
/// Most entries that may ever be denied in one cluster.
pub const DENIED_ENTRIES_MAX: usize = 256;
/// Furthest that log time may be set ahead of the leaders' clocks, in milliseconds (100 years).
pub const CLOCK_OFFSET_MS_MAX: u64 = 100 * 365 * 24 * 60 * 60 * 1_000;
/// Ids made by apply start so; clients may not use it.
pub const GENERATED_ID_PREFIX: &str = "r3d-";
/// Gas for one evaluation.
pub const GAS_PER_EVALUATION_MAX: u64 = 1_000_000;
/// Gas for all evaluations of one entry that decide. Sixteen bindings with two hooks each leave
/// 62,500 for one evaluation; a policy of the library needs up to 61,000.
pub const GAS_PER_ENTRY_MAX: u64 = 2_000_000;
/// Gas for all evaluations of one entry that are watched only.
pub const SHADOW_GAS_PER_ENTRY_MAX: u64 = 1_000_000;
/// Largest encoded envelope, in bytes: a bootstrap with the default modules fits.
pub const ENVELOPE_BYTES_MAX: usize = 4 * 1024 * 1024;
