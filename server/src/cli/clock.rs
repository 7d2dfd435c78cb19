//! `raft3d clock`: a node's clock beside the log's time, and the ways back if one of them is wrong.

use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::client::{Node, NodeArgs, shown};
use super::print;

/// Where the clock is.
const CLOCK: &str = "/api/v1/cluster/clock";

/// What may be done with the clock, and on which node.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    node: NodeArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Show the node's clock beside the log's time (the default)
    Show,
    /// Set how far log time goes ahead of the clocks
    ///
    /// For log time that lies in the future. Without --offset-ms it goes on from where it stands, at
    /// the clocks' pace. Log time never goes back: with a smaller offset it stands still until the
    /// clocks have reached it.
    Set {
        /// Milliseconds that are added to the clocks; 0 takes the offset back
        #[arg(long, value_name = "MS")]
        offset_ms: Option<u64>,
        /// Why, for whoever asks later
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Say that the clock of the node at --node is right, as `serve --trust-clock` at a start
    ///
    /// For a node that takes no writes because nothing speaks for its clock, such as one that runs
    /// alone and was suspended for more than an hour. Look at `date` on that machine first.
    Trust {
        /// Why, for whoever asks later
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

/// Does it.
pub(super) fn run(args: &Args) -> Result<()> {
    let node = args.node.connect()?;
    let clock = match &args.command {
        None | Some(Command::Show) => node.get(CLOCK)?,
        Some(Command::Set { offset_ms, reason }) => {
            let offset = offset_ms.map(|ms| ("offset_ms", json!(ms)));
            put(&node, offset, reason.as_deref())?
        }
        Some(Command::Trust { reason }) => {
            put(&node, Some(("trust_clock", json!(true))), reason.as_deref())?
        }
    };
    print(&told(&clock))
}

/// Changes the clock, if nobody else does meanwhile, and answers it as it is then.
fn put(node: &Node, wanted: Option<(&str, Value)>, reason: Option<&str>) -> Result<Value> {
    let seen = node.get(CLOCK)?;
    let revision = seen.get("revision").and_then(Value::as_u64);
    let revision = revision.context("the node's answer has no revision: is this a Raft3D node?")?;
    let mut body = Map::new();
    body.extend(wanted.map(|(name, value)| (name.to_owned(), value)));
    body.extend(reason.map(|why| ("reason".to_owned(), json!(why))));
    node.send("PUT", CLOCK, &Value::Object(body), Some(revision))
}

/// The clock for people, one line for each thing.
fn told(clock: &Value) -> String {
    let field = |of: &Value, name: &str| match of.get(name) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(value) => shown(value),
    };
    let mut lines = format!(
        "clock      {} (evidence: {})\nlog time   {} ({} ms ahead of clock and offset)\noffset     \
         {} ms\n",
        field(clock, "clock"),
        field(clock, "evidence"),
        field(clock, "log_time"),
        field(clock, "log_time_ahead_ms"),
        field(clock, "offset_ms"),
    );
    if let Some(last) = clock.get("last_adjustment").filter(|last| !last.is_null()) {
        lines += &format!(
            "adjusted   at {} (revision {}) by {}, from {} to {} ms: {}\n",
            field(last, "at"),
            field(last, "revision"),
            field(last, "by"),
            field(last, "from_offset_ms"),
            field(last, "to_offset_ms"),
            field(last, "reason"),
        );
    }
    match clock.get("waits").and_then(Value::as_str) {
        Some(waits) => lines += &format!("writes     paused: {waits}\n"),
        None => lines += "writes     this node would stamp them\n",
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_told_in_lines_that_say_what_stops_writes_and_who_adjusted_it() {
        let clock = json!({
            "revision": 9, "offset_ms": 5, "log_time": "2026-12-01T00:00:00.000Z",
            "clock": "2026-12-01T02:00:00.000Z", "log_time_ahead_ms": 0, "evidence": "none",
            "waits": "its clock is 2 h ahead",
            "last_adjustment": {
                "revision": 9, "at": "2026-11-30T00:00:00.000Z", "by": "ann", "by_verified": false,
                "from_offset_ms": 0, "to_offset_ms": 5, "reason": null,
            },
        });
        let lines = told(&clock);
        for part in [
            "paused: its clock is 2 h ahead",
            "by ann, from 0 to 5 ms: -",
            "evidence: none",
            "offset     5 ms",
        ] {
            assert!(lines.contains(part), "{part} in\n{lines}");
        }
        let sound = told(&json!({ "waits": null, "last_adjustment": null }));
        assert!(
            sound.contains("would stamp them") && !sound.contains("adjusted"),
            "{sound}"
        );
    }
}
