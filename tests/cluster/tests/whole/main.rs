//! The whole system as real processes on real disks, one file per subject.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests report by panicking"
)]

mod all_killed;
mod backtest;
mod bad_input;
mod classic;
mod damage;
mod denied;
mod dev_command;
mod disagreement;
mod exactly_once;
mod full_disk;
mod hostile_modules;
mod leader_killed;
mod library;
mod membership;
mod policies;
mod program_replaced;
mod recovery;
mod refusals_to_start;
mod reservations;
mod rollout;
mod silent_rules;
mod support;
mod truth;
mod tutorial;
mod upgrade;
