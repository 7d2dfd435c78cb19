//! Rulesets in JSON.

use core::str::FromStr;

use raft3d_engine::core::command::{ActivateRuleset, RollbackRuleset};
use raft3d_engine::core::state::rulesets::{
    Binding, DecisionsKept, Finding, Mode, Ruleset, RulesetRevision, SHARE_ALL, Scope,
};
use raft3d_engine::core::{BindingId, ModuleDigest, Revision};
use raft3d_engine::sdk::{Hook, HookSet};
use serde::Serialize;
use serde::ser::{Error, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::config;
use super::policy::{LifecycleOut, hook_names};
use super::time::TimeOut;
use crate::http::fields::{Door, Fields};
use crate::http::problem::Problem;

/// A ruleset as it was activated.
#[derive(Debug, Serialize)]
pub(crate) struct RulesetV1<'a> {
    pub(crate) revision: u64,
    bindings: Vec<BindingOut<'a>>,
    decisions_kept: Value,
    lifecycle: LifecycleOut<'a>,
    activated_by: &'a str,
    activated_at: TimeOut,
    reason: Option<&'a str>,
    rollback_of: Option<u64>,
    warnings: Vec<FindingOut<'a>>,
}

/// Something about a ruleset that its author should know.
#[derive(Debug, Serialize)]
struct FindingOut<'a> {
    pointer: &'a str,
    message: &'a str,
}

impl<'a> From<&'a RulesetRevision> for RulesetV1<'a> {
    fn from(row: &'a RulesetRevision) -> Self {
        Self {
            revision: row.revision.0,
            bindings: row.ruleset.bindings.iter().map(BindingOut::from).collect(),
            decisions_kept: json!({
                "count": row.ruleset.decisions_kept.count,
                "days": row.ruleset.decisions_kept.days,
            }),
            lifecycle: LifecycleOut::from(&row.lifecycle),
            activated_by: &row.activated_by.name,
            activated_at: TimeOut(row.activated_at_ms),
            reason: row.reason.as_deref(),
            rollback_of: row.rollback_of.map(|revision| revision.0),
            warnings: row.warnings.iter().map(FindingOut::from).collect(),
        }
    }
}

impl<'a> From<&'a Finding> for FindingOut<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            pointer: &finding.pointer,
            message: &finding.message,
        }
    }
}

#[derive(Debug, Serialize)]
struct BindingOut<'a> {
    id: &'a str,
    module: String,
    hooks: Vec<&'static str>,
    scope: Value,
    mode: &'static str,
    #[serde(serialize_with = "show_percentage")]
    percentage: u16,
    lifecycle: bool,
    config: Value,
}

impl<'a> From<&'a Binding> for BindingOut<'a> {
    fn from(binding: &'a Binding) -> Self {
        Self {
            id: binding.id.as_str(),
            module: binding.module.to_string(),
            hooks: hook_names(binding.hooks),
            scope: match &binding.scope {
                Scope::All => "all".into(),
                Scope::PrinterLabel { key, value } => {
                    json!({ "printer_label": { "key": key, "value": value } })
                }
                Scope::FilamentType(material) => json!({ "filament_type": material }),
            },
            mode: match binding.mode {
                Mode::Enforce => "enforce",
                Mode::Shadow => "shadow",
            },
            percentage: binding.share,
            lifecycle: binding.lifecycle,
            config: config::to_json(&binding.config),
        }
    }
}

/// Parts of 10,000 as per cent with up to two decimals, written without floats.
#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn show_percentage<S: Serializer>(share: &u16, serializer: S) -> Result<S::Ok, S::Error> {
    let text = format!("{}.{:02}", share / 100, share % 100);
    let text = text.trim_end_matches('0').trim_end_matches('.').to_owned();
    RawValue::from_string(text)
        .map_err(S::Error::custom)?
        .serialize(serializer)
}

/// Per cent with up to two decimals as parts of 10,000, read without floats.
fn read_percentage(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.is_empty() || fraction.len() > 2 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let hundredths = format!("{fraction:0<2}").parse::<u16>().ok()?;
    let share = whole
        .parse::<u16>()
        .ok()?
        .checked_mul(100)?
        .checked_add(hundredths)?;
    (share <= SHARE_ALL).then_some(share)
}

/// Reads the body that activates a ruleset.
pub(crate) fn read_activate(
    mut body: Fields<'_>,
    expected: Option<Revision>,
) -> Result<ActivateRuleset, Problem> {
    let items = body.array("bindings")?;
    let items = items.ok_or_else(|| Problem::field("/bindings", "is required"))?;
    let mut ruleset = Ruleset::default();
    for (at, raw) in items {
        ruleset
            .bindings
            .push(read_binding(Fields::nested(at, raw)?)?);
    }
    ruleset.decisions_kept = read_kept(&mut body)?;
    let (force, reason) = (body.flag("force")?, body.text("reason")?);
    body.finish(Door::V1)?;
    Ok(ActivateRuleset {
        ruleset,
        expected,
        force,
        reason,
    })
}

/// What is left out has its default. Whether the numbers are in range is said where they are
/// applied.
fn read_kept(body: &mut Fields<'_>) -> Result<DecisionsKept, Problem> {
    let mut kept = DecisionsKept::default();
    let at = body.pointer("decisions_kept");
    let Some(raw) = body.raw("decisions_kept") else {
        return Ok(kept);
    };
    let mut fields = Fields::nested(at, raw)?;
    for (name, value) in [("count", &mut kept.count), ("days", &mut kept.days)] {
        if let Some(given) = fields.integer(name, "above 0")? {
            *value = given;
        }
    }
    fields.finish(Door::V1)?;
    Ok(kept)
}

fn read_binding(mut body: Fields<'_>) -> Result<Binding, Problem> {
    let module_at = body.pointer("module");
    let module = ModuleDigest::from_str(&body.required_text("module")?)
        .map_err(|_| Problem::field(&module_at, "must be a SHA-256 of 64 hex digits"))?;
    let mode_at = body.pointer("mode");
    let mode = match body.text("mode")?.as_deref() {
        None | Some("enforce") => Mode::Enforce,
        Some("shadow") => Mode::Shadow,
        Some(_) => return Err(Problem::field(&mode_at, "must be enforce or shadow")),
    };
    let share_at = body.pointer("percentage");
    let share = match body.raw("percentage") {
        None => SHARE_ALL,
        Some(raw) => read_percentage(raw.get()).ok_or_else(|| {
            Problem::field(
                &share_at,
                "must be a number from 0 to 100 with at most two decimals",
            )
        })?,
    };
    let config_at = body.pointer("config");
    let binding = Binding {
        id: BindingId::new(body.required_text("id")?),
        module,
        hooks: read_hooks(&mut body)?,
        scope: read_scope(&mut body)?,
        mode,
        share,
        lifecycle: body.flag("lifecycle")?,
        config: match body.raw("config") {
            None => config::EMPTY_CONFIG.to_vec(),
            Some(raw) => config::to_cbor(&config_at, raw)?,
        },
    };
    body.finish(Door::V1)?;
    Ok(binding)
}

fn read_hooks(body: &mut Fields<'_>) -> Result<HookSet, Problem> {
    let items = body.array("hooks")?;
    let items = items.ok_or_else(|| Problem::field(&body.pointer("hooks"), "is required"))?;
    let mut hooks = Vec::new();
    for (at, raw) in items {
        let name = serde_json::from_str::<String>(raw.get()).unwrap_or_default();
        let hook = Hook::from_name(&name)
            .ok_or_else(|| Problem::field(&at, "must be admission, transition or deduction"))?;
        hooks.push(hook);
    }
    Ok(HookSet::of(&hooks))
}

fn read_scope(body: &mut Fields<'_>) -> Result<Scope, Problem> {
    let at = body.pointer("scope");
    let Some(raw) = body.raw("scope") else {
        return Ok(Scope::All);
    };
    let choices = "must be \"all\", {\"printer_label\":{\"key\",\"value\"}} or \
                   {\"filament_type\":\"…\"}";
    if let Ok(word) = serde_json::from_str::<String>(raw.get()) {
        let all = word == "all";
        return if all {
            Ok(Scope::All)
        } else {
            Err(Problem::field(&at, choices))
        };
    }
    let mut scope = Fields::nested(at.clone(), raw).map_err(|_| Problem::field(&at, choices))?;
    let label_at = scope.pointer("printer_label");
    let selected = match (scope.raw("printer_label"), scope.text("filament_type")?) {
        (Some(raw), None) => {
            let mut label = Fields::nested(label_at, raw)?;
            let (key, value) = (label.required_text("key")?, label.required_text("value")?);
            label.finish(Door::V1)?;
            Scope::PrinterLabel { key, value }
        }
        (None, Some(material)) => Scope::FilamentType(material),
        _ => return Err(Problem::field(&at, choices)),
    };
    scope.finish(Door::V1)?;
    Ok(selected)
}

/// Reads the body that rolls back; nothing at all means the revision before.
pub(crate) fn read_rollback(
    body: Option<Fields<'_>>,
    expected: Option<Revision>,
) -> Result<RollbackRuleset, Problem> {
    let mut rollback = RollbackRuleset {
        to: None,
        expected,
        force: false,
        reason: None,
    };
    if let Some(mut body) = body {
        rollback.to = body.integer("to", "(a revision)")?.map(Revision);
        rollback.force = body.flag("force")?;
        rollback.reason = body.text("reason")?;
        body.finish(Door::V1)?;
    }
    Ok(rollback)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn percentages_pass_no_float() {
        for (text, share) in [
            ("100", Some(10_000)),
            ("0", Some(0)),
            ("12.5", Some(1_250)),
            ("0.01", Some(1)),
            ("99.99", Some(9_999)),
            ("100.00", Some(10_000)),
            ("100.01", None),
            ("0.001", None),
            ("-1", None),
            ("1e1", None),
            ("\"50\"", None),
            ("70000", None),
        ] {
            assert_eq!(read_percentage(text), share, "{text}");
        }
        let show = |share: u16| {
            let mut out = Vec::new();
            show_percentage(&share, &mut serde_json::Serializer::new(&mut out)).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            [10_000, 0, 1_250, 1, 1_000].map(show),
            ["100", "0", "12.5", "0.01", "10"]
        );
    }
}
