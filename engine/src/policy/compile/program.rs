//! Which program compiles: parent and child must be the same, or what the child makes is not what the
//! parent would have made.
//!
//! The cache keeps native code under what the parent's program makes of a module, and an evaluation's
//! gas is counted by what was compiled in. A child of another version would leave another gas table
//! there: a wrong verdict on one replica. So the child says who it is before it reads the module.

use std::sync::OnceLock;

use crate::policy::cache::compatibility;
use crate::policy::gas::GAS_TABLE_VERSION;
use crate::policy::instrument::INSTRUMENTATION_VERSION;
use crate::policy::runtime::{EngineSettings, compile_engine};

/// The build of a program that does not know its commit.
pub const BUILD_UNKNOWN: &str = "unknown";
/// Longest introduction that is read, in bytes, its line break among them.
pub(super) const INTRODUCTION_BYTES_MAX: usize = 512;

/// One line of text that tells this program from another: the commit it was built from, the versions
/// of instrumentation and gas table, and the hash of the compiler and its settings.
///
/// # Errors
/// The compiler does not start on this machine.
pub(super) fn introduction(build: &str) -> Result<String, String> {
    // It does not change while the process runs, and takes a few milliseconds.
    static COMPILER: OnceLock<Result<String, String>> = OnceLock::new();
    let compiler = COMPILER.get_or_init(|| {
        let engine = compile_engine(EngineSettings::default())?;
        Ok(compatibility(&engine).to_hex().to_string())
    });
    let compiler = compiler.as_ref().map_err(Clone::clone)?;
    Ok(format!(
        "raft3d compile-worker 1, commit {build}, instrumentation {INSTRUMENTATION_VERSION}, \
         gas table {GAS_TABLE_VERSION}, compiler {compiler}\n"
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_introduction_is_one_short_line_that_names_the_build() {
        let line = introduction("0123456789ab").unwrap();
        assert!(line.len() <= INTRODUCTION_BYTES_MAX, "{line}");
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.contains("commit 0123456789ab,") && line.ends_with('\n'));
        assert_ne!(line, introduction(BUILD_UNKNOWN).unwrap());
    }
}
