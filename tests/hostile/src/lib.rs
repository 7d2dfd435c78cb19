//! Modules that mean harm, random modules and random inputs: no module can hurt a cluster, and no
//! setting of an engine changes an answer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a driver of tests panics where something is not as it must be"
)]

pub mod arena;
pub mod corpus;
pub mod engines;
pub mod guest;
pub mod inputs;
pub mod inputs_on_engines;
pub mod modules_on_cluster;
pub mod modules_on_engines;
pub mod plan;
pub mod random_modules;
pub mod shipped;
