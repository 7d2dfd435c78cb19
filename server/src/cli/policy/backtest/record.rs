//! A decision record as the API shows it, read back.

use anyhow::{Context, Result, bail};
use raft3d_engine::core::state::decisions::{Decision, DecisionRecord, Verdict};
use raft3d_engine::core::state::rulesets::Mode;
use raft3d_engine::core::{BindingId, JobId, PolicyError, Revision};
use raft3d_engine::sdk::{DenyClass, Grams, Hook, Warning};
use serde_json::Value;

use super::digest;
use crate::http::parse_time;

/// Reads a record that was asked for with `input=cbor`.
///
/// # Errors
/// A field that is missing or not understood, by name: the node may be of another version.
pub(super) fn read(value: &Value) -> Result<DecisionRecord> {
    let decisions = field(value, "decisions")?;
    let decisions = decisions.as_array().context("decisions is no list")?;
    Ok(DecisionRecord {
        revision: Revision(number(value, "revision")?),
        at_ms: at_ms(value)?,
        epoch: u32::try_from(number(value, "engine_epoch")?).context("engine_epoch")?,
        ruleset: Revision(number(value, "ruleset")?),
        job: JobId::new(text(value, "job_id")?),
        input: hex::decode(text(value, "input_cbor")?)
            .ok()
            .context("input_cbor is not in hex")?,
        decisions: decisions.iter().map(decision).collect::<Result<_>>()?,
    })
}

/// Log time of a record, milliseconds since the Unix epoch.
///
/// # Errors
/// It has none.
pub(super) fn at_ms(value: &Value) -> Result<u64> {
    let at = text(value, "at")?;
    parse_time(at).with_context(|| format!("at: {at} is no time"))
}

fn decision(value: &Value) -> Result<Decision> {
    let hook = text(value, "hook")?;
    let input_digest = hex::decode(text(value, "input_blake3")?).unwrap_or_default();
    let warnings = field(value, "warnings")?.as_array();
    let warning = |warning: &Value| {
        Ok(Warning {
            code: text(warning, "code")?.to_owned(),
            message: text(warning, "message")?.to_owned(),
        })
    };
    Ok(Decision {
        binding: BindingId::new(text(value, "binding")?),
        module: digest(text(value, "module")?)?,
        abi: u32::try_from(number(value, "abi")?).context("abi")?,
        hook: Hook::from_name(hook).with_context(|| format!("hook: {hook} is not known"))?,
        mode: match text(value, "mode")? {
            "enforce" => Mode::Enforce,
            "shadow" => Mode::Shadow,
            other => bail!("mode: {other} is not known"),
        },
        input_digest: input_digest
            .try_into()
            .ok()
            .context("input_blake3 is none")?,
        verdict: verdict(field(value, "verdict")?)?,
        warnings: warnings
            .into_iter()
            .flatten()
            .map(warning)
            .collect::<Result<_>>()?,
        gas: number(value, "gas")?,
    })
}

fn verdict(value: &Value) -> Result<Verdict> {
    Ok(match text(value, "kind")? {
        "allow" => Verdict::Allow,
        "pass" => Verdict::Pass,
        "deny" => Verdict::Deny {
            class: match text(value, "class")? {
                "illegal_transition" => DenyClass::IllegalTransition,
                "denied" => DenyClass::Denied,
                other => bail!("class: {other} is not known"),
            },
            code: text(value, "code")?.to_owned(),
            message: text(value, "message")?.to_owned(),
        },
        "take" => {
            let grams = field(value, "grams")?.to_string();
            Verdict::Take {
                grams: grams
                    .parse::<Grams>()
                    .map_err(|error| anyhow::anyhow!("grams {error}"))?,
                reason: text(value, "reason")?.to_owned(),
            }
        }
        "failed" => {
            let code = text(value, "code")?;
            let error = PolicyError::from_code(code);
            Verdict::Failed(error.with_context(|| format!("code: {code} is not known"))?)
        }
        other => bail!("verdict: {other} is not known"),
    })
}

fn field<'a>(value: &'a Value, name: &str) -> Result<&'a Value> {
    value
        .get(name)
        .with_context(|| format!("a decision record has no {name}: is the node of this version?"))
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    let text = field(value, name)?.as_str();
    text.with_context(|| format!("{name} of a decision record is no text"))
}

fn number(value: &Value, name: &str) -> Result<u64> {
    let number = field(value, name)?.as_u64();
    number.with_context(|| format!("{name} of a decision record is no whole number"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use raft3d_engine::core::ModuleDigest;

    use super::*;
    use crate::http::record_to_json;

    fn decision(hook: Hook, mode: Mode, verdict: Verdict) -> Decision {
        Decision {
            binding: BindingId::new("b"),
            module: ModuleDigest([7; 32]),
            abi: 1,
            hook,
            mode,
            input_digest: [9; 32],
            verdict,
            warnings: vec![Warning {
                code: "w".to_owned(),
                message: "careful".to_owned(),
            }],
            gas: 12_345,
        }
    }

    #[test]
    fn what_a_node_shows_is_what_it_has() {
        let deny = |class| Verdict::Deny {
            class,
            code: "c".to_owned(),
            message: "m".to_owned(),
        };
        let take = Verdict::Take {
            grams: Grams::from_mg(123_456_789_123).unwrap(),
            reason: "r".to_owned(),
        };
        let mut verdicts = vec![
            Verdict::Allow,
            Verdict::Pass,
            take,
            deny(DenyClass::Denied),
            deny(DenyClass::IllegalTransition),
        ];
        verdicts.extend(PolicyError::ALL.map(Verdict::Failed));
        let hooks = Hook::ALL.into_iter().cycle();
        let modes = [Mode::Enforce, Mode::Shadow].into_iter().cycle();
        let all = verdicts.into_iter().zip(hooks.zip(modes));
        let row = DecisionRecord {
            revision: Revision(42),
            at_ms: 1_767_225_600_123,
            epoch: 1,
            ruleset: Revision(7),
            job: JobId::new("j"),
            input: vec![0xa0, 1, 2],
            decisions: all
                .map(|(verdict, (hook, mode))| decision(hook, mode, verdict))
                .collect(),
        };
        let shown: Value = serde_json::from_str(&record_to_json(&row)).unwrap();
        assert_eq!(read(&shown).unwrap(), row);
        let mut without = shown;
        without.as_object_mut().unwrap().remove("job_id");
        let refused = read(&without).unwrap_err().to_string();
        assert!(refused.contains("job_id"), "{refused}");
    }
}
