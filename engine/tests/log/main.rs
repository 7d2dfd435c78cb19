//! Tests of the Raft log: openraft's own suite, faults of the disk, damage, and a model.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    missing_docs,
    reason = "tests"
)]

mod behaviour;
mod damage;
mod faults;
mod format;
mod model;
#[path = "../common/random.rs"]
mod random;
mod room;
mod suite;
mod support;
