//! Modules and inputs on engines that are set differently.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod corpus;
mod inputs;
mod random_modules;
mod settings;
