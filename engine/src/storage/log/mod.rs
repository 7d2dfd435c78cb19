//! The Raft log: a segment log.
