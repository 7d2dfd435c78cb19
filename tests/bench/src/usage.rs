//! What processes and the machine have used, as the kernel counts it (proc(5)).

use std::fs;
use std::ops::Sub;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::fs::{major, minor, stat};

/// Microseconds in one tick of the kernel's CPU times: `USER_HZ` is 100 on Linux x86-64.
const TICK_US: u64 = 10_000;
/// Bytes in one sector, as the kernel counts them whatever the disk has.
const SECTOR_BYTES: u64 = 512;

/// What one process has used since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in its own code, in microseconds (to 10 ms).
    pub user_us: u64,
    /// Processor time in the kernel for it, in microseconds (to 10 ms).
    pub kernel_us: u64,
    /// Context switches of its threads, of both kinds.
    pub switches: u64,
}

impl Usage {
    /// What `pid` has used.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (user_ticks, kernel_ticks) = ticks(&stat).context("/proc/PID/stat")?;
        let mut switches = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end between the two looks.
            let status = fs::read_to_string(task?.path().join("status")).unwrap_or_default();
            switches += number_after(&status, "voluntary_ctxt_switches:").unwrap_or(0);
            switches += number_after(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
        }
        Ok(Self {
            user_us: user_ticks * TICK_US,
            kernel_us: kernel_ticks * TICK_US,
            switches,
        })
    }

    /// Processor time in all, in microseconds.
    #[must_use]
    pub fn cpu_us(&self) -> u64 {
        self.user_us + self.kernel_us
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            user_us: self.user_us + other.user_us,
            kernel_us: self.kernel_us + other.kernel_us,
            switches: self.switches + other.switches,
        }
    }
}

impl Sub for Usage {
    type Output = Self;

    /// What was used between two looks. Saturates: ended threads take their switches along.
    fn sub(self, earlier: Self) -> Self {
        Self {
            user_us: self.user_us.saturating_sub(earlier.user_us),
            kernel_us: self.kernel_us.saturating_sub(earlier.kernel_us),
            switches: self.switches.saturating_sub(earlier.switches),
        }
    }
}

/// Resident anonymous memory of a process, in bytes: what it holds that is no file's page.
///
/// # Errors
/// There is no such process.
pub fn anonymous_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = number_after(&status, "RssAnon:").context("RssAnon in /proc/PID/status")?;
    Ok(kib * 1024)
}

/// What the whole machine has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Processor time that anything used, in microseconds, over all processors.
    pub busy_us: u64,
    /// Bytes written to the disk of the data folders. Counted there because the kernel's count
    /// for a process (`/proc/PID/io`) takes a whole large folio for each of its pages.
    pub written_bytes: u64,
    /// Flushes that this disk has completed; 0 where the kernel does not count them. The kernel
    /// may merge two that are asked for at once.
    pub flushes: u64,
}

impl Machine {
    /// Looks at the processors, and at the disk that holds `folder`.
    ///
    /// # Errors
    /// `/proc` is not readable.
    pub fn look(folder: &Path) -> Result<Self> {
        let cpu = fs::read_to_string("/proc/stat")?;
        let cpu = cpu.lines().next().context("/proc/stat")?;
        let fields = cpu.split_whitespace().skip(1);
        let fields: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
        // user, nice, system, (idle, iowait,) irq, softirq
        let busy = [0, 1, 2, 5, 6].iter().filter_map(|at| fields.get(*at));
        let disk = stat(folder)?.st_dev;
        let disk = (major(disk), minor(disk));
        let disks = fs::read_to_string("/proc/diskstats")?;
        Ok(Self {
            busy_us: busy.sum::<u64>() * TICK_US,
            written_bytes: disk_field(&disks, disk, 10).unwrap_or(0) * SECTOR_BYTES,
            flushes: disk_field(&disks, disk, 19).unwrap_or(0),
        })
    }
}

/// User and kernel time of `/proc/PID/stat`, in ticks: the fields 14 and 15.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    // The name in parentheses may hold anything, so count from its end: field 3 follows it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The number in the line of `text` that starts with `name`.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A field of one device's line in `/proc/diskstats`, counted from 1: 10 are the sectors written,
/// 19 the completed flushes (since Linux 5.5).
fn disk_field(diskstats: &str, (major, minor): (u32, u32), field: usize) -> Option<u64> {
    let line = diskstats.lines().find(|line| {
        let mut fields = line.split_whitespace().map(str::parse);
        fields.next() == Some(Ok(major)) && fields.next() == Some(Ok(minor))
    })?;
    line.split_whitespace().nth(field - 1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "A test may end where a value is missing."
    )]
    use super::*;

    #[test]
    fn times_stand_behind_a_name_that_holds_anything() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 123 45 0 0 20";
        assert_eq!(ticks(stat), Some((123, 45)));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn a_field_is_that_of_one_device() {
        let stats = "   7 0 loop0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 99 17\n \
                     254 0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n";
        assert_eq!(disk_field(stats, (254, 0), 10), Some(7));
        assert_eq!(disk_field(stats, (254, 0), 19), Some(16));
        assert_eq!(disk_field(stats, (8, 0), 19), None);
    }

    #[test]
    fn this_process_has_used_something() {
        let pid = std::process::id();
        let mut usage = Usage::of(pid).unwrap();
        while usage.user_us < TICK_US {
            usage = Usage::of(pid).unwrap();
        }
        assert_eq!(usage - usage, Usage::default());
        assert!(anonymous_bytes(pid).unwrap() > 0);
        assert!(Machine::look(Path::new("/")).unwrap().busy_us > 0);
    }
}
