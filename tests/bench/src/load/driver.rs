//! The parent's side of the load generator.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Line, Outcome, Spec};

/// A running load generator.
#[derive(Debug)]
pub struct LoadProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

impl LoadProcess {
    /// Starts it; its connections are being made when this returns.
    ///
    /// # Errors
    /// This program cannot be started a second time.
    pub fn start(spec: &Spec) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--load")
            .arg(serde_json::to_string(spec)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the load generator")?;
        let stdout = child.stdout.take().context("a pipe was asked for")?;
        Ok(Self {
            stdin: child.stdin.take(),
            lines: BufReader::new(stdout),
            child,
        })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the beginning of the measured window.
    ///
    /// # Errors
    /// The load generator ended instead; it has said why.
    pub fn wait_begin(&mut self) -> Result<()> {
        match self.next()? {
            Line::Begin => Ok(()),
            other => bail!("the load generator said {other:?} before it began"),
        }
    }

    /// Waits for the end of the measured window, and tells `progress` how far it is.
    ///
    /// # Errors
    /// The load generator ended instead; it has said why.
    pub fn wait_end(&mut self, mut progress: impl FnMut(u64)) -> Result<()> {
        loop {
            match self.next()? {
                Line::Progress(answered) => progress(answered),
                Line::End => return Ok(()),
                other => bail!("the load generator said {other:?} before its end"),
            }
        }
    }

    /// Stops a load that runs until it is told.
    pub fn stop(&mut self) {
        self.stdin = None;
    }

    /// What was measured; after its end.
    ///
    /// # Errors
    /// The load generator failed; it has said why.
    pub fn outcome(mut self) -> Result<Outcome> {
        let Line::Outcome(outcome) = self.next()? else {
            bail!("the load generator told no outcome");
        };
        ensure!(self.child.wait()?.success(), "the load generator failed");
        Ok(outcome)
    }

    fn next(&mut self) -> Result<Line> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        ensure!(
            !line.is_empty(),
            "the load generator ended before it was done"
        );
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for LoadProcess {
    fn drop(&mut self) {
        // It has ended already where all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
