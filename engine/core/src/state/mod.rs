//! The state as sorted rows: what is stored under which key, and how to read it.

mod codec;
pub mod decisions;
pub mod denied;
pub mod digest;
pub(crate) mod entries;
pub mod events;
pub mod filaments;
pub mod jobs;
mod keys;
pub mod ledger;
pub mod memory;
pub mod meta;
pub mod modules;
pub mod overlay;
pub mod printers;
pub mod rations;
pub mod requests;
pub mod rows;
pub mod rulesets;
pub mod shares;
mod sums;
pub mod window;

pub(crate) use codec::{decode_exactly, encode};
pub use keys::{is_job_of_chosen_id, is_of_later_entry, request_minted_at_ms};
