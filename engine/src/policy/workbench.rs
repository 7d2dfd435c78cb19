//! One module on an author's desk: compiled in this process and asked, without a cluster.
//!
//! It answers with the same evaluation as a replica, and can tell more: what a guest said when it
//! panicked. That is never part of a verdict, so nothing here is reachable from apply.

use raft3d_core::{Evaluation, Export, LocalFault};
use wasmtime::Module;

use super::limits::GAS_BUDGET;
use super::runtime::{EngineSettings, ReadyModule, Runtime};
use super::validate::{self, ModuleProblem, ModuleReport};

/// Why a module cannot be tried out.
#[derive(Debug, thiserror::Error)]
pub enum WorkbenchError {
    /// It breaks a static limit.
    #[error(transparent)]
    Refused(ModuleProblem),
    /// It passed the check, but does not compile or run on this machine.
    #[error("the module does not run on this machine: {0}")]
    Engine(String),
}

/// What one evaluation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// As on every replica.
    pub evaluation: Evaluation,
    /// The guest's own words, where it panicked and its module tells them.
    pub panic: Option<String>,
}

/// A module that can be asked.
pub struct Workbench {
    runtime: Runtime,
    module: ReadyModule,
    report: ModuleReport,
}

impl Workbench {
    /// Checks and compiles a module. The compile is not limited: to be done with modules of one's
    /// own, after [`ChildCompiler`](super::ChildCompiler) has taken them.
    ///
    /// # Errors
    /// See [`WorkbenchError`].
    pub fn new(bytes: &[u8]) -> Result<Self, WorkbenchError> {
        // An author asks one question after the other.
        Self::with_slots(bytes, 1)
    }

    /// The same for `slots` evaluations at once.
    ///
    /// # Errors
    /// See [`WorkbenchError`].
    pub fn with_slots(bytes: &[u8], slots: u32) -> Result<Self, WorkbenchError> {
        let checked = validate::check(bytes).map_err(WorkbenchError::Refused)?;
        let settings = EngineSettings {
            slots,
            ..EngineSettings::default()
        };
        let runtime = Runtime::new(settings).map_err(WorkbenchError::Engine)?;
        let compiled = Module::new(runtime.engine(), &checked.instrumented)
            .map_err(|error| WorkbenchError::Engine(format!("{error:#}")))?;
        let module = runtime.ready(&compiled).map_err(WorkbenchError::Engine)?;
        Ok(Self {
            runtime,
            module,
            report: checked.report,
        })
    }

    /// What the static check found out.
    #[must_use]
    pub const fn report(&self) -> &ModuleReport {
        &self.report
    }

    /// Whether an instance is put back to what it was after a call, instead of being made anew for
    /// the next one: cheaper, and done for small memories alone (`sdk/ABI.md`, section 1).
    #[must_use]
    pub const fn puts_instances_back(&self) -> bool {
        self.module.pristine.is_some()
    }

    /// Makes one evaluation, and asks a guest that panicked for its message.
    ///
    /// # Errors
    /// This machine could not do it.
    pub fn evaluate(&self, export: Export, input: &[u8]) -> Result<Trial, LocalFault> {
        let (evaluation, panic) =
            self.runtime
                .evaluate_aloud(&self.module, export, input, GAS_BUDGET)?;
        Ok(Trial { evaluation, panic })
    }
}
