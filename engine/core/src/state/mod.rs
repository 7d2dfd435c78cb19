//! The state as sorted rows: what is stored under which key, and how to read it.

pub mod digest;
pub mod filaments;
pub mod jobs;
pub mod ledger;
pub mod meta;
pub mod modules;
pub mod overlay;
pub mod printers;
pub mod requests;
pub mod rows;
pub mod rulesets;
