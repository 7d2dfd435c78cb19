//! One `raft3d` process.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::logs;

/// How often a condition is looked at while waiting for it.
pub const POLL: Duration = Duration::from_millis(25);

/// The folder of the build (`target/debug`, `target/release`) that this program came from.
#[must_use]
pub fn build_folder() -> PathBuf {
    let exe = std::env::current_exe().expect("the path of this program");
    let folder = exe.parent().expect("a program lies in a folder");
    let is_test = folder.file_name() == Some(OsStr::new("deps"));
    if is_test {
        folder.parent().expect("deps lies in a folder")
    } else {
        folder
    }
    .to_owned()
}

/// The program under test: `RAFT3D_BIN`, or the one built beside this one.
///
/// # Panics
/// Where there is none, with how to build it.
#[must_use]
pub fn binary() -> PathBuf {
    let path = match std::env::var_os("RAFT3D_BIN") {
        Some(path) => PathBuf::from(path),
        None => build_folder().join("raft3d"),
    };
    assert!(
        path.is_file(),
        "{} is not there: run `cargo xtask test`, or `cargo build -p raft3d-server` first",
        path.display()
    );
    path
}

/// The same program, built to support the next engine epoch too: `RAFT3D_NEXT_BIN`, or the one
/// beside this one.
///
/// # Panics
/// Where there is none, with how to build it.
#[must_use]
pub fn next_binary() -> PathBuf {
    let path = match std::env::var_os("RAFT3D_NEXT_BIN") {
        Some(path) => PathBuf::from(path),
        None => build_folder().join("raft3d-next-epoch"),
    };
    assert!(
        path.is_file(),
        "{} is not there: run `cargo xtask test`, or `cargo xtask next-epoch` first",
        path.display()
    );
    path
}

/// A running (or ended) process with its log.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    /// Held open: `--exit-on-stdin-eof` ends the child when this process goes, however it goes.
    stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts the program under test with `args`; its output is appended to `log`.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn start<S: AsRef<OsStr>>(args: &[S], log: &Path) -> Self {
        Self::start_with(args, &[], log)
    }

    /// The same with environment variables.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn start_with<S: AsRef<OsStr>>(args: &[S], envs: &[(&str, &str)], log: &Path) -> Self {
        Self::start_program(&binary(), args, envs, log)
    }

    /// The same with another program than the one under test.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn start_program<S: AsRef<OsStr>>(
        program: &Path,
        args: &[S],
        envs: &[(&str, &str)],
        log: &Path,
    ) -> Self {
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("the log file");
        let err = out.try_clone().expect("a second handle of the log file");
        let mut child = Command::new(program)
            .args(args)
            .env("NO_COLOR", "1")
            .env("RUST_BACKTRACE", "1")
            .envs(envs.iter().copied())
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            .spawn()
            .expect("raft3d starts");
        let stdin = child.stdin.take();
        Self {
            child,
            log: log.to_owned(),
            stdin,
        }
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed so far (and those before it with the same log file).
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read(&self.log).map_or_else(
            |error| format!("{}: {error}", self.log.display()),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// The end of [`output`](Self::output), for messages.
    #[must_use]
    pub fn tail(&self) -> String {
        logs::tail(&self.output(), 30)
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Closes its standard input, as the end of its parent would.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends `signal`.
    pub fn signal(&self, signal: Signal) {
        // It may have ended by itself; whoever waits for it sees that.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// `kill -9`, and waits for the end.
    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// Where it still runs after `patience`.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().expect("waiting for a child") {
                return status;
            }
            assert!(
                Instant::now() < until,
                "process {} still runs after {patience:?}; its log ends:\n{}",
                self.id(),
                self.tail()
            );
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// Looks at `probe` until it gives a value.
///
/// # Panics
/// After `patience`, with `what` was waited for and the last reason that `probe` gave.
pub fn wait_for<T>(
    what: &str,
    patience: Duration,
    mut probe: impl FnMut() -> Result<T, String>,
) -> T {
    let until = Instant::now() + patience;
    loop {
        match probe() {
            Ok(value) => return value,
            Err(reason) if Instant::now() >= until => {
                panic!("waited {patience:?} for {what}; the last look said: {reason}")
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}
