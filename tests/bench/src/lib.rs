//! Measures this system beside etcd: one machine, one run, the same work.
