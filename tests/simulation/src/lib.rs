//! Whole clusters in one thread: the real node, state machine and policies, under simulated time,
//! network and disk. A seed is a run, byte for byte.
//!
//! [`run::run`] is the way in. `turmoil` gives hosts, time and a network; `net.rs` carries the
//! engine's messages over its datagrams; `disk.rs` and `log.rs` are a log on a disk that is slow
//! and forgets what was not synced; `host.rs` is one node's process; `client.rs` and `workload.rs`
//! ask for things; `plan.rs` says which fault comes when, and `run.rs` lets it come; `judge.rs`
//! says what must hold.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a simulation reports by panicking where the harness itself is wrong"
)]

pub mod client;
mod convert;
pub mod disk;
mod frames;
pub mod host;
pub mod judge;
mod log;
mod net;
pub mod plan;
pub mod policies;
pub mod random;
pub mod run;
pub mod stats;
pub mod trace;
mod workload;
pub mod world;
