//! Logs: on standard error, filtered by the environment variable `RAFT3D_LOG`.

use std::io::IsTerminal;

use anyhow::Context;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Name of the environment variable with the filter, such as `info` or `raft3d_server=debug,info`.
pub const FILTER_VARIABLE: &str = "RAFT3D_LOG";
/// The filter where the variable is not set: openraft tells at `info` what only its authors need, and
/// of a peer that does not answer ten times a second. That is told once, by `peer`.
const FILTER_DEFAULT: &str = "info,openraft=warn,openraft::core::heartbeat=off";
/// It has one error to tell (openraft 0.10.0-alpha.37): that the core has ended while a heartbeat was
/// under way. That is so at every stop in good order, and any other end is told where it comes from.
const HEARTBEAT_WORKER: &str = "openraft::core::heartbeat::worker";

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
        .with(filter_fn(is_told))
}

fn is_told(metadata: &Metadata<'_>) -> bool {
    metadata.target() != HEARTBEAT_WORKER || *metadata.level() != Level::ERROR
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
