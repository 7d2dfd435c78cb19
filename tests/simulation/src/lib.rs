//! Whole clusters in one thread under simulated time, network and disk; a seed is a run.
