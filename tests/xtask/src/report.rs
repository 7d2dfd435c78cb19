//! `cargo xtask report`: one page of everything that was run.
//!
//! Each program of proof leaves its figures in `target/report/<part>.json`; here they become
//! `target/report/index.html`, which needs nothing beside itself, and the same as Markdown on
//! stdout. What was not run is said as plainly as what was.

mod html;
mod machine;
mod markdown;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use raft3d_checkers::report::{FOLDER, Report};

use crate::steps::target_dir;
use machine::Machine;

/// The parts of the proof, and what runs each.
const PARTS: [(&str, &str, &str); 9] = [
    (
        "simulation",
        "Deterministic simulation",
        "cargo xtask simulate",
    ),
    (
        "nemesis",
        "Real processes under faults",
        "cargo xtask nemesis",
    ),
    (
        "bench-writes",
        "Writes beside etcd",
        "cargo xtask bench writes",
    ),
    (
        "bench-reads",
        "Reads beside etcd",
        "cargo xtask bench reads",
    ),
    ("bench-large", "A million jobs", "cargo xtask bench large"),
    (
        "bench-failover",
        "Leaders killed",
        "cargo xtask bench failover",
    ),
    ("fuzz", "Fuzzing", "cargo xtask fuzz"),
    (
        "hostile",
        "Hostile modules, and engines that are set differently",
        "cargo xtask hostile",
    ),
    ("mutants", "Mutation testing", "cargo xtask mutants"),
];

/// Makes the page.
///
/// # Errors
/// A file of figures cannot be read, or the page cannot be written.
pub(crate) fn run() -> Result<()> {
    let target = target_dir()?;
    let page = Page::read(&target, Machine::of_this_process())?;
    let path = target.join(FOLDER).join("index.html");
    fs::create_dir_all(target.join(FOLDER))?;
    fs::write(&path, html::page(&page)).with_context(|| format!("cannot write {path:?}"))?;
    println!("{}", markdown::page(&page));
    eprintln!("page: {}", path.display());
    Ok(())
}

/// Everything that the page shows.
struct Page {
    machine: Machine,
    /// The commit that is checked out now.
    commit: String,
    sections: Vec<Section>,
    /// Parts without figures: name and command.
    not_run: Vec<(&'static str, &'static str)>,
}

/// One part of the proof.
struct Section {
    title: String,
    report: Report,
    /// When its file was written.
    written: SystemTime,
    /// Its pictures: SVG documents.
    images: Vec<String>,
}

impl Page {
    fn read(target: &Path, machine: Machine) -> Result<Self> {
        let reports = Report::read_all(target).context("the figures under target/report")?;
        let folder = target.join(FOLDER);
        let mut sections = Vec::new();
        for report in reports {
            sections.push(Section::new(report, &folder)?);
        }
        let place = |section: &Section| {
            let part = &section.report.part;
            let known = PARTS.iter().position(|(name, ..)| name == part);
            known.unwrap_or(PARTS.len())
        };
        sections.sort_by_key(place);
        let was_run = |part: &str| sections.iter().any(|section| section.report.part == part);
        let not_run = PARTS.into_iter().filter(|(part, ..)| !was_run(part));
        Ok(Self {
            machine,
            commit: Report::new("", "").commit,
            not_run: not_run.map(|(_, title, run)| (title, run)).collect(),
            sections,
        })
    }

    fn violations(&self) -> usize {
        let counts = self.sections.iter().map(|s| s.report.violations.len());
        counts.sum()
    }

    /// The one sentence that a reader in a hurry wants.
    fn verdict(&self) -> String {
        let found = match (self.violations(), self.sections.len()) {
            (_, 0) => return "Nothing was run.".to_owned(),
            (0, _) => "No violation was found in what was run.".to_owned(),
            (1, _) => "One violation was found.".to_owned(),
            (found, _) => format!("{found} violations were found."),
        };
        match self.not_run.len() {
            0 => found,
            1 => format!("{found} One part was not run."),
            missing => format!("{found} {missing} parts were not run."),
        }
    }
}

impl Section {
    fn new(report: Report, folder: &Path) -> Result<Self> {
        let file = folder.join(format!("{}.json", report.part));
        let known = PARTS.iter().find(|(part, ..)| *part == report.part);
        let title = known.map_or(report.part.as_str(), |(_, title, _)| *title);
        let images = report.images.iter().map(|name| svg(&folder.join(name)));
        Ok(Self {
            title: title.to_owned(),
            images: images.collect::<Result<_>>()?,
            written: fs::metadata(&file)?.modified()?,
            report,
        })
    }

    /// What it came to, in a word or two.
    fn result(&self) -> String {
        let score = self.report.figures.iter().find(|(what, _)| what == "score");
        match (self.report.violations.len(), score) {
            (0, Some((_, score))) => score.clone(),
            (0, None) if self.report.part == "bench" => "measured".to_owned(),
            (0, None) => "no violation".to_owned(),
            (1, _) => "1 violation".to_owned(),
            (found, _) => format!("{found} violations"),
        }
    }

    /// What is to be said of where the figures come from.
    fn origin(&self, now: &str) -> String {
        let commit = match self.report.commit.as_str() {
            "" => "of an unknown commit".to_owned(),
            commit if commit == now => format!("of commit {commit}, the one checked out"),
            commit => format!("of commit {commit}, not the one checked out now"),
        };
        format!(
            "{commit}; {}, in {}",
            machine::utc(self.written),
            machine::duration(self.report.seconds)
        )
    }
}

/// A picture as part of the page: what stands before its root element is left out.
fn svg(path: &PathBuf) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("the picture {path:?}"))?;
    let start = text.find("<svg");
    let start = start.with_context(|| format!("{path:?} is no SVG picture"))?;
    let picture = text.get(start..).unwrap_or_default();
    anyhow::ensure!(
        !picture.contains("<script"),
        "{path:?} holds a script; the page is read without"
    );
    Ok(picture.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test is to panic")]
mod tests {
    use super::*;
    use raft3d_checkers::report::Table;

    fn folder(test: &str) -> PathBuf {
        let id = std::process::id();
        std::env::temp_dir().join(format!("raft3d-report-{test}-{id}"))
    }

    fn machine() -> Machine {
        Machine {
            facts: vec![("processor", "two of them".to_owned())],
        }
    }

    fn fuzz() -> Report {
        let mut report = Report {
            part: "fuzz".to_owned(),
            command: "cargo xtask fuzz --seconds 60".to_owned(),
            commit: "0123456789ab".to_owned(),
            seconds: 3_725,
            ..Report::default()
        };
        report.figure("executions", 12_345);
        report.tables.push(Table {
            title: "Targets of `a`".to_owned(),
            head: vec!["target".to_owned(), "executions".to_owned()],
            rows: vec![vec!["log | <b>".to_owned(), "12345".to_owned()]],
        });
        report
    }

    #[test]
    fn the_page_holds_every_figure_and_says_what_was_not_run() {
        let target = folder("page");
        let mut report = fuzz();
        report.violations.push("log: out/crash-1 & more".to_owned());
        report.images.push("plot.svg".to_owned());
        report.write(&target).unwrap();
        let plot = target.join(FOLDER).join("plot.svg");
        fs::write(plot, "<?xml version=\"1.0\"?>\n<svg><path/></svg>").unwrap();
        let page = Page::read(&target, machine()).unwrap();
        let (html, markdown) = (html::page(&page), markdown::page(&page));
        let not_run = PARTS.len() - 1;
        let verdict = format!("One violation was found. {not_run} parts were not run.");
        for text in [&html, &markdown] {
            for figure in [
                verdict.as_str(),
                "12,345",
                "cargo xtask fuzz --seconds 60",
                "0123456789ab",
                "1 h 2 min",
                "two of them",
                "out/crash-1",
                "cargo xtask simulate",
                "cargo xtask nemesis",
            ] {
                assert!(text.contains(figure), "{figure} is missing in\n{text}");
            }
        }
        assert!(html.contains("<svg><path/></svg>") && !html.contains("<?xml"));
        assert!(html.contains("log | &lt;b&gt;") && html.contains("crash-1 &amp; more"));
        assert!(markdown.contains("log \\| <b>"));
        assert!(html.contains("Targets of <code>a</code>") && html.contains("1 violation</td>"));
        assert!(!html.contains("<script") && !html.contains("http://"));
        fs::remove_dir_all(&target).unwrap();
    }

    #[test]
    fn nothing_run_is_said_so() {
        let page = Page::read(&folder("nothing"), machine()).unwrap();
        assert_eq!(page.not_run.len(), PARTS.len());
        for text in [html::page(&page), markdown::page(&page)] {
            assert!(text.contains("Nothing was run."));
        }
    }

    #[test]
    fn a_picture_with_a_script_is_refused() {
        let target = folder("script");
        let mut report = fuzz();
        report.images.push("bad.svg".to_owned());
        report.write(&target).unwrap();
        let picture = target.join(FOLDER).join("bad.svg");
        fs::write(&picture, "<svg><script>1</script></svg>").unwrap();
        assert!(Page::read(&target, machine()).is_err());
        fs::write(&picture, "no picture").unwrap();
        assert!(Page::read(&target, machine()).is_err());
        fs::remove_dir_all(&target).unwrap();
    }
}
