//! Histories of a cluster and the judges that check them; knows no node and no network.

pub mod history;
pub mod report;
