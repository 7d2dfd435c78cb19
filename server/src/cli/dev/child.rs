//! One node as a child process: its output, its end.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};

use super::plan::{NodePlan, Plan};
use crate::serve::READY_LINE;
use crate::telemetry;

/// How long a child may take to stop before it is killed.
const STOP_TIME_MAX: Duration = Duration::from_secs(15);
/// How an error on the command line begins.
const FAILURE_PREFIX: &str = "raft3d: ";
/// Colors of the prefixes (ECMA-48, select graphic rendition).
const COLORS: [u8; 6] = [36, 33, 35, 32, 34, 31];

/// What happens to a child.
#[derive(Debug)]
pub(super) enum Event {
    /// It serves.
    Ready,
    /// It has ended.
    Ended {
        /// Which.
        name: String,
        /// Its exit code or signal.
        how: ExitStatus,
        /// What it said last, where that was an error.
        last_line: Option<String>,
    },
}

/// A started child.
pub(super) struct Running {
    name: String,
    prefix: String,
    process: Child,
    /// Held open: the child stops when it closes, and so also when this process is killed.
    stdin: Option<ChildStdin>,
}

/// Starts `raft3d serve` for `node`.
pub(super) fn start(node: &NodePlan, plan: &Plan) -> anyhow::Result<Running> {
    let members = plan
        .nodes
        .iter()
        .map(|n| format!("{}={}/{}", n.id, n.peer, n.http));
    let members = members.collect::<Vec<_>>().join(",");
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["serve", "--exit-on-stdin-eof"])
        .args(["--node-id", &node.id.to_string()])
        .args([
            "--http",
            &node.http.to_string(),
            "--peer",
            &node.peer.to_string(),
        ])
        .args(["--initial-cluster", &members])
        .arg("--data")
        .arg(&node.data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: Ctrl-C reaches this process alone, which then stops them in order.
        .process_group(0)
        .kill_on_drop(true);
    // Of several nodes on one machine each has the others' word for the same clock; one alone would
    // wait for its operator after every weekend.
    if plan.nodes.len() == 1 {
        command.arg("--trust-clock");
    }
    let mut process = command.spawn()?;
    let stdin = process.stdin.take();
    Ok(Running {
        name: node.name(),
        prefix: prefix(node),
        process,
        stdin,
    })
}

fn prefix(node: &NodePlan) -> String {
    let name = node.name();
    if !telemetry::wants_color(&std::io::stderr()) {
        return format!("{name} | ");
    }
    let place = usize::try_from(node.id).unwrap_or_default();
    let color = COLORS
        .iter()
        .cycle()
        .nth(place.saturating_sub(1) % COLORS.len())
        .unwrap_or(&36);
    format!("\u{1b}[{color}m{name} |\u{1b}[0m ")
}

impl Running {
    /// Passes its output on until it ends, by itself or because `stop` says so.
    pub(super) async fn supervise(
        mut self,
        mut stop: watch::Receiver<bool>,
        events: mpsc::Sender<Event>,
    ) {
        let out = self.process.stdout.take().map(BufReader::new);
        let err = self.process.stderr.take().map(BufReader::new);
        let out = tokio::spawn(pass_on(out, self.prefix.clone(), Some(events.clone())));
        let err = tokio::spawn(pass_on(err, self.prefix.clone(), None));
        let ended = tokio::select! {
            ended = self.process.wait() => ended,
            () = async { drop(stop.wait_for(|stop| *stop).await) } => self.stop().await,
        };
        let (_, last_line) = tokio::join!(out, err);
        let last_line = last_line.ok().flatten();
        if let Ok(how) = ended {
            // Nobody listens any more where the cluster is being stopped.
            let _ = events
                .send(Event::Ended {
                    name: self.name,
                    how,
                    last_line,
                })
                .await;
        }
    }

    /// The end of its input, patience, SIGKILL. Not SIGTERM: on that, a node hands its leadership
    /// over first, and here all of them go.
    async fn stop(&mut self) -> std::io::Result<ExitStatus> {
        self.stdin = None;
        if let Ok(ended) = tokio::time::timeout(STOP_TIME_MAX, self.process.wait()).await {
            return ended;
        }
        let patience_s = STOP_TIME_MAX.as_secs();
        super::tell(&format!(
            "raft3d: {} did not stop within {patience_s} s",
            self.name
        ));
        self.process.start_kill()?;
        self.process.wait().await
    }
}

/// Shows a child's lines with its name before each. Answers its last error, if it showed one.
async fn pass_on(
    stream: Option<BufReader<impl AsyncRead + Unpin>>,
    prefix: String,
    on_ready: Option<mpsc::Sender<Event>>,
) -> Option<String> {
    let mut stream = stream?;
    let mut failure = None;
    let mut line = Vec::new();
    while stream
        .read_until(b'\n', &mut line)
        .await
        .is_ok_and(|read| read > 0)
    {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        if let Some(error) = text.strip_prefix(FAILURE_PREFIX) {
            // Shown with its end, once.
            failure = Some(error.to_owned());
            continue;
        }
        match &on_ready {
            Some(events) if text == READY_LINE => {
                let _ = events.send(Event::Ready).await;
            }
            _ => super::tell(&format!("{prefix}{text}")),
        }
    }
    failure
}
