//! Logs: on standard error, filtered by the environment variable `RAFT3D_LOG`.

use std::io::IsTerminal;

use anyhow::Context;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context as LayerContext, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Name of the environment variable with the filter, such as `info` or `raft3d_server=debug,info`.
pub const FILTER_VARIABLE: &str = "RAFT3D_LOG";
/// The filter where the variable is not set: openraft tells at `info` what only its authors need, and
/// of a peer that does not answer ten times a second. That is told once, by `peer`.
const FILTER_DEFAULT: &str = "info,openraft=warn,openraft::core::heartbeat=off";
/// It has one error to tell (openraft 0.10.0-alpha.37): that the core has ended while a heartbeat was
/// under way. That is so at every stop in good order, and any other end is told where it comes from.
const HEARTBEAT_WORKER: &str = "openraft::core::heartbeat::worker";

/// What openraft says at `error` to whoever still asks while its core ends in good order: a client, a
/// snapshot, an apply. A core that ends for another reason says that reason, and not these words.
const ORDINARY_STOPS: [&str; 3] = [
    "raft stopped",
    "failed to send apply complete event",
    "sm::Worker may have shutdown",
];

/// Starts logging.
///
/// # Errors
/// A filter that is not understood.
pub fn start() -> anyhow::Result<()> {
    let filter = std::env::var(FILTER_VARIABLE).unwrap_or_else(|_| FILTER_DEFAULT.to_owned());
    let filter = EnvFilter::try_new(&filter)
        .with_context(|| format!("{FILTER_VARIABLE}=\"{filter}\" is not understood"))?;
    let ansi = wants_color(&std::io::stderr());
    subscriber(filter, ansi, std::io::stderr).init();
    Ok(())
}

fn subscriber<W>(filter: EnvFilter, ansi: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(ansi)
        // It would be told on standard error, with a panic where that is what is gone.
        .log_internal_errors(false)
        .finish()
        .with(NoOrdinaryStops)
}

/// Leaves out what openraft calls an error in an ordinary stop.
struct NoOrdinaryStops;

impl<S: Subscriber> Layer<S> for NoOrdinaryStops {
    fn event_enabled(&self, event: &Event<'_>, _: LayerContext<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() != Level::ERROR || !metadata.target().starts_with("openraft::") {
            return true;
        }
        if metadata.target() == HEARTBEAT_WORKER {
            return false;
        }
        let mut stop = IsOrdinaryStop(false);
        event.record(&mut stop);
        !stop.0
    }
}

/// Whether a message is that of an ordinary stop.
struct IsOrdinaryStop(bool);

impl Visit for IsOrdinaryStop {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let message = format!("{value:?}");
            self.0 = ORDINARY_STOPS.iter().any(|stop| message.contains(stop));
        }
    }
}

/// Whether to color what goes to `stream` (no-color.org).
#[must_use]
pub fn wants_color(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// What tests read back of what is logged.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test is to panic")]
pub(crate) mod testing {
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    pub(crate) struct Logged(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Logged {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Logged {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }
}

#[cfg(test)]
#[allow(clippy::panic, reason = "a failed test is to panic")]
mod tests {
    use super::testing::Logged;
    use super::*;

    /// openraft 0.10.0-alpha.37, `raft_inner.rs`: each call that is under way when the core ends.
    #[test]
    fn an_ordinary_stop_of_openraft_is_no_error_and_a_fault_of_it_is() {
        const CALLS: &str = "openraft::raft::raft_inner";
        let logged = Logged::default();
        let writer = logged.clone();
        let subscriber = subscriber(EnvFilter::new("info"), false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(target: CALLS, "{}: error: {}", "recv_msg", "raft stopped");
            tracing::error!(target: CALLS, "failed to send RaftMsg to RaftCore: raft stopped");
            tracing::error!(target: CALLS, "recv_msg: error: storage failed");
            tracing::error!(target: "raft3d_engine::raft", "raft stopped: the disk failed");
            tracing::warn!(target: CALLS, "raft stopped, and it is worth a warning");
        });
        let written = logged.text();
        let told: Vec<_> = written.lines().collect();
        let [storage, ours, warned] = told.as_slice() else {
            panic!("{written}")
        };
        assert!(storage.contains("storage failed") && ours.contains("the disk failed"));
        assert!(warned.contains("WARN"));
    }

    #[test]
    fn a_heartbeat_that_a_stop_cuts_short_is_no_error() {
        let logged = Logged::default();
        let writer = logged.clone();
        let subscriber = subscriber(EnvFilter::new("info"), false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(target: HEARTBEAT_WORKER, "the core is gone");
            tracing::warn!(target: HEARTBEAT_WORKER, "no answer");
            tracing::error!(target: "openraft::core", "another error");
            tracing::debug!("too much");
        });
        let written = logged.text();
        let told: Vec<_> = written.lines().collect();
        let [warned, failed] = told.as_slice() else {
            panic!("{written}")
        };
        assert!(warned.contains("no answer") && failed.contains("another error"));
    }
}
