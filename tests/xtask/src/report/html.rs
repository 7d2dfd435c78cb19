//! The page as HTML: one file, no script, nothing from elsewhere.

use raft3d_checkers::report::Table;

use super::machine::{is_number, number};
use super::{Page, Section};

/// The page's look, in light and in dark.
const STYLE: &str = include_str!("style.css");

pub(super) fn page(page: &Page) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Raft3D: what was run</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
    );
    header(&mut out, page);
    summary(&mut out, page);
    for section in &page.sections {
        show(&mut out, section, &page.commit);
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn header(out: &mut String, page: &Page) {
    let kind = if page.sections.is_empty() {
        "none"
    } else if page.violations() == 0 {
        "good"
    } else {
        "bad"
    };
    out.push_str(&format!(
        "<header>\n<h1>Raft3D: what was run</h1>\n<p class=\"verdict {kind}\">{}</p>\n<dl>\n",
        escape(&page.verdict())
    ));
    let facts = page.machine.facts.iter();
    let facts = facts.map(|(name, value)| (*name, value.as_str()));
    for (name, value) in facts.chain([("commit", page.commit.as_str())]) {
        out.push_str(&format!(
            "<div><dt>{name}</dt><dd>{}</dd></div>\n",
            escape(value)
        ));
    }
    out.push_str("</dl>\n</header>\n");
}

/// One line for each part, also for those that were not run.
fn summary(out: &mut String, page: &Page) {
    out.push_str("<table class=\"summary\">\n<thead><tr><th>part</th><th>command</th>");
    out.push_str("<th>result</th></tr></thead>\n<tbody>\n");
    for Section { title, report, .. } in &page.sections {
        let (kind, result) = match report.violations.len() {
            0 => ("good", "no violation".to_owned()),
            1 => ("bad", "1 violation".to_owned()),
            found => ("bad", format!("{found} violations")),
        };
        out.push_str(&format!(
            "<tr><td><a href=\"#{}\">{}</a></td><td><code>{}</code></td>\
             <td class=\"{kind}\">{result}</td></tr>\n",
            escape(&report.part),
            escape(title),
            escape(&report.command)
        ));
    }
    for (title, command) in &page.not_run {
        out.push_str(&format!(
            "<tr><td>{}</td><td><code>{}</code></td><td class=\"none\">not run</td></tr>\n",
            escape(title),
            escape(command)
        ));
    }
    out.push_str("</tbody>\n</table>\n");
}

fn show(out: &mut String, section: &Section, commit: &str) {
    let report = &section.report;
    out.push_str(&format!(
        "<section id=\"{}\">\n<h2>{}</h2>\n<p class=\"origin\"><code>{}</code>, {}.</p>\n",
        escape(&report.part),
        escape(&section.title),
        escape(&report.command),
        escape(&section.origin(commit))
    ));
    if !report.violations.is_empty() {
        out.push_str("<ul class=\"violations\">\n");
        for violation in &report.violations {
            out.push_str(&format!("<li>{}</li>\n", escape(violation)));
        }
        out.push_str("</ul>\n");
    }
    if !report.figures.is_empty() {
        out.push_str("<dl class=\"figures\">\n");
        for (what, value) in &report.figures {
            out.push_str(&format!(
                "<div><dt>{}</dt><dd>{}</dd></div>\n",
                escape(what),
                escape(&number(value))
            ));
        }
        out.push_str("</dl>\n");
    }
    for made in &report.tables {
        table(out, made);
    }
    for picture in &section.images {
        out.push_str(&format!("<figure>\n{picture}\n</figure>\n"));
    }
    out.push_str("</section>\n");
}

fn table(out: &mut String, table: &Table) {
    out.push_str(&format!("<h3>{}</h3>\n", escape(&table.title)));
    if table.rows.is_empty() {
        out.push_str("<p>None.</p>\n");
        return;
    }
    out.push_str("<div class=\"wide\"><table>\n<thead><tr>");
    for name in &table.head {
        out.push_str(&format!("<th>{}</th>", escape(name)));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        out.push_str("<tr>");
        for cell in row {
            let class = if is_number(cell) {
                " class=\"number\""
            } else {
                ""
            };
            out.push_str(&format!("<td{class}>{}</td>", escape(&number(cell))));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
}

fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}
