//! The cluster: types, the node, its network.

mod absences;
pub mod api;
pub mod bootstrap;
mod clock;
mod commit_notice;
mod crowd;
mod denials;
mod duties;
mod encoding;
pub mod frame;
pub mod group;
mod guard;
mod health;
pub mod log_handle;
pub mod machine;
mod membership;
pub mod message;
mod network;
pub mod node;
pub mod parts;
mod peers;
mod presence;
mod processes;
mod read;
mod read_index;
mod readdress;
pub mod readiness;
mod ready;
mod service;
mod snapshot_pace;
mod snapshot_transfer;
mod standing;
#[cfg(test)]
pub(crate) mod testing;
pub mod told;
mod touch;
pub mod transport;
mod tried;
pub mod types;
mod upgrade;
mod write;

pub use node::Node;
pub use types::{Incarnation, Member, NodeId, Proposal, TypeConfig};
