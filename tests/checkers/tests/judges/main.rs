//! The judges on histories that are right, and on histories that are wrong in every way that they
//! are there to find: a judge that cannot fail is a defect.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed test is to panic"
)]

mod brute_force;
mod decided;
mod files;
mod hand_made;
mod making;
mod mutations;
mod mutations_wide;
mod random;
mod right;
mod script;
mod shop;
mod speed;
mod unanswered;
