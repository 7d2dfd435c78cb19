//! Library side of the workspace's own commands, for tests that need the same steps.

pub mod guest;
