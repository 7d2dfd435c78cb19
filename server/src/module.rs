//! A module as this program takes it: what the engine checks, and that the schema in its manifest is
//! JSON, which the engine does not read.
//!
//! The schema becomes a part of what `/api/v1/policies/{sha256}` answers: one that is no JSON would
//! leave a module that no node can show, and one that is nested deeper than usual readers go would
//! leave an answer that clients cannot read.

use raft3d_engine::policy::{self, LimitUse, ModuleProblem, ModuleReport};
use raft3d_engine::sdk::Manifest;
use serde::de::IgnoredAny;

/// Objects and lists within each other in a schema. Real ones have less than ten; readers of JSON
/// give up at 128, and the answer that a schema stands in is one level more.
const SCHEMA_NESTING_MAX: usize = 64;
/// Stable code of the refusal.
const BAD_SCHEMA: &str = "bad_config_schema";

/// Checks a module without running it, as an upload does.
///
/// # Errors
/// The first thing that it is refused for.
pub(crate) fn inspect(bytes: &[u8]) -> Result<ModuleReport, ModuleProblem> {
    let report = policy::inspect(bytes)?;
    check_schema(&report.manifest)?;
    Ok(report)
}

/// Checks that the schema, where there is one, is one JSON object that readers can read.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_schema(manifest: &Manifest) -> Result<(), ModuleProblem> {
    let Some(schema) = &manifest.config_schema else {
        return Ok(());
    };
    // Skips what it reads without calling itself, however deep it is.
    if let Err(error) = serde_json::from_str::<IgnoredAny>(schema) {
        return Err(bad(&format!("it is not JSON: {error}"), None));
    }
    if !schema.trim_start().starts_with('{') {
        return Err(bad("it is not a JSON object", None));
    }
    let nesting = nesting(schema);
    if nesting > SCHEMA_NESTING_MAX {
        let limit = LimitUse {
            limit: "schema_nesting",
            value: nesting as u64,
            max: SCHEMA_NESTING_MAX as u64,
        };
        let what = format!(
            "schema_nesting is {nesting}, above the limit of {SCHEMA_NESTING_MAX}; use $defs and \
             $ref for what is nested deeper"
        );
        return Err(bad(&what, Some(limit)));
    }
    Ok(())
}

fn bad(what: &str, limit: Option<LimitUse>) -> ModuleProblem {
    let place = "the manifest's config_schema";
    ModuleProblem {
        code: BAD_SCHEMA,
        message: format!("{place}: {what}"),
        place: Some(place.to_owned()),
        limit,
    }
}

/// How deep objects and lists stand within each other, in text that is JSON.
fn nesting(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use raft3d_engine::sdk::{Hook, HookSet};

    use super::*;

    fn check(schema: &str) -> Result<(), ModuleProblem> {
        check_schema(&Manifest {
            abi: 1,
            name: "m".to_owned(),
            version: "1".to_owned(),
            description: String::new(),
            hooks: HookSet::of(&[Hook::Admission]),
            config_schema: Some(schema.to_owned()),
            lifecycle: None,
        })
    }

    fn nested(levels: usize) -> String {
        let open = "{\"a\":[".repeat(levels / 2);
        format!("{open}{}", "]}".repeat(levels / 2))
    }

    #[test]
    fn a_schema_is_one_json_object() {
        assert_eq!(check("{}"), Ok(()));
        assert_eq!(check(" {\"type\": \"object\"} "), Ok(()));
        for text in [
            "",
            "none",
            "{} {}",
            "{",
            "[]",
            "true",
            "\"{\"",
            "{},\"x\":1",
        ] {
            let problem = check(text).unwrap_err();
            assert_eq!(problem.code, BAD_SCHEMA, "{text}");
        }
    }

    #[test]
    fn a_schema_is_nested_so_deep_and_no_deeper() {
        assert_eq!(check(&nested(SCHEMA_NESTING_MAX)), Ok(()));
        for levels in [SCHEMA_NESTING_MAX + 2, 20_000] {
            let problem = check(&nested(levels)).unwrap_err();
            let limit = problem.limit.unwrap();
            assert_eq!((limit.value, limit.max), (levels as u64, 64));
        }
        // Brackets in texts are none.
        assert_eq!(nesting(r#"{"a": "\"{{{[[[\\", "b": {}}"#), 2);
    }
}
