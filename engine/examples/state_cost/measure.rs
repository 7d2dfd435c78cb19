//! Clocks and gauges of this process.

use std::fs;
use std::path::Path;
use std::time::Instant;

/// A point in time: by the clock, and in processor time of all threads.
pub(crate) struct Cost {
    wall: Instant,
    cpu_ns: u64,
}

impl Cost {
    pub(crate) fn now() -> Self {
        Self {
            wall: Instant::now(),
            cpu_ns: cpu_ns(),
        }
    }

    /// Microseconds by the clock and of processor time since then, for each of `entries`.
    pub(crate) fn since(&self, entries: u64) -> (f64, f64) {
        let each = |ns: u64| ns as f64 / 1_000.0 / entries as f64;
        let wall = u64::try_from(self.wall.elapsed().as_nanos()).unwrap_or(u64::MAX);
        (each(wall), each(cpu_ns() - self.cpu_ns))
    }
}

/// Processor time of all living threads in nanoseconds (proc(5), `schedstat`).
fn cpu_ns() -> u64 {
    let tasks = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

/// Resident anonymous memory of this process, MiB.
pub(crate) fn resident_mib() -> Result<u64, Box<dyn std::error::Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.ok_or("no RssAnon")?.parse::<u64>()? >> 10)
}

/// Bytes of all files below `dir`, MiB.
pub(crate) fn disk_mib(dir: &Path) -> std::io::Result<u64> {
    fn bytes(dir: &Path) -> std::io::Result<u64> {
        let mut sum = 0;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            sum += if entry.file_type()?.is_dir() {
                bytes(&entry.path())?
            } else {
                entry.metadata()?.len()
            };
        }
        Ok(sum)
    }
    Ok(bytes(dir)? >> 20)
}

/// That percentile of sorted times.
pub(crate) fn percentile_us(sorted: &[u64], percent: usize) -> u64 {
    let at = sorted.len() * percent / 100;
    sorted
        .get(at)
        .or(sorted.last())
        .copied()
        .unwrap_or_default()
}
