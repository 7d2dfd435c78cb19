//! The policy host from outside: hostile modules, equal answers, the compiling child, golden cases.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod child;
mod compilers;
mod contract;
mod damaged;
mod determinism;
mod gas;
mod golden;
mod golden_log;
mod hostile;
mod loading;
#[path = "../common/random.rs"]
mod random;
mod refused;
mod support;
mod workbench;
