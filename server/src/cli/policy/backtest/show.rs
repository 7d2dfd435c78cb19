//! The report of a backtest, for people and for programs.

use std::fmt::Write as _;

use raft3d_engine::backtest::{Against, Change, Example, HookReport, Report};
use raft3d_engine::core::state::decisions::Verdict;
use raft3d_engine::policy::ModuleReport;
use serde_json::{Map, Value, json};

use super::named;
use crate::cli::policy::sample::pretty;
use crate::http::{TimeOut, config_to_json, verdict_to_json};

/// What was compared.
pub(super) struct About<'a> {
    pub(super) module: &'a ModuleReport,
    /// Its configuration, as CBOR.
    pub(super) config: &'a [u8],
    /// Where that comes from.
    pub(super) whence: &'a str,
}

/// The report for people.
pub(super) fn text(about: &About<'_>, report: &Report) -> String {
    let mut text = format!(
        "candidate {}, configuration {} ({})\n{}\n\n",
        named(about.module),
        config_to_json(about.config),
        about.whence,
        span(report),
    );
    text += &table(report);
    for hook in &report.hooks {
        text += &details(hook);
    }
    let changed = report.changed();
    text += &if changed == 0 {
        "\nno change\n".to_owned()
    } else {
        format!(
            "\n{changed} of {} answers would be others\n",
            report.evaluated()
        )
    };
    text
}

fn span(report: &Report) -> String {
    match report.span_ms {
        None => "no recorded decisions".to_owned(),
        Some((from, to)) => format!(
            "{} recorded decisions from {} to {}",
            report.records,
            TimeOut(from),
            TimeOut(to)
        ),
    }
}

/// A column for each hook: three at most, so that it fits any terminal.
fn table(report: &Report) -> String {
    let columns: Vec<_> = report.hooks.iter().map(column).collect();
    let width = |cells: &[(&str, String)]| {
        let widths = cells.iter().map(|(_, cell)| cell.chars().count());
        widths.max().unwrap_or_default()
    };
    let labels = columns.first().map(Vec::as_slice).unwrap_or_default();
    let margin = labels.iter().map(|(label, _)| label.len()).max();
    let margin = margin.unwrap_or_default();
    let mut table = String::new();
    for (at, (label, _)) in labels.iter().enumerate() {
        let mut line = format!("{label:<margin$}");
        for cells in &columns {
            let cell = cells.get(at).map_or("", |(_, cell)| cell.as_str());
            let width = width(cells);
            // Writing to a text cannot fail.
            let _ = write!(line, "  {cell:>width$}");
        }
        table += line.trim_end();
        table.push('\n');
    }
    table
}

/// What stands under one hook, each with its label.
fn column(hook: &HookReport) -> Vec<(&'static str, String)> {
    let tally = &hook.tally;
    let gas = |gas: Option<u32>| gas.map_or_else(|| "-".to_owned(), |gas| gas.to_string());
    let against = match &hook.against {
        Against::Binding(binding) => format!("binding '{binding}'"),
        Against::Overall => "all bindings".to_owned(),
    };
    let mut column = vec![
        ("hook", hook.hook.name().to_owned()),
        ("compared with", against),
        ("asked", tally.evaluated.to_string()),
        ("same", tally.same.to_string()),
    ];
    let counts = Change::ALL.map(|change| (change.name(), tally.count(change).to_string()));
    column.extend(counts);
    column.push(("gas, median", gas(tally.gas_median())));
    column.push(("gas, most", gas(tally.gas_max())));
    column
}

/// Codes, grams and examples of one hook.
fn details(hook: &HookReport) -> String {
    let (tally, name) = (&hook.tally, hook.hook.name());
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    let codes = |codes: Vec<String>| codes.join(", ");
    if !tally.denied_by_code.is_empty() {
        let by_code = tally.denied_by_code.iter();
        let by_code = by_code
            .map(|(code, count)| format!("{code} {count}"))
            .collect();
        line(format!("\n{name}, now denied by code: {}", codes(by_code)));
    }
    if !tally.failed_by_code.is_empty() {
        let by_code = tally.failed_by_code.iter();
        let by_code = by_code
            .map(|(code, count)| format!("{code} {count}"))
            .collect();
        line(format!("\n{name}, failed by code: {}", codes(by_code)));
    }
    if tally.taken_before_mg != 0 || tally.taken_after_mg != 0 {
        line(format!(
            "\n{name}, taken in all: {} g, now {} g",
            grams(tally.taken_before_mg),
            grams(tally.taken_after_mg)
        ));
    }
    for change in Change::ALL {
        let examples = tally
            .examples
            .get(&change)
            .map(Vec::as_slice)
            .unwrap_or_default();
        if !examples.is_empty() {
            line(format!("\n{name}, {}:", change.name()));
        }
        for example in examples {
            line(format!("  {}", one(example)));
        }
    }
    text
}

fn one(example: &Example) -> String {
    let mut text = format!(
        "job {}, revision {}, {}, {}: {} -> {}",
        example.job,
        example.revision,
        TimeOut(example.at_ms),
        example.actor,
        said(&example.before),
        said(&example.after)
    );
    if let Some(panic) = &example.panic {
        text += &format!(" (it panicked: {panic})");
    }
    text
}

fn said(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allow => "allow".to_owned(),
        Verdict::Pass => "pass".to_owned(),
        Verdict::Deny { code, message, .. } => format!("deny {code} ({message})"),
        Verdict::Take { grams, reason } if reason.is_empty() => format!("take {grams} g"),
        Verdict::Take { grams, reason } => format!("take {grams} g ({reason})"),
        Verdict::Failed(error) => format!("failed: {}", error.code()),
    }
}

/// A sum of weights, which may exceed the largest weight, in grams.
fn grams(mg: u128) -> String {
    let (whole, fraction) = (mg / 1_000, mg % 1_000);
    let text = format!("{whole}.{fraction:03}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The report for programs.
pub(super) fn json(about: &About<'_>, report: &Report) -> String {
    let time = |ms: u64| Value::from(TimeOut(ms).to_string());
    let whole = json!({
        "candidate": {
            "name": about.module.manifest.name,
            "version": about.module.manifest.version,
            "sha256": about.module.digest.to_string(),
            "config": config_to_json(about.config),
        },
        "records": report.records,
        "from": report.span_ms.map(|(from, _)| time(from)),
        "to": report.span_ms.map(|(_, to)| time(to)),
        "evaluated": report.evaluated(),
        "changed": report.changed(),
        "hooks": report.hooks.iter().map(hook_json).collect::<Vec<_>>(),
    });
    format!("{}\n", pretty(&whole))
}

fn hook_json(hook: &HookReport) -> Value {
    let tally = &hook.tally;
    let key = |change: Change| change.name().replace(' ', "_");
    let counts: Map<_, _> = Change::ALL
        .iter()
        .map(|change| (key(*change), tally.count(*change).into()))
        .collect();
    let examples: Map<_, _> = tally
        .examples
        .iter()
        .map(|(change, examples)| (key(*change), examples.iter().map(example_json).collect()))
        .collect();
    json!({
        "hook": hook.hook.name(),
        "binding": match &hook.against {
            Against::Binding(binding) => Value::from(binding.as_str()),
            Against::Overall => Value::Null,
        },
        "evaluated": tally.evaluated,
        "same": tally.same,
        "changes": counts,
        "now_denied_by_code": tally.denied_by_code,
        "failed_by_code": tally.failed_by_code,
        "taken_before_in_grams": number(&grams(tally.taken_before_mg)),
        "taken_after_in_grams": number(&grams(tally.taken_after_mg)),
        "gas_median": tally.gas_median(),
        "gas_max": tally.gas_max(),
        "examples": examples,
    })
}

fn example_json(example: &Example) -> Value {
    json!({
        "revision": example.revision.0,
        "at": TimeOut(example.at_ms).to_string(),
        "job_id": example.job.as_str(),
        "actor": example.actor,
        "before": verdict_to_json(&example.before),
        "after": verdict_to_json(&example.after),
        "panic": example.panic,
    })
}

/// A decimal number as JSON: its text is one.
fn number(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a test may end where a value is missing"
    )]
    use std::collections::BTreeMap;

    use raft3d_engine::backtest::Tally;
    use raft3d_engine::core::{BindingId, JobId, Revision};
    use raft3d_engine::policy::inspect;
    use raft3d_engine::sdk::{DenyClass, Grams, Hook};

    use super::*;

    fn report() -> Report {
        let denied = Verdict::Deny {
            class: DenyClass::Denied,
            code: "heavy".to_owned(),
            message: "too heavy".to_owned(),
        };
        let example = Example {
            revision: Revision(7),
            at_ms: 0,
            job: JobId::new("j"),
            actor: "ada".to_owned(),
            before: Verdict::Allow,
            after: denied,
            panic: None,
        };
        let mut admission = Tally::default();
        admission.evaluated = 10;
        admission.same = 8;
        admission.changes = BTreeMap::from([(Change::NowDenied, 2)]);
        admission.denied_by_code = BTreeMap::from([("heavy".to_owned(), 2)]);
        admission.examples = BTreeMap::from([(Change::NowDenied, vec![example])]);
        let mut deduction = Tally::default();
        deduction.evaluated = 1;
        deduction.changes = BTreeMap::from([(Change::OtherGrams, 1)]);
        deduction.taken_before_mg = 1_500;
        deduction.taken_after_mg = u128::from(Grams::MAX.mg()) * 2;
        Report {
            records: 11,
            span_ms: Some((0, 1_000)),
            hooks: vec![
                HookReport {
                    hook: Hook::Admission,
                    against: Against::Binding(BindingId::new("b")),
                    tally: admission,
                },
                HookReport {
                    hook: Hook::Deduction,
                    against: Against::Overall,
                    tally: deduction,
                },
            ],
        }
    }

    fn about(module: &ModuleReport) -> About<'_> {
        About {
            module,
            config: &[0xa0],
            whence: "the default",
        }
    }

    #[test]
    fn people_see_the_counts_and_why() {
        let module = inspect(crate::library::DEFAULT_MODULES[0]).unwrap();
        let text = text(&about(&module), &report());
        let lines: Vec<_> = text.lines().collect();
        let row = |label: &str| {
            let line = lines.iter().find(|line| line.starts_with(label)).unwrap();
            line.split_whitespace().collect::<Vec<_>>()
        };
        assert!(
            lines[0].starts_with("candidate standard-lifecycle "),
            "{text}"
        );
        assert!(
            lines[0].ends_with("configuration {} (the default)"),
            "{text}"
        );
        assert!(
            lines[1].starts_with("11 recorded decisions from 1970-01-01T"),
            "{text}"
        );
        assert_eq!(row("hook "), ["hook", "admission", "deduction"], "{text}");
        assert_eq!(row("same "), ["same", "8", "0"], "{text}");
        assert_eq!(row("now denied "), ["now", "denied", "2", "0"], "{text}");
        assert_eq!(row("other grams "), ["other", "grams", "0", "1"], "{text}");
        let table: Vec<_> = lines
            .iter()
            .skip(3)
            .take(11)
            .map(|line| line.len())
            .collect();
        assert!(table.iter().all(|length| *length == table[0]), "{text}");
        for words in [
            "admission, now denied by code: heavy 2",
            "job j, revision 7, 1970-01-01T00:00:00.000Z, ada: allow -> deny heavy (too heavy)",
            "deduction, taken in all: 1.5 g, now 2000000000 g",
            "3 of 11 answers would be others",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let nothing = Report::default();
        assert!(super::text(&about(&module), &nothing).ends_with("no change\n"));
    }

    #[test]
    fn programs_get_the_same_numbers() {
        let module = inspect(crate::library::DEFAULT_MODULES[0]).unwrap();
        let shown: Value = serde_json::from_str(&json(&about(&module), &report())).unwrap();
        assert_eq!(
            (&shown["changed"], &shown["evaluated"]),
            (&json!(3), &json!(11))
        );
        let admission = &shown["hooks"][0];
        assert_eq!(admission["binding"], "b");
        assert_eq!(admission["changes"]["now_denied"], 2);
        assert_eq!(admission["changes"]["failed"], 0);
        let example = &admission["examples"]["now_denied"][0];
        assert_eq!(example["after"]["code"], "heavy");
        let deduction = &shown["hooks"][1];
        assert_eq!(deduction["binding"], Value::Null);
        assert_eq!(deduction["taken_before_in_grams"], 1.5);
    }
}
