//! `cargo xtask policies`: the modules under `policies/prebuilt/`.

use anyhow::{Result, bail};
use clap::Subcommand;
use xtask::guest::{Comparison, Mode, prebuilt};

use crate::tools;

/// What to do with them.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Builds them from source
    Build,
    /// Builds them from source and compares
    Check,
}

/// Does it.
///
/// # Errors
/// They cannot be built, or differ from what is checked in.
pub(crate) fn run(command: &Command) -> Result<()> {
    tools::guest_compiler()?;
    let mode = match command {
        Command::Build => Mode::Write,
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

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("; ")
}
