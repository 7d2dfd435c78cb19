//! `raft3d ruleset`: what is active, and changing it.

mod diff;
mod file;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Node, NodeArgs, shown};
use super::{print, succeed};
use diff::{Change, StateChange};
use file::{Reviewed, RulesetFile, StateOf};

/// `diff`: the file would change something.
const EXIT_CHANGES: u8 = 2;
/// Most revisions that a cluster keeps, and so lists.
const HISTORY_MAX: usize = 100;
/// Jobs counted per state that would be lost.
const JOBS_COUNTED_MAX: usize = 100;
/// Where the active ruleset is.
const RULESET: &str = "/api/v1/ruleset";

/// What may be done with a ruleset, and where.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    node: NodeArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Print the active ruleset as a ruleset file
    Show,
    /// Show what a ruleset file would change
    ///
    /// Exits with 0 where it changes nothing, with 2 where it does, and with 1 after an error.
    Diff {
        /// The ruleset: JSON as for `PUT /api/v1/ruleset`; `module` may also be NAME[@VERSION] of
        /// an uploaded module, or the path of a .wasm file, seen from this file
        file: PathBuf,
    },
    /// Make a ruleset file the active ruleset, if nobody else changed it meanwhile
    Apply {
        /// As for `diff`; modules that are given as files are uploaded
        file: PathBuf,
        /// Also if open jobs are in states that the new lifecycle lacks, or a configuration names
        /// what does not exist
        #[arg(long)]
        force: bool,
        /// Why, for the history
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Return to an earlier revision
    Rollback {
        /// Which one [default: the one before the active one]
        revision: Option<u64>,
    },
    /// List the revisions, newest first
    History,
}

/// Does it.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let node = args.node.connect()?;
    match &args.command {
        Command::Show => show(&node).map(succeed),
        Command::Diff { file } => show_diff(&node, &RulesetFile::read(file)?),
        Command::Apply {
            file,
            force,
            reason,
        } => {
            let file = RulesetFile::read(file)?;
            apply(&node, file, *force, reason.as_deref()).map(succeed)
        }
        Command::Rollback { revision } => rollback(&node, *revision).map(succeed),
        Command::History => history(&node).map(succeed),
    }
}

/// The active ruleset as the server shows it, and its revision.
fn active(node: &Node) -> Result<(Value, u64)> {
    let active = node.get(RULESET)?;
    let revision = revision_of(&active)?;
    Ok((active, revision))
}

fn revision_of(ruleset: &Value) -> Result<u64> {
    ruleset
        .get("revision")
        .and_then(Value::as_u64)
        .context("the node's answer has no revision: is this a Raft3D node?")
}

fn show(node: &Node) -> Result<()> {
    let (active, _) = active(node)?;
    eprintln!("{}", summary(&active));
    let file = json!({
        "bindings": active.get("bindings"), "decisions_kept": active.get("decisions_kept"),
    });
    print(&format!("{}\n", serde_json::to_string_pretty(&file)?))
}

/// One line about a revision.
fn summary(ruleset: &Value) -> String {
    let field = |name: &str| {
        ruleset
            .get(name)
            .filter(|value| !value.is_null())
            .map(shown)
    };
    let bindings = ruleset.get("bindings").and_then(Value::as_array);
    let ids: Vec<_> = bindings
        .into_iter()
        .flatten()
        .filter_map(|binding| binding.get("id").map(shown))
        .collect();
    let mut line = format!(
        "revision {} by {} at {}: {}",
        field("revision").unwrap_or_default(),
        field("activated_by").unwrap_or_default(),
        field("activated_at").unwrap_or_default(),
        ids.join(", ")
    );
    if let Some(of) = field("rollback_of") {
        line += &format!(" (back to {of})");
    }
    if let Some(reason) = field("reason") {
        line += &format!(" ({reason})");
    }
    line
}

/// What a file changes, as lines for people; none where it changes nothing. `reviewed` knows the
/// bindings as they would be stored: an alias that means the same changes nothing.
fn changes(
    node: &Node,
    active: &Value,
    file: &RulesetFile,
    reviewed: Option<&Reviewed>,
) -> Result<Vec<String>> {
    let found = diff::bindings(
        active.get("bindings").unwrap_or(&Value::Null),
        reviewed.map_or(file.bindings(), |it| &it.bindings),
    );
    let kept = diff::decisions_kept(active.get("decisions_kept"), file.decisions_kept());
    let mut lines: Vec<_> = found.iter().chain(&kept).map(Change::to_string).collect();
    let old = file::states_of(active.get("lifecycle").unwrap_or(&Value::Null));
    // A file without a lifecycle is refused by the server, which says so better.
    if let Some(new) = file.lifecycle().map(file::states_of_manifest) {
        for change in diff::states(&old, &new) {
            lines.push(change.to_string());
            if let StateChange::Lost(state) = &change
                && !state.is_terminal
                && let Some(line) = stranded(node, state)?
            {
                lines.push(line);
            }
        }
    }
    Ok(lines)
}

/// Open jobs in a state that would be lost.
fn stranded(node: &Node, state: &StateOf) -> Result<Option<String>> {
    let path = format!("/api/v1/print_jobs?status={}", percent_encoded(&state.name));
    let jobs = node.list(&path, JOBS_COUNTED_MAX)?;
    let more = if jobs.len() == JOBS_COUNTED_MAX {
        " or more"
    } else {
        ""
    };
    Ok((!jobs.is_empty()).then(|| {
        format!(
            "! {}{more} open jobs are in the state {} and would be stranded (apply needs --force)",
            jobs.len(),
            state.name
        )
    }))
}

/// A text as part of a URL's query (RFC 3986).
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}

fn show_diff(node: &Node, file: &RulesetFile) -> Result<ExitCode> {
    let (active, revision) = active(node)?;
    let file = file.clone().resolved(node)?;
    let reviewed = file.reviewed();
    let lines = changes(node, &active, &file, reviewed.as_ref())?;
    let exit = if lines.is_empty() {
        print(&format!("no change to revision {revision}\n"))?;
        ExitCode::SUCCESS
    } else {
        print(&format!(
            "changes to revision {revision}:\n{}\n",
            lines.join("\n")
        ))?;
        ExitCode::from(EXIT_CHANGES)
    };
    for failure in file.config_failures() {
        print(&format!("! apply would be refused: {failure}\n"))?;
    }
    if let Some(Reviewed {
        problems, warnings, ..
    }) = reviewed
    {
        for problem in problems {
            print(&format!(
                "! apply would be refused (it needs --force): {problem}\n"
            ))?;
        }
        for warning in warnings {
            print(&format!("warning: {warning}\n"))?;
        }
    }
    Ok(exit)
}

fn apply(node: &Node, file: RulesetFile, force: bool, reason: Option<&str>) -> Result<()> {
    let (active, revision) = active(node)?;
    let file = file.resolved(node)?;
    let lines = changes(node, &active, &file, file.reviewed().as_ref())?;
    if lines.is_empty() {
        return print(&format!("no change: revision {revision} stays active\n"));
    }
    print(&format!(
        "changes to revision {revision}:\n{}\n",
        lines.join("\n")
    ))?;
    file.upload_missing(node)?;
    let body = file.body(force, reason);
    let applied = node
        .send("PUT", RULESET, &body, Some(revision))
        .context("nothing was changed")?;
    print(&format!("active: revision {}\n", revision_of(&applied)?))?;
    print_warnings(&applied)
}

/// What the node says to the ruleset that it made the active one.
fn print_warnings(ruleset: &Value) -> Result<()> {
    let warnings = ruleset.get("warnings").and_then(Value::as_array);
    for warning in warnings.into_iter().flatten() {
        let text = |name: &str| warning.get(name).map(shown).unwrap_or_default();
        let (pointer, message) = (text("pointer"), text("message"));
        print(&format!("warning: {pointer}: {message}\n"))?;
    }
    Ok(())
}

fn rollback(node: &Node, to: Option<u64>) -> Result<()> {
    let (_, revision) = active(node)?;
    let body = to.map_or_else(|| json!({}), |to| json!({ "to": to }));
    // With the revision that was seen: two operators must not toggle each other's rollback.
    let path = format!("{RULESET}/rollback");
    let now = node
        .send("POST", &path, &body, Some(revision))
        .context("nothing was changed")?;
    print(&format!("active: {}\n", summary(&now)))?;
    print_warnings(&now)
}

fn history(node: &Node) -> Result<()> {
    for revision in node.list("/api/v1/ruleset/revisions", HISTORY_MAX)? {
        print(&format!("{}\n", summary(&revision)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_any_name_go_into_a_query() {
        assert_eq!(
            percent_encoded("Awaiting approval & é"),
            "Awaiting%20approval%20%26%20%C3%A9"
        );
    }

    #[test]
    fn a_revision_is_one_line() {
        let ruleset = json!({"revision": 7, "activated_by": "ada", "activated_at": "t",
            "bindings": [{"id": "a"}, {"id": "b"}], "reason": "why", "rollback_of": 3});
        assert_eq!(
            summary(&ruleset),
            "revision 7 by ada at t: a, b (back to 3) (why)"
        );
    }
}
