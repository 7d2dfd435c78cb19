//! The page as Markdown, for a terminal or a note.

use raft3d_checkers::report::{Report, Table};

use super::Page;
use super::machine::number;

pub(super) fn page(page: &Page) -> String {
    let mut out = format!("# What was run\n\n{}\n\n", page.verdict());
    for (name, value) in &page.machine.facts {
        out.push_str(&format!("- {name}: {value}\n"));
    }
    out.push_str(&format!("- commit checked out: {}\n", page.commit));
    for section in &page.sections {
        let origin = section.origin(&page.commit);
        out.push_str(&format!(
            "\n## {}\n\n`{}`, {origin}.\n\n",
            section.title, section.report.command
        ));
        body(&mut out, &section.report);
    }
    if !page.not_run.is_empty() {
        out.push_str("\n## Not run\n\n");
        for (title, command) in &page.not_run {
            out.push_str(&format!("- {title} (`{command}`)\n"));
        }
    }
    out
}

fn body(out: &mut String, report: &Report) {
    for (what, value) in &report.figures {
        out.push_str(&format!("- {what}: {}\n", number(value)));
    }
    for made in &report.tables {
        table(out, made);
    }
    if !report.images.is_empty() {
        out.push_str(&format!("\nPictures: {}\n", report.images.join(", ")));
    }
    match report.violations.len() {
        0 => out.push_str("\nNo violation.\n"),
        found => out.push_str(&format!("\n**{found} violations:**\n\n")),
    }
    for violation in &report.violations {
        out.push_str(&format!("- {violation}\n"));
    }
}

fn table(out: &mut String, table: &Table) {
    if table.rows.is_empty() {
        out.push_str(&format!("\n{}: none.\n", table.title));
        return;
    }
    let row = |cells: &[String]| {
        let cells = cells.iter().map(|cell| number(cell).replace('|', "\\|"));
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    out.push_str(&format!("\n{}:\n\n", table.title));
    out.push_str(&row(&table.head));
    out.push_str(&format!("|{}\n", "---|".repeat(table.head.len())));
    for cells in &table.rows {
        out.push_str(&row(cells));
    }
}
