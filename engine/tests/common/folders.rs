//! Folders, as tests that damage and copy them see them.
#![allow(clippy::unwrap_used, reason = "a failed test is to panic")]

use std::fs;
use std::path::{Path, PathBuf};

/// All files below `dir`, sorted.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}
