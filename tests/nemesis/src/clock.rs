//! The clock that a node sees, by libfaketime. The machine's own is never touched.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where libraries lie, by machine.
const LIBRARIES: &str = "/usr/lib";
/// The library for programs with threads, in its folder.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// libfaketime, where it is installed.
#[must_use]
pub fn library() -> Option<PathBuf> {
    let machines = fs::read_dir(LIBRARIES).ok()?.flatten();
    let mut found = machines.map(|machine| machine.path().join(LIBRARY));
    found.find(|path| path.is_file())
}

/// One node's clock: a file that says by how much it is wrong.
#[derive(Debug)]
pub struct Clock {
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// A clock that is right.
    ///
    /// # Errors
    /// Where `file` cannot be written.
    pub fn new(file: PathBuf, library: &Path) -> io::Result<Self> {
        let library = library.to_owned();
        let clock = Self { file, library };
        clock.set(0)?;
        Ok(clock)
    }

    /// From now on it is `seconds` ahead, or behind where that is negative.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn set(&self, seconds: i64) -> io::Result<()> {
        // As a whole or not at all: the node may be reading it.
        let half = self.file.with_extension("half");
        fs::write(&half, format!("{seconds:+}s\n"))?;
        fs::rename(half, &self.file)
    }

    /// What a process that is to see this clock needs in its environment.
    ///
    /// Only the time of day: the monotonic clock and the files' times stay true.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        [
            ("LD_PRELOAD", text(&self.library)),
            ("FAKETIME_TIMESTAMP_FILE", text(&self.file)),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn a_process_sees_the_clock_and_we_do_not() {
        let Some(library) = library() else {
            eprintln!("NOT RUN: libfaketime is not installed here");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::new(folder.path().join("clock"), &library).unwrap();
        let seen = || {
            let mut date = Command::new("date");
            let out = date.arg("+%s").envs(clock.environment()).output().unwrap();
            String::from_utf8(out.stdout)
                .unwrap()
                .trim()
                .parse::<i64>()
                .unwrap()
        };
        let ours = || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            i64::try_from(now.as_secs()).unwrap()
        };
        // A day is more than any machine stands still between the two looks.
        assert!((seen() - ours()).abs() < 43_200);
        clock.set(86_400).unwrap();
        assert!((seen() - ours() - 86_400).abs() < 43_200);
        clock.set(-86_400).unwrap();
        assert!((seen() - ours() + 86_400).abs() < 43_200);
    }
}
