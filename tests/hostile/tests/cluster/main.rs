//! Hostile modules on three real nodes: no module can hurt a cluster.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod corpus;
mod random_modules;
