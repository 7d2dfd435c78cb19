//! The `raft3d` binary: the client API over HTTP, the command line, configuration.

pub mod backend;
pub mod http;
