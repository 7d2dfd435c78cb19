//! Evaluations by which nothing is decided: what a guest says when it panics is told as well.
//!
//! Architecture Invariant: apply sees a `PolicyHost` alone, so none of these words can get into a
//! stored answer.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use raft3d_core::state::decisions::call_digest;
use raft3d_core::{Evaluation, LocalFault, ModuleDigest, ModuleSource, PolicyCall, PolicyHost};

use super::compile::Compiler;
use super::host::{HostOptions, WasmHost};
use super::runtime::{EngineSettings, lock};
use super::workbench::Trial;

/// Evaluates policies, and tells what a guest said when it panicked.
pub trait AloudHost: Send + Sync {
    /// Makes one evaluation, as apply does.
    ///
    /// # Errors
    /// A fault of this node alone.
    fn evaluate_aloud(
        &self,
        call: &PolicyCall<'_>,
        modules: &dyn ModuleSource,
    ) -> Result<Trial, LocalFault>;
}

/// An engine and a pool beside those that apply has, so that neither waits for the other. It is
/// started by the first question: many nodes are never asked one.
pub struct DryRunHost {
    cache_dir: PathBuf,
    compiler: Arc<dyn Compiler>,
    slots: u32,
    host: Mutex<Option<Arc<WasmHost>>>,
}

impl DryRunHost {
    /// It reads native code in `cache_dir`, which is that of this node's apply, and writes none
    /// there; `slots` evaluations are made at once.
    #[must_use]
    pub fn new(cache_dir: PathBuf, compiler: Arc<dyn Compiler>, slots: u32) -> Self {
        Self {
            cache_dir,
            compiler,
            slots,
            host: Mutex::default(),
        }
    }

    fn host(&self) -> Result<Arc<WasmHost>, LocalFault> {
        let mut host = lock(&self.host);
        if let Some(host) = host.as_ref() {
            return Ok(Arc::clone(host));
        }
        let options = HostOptions {
            cache_dir: self.cache_dir.clone(),
            compiler: Arc::clone(&self.compiler),
            settings: EngineSettings {
                slots: self.slots,
                ..EngineSettings::default()
            },
        };
        let started = WasmHost::for_dry_runs(options);
        let started = started.map_err(|error| LocalFault::Runtime(error.to_string()))?;
        Ok(Arc::clone(host.insert(Arc::new(started))))
    }
}

impl AloudHost for DryRunHost {
    fn evaluate_aloud(
        &self,
        call: &PolicyCall<'_>,
        modules: &dyn ModuleSource,
    ) -> Result<Trial, LocalFault> {
        self.host()?.evaluate_aloud(call, modules)
    }
}

/// One question, asked through the trait that the state machine knows; what guests said is kept
/// aside.
pub struct Listener<'a> {
    host: &'a dyn AloudHost,
    heard: Mutex<Vec<Heard>>,
}

/// What a guest said.
struct Heard {
    module: ModuleDigest,
    call_digest: [u8; 32],
    panic: String,
}

impl<'a> Listener<'a> {
    /// Listens to what `host` tells.
    #[must_use]
    pub fn new(host: &'a dyn AloudHost) -> Self {
        Self {
            host,
            heard: Mutex::default(),
        }
    }

    /// What `module` said when it was called with bytes of that BLAKE3.
    #[must_use]
    pub fn panic_of(&self, module: ModuleDigest, call_digest: &[u8; 32]) -> Option<String> {
        let heard = lock(&self.heard);
        let said = heard
            .iter()
            .find(|heard| heard.module == module && heard.call_digest == *call_digest);
        said.map(|heard| heard.panic.clone())
    }
}

impl PolicyHost for Listener<'_> {
    fn evaluate(
        &self,
        call: &PolicyCall<'_>,
        modules: &dyn ModuleSource,
    ) -> Result<Evaluation, LocalFault> {
        let Trial { evaluation, panic } = self.host.evaluate_aloud(call, modules)?;
        if let Some(panic) = panic {
            lock(&self.heard).push(Heard {
                module: call.module,
                call_digest: call_digest(call.input),
                panic,
            });
        }
        Ok(evaluation)
    }

    /// Nothing is proposed by what is asked here.
    fn is_compiled(&self, _: ModuleDigest) -> bool {
        true
    }
}
