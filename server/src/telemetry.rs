//! Logs: on standard error, filtered by the environment variable `RAFT3D_LOG`.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// Name of the environment variable with the filter, such as `info` or `raft3d_server=debug,info`.
pub const FILTER_VARIABLE: &str = "RAFT3D_LOG";
/// The filter where the variable is not set: openraft tells at `info` what only its authors need.
const FILTER_DEFAULT: &str = "info,openraft=warn";

/// Starts logging.
///
/// # Errors
/// A filter that is not understood.
pub fn start() -> anyhow::Result<()> {
    let filter = std::env::var(FILTER_VARIABLE).unwrap_or_else(|_| FILTER_DEFAULT.to_owned());
    let filter = EnvFilter::try_new(&filter)
        .with_context(|| format!("{FILTER_VARIABLE}=\"{filter}\" is not understood"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(wants_color(&std::io::stderr()))
        // It would be told on standard error, with a panic where that is what is gone.
        .log_internal_errors(false)
        .init();
    Ok(())
}

/// Whether to color what goes to `stream` (no-color.org).
#[must_use]
pub fn wants_color(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none()
}
