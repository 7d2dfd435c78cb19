//! Recorded decisions of a live cluster, read from one node.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use raft3d_engine::core::ModuleDigest;
use raft3d_engine::core::limits::MODULES_MAX;
use raft3d_engine::core::state::decisions::DecisionRecord;
use raft3d_engine::sdk::{Lifecycle, State};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Next, digest, record};
use crate::cli::client::{Node, NodeArgs};
use crate::http::config_to_cbor;

/// Records asked for at once: a page of the largest ones that there may be is still read.
const PAGE_RECORDS: usize = 100;
/// Where they are.
const DECISIONS: &str = "/api/v1/decisions";
/// What to do if a page is refused because its records were forgotten while others were read.
const EXPIRED_MEANWHILE: &str = "the records could not be read to the end (if some are no longer \
    kept: give a later --since, keep more of them by the ruleset's decisions_kept, or ask a backup \
    by --backup)";

/// A node, and the entry up to which its records are read: the log goes on meanwhile.
pub(super) struct Live {
    node: Node,
    newest: u64,
    ruleset: Value,
}

impl Live {
    /// Asks for the active ruleset, and so for the present revision.
    ///
    /// # Errors
    /// The node cannot be asked.
    pub(super) fn connect(node: &NodeArgs) -> Result<Self> {
        let node = node.connect()?;
        let answer = node.read("/api/v1/ruleset")?;
        let newest = answer
            .revision
            .context("the answer has no Raft3d-Revision: is this a Raft3D node?")?;
        Ok(Self {
            node,
            newest,
            ruleset: answer.body,
        })
    }

    pub(super) const fn newest(&self) -> u64 {
        self.newest
    }

    pub(super) fn modules_called(&self, name: &str) -> Result<BTreeSet<ModuleDigest>> {
        let modules = usize::try_from(MODULES_MAX).unwrap_or(usize::MAX);
        let modules = self.node.list("/api/v1/policies", modules)?;
        let text = |module: &Value, field: &str| {
            let text = module.get(field).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let called = modules.iter().filter(|module| text(module, "name") == name);
        called
            .map(|module| digest(&text(module, "sha256")))
            .collect()
    }

    /// The states of the active ruleset, as far as names are compared with them.
    pub(super) fn lifecycle(&self) -> Option<Lifecycle> {
        let texts = |value: Option<&Value>| -> Vec<String> {
            let texts = value.and_then(Value::as_array).into_iter().flatten();
            texts.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let states = self.ruleset.pointer("/lifecycle/states");
        let states = states.and_then(Value::as_array).into_iter().flatten();
        let state = |state: &Value| State {
            name: state
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            aliases: texts(state.get("aliases")),
            ..State::default()
        };
        let states: Vec<_> = states.map(state).collect();
        (!states.is_empty()).then(|| Lifecycle {
            states,
            ..Lifecycle::default()
        })
    }

    /// Id and configuration (CBOR) of the active binding that is called so; without a name, of the
    /// one whose module is among `same_name`, where it is the only one.
    pub(super) fn active_config(
        &self,
        named: Option<&str>,
        same_name: &BTreeSet<ModuleDigest>,
    ) -> Result<Option<(String, Vec<u8>)>> {
        let bindings = self.ruleset.get("bindings").and_then(Value::as_array);
        let text = |binding: &Value, field: &str| {
            let text = binding.get(field).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let is_meant = |binding: &&Value| match named {
            Some(id) => text(binding, "id") == id,
            None => digest(&text(binding, "module")).is_ok_and(|it| same_name.contains(&it)),
        };
        let mut meant = bindings.into_iter().flatten().filter(is_meant);
        let (Some(binding), None) = (meant.next(), meant.next()) else {
            return Ok(None);
        };
        let config = binding.get("config").unwrap_or(&Value::Null).to_string();
        let config = config_to_cbor("/config", &RawValue::from_string(config)?);
        let config = config.map_err(|problem| anyhow::anyhow!("{}", problem.detail()))?;
        Ok(Some((text(binding, "id"), config)))
    }

    /// Reads page after page from about `since_ms` on.
    pub(super) fn each(
        &self,
        since_ms: u64,
        take: &mut dyn FnMut(DecisionRecord) -> Next,
    ) -> Result<()> {
        let mut path = format!("{DECISIONS}?input=cbor&limit={PAGE_RECORDS}");
        if let Some(after) = self.last_before(since_ms)? {
            path += &format!("&after={after}");
        }
        let mut next = Some(path);
        while let Some(path) = next.take() {
            let answer = self.node.read(&path).context(EXPIRED_MEANWHILE)?;
            next = answer.next;
            for value in answer.body.as_array().context("a node answered no list")? {
                let record = record::read(value).with_context(|| format!("GET {path}"))?;
                if record.revision.0 > self.newest || take(record) == Next::Enough {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A revision up to which every record is older, found by halves: records are in the order of
    /// log time. None if the oldest record that is kept is to be read, too.
    fn last_before(&self, since_ms: u64) -> Result<Option<u64>> {
        if since_ms == 0 {
            return Ok(None);
        }
        let path = format!("{DECISIONS}?input=none&limit=1");
        let page = self.node.read(&path)?.body;
        let Some(oldest) = page.get(0).filter(|oldest| {
            // What cannot be read is told when it is read.
            record::at_ms(oldest).is_ok_and(|at_ms| at_ms < since_ms)
        }) else {
            return Ok(None);
        };
        let oldest = oldest.get("revision").and_then(Value::as_u64);
        let mut low = oldest.context("a record has no revision")?;
        let mut high = self.newest;
        while high.saturating_sub(low) > PAGE_RECORDS as u64 {
            let middle = low + (high - low) / 2;
            let path = format!("{DECISIONS}?input=none&limit=1&after={middle}");
            let page = self.node.read(&path).context(EXPIRED_MEANWHILE)?.body;
            let first = page.get(0).map(record::at_ms).transpose()?;
            if first.is_some_and(|at_ms| at_ms < since_ms) {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(Some(low))
    }
}
