//! The contract for authors names every limit, with its value.

use std::collections::BTreeMap;

use raft3d_engine::policy::limits;

const CONTRACT: &str = include_str!("../../../sdk/ABI.md");

/// The rows of every table of the contract whose first cell is a name in code quotes: the name, and
/// the other cells.
fn rows() -> BTreeMap<&'static str, Vec<&'static str>> {
    let cells = |line: &'static str| {
        let cells = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let mut cells = cells.split(" | ");
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        Some((name, cells.collect()))
    };
    CONTRACT.lines().filter_map(cells).collect()
}

fn number(text: &str) -> u64 {
    text.replace(',', "").parse().unwrap()
}

#[test]
fn the_contract_names_every_limit_of_a_module() {
    let rows = rows();
    for limit in limits::ALL {
        let row = rows.get(limit.name).unwrap_or_else(|| {
            panic!("sdk/ABI.md does not name the limit `{}`", limit.name);
        });
        assert_eq!(number(row[0]), limit.max, "{}", limit.name);
        assert_eq!(row[1], format!("`{}`", limit.code), "{}", limit.name);
    }
    // None is left out of the list.
    let source = include_str!("../../src/policy/limits.rs");
    let defined = source.matches(": Limit = limit(").count();
    assert_eq!(limits::ALL.len(), defined);
}

/// Every constant `NAME: usize = product of numbers` of the SDK's limits.
#[test]
fn the_contract_names_every_limit_of_texts_and_lists() {
    let rows = rows();
    let source = include_str!("../../../sdk/src/limits.rs");
    let mut found = 0;
    for line in source.lines() {
        let Some(definition) = line.strip_prefix("pub const ") else {
            continue;
        };
        let (name, rest) = definition.split_once(": usize = ").unwrap();
        let product = rest.trim_end_matches(';').split('*');
        let value: u64 = product
            .map(|factor| number(&factor.trim().replace('_', "")))
            .product();
        let row = rows.get(name).unwrap_or_else(|| {
            panic!("sdk/ABI.md does not name the limit `{name}`");
        });
        assert_eq!(number(row[0]), value, "{name}");
        found += 1;
    }
    assert!(found > 10, "{found}");
}

#[test]
fn the_contract_names_every_failure() {
    for error in raft3d_core::PolicyError::ALL {
        let code = format!("`{}`", error.code());
        assert!(CONTRACT.contains(&code), "{code}");
    }
}
