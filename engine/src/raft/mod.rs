//! The cluster: types, the node, its network.

pub mod api;
pub mod machine;
pub mod node;
pub mod types;

pub use node::Node;
pub use types::{Incarnation, Member, NodeId, Proposal, TypeConfig};
