//! One process of a cluster.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{Launch, System};

/// Longest wait for a process that was asked to end.
const END_PATIENCE: Duration = Duration::from_secs(60);

/// A running node.
#[derive(Debug)]
pub struct Node {
    child: Child,
    /// Held open: `raft3d serve --exit-on-stdin-eof` ends with us, however we end.
    _stdin: Option<ChildStdin>,
}

impl Node {
    /// Starts a node with `args`; what it prints is appended to `log`.
    ///
    /// # Errors
    /// The program is not there, or the log cannot be written.
    pub fn start(launch: &Launch, args: &[String], log: &Path) -> Result<Self> {
        let out = OpenOptions::new().create(true).append(true).open(log)?;
        let err = out.try_clone()?;
        let mut command = match launch.system {
            System::Raft3d | System::Against => Command::new(&launch.program),
            // etcd has no way of ending with its parent; the kernel sees to that.
            System::Etcd => {
                let mut command = Command::new("setpriv");
                command.args(["--pdeathsig", "KILL", "--"]);
                command.arg(&launch.program);
                command
            }
        };
        let mut child = command
            .args(args)
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self {
            _stdin: child.stdin.take(),
            child,
        })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    #[must_use]
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// `kill -9`, and waits for the end.
    pub fn kill9(mut self) {
        self.end();
    }

    /// Stops it as an operator would.
    ///
    /// # Errors
    /// It does not end, or says that something went wrong.
    pub fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let until = Instant::now() + END_PATIENCE;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < until, "a node does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
        let status = self.child.wait()?;
        ensure!(status.success(), "a node ended with {status}");
        Ok(())
    }

    fn end(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}
