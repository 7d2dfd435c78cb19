//! `cargo xtask policies`: the modules under `policies/prebuilt/`, and those of authors.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use xtask::prebuilt::{Comparison, Mode, prebuilt};
use xtask::{build_policy, workspace_dir};

use crate::tools;

/// What to do with them.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Builds a policy crate to a module; without one, those that are checked in
    Build {
        /// Folder of the policy crate, such as `examples/max-print-weight`
        crate_dir: Option<PathBuf>,
        /// Where to write the module [default: target/policies/NAME.wasm]
        #[arg(long, value_name = "FILE", requires = "crate_dir")]
        out: Option<PathBuf>,
    },
    /// Builds those that are checked in from source, and compares
    Check,
}

/// Does it.
///
/// # Errors
/// They cannot be built, or differ from what is checked in.
pub(crate) fn run(command: &Command) -> Result<()> {
    tools::guest_compiler()?;
    let mode = match command {
        Command::Build {
            crate_dir: Some(crate_dir),
            out,
        } => return build_one(crate_dir, out.as_deref()),
        Command::Build { .. } => Mode::Write,
        Command::Check => Mode::Check,
    };
    match prebuilt(mode)? {
        Comparison::Same => eprintln!("policies/prebuilt is what the source makes, byte for byte"),
        Comparison::OtherCompiler { theirs, ours } => eprintln!(
            "policies/prebuilt was made by another compiler, so only behaviour is compared (by \
             the tests)\n  there: {}\n  here:  {}",
            one_line(&theirs),
            one_line(&ours)
        ),
        Comparison::Differs(names) => bail!(
            "policies/prebuilt is not what the source makes: {}; run `cargo xtask policies build` \
             and commit what it writes",
            names.join(", ")
        ),
    }
    Ok(())
}

/// Builds one policy; its path, alone on its line, is what goes to standard output.
fn build_one(crate_dir: &Path, out: Option<&Path>) -> Result<()> {
    let module = build_policy(crate_dir)?;
    let out = match out {
        Some(out) => out.to_owned(),
        None => {
            let crate_dir = crate_dir.canonicalize()?;
            let name = crate_dir.file_name().context("the crate has no name")?;
            let folder = workspace_dir()?.join("target/policies");
            fs::create_dir_all(&folder)?;
            folder.join(name).with_extension("wasm")
        }
    };
    fs::write(&out, &module).with_context(|| format!("cannot write {}", out.display()))?;
    eprintln!("{} bytes", module.len());
    println!("{}", out.display());
    Ok(())
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("; ")
}
