//! Tells the program from which commit it is built, if that can be found out: a node compares it with
//! its compiling child's, and `raft3d --version` shows it.
//!
//! `RAFT3D_COMMIT` in the environment wins, for whoever builds from an archive. Without it and without
//! git, or outside the repository, the commit is `unknown`.

use std::path::{Path, PathBuf};
use std::process::Command;

const VARIABLE: &str = "RAFT3D_COMMIT";
/// Longest commit that is taken, in characters.
const COMMIT_CHARACTERS_MAX: usize = 64;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let given = std::env::var(VARIABLE).ok();
    let commit = given
        .or_else(of_repository)
        .filter(|commit| is_sound(commit))
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env={VARIABLE}={commit}");
}

fn is_sound(commit: &str) -> bool {
    (1..=COMMIT_CHARACTERS_MAX).contains(&commit.len())
        && commit
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// The commit that is checked out where this file belongs to it.
fn of_repository() -> Option<String> {
    // An archive that was unpacked within another repository is not that repository's commit.
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    // These change with each commit and each checkout.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name]).map(|path| folder().join(path));
        if let Some(path) = path.filter(|path| path.exists()) {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    Some(commit)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(args)
        .current_dir(folder())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
