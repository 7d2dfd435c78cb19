//! What a program of proof has to show: one JSON file of figures, `target/report/<part>.json`.
//! `cargo xtask report` makes one page of all of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use serde::{Deserialize, Serialize};

/// Folder of the figures, under the workspace's `target`.
pub const FOLDER: &str = "report";

/// The figures of one program of proof.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Which part of the proof: `simulation`, `nemesis`, `bench`. Names the file.
    pub part: String,
    /// The command line that makes it again.
    pub command: String,
    /// The commit that was measured, with `+` where files were changed; empty where there is no
    /// repository.
    pub commit: String,
    /// How long it took, in whole seconds.
    pub seconds: u64,
    /// Figures: what, and its value with its unit.
    pub figures: Vec<(String, String)>,
    /// Tables.
    pub tables: Vec<Table>,
    /// What was found wrong, each with the line that replays it. Empty is the good case.
    pub violations: Vec<String>,
    /// Pictures (SVG), relative to the file.
    pub images: Vec<String>,
}

/// A table of figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Names of the columns.
    pub head: Vec<String>,
    /// The rows, each as long as the head.
    pub rows: Vec<Vec<String>>,
}

impl Report {
    /// An empty one for `part`, with the commit that is checked out and the command line of this
    /// process.
    #[must_use]
    pub fn new(part: &str, command: impl Into<String>) -> Self {
        let (part, command) = (part.to_owned(), command.into());
        Self {
            part,
            command,
            commit: commit(),
            ..Self::default()
        }
    }

    /// Adds a figure.
    pub fn figure(&mut self, what: impl Into<String>, value: impl ToString) {
        self.figures.push((what.into(), value.to_string()));
    }

    /// Writes it under `target`, the workspace's folder of that name, as a whole or not at all, and
    /// answers where.
    ///
    /// # Errors
    /// Where the folder or the file cannot be written.
    pub fn write(&self, target: &Path) -> io::Result<PathBuf> {
        let folder = target.join(FOLDER);
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}.json", self.part));
        let half = folder.join(format!("{}.json.part", self.part));
        fs::write(&half, serde_json::to_vec_pretty(self)?)?;
        fs::rename(&half, &path)?;
        Ok(path)
    }

    /// Reads what [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// Where the file cannot be read or is no report.
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }

    /// The reports under `target`, by part.
    ///
    /// # Errors
    /// Where one cannot be read. No folder is no report.
    pub fn read_all(target: &Path) -> io::Result<Vec<Self>> {
        let folder = match fs::read_dir(target.join(FOLDER)) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut reports = Vec::new();
        for file in folder {
            let path = file?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                reports.push(Self::read(&path)?);
            }
        }
        reports.sort_by(|a, b| a.part.cmp(&b.part));
        Ok(reports)
    }
}

/// The commit that is checked out where this runs.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(head) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return String::new();
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    match changed.is_some_and(|files| !files.is_empty()) {
        true => format!("{head}+"),
        false => head,
    }
}
