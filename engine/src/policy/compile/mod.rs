//! From a module's original bytes to native code.
//!
//! A compiler is a large program fed by strangers: it can be made to take minutes and gigabytes.
//! So production compiles in a child process that limits itself, and is killed where that fails.

mod child;
mod program;
mod worker;

use std::time::Duration;

use thiserror::Error;

pub use child::ChildCompiler;
pub use program::BUILD_UNKNOWN;
pub use worker::{introduce, serve, worker_main};

use super::runtime::{EngineSettings, compile_engine};
use super::validate::{self, ModuleProblem};

/// What one compile may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Address space, in bytes.
    pub address_space_bytes: u64,
    /// Processor time, in whole seconds.
    pub cpu_seconds: u64,
    /// Time on the clock, which also counts waiting for a processor.
    pub wall: Duration,
    /// Size of the native code, in bytes as it is kept on disk. It differs from machine to machine, so
    /// nothing that apply computes may depend on it.
    pub native_bytes: u64,
}

impl CompileLimits {
    /// What an upload may use. Real guests take 0.1 s and 100 MiB.
    pub const UPLOAD: Self = Self {
        address_space_bytes: 1024 * 1024 * 1024,
        cpu_seconds: 10,
        wall: Duration::from_secs(30),
        native_bytes: 8 * 1024 * 1024,
    };

    /// What a replica may use for a module that the cluster took: four times as much, so that
    /// what one node compiled in time, a slower one does too.
    pub const APPLY: Self = Self {
        address_space_bytes: 4 * Self::UPLOAD.address_space_bytes,
        cpu_seconds: 4 * Self::UPLOAD.cpu_seconds,
        wall: Duration::from_secs(4 * Self::UPLOAD.wall.as_secs()),
        native_bytes: 4 * Self::UPLOAD.native_bytes,
    };

    /// Native code of a module, if it is not larger than allowed.
    fn native(&self, code: Vec<u8>) -> Result<Vec<u8>, CompileError> {
        if code.len() as u64 <= self.native_bytes {
            return Ok(code);
        }
        let mebibytes = self.native_bytes / (1024 * 1024);
        Err(CompileError::OverLimit {
            limit: format!("{mebibytes} MiB of native code"),
        })
    }
}

/// Why there is no native code.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CompileError {
    /// The module breaks a static limit: its own fault, on every machine.
    #[error("{0}")]
    Refused(ModuleProblem),
    /// The compiler did not take a module that passed the static check.
    #[error("the compiler does not take the module: {0}")]
    Compiler(String),
    /// The compile needed more than it may use.
    #[error("compiling the module takes more than {limit}")]
    OverLimit {
        /// Which limit, with its value.
        limit: String,
    },
    /// The compiling process ended without an answer.
    #[error("the compiling process ended without an answer: {0}")]
    Crashed(String),
    /// The compiling process did not start.
    #[error("the compiling process does not start: {0}")]
    Spawn(String),
    /// What was started is not the program that this process runs: its code must not be run.
    #[error("the compiling process is not of this program ({0}): restart the node")]
    OtherProgram(String),
}

impl CompileError {
    /// Whether it says nothing of the module: the compiling process never looked at it.
    #[must_use]
    pub const fn is_of_this_machine(&self) -> bool {
        matches!(self, Self::Spawn(_) | Self::OtherProgram(_))
    }
}

/// Makes native code.
pub trait Compiler: Send + Sync {
    /// Checks, instruments and compiles a module's original bytes; answers wasmtime's
    /// serialized form of the native code.
    ///
    /// # Errors
    /// See [`CompileError`].
    fn compile(&self, module: &[u8], limits: CompileLimits) -> Result<Vec<u8>, CompileError>;
}

/// Compiles in this process, without limits but that of the native code: for tests, and inside the
/// limited child.
#[derive(Clone, Copy, Debug, Default)]
pub struct InProcessCompiler {
    settings: EngineSettings,
}

impl InProcessCompiler {
    /// A compiler whose code runs in engines of these settings.
    #[must_use]
    pub const fn new(settings: EngineSettings) -> Self {
        Self { settings }
    }
}

impl Compiler for InProcessCompiler {
    fn compile(&self, module: &[u8], limits: CompileLimits) -> Result<Vec<u8>, CompileError> {
        let checked = validate::check(module).map_err(CompileError::Refused)?;
        let engine = compile_engine(self.settings).map_err(CompileError::Compiler)?;
        let code = engine.precompile_module(&checked.instrumented);
        limits.native(code.map_err(|error| CompileError::Compiler(format!("{error:#}")))?)
    }
}
