//! Measures this system beside etcd: one machine, one run, the same work.

pub mod load;
pub mod measure;
pub mod setting;
pub mod stats;
pub mod systems;
pub mod table;
pub mod usage;
pub mod writes;
