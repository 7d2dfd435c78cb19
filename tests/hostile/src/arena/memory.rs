//! How much anonymous memory the nodes have, and their compiling children, while something goes on.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks: a compile takes longer.
const PAUSE: Duration = Duration::from_millis(30);
/// Bytes of a KiB.
const KIB: u64 = 1024;

/// What was seen, in bytes.
#[derive(Clone, Debug, Default)]
pub struct Peaks {
    /// Of each node: at the beginning, and at most.
    pub nodes: Vec<(u64, u64)>,
    /// Of the largest compiling child.
    pub child: u64,
    /// How many looks found a child.
    pub children_seen: u64,
}

/// Looks at processes until it is told to end.
#[derive(Debug)]
pub struct Watch {
    peaks: Arc<Mutex<Peaks>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to look at these processes.
    #[must_use]
    pub fn start(pids: Vec<u32>) -> Self {
        let nodes = pids.iter().map(|pid| {
            let now = anonymous_bytes(*pid).unwrap_or_default();
            (now, now)
        });
        let peaks = Peaks {
            nodes: nodes.collect(),
            ..Peaks::default()
        };
        let peaks = Arc::new(Mutex::new(peaks));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&peaks), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                look(&pids, &shared);
                std::thread::sleep(PAUSE);
            }
        });
        Self {
            peaks,
            stop,
            thread: Some(thread),
        }
    }

    /// Ends it, and tells what was seen.
    ///
    /// # Panics
    /// The thread panicked.
    #[must_use]
    pub fn finish(mut self) -> Peaks {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the watching thread");
        }
        self.peaks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn look(pids: &[u32], peaks: &Mutex<Peaks>) {
    let nodes: Vec<_> = pids.iter().map(|pid| anonymous_bytes(*pid)).collect();
    let children = pids.iter().flat_map(|pid| children(*pid));
    // One that is gone, or has not yet become another program, has nothing to tell.
    let largest = children.filter_map(anonymous_bytes).max();
    let mut peaks = peaks.lock().unwrap_or_else(PoisonError::into_inner);
    for (peak, now) in peaks.nodes.iter_mut().zip(nodes) {
        peak.1 = peak.1.max(now.unwrap_or_default());
    }
    if let Some(largest) = largest {
        peaks.children_seen += 1;
        peaks.child = peaks.child.max(largest);
    }
}

/// `RssAnon` of proc_pid_status(5); none where there is no such process.
fn anonymous_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * KIB)
}

/// Children of every thread of that process.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"));
    let mut found = Vec::new();
    for thread in threads.into_iter().flatten().flatten() {
        let text = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        found.extend(
            text.split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn memory_of_this_process_and_a_child_of_it_are_seen() {
        let own = std::process::id();
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let watch = Watch::start(vec![own]);
        let kept = vec![1_u8; 64 << 20];
        std::thread::sleep(Duration::from_millis(300));
        let peaks = watch.finish();
        assert_eq!(children(own), [child.id()]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(kept.iter().filter(|byte| **byte == 1).count(), 64 << 20);
        let (before, peak) = peaks.nodes[0];
        assert!(before > 0 && peak - before > 60 << 20, "{peaks:?}");
        assert!(peaks.children_seen > 0 && peaks.child > 0, "{peaks:?}");
    }
}
