//! What the workspace's own commands share with its tests.
