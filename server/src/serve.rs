//! `raft3d serve`: one node, from its start to its end.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::backend::Backend;
use crate::config::ServeConfig;
use crate::http;
use crate::node::RunningNode;

/// What is printed, alone on its line, once the node serves.
pub const READY_LINE: &str = "ready";
/// How long threads may take to end when the node has.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(5);
/// How often a node that is starting is asked whether it is ready.
const READY_POLL: Duration = Duration::from_millis(20);

/// Runs a node until it is told to stop.
///
/// # Errors
/// One line about what keeps it from starting, or about the fault that stopped it.
pub fn run(config: ServeConfig) -> anyhow::Result<()> {
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(worker_threads())
        .enable_all()
        .build()
        .context("the runtime does not start")?;
    let ended = runtime.block_on(serve(config));
    // A thread that hangs on a disk must not keep a node that has failed alive.
    runtime.shutdown_timeout(LEAVE_TIME_MAX);
    ended
}

/// One thread for each processor but one: that is the applying thread's and the log writer's, which
/// are not among them. More threads than processors only take turns.
fn worker_threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    processors.saturating_sub(1).max(1)
}

/// Connections, segments and table files are open at once; the usual soft limit of 1,024 is tight.
fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    ) {
        tracing::warn!(%error, "the limit of open files was not raised");
    }
}

/// Why to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// A signal: this node goes, the others stay.
    Asked,
    /// The end of standard input: whoever started this node goes, and so do all that it started.
    WithParent,
}

async fn serve(config: ServeConfig) -> anyhow::Result<()> {
    let stop = stop_signals(config.exit_on_stdin_eof)?;
    let http = bind("--http", config.http).await?;
    let peer = bind("--peer", config.peer).await?;
    let http_address = http.local_addr()?;
    let Some(node) = until(&stop, RunningNode::start(&config, peer, http_address)).await else {
        return Ok(());
    };
    let mut node = node?;
    let (close_http, closing) = watch::channel(());
    let backend = Arc::clone(&node.backend);
    let serving = tokio::spawn(http::serve(http, http::router(backend), closed(closing)));
    let announcing = announce(Arc::clone(&node.backend));
    let ended = tokio::select! {
        fault = node.fault() => Err(anyhow!("the node has stopped: {fault}")),
        () = announcing => Ok(()),
        () = stopped(stop.clone()) => Ok(()),
    };
    drop(close_http);
    serving.await.context("the HTTP server failed")?;
    if ended.is_ok() {
        let reason = *stop.borrow();
        match reason {
            // Nobody would be left to take a leadership over.
            Some(Stop::WithParent) => node.halt().await,
            _ => node.shutdown().await,
        }
        tracing::info!("stopped");
    }
    ended
}

/// Says when the node is ready, and goes on for ever.
async fn announce(backend: Arc<dyn Backend>) {
    while backend.status().not_ready.is_some() {
        tokio::time::sleep(READY_POLL).await;
    }
    // Whoever reads standard output may be gone; the node serves all the same.
    let _ = writeln!(std::io::stdout(), "{READY_LINE}");
    std::future::pending::<()>().await;
}

/// What `work` comes to, unless the process is told to stop first.
async fn until<T>(
    stop: &watch::Receiver<Option<Stop>>,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        result = work => Some(result),
        () = stopped(stop.clone()) => None,
    }
}

async fn stopped(mut stop: watch::Receiver<Option<Stop>>) {
    if stop.wait_for(Option::is_some).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Completes when the sender is dropped.
async fn closed(mut closing: watch::Receiver<()>) {
    while closing.changed().await.is_ok() {}
}

async fn bind(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{flag} {address} cannot be used"))
}

/// Says why to stop: SIGINT, SIGTERM, or the end of standard input where that was asked for.
fn stop_signals(on_stdin_eof: bool) -> anyhow::Result<watch::Receiver<Option<Stop>>> {
    let (stop, watch_stop) = watch::channel(None);
    let stop = Arc::new(stop);
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut signals = signal(kind).context("signals cannot be handled")?;
        let stop = Arc::clone(&stop);
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                stop.send_replace(Some(Stop::Asked));
            }
        });
    }
    if on_stdin_eof {
        // A thread of its own, never joined: a read of standard input cannot be called off.
        std::thread::Builder::new()
            .name("stdin-eof".to_owned())
            .spawn(move || {
                let mut stdin = std::io::stdin().lock();
                let mut buffer = [0; 1024];
                while stdin.read(&mut buffer).is_ok_and(|read| read > 0) {}
                stop.send_replace(Some(Stop::WithParent));
            })
            .context("a thread for standard input cannot be started")?;
    }
    Ok(watch_stop)
}
