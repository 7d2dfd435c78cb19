//! Tables: made row by row, shown in Markdown.

use std::fmt::Write as _;

use raft3d_checkers::report::Table;

/// An empty table.
#[must_use]
pub fn table(title: impl Into<String>, head: &[&str]) -> Table {
    Table {
        title: title.into(),
        head: head.iter().map(|name| (*name).to_owned()).collect(),
        rows: Vec::new(),
    }
}

/// The table in Markdown.
#[must_use]
pub fn markdown(table: &Table) -> String {
    let mut text = format!("### {}\n\n| {} |\n", table.title, table.head.join(" | "));
    // Writing to a string does not fail.
    let _ = writeln!(text, "|{}", "---|".repeat(table.head.len()));
    for row in &table.rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_line_for_each_row() {
        let mut shown = table("t", &["a", "b"]);
        shown.rows.push(vec!["1".to_owned(), "2".to_owned()]);
        assert_eq!(
            markdown(&shown),
            "### t\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
        );
    }
}
