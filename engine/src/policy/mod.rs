//! The policy host: modules are validated, instrumented, compiled and run here.
//!
//! A module's way, file by file: [`validate`] reads the author's bytes and refuses what this
//! engine epoch does not take; [`instrument`] writes the gas and stack counters into it, priced
//! by [`gas`]; [`compile`] turns that into native code, in a child process; [`cache`] keeps the
//! code on disk; [`runtime`] links it; [`instance`] makes one evaluation, in an instance that is
//! fresh or as good as fresh; [`traps`] says what each trap comes to; [`host`] puts them together
//! behind `raft3d_core::PolicyHost`. [`aloud`] is the same for dry runs, beside what applies;
//! [`workbench`] for authors, without a cluster. [`tally`] counts what came of evaluations, for
//! metrics.
//!
//! Architecture Invariant: whatever a replica answers for an evaluation depends on the module's
//! original bytes and on the input alone. Everything that might differ between two machines
//! (memory, time, native stack, a compiler) ends in a `LocalFault`, never in an answer.

pub mod aloud;
pub mod cache;
pub mod compile;
pub mod gas;
pub mod host;
mod instance;
pub mod instrument;
pub mod limits;
pub mod runtime;
pub mod tally;
pub mod traps;
pub mod validate;
pub mod workbench;

pub use aloud::{AloudHost, DryRunHost, Listener};
pub use compile::{
    ChildCompiler, CompileError, CompileLimits, Compiler, InProcessCompiler, worker_main,
};
pub use host::{HostError, HostOptions, UploadError, WasmHost};
pub use limits::{Limit, LimitUse};
pub use runtime::EngineSettings;
pub use validate::{ModuleProblem, ModuleReport, inspect};
pub use workbench::{Trial, Workbench, WorkbenchError};

use raft3d_core::ModuleDigest;
use sha2::{Digest, Sha256};

/// SHA-256 (FIPS 180-4) of a module's original bytes: its identity in the whole cluster.
#[must_use]
pub fn module_digest(bytes: &[u8]) -> ModuleDigest {
    ModuleDigest(Sha256::digest(bytes).into())
}
