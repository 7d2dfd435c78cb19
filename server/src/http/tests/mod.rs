//! Tests of the routes: the real router and the real state machine, with rows in memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod bad_input;
mod classic;
mod clock;
mod decisions;
mod docs;
mod evaluate;
mod fake;
mod listener;
mod metrics;
mod native;
mod promises;
mod resources;
mod retries;
mod rulesets;
mod writes;

pub(crate) use fake::{Answer, Shop};
