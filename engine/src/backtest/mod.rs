//! Backtests: a candidate is asked again what recorded decisions were about, and its answers are
//! compared with those that were given.
//!
//! [`compare`] says what an answer changes, [`tally`] counts and keeps examples, [`run`] feeds the
//! records to all processors. Whence they come is the caller's affair: they are pushed one by one,
//! and never more of them held than the processors are busy with.

pub mod compare;
pub mod run;
pub mod tally;

pub use compare::{Change, change};
pub use run::{BacktestError, Candidate, Feed, Options, run};
pub use tally::{Against, Example, HookReport, Report, Tally};
