//! What the judges say.

use core::fmt;

/// Most violations that one judge lists; the rest is counted.
const LISTED_MAX: usize = 20;
/// Most operations that one violation shows.
const SHOWN_MAX: usize = 16;
/// Most characters of one line: a list of all jobs says no more than its beginning.
const LINE_CHARS_MAX: usize = 600;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Who found it: the name of the judge's file.
    pub judge: &'static str,
    /// What is wrong, in a sentence.
    pub what: String,
    /// The operations, rows or events that show it, one line each.
    pub shown: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.judge, self.what)?;
        for line in self.shown.iter().take(SHOWN_MAX) {
            write!(f, "\n    {line}")?;
        }
        match self.shown.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\n    and {more} more"),
        }
    }
}

/// What all judges say to a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What must not be. Empty is the good case.
    pub violations: Vec<Violation>,
    /// What no judge could decide within its limits: neither good nor bad.
    pub undecided: Vec<String>,
    /// What no judge looked at, because it was not collected.
    pub skipped: Vec<String>,
    /// What was looked at: (what, how many).
    pub counts: Vec<(&'static str, u64)>,
}

impl Verdict {
    /// Whether nothing is wrong. What is undecided or was skipped is not wrong; whoever relies on
    /// a judge looks at those too.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.violations.is_empty()
    }

    /// Whether the judge of that name found something.
    #[must_use]
    pub fn blames(&self, judge: &str) -> bool {
        self.violations
            .iter()
            .any(|violation| violation.judge == judge)
    }

    pub(crate) fn count(&mut self, what: &'static str, many: usize) {
        self.counts.push((what, many as u64));
    }

    pub(crate) fn skip(&mut self, judge: &str, why: &str) {
        self.skipped.push(format!("[{judge}] {why}"));
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for violation in &self.violations {
            writeln!(f, "{violation}")?;
        }
        for line in &self.undecided {
            writeln!(f, "undecided: {line}")?;
        }
        for line in &self.skipped {
            writeln!(f, "not looked at: {line}")?;
        }
        let counts = self
            .counts
            .iter()
            .map(|(what, many)| format!("{many} {what}"));
        write!(f, "{}", counts.collect::<Vec<_>>().join(", "))
    }
}

/// Collects the violations of one judge.
pub(crate) struct Court<'a> {
    judge: &'static str,
    verdict: &'a mut Verdict,
    found: usize,
}

impl<'a> Court<'a> {
    pub(crate) fn open(judge: &'static str, verdict: &'a mut Verdict) -> Self {
        Self {
            judge,
            verdict,
            found: 0,
        }
    }

    /// States a violation, with what shows it.
    pub(crate) fn blame(
        &mut self,
        what: impl Into<String>,
        shown: impl IntoIterator<Item = impl ToString>,
    ) {
        self.found += 1;
        if self.found <= LISTED_MAX {
            let shown = shown
                .into_iter()
                .map(|line| shorten(&line.to_string()))
                .collect();
            let violation = Violation {
                judge: self.judge,
                what: what.into(),
                shown,
            };
            self.verdict.violations.push(violation);
        }
    }

    /// States something that could not be decided.
    pub(crate) fn undecided(&mut self, what: impl Into<String>) {
        let line = format!("[{}] {}", self.judge, what.into());
        self.verdict.undecided.push(line);
    }

    /// States something that was not looked at.
    pub(crate) fn skip(&mut self, why: &str) {
        self.verdict.skip(self.judge, why);
    }

    pub(crate) fn count(&mut self, what: &'static str, many: usize) {
        self.verdict.count(what, many);
    }
}

impl Drop for Court<'_> {
    fn drop(&mut self) {
        if let more @ 1.. = self.found.saturating_sub(LISTED_MAX) {
            let what = format!("and {more} more of this judge");
            let violation = Violation {
                judge: self.judge,
                what,
                shown: Vec::new(),
            };
            self.verdict.violations.push(violation);
        }
    }
}

fn shorten(line: &str) -> String {
    match line.char_indices().nth(LINE_CHARS_MAX) {
        Some((end, _)) => format!("{} ...", line.get(..end).unwrap_or(line)),
        None => line.to_owned(),
    }
}
