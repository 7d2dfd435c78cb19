//! The modules that are checked in under `policies/prebuilt/`, so that running the server needs no
//! WebAssembly compiler.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use raft3d_guest_build::{Toolchain, build};

use crate::{guests_dir, workspace_dir};

/// The policies that are checked in: folder under `policies/`, and name of the module there.
pub const POLICIES: [&str; 9] = [
    "standard-lifecycle",
    "standard-deduction",
    "exclusive-printer",
    "waste-factor",
    "approval",
    "material-match",
    "quiet-hours",
    "safety-margin",
    "quota",
];
/// Beside the modules: the compiler that made them.
const COMPILER: &str = "COMPILER";

/// What to do with a fresh build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Put it in place of what is checked in.
    Write,
    /// Compare it with what is checked in.
    Check,
}

/// What the checked-in modules are worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// They are what this compiler makes of the source: just written, or equal byte for byte.
    Same,
    /// The same compiler makes other modules of the source: these policies must be rebuilt.
    Differs(Vec<String>),
    /// Another compiler made them, so that bytes tell nothing; the engine's tests run the policies'
    /// cases against the checked-in modules and against fresh ones.
    OtherCompiler {
        /// The compiler that made what is checked in.
        theirs: String,
        /// The compiler here.
        ours: String,
    },
}

/// Builds the checked-in policies from source, and writes or compares them.
///
/// # Errors
/// There is no compiler, a policy does not compile, or a file cannot be read or written.
pub fn prebuilt(mode: Mode) -> Result<Comparison> {
    let toolchain = Toolchain::find()?;
    let root = workspace_dir()?;
    let dir = root.join("policies/prebuilt");
    let mut differing = Vec::new();
    for name in POLICIES {
        let crate_dir = root.join("policies").join(name);
        let module = build(&toolchain, &crate_dir, Some(&guests_dir()?))?.bytes;
        let path = dir.join(format!("{name}.wasm"));
        match mode {
            Mode::Write => write(&path, &module)?,
            Mode::Check if fs::read(&path).is_ok_and(|there| there == module) => {}
            Mode::Check => differing.push(name.to_string()),
        }
    }
    let compiler = dir.join(COMPILER);
    if mode == Mode::Write {
        write(&compiler, toolchain.version().as_bytes())?;
    }
    let theirs = fs::read_to_string(&compiler)
        .with_context(|| format!("cannot read {}", compiler.display()))?;
    Ok(if differing.is_empty() {
        Comparison::Same
    } else if theirs == toolchain.version() {
        Comparison::Differs(differing)
    } else {
        Comparison::OtherCompiler {
            theirs,
            ours: toolchain.version().to_string(),
        }
    })
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
