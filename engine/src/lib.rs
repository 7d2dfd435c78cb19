//! Everything deterministic and everything durable: the policy host, the storage and the cluster.
//! Knows no HTTP and no JSON on the wire.

pub mod backtest;
pub mod bounds;
pub mod codec;
pub mod policy;
pub mod raft;
pub mod runtime;
pub mod sabotage;
pub mod storage;

pub use raft3d_core as core;
pub use raft3d_sdk as sdk;
