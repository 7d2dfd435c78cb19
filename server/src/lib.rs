//! The `raft3d` program: the client API over HTTP, the command line, configuration.
//!
//! A request comes in through [`http`], becomes a command, and goes to the node through the one
//! seam in [`backend`]. [`serve`] puts a node together and runs it.

pub mod backend;
pub mod bootstrap;
pub mod cli;
pub mod config;
mod config_schema;
mod distinct;
pub mod http;
mod library;
pub mod memory;
mod module;
pub mod node;
pub mod peer;
pub mod serve;
pub mod telemetry;
