//! What was measured on, and with which settings.

use std::process::Command;

use raft3d_checkers::report::Table;

use crate::load::VALUE_BYTES;
use crate::table::table;

/// Machine, versions and settings.
#[must_use]
pub fn table_of_settings() -> Table {
    let mut shown = table("Measured on", &["what", "is"]);
    let mut row = |what: &str, is: String| shown.rows.push(vec![what.to_owned(), is]);
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, model)| model.trim());
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    row("processor", format!("{model}, {count} logical processors"));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    row("kernel", format!("Linux {}", kernel.trim()));
    row(
        "raft3d",
        "three nodes, default settings and ruleset, fsync on, JSON over HTTP/1.1".to_owned(),
    );
    row(
        "etcd",
        format!(
            "{}, three nodes, default settings (fsync on), values of {VALUE_BYTES} B, gRPC",
            etcd_version()
        ),
    );
    row(
        "load",
        "one process of one thread; each client has its own connection and one request in \
         flight; clients are spread over all nodes, a single one talks to the leader"
            .to_owned(),
    );
    shown
}

fn etcd_version() -> String {
    let output = Command::new("etcd").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    text.lines()
        .next()
        .unwrap_or("etcd")
        .replace(" Version:", "")
}
