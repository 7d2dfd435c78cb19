//! Measures this system beside etcd: one machine, one run, the same work.
//!
//! A program that prints figures, never a test that fails on a busy machine. Each part
//! ([`writes`], [`reads`], [`large`], [`failover`], [`uploads`]) starts clusters of three real processes
//! ([`systems`]), puts load on them from a process of its own ([`load`]), and counts what each
//! process uses meanwhile ([`usage`], [`measure`]). [`backtest`], [`gas`] and [`instances`] stand by
//! themselves: they need neither a cluster nor etcd.

pub mod backtest;
pub mod beside;
pub mod failover;
pub mod gas;
pub mod instances;
pub mod large;
pub mod load;
pub mod machine;
pub mod measure;
mod moments;
pub mod plots;
pub mod policies;
pub mod readiness;
pub mod reads;
pub mod setting;
pub mod stats;
pub mod systems;
pub mod table;
pub mod targets;
pub mod uploads;
pub mod usage;
pub mod writes;
