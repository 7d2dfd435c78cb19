//! `raft3d dev`: a whole cluster of real processes on this machine.

mod child;
mod plan;
mod roles;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use child::Event;
use plan::Plan;

/// Longest wait for all nodes to be ready.
const READY_TIME_MAX: Duration = Duration::from_secs(60);
/// Events of children that may wait.
const EVENTS_MAX: usize = 64;

/// What `dev` may be told.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct DevArgs {
    /// Number of nodes [default: 3, or as many as the folder has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=9))]
    pub(super) nodes: Option<u16>,
    /// HTTP port of the first node; the others follow [default: 8000, or as in the folder]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) http_port: Option<u16>,
    /// Peer port of the first node; the others follow [default: 9000, or as in the folder]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) peer_port: Option<u16>,
    /// Where the nodes keep their data
    #[arg(long, value_name = "DIR", default_value = "./raft3d-data")]
    pub(super) data: PathBuf,
    /// Delete what an earlier cluster left there, and begin anew
    #[arg(long)]
    pub(super) fresh: bool,
}

/// Runs the cluster until it is stopped.
pub(super) fn run(args: DevArgs) -> anyhow::Result<()> {
    let plan = Plan::make(&args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run_plan(plan))
}

/// The signals that stop a cluster.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

async fn run_plan(plan: Plan) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let (stop, watch_stop) = watch::channel(false);
    let (events, mut from_children) = mpsc::channel(EVENTS_MAX);
    let mut children = JoinSet::new();
    for node in &plan.nodes {
        let child = child::start(node, &plan)
            .with_context(|| format!("{} cannot be started", node.name()))?;
        children.spawn(child.supervise(watch_stop.clone(), events.clone()));
    }
    drop(events);
    let result = tokio::select! {
        () = signals.any() => Ok(()),
        result = watch_over(&plan, &mut from_children) => result,
    };
    // Children that have ended already do not mind.
    stop.send_replace(true);
    while from_children.recv().await.is_some() {}
    while children.join_next().await.is_some() {}
    result
}

/// Waits until all nodes are ready, says so, and goes on until the last one has ended.
async fn watch_over(plan: &Plan, events: &mut mpsc::Receiver<Event>) -> anyhow::Result<()> {
    let ready = tokio::time::timeout(READY_TIME_MAX, all_ready(plan, events));
    ready.await.unwrap_or_else(|_| {
        bail!(
            "not all nodes were ready within {} s",
            READY_TIME_MAX.as_secs()
        )
    })?;
    show_table(plan).await;
    let mut running = plan.nodes.len();
    while let Some(event) = events.recv().await {
        if let Event::Ended {
            name,
            how,
            last_line,
        } = event
        {
            running -= 1;
            let how = last_line.unwrap_or_else(|| how.to_string());
            let all = plan.nodes.len();
            tell(&format!(
                "raft3d: {name} ended ({how}); {running} of {all} run"
            ));
        }
        if running == 0 {
            break;
        }
    }
    bail!("all nodes have ended")
}

async fn all_ready(plan: &Plan, events: &mut mpsc::Receiver<Event>) -> anyhow::Result<()> {
    let mut waiting = plan.nodes.len();
    while waiting > 0 {
        match events.recv().await {
            Some(Event::Ready) => waiting -= 1,
            Some(Event::Ended {
                name,
                how,
                last_line,
            }) => match last_line {
                Some(line) => bail!("{name} did not start: {line}"),
                None => bail!("{name} did not start ({how})"),
            },
            None => bail!("all nodes have ended"),
        }
    }
    Ok(())
}

async fn show_table(plan: &Plan) {
    let roles = roles::ask(plan).await;
    let mut table = format!("\n{:<8}{:<12}URL\n", "node", "role");
    for node in &plan.nodes {
        let role = roles.get(&node.id).map_or("?", String::as_str);
        table += &format!("{:<8}{role:<12}{}\n", node.name(), node.url());
    }
    let calls = [
        ("printers", r#"{"id":"p1","company":"Prusa","model":"MK4"}"#),
        (
            "filaments",
            r#"{"id":"f1","type":"PLA","color":"Red","total_weight_in_grams":1000}"#,
        ),
        (
            "printjobs",
            r#"{"id":"job1","printer_id":"p1","filament_id":"f1","filepath":"/models/benchy.stl","print_weight_in_grams":120}"#,
        ),
    ];
    let data = plan.data.display();
    table += &format!("\nTry next, in another terminal (data is in {data}):\n");
    // Each call goes to another node, as far as there are others.
    for (node, (path, body)) in plan.nodes.iter().cycle().zip(calls) {
        table += &format!("  curl {}/{path} -d '{body}'\n", node.url());
    }
    // As in `tell`.
    let _ = writeln!(std::io::stdout(), "{table}");
}

/// Shows a line on standard error. A terminal that is gone must not end the cluster.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
