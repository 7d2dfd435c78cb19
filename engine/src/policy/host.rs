//! The host: from a module's digest to an evaluation.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use raft3d_core::policy::Decided;
use raft3d_core::{
    Evaluation, LocalFault, ModuleDigest, ModuleSource, PolicyCall, PolicyError, PolicyHost,
};
use thiserror::Error;
use wasmtime::Module;

use super::aloud::AloudHost;
use super::cache::{self, CodeCache, CodeKey};
use super::compile::{CompileError, CompileLimits, Compiler};
use super::module_digest;
use super::runtime::{EngineSettings, ReadyModule, Runtime, lock};
use super::tally::{PolicyTallies, Tally};
use super::validate::{ModuleProblem, ModuleReport, inspect};
use super::workbench::Trial;
use crate::runtime;

/// Modules kept ready in memory. Twenty bindings are active at most; the rest is for activations
/// and rollbacks.
pub(super) const READY_MODULES_MAX: usize = 64;

/// Compiled code of the modules that are kept ready, in bytes. Twenty of the largest that an upload
/// may have stay well below it.
const READY_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What a host is made with.
pub struct HostOptions {
    /// Folder of this node's native code: `DIR/modules-cache`.
    pub cache_dir: PathBuf,
    /// Who compiles: [`ChildCompiler`](super::ChildCompiler) in production.
    pub compiler: Arc<dyn Compiler>,
    /// How evaluations run.
    pub settings: EngineSettings,
}

/// Why there is no host.
#[derive(Debug, Error)]
pub enum HostError {
    /// wasmtime does not start on this machine.
    #[error("the policy engine does not start: {0}")]
    Engine(String),
    /// The folder of native code cannot be used.
    #[error("the folder of compiled policies {path}: {source}")]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a module cannot be uploaded.
#[derive(Debug, Error)]
pub enum UploadError {
    /// It breaks a static limit.
    #[error(transparent)]
    Refused(ModuleProblem),
    /// It could not be compiled within the limits of an upload, or not at all.
    #[error(transparent)]
    Compile(CompileError),
    /// What was compiled does not load here.
    #[error("the compiled module does not load on this node: {0}")]
    Load(String),
}

/// Runs policies as WebAssembly. The only [`PolicyHost`] there is in production.
///
/// Everything here blocks: call it from threads that may wait, with 1 MiB of stack to spare.
pub struct WasmHost {
    runtime: Runtime,
    cache: CodeCache,
    purpose: Purpose,
    compiler: Arc<dyn Compiler>,
    known: Mutex<Known>,
    /// Modules that some thread is getting ready just now.
    in_flight: Mutex<HashSet<ModuleDigest>>,
    landed: Condvar,
    tally: Tally,
    /// One upload compiles at a time: their limits are per process, not for all of them.
    uploads: Mutex<()>,
}

/// What a host is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// It decides: what it compiles is kept, and it compiles whatever the cluster has taken.
    Apply,
    /// Nothing depends on it, so it writes nothing and spends no more than an upload may.
    DryRun,
}

impl Purpose {
    const fn limits(self) -> CompileLimits {
        match self {
            Self::Apply => CompileLimits::APPLY,
            Self::DryRun => CompileLimits::UPLOAD,
        }
    }
}

/// What is known of a module.
#[derive(Clone)]
enum Loaded {
    Ready(Arc<ReadyModule>),
    /// It breaks a static limit, and no compiler ever saw it.
    Invalid,
}

/// Why a module could not be made ready.
enum LoadError {
    Compile(CompileError),
    Load(String),
}

impl WasmHost {
    /// Starts the engine and opens the folder of native code.
    ///
    /// # Errors
    /// See [`HostError`].
    pub fn new(options: HostOptions) -> Result<Self, HostError> {
        Self::open(options, Purpose::Apply)
    }

    /// The same for dry runs: native code is read in the folder of another host, and none written.
    ///
    /// # Errors
    /// See [`HostError`].
    pub(super) fn for_dry_runs(options: HostOptions) -> Result<Self, HostError> {
        Self::open(options, Purpose::DryRun)
    }

    fn open(options: HostOptions, purpose: Purpose) -> Result<Self, HostError> {
        let HostOptions {
            cache_dir,
            compiler,
            settings,
        } = options;
        let cache = match purpose {
            Purpose::Apply => CodeCache::open(&cache_dir),
            Purpose::DryRun => CodeCache::open_to_read(&cache_dir),
        };
        let cache = cache.map_err(|source| HostError::Cache {
            path: cache_dir,
            source,
        })?;
        Ok(Self {
            purpose,
            runtime: Runtime::new(settings).map_err(HostError::Engine)?,
            cache,
            compiler,
            known: Mutex::default(),
            in_flight: Mutex::default(),
            landed: Condvar::new(),
            tally: Tally::default(),
            uploads: Mutex::default(),
        })
    }

    /// Checks a module for upload and compiles it within the limits of an upload.
    ///
    /// # Errors
    /// See [`UploadError`]; nothing was kept then.
    pub fn prepare_upload(&self, bytes: &[u8]) -> Result<ModuleReport, UploadError> {
        let report = inspect(bytes).map_err(UploadError::Refused)?;
        let _turn = lock(&self.uploads);
        match self.obtain(report.digest, bytes, CompileLimits::UPLOAD) {
            Ok(_) => Ok(report),
            Err(LoadError::Compile(CompileError::Refused(problem))) => {
                Err(UploadError::Refused(problem))
            }
            Err(LoadError::Compile(error)) => Err(UploadError::Compile(error)),
            Err(LoadError::Load(what)) => Err(UploadError::Load(what)),
        }
    }

    /// Gets a module of the cluster ready ahead of its first evaluation.
    ///
    /// # Errors
    /// [`LocalFault::Compile`] where this node cannot compile it; a module that breaks a static
    /// limit is no error, its evaluations deny.
    pub fn prefetch(&self, module: ModuleDigest, bytes: &[u8]) -> Result<(), LocalFault> {
        self.cache.want(CodeKey::new(module, self.runtime.engine()));
        self.load(module, || Ok(Some(bytes.to_vec()))).map(|_| ())
    }

    /// What policies did here since the start.
    pub fn tallies(&self) -> PolicyTallies {
        self.tally.read()
    }

    fn recall(&self, module: ModuleDigest) -> Option<Loaded> {
        lock(&self.known).get(module)
    }

    /// Makes `module` ready with what an apply may use; none where the state does not hold it.
    fn load(
        &self,
        module: ModuleDigest,
        bytes: impl FnOnce() -> Result<Option<Vec<u8>>, LocalFault>,
    ) -> Result<Option<Loaded>, LocalFault> {
        if let Some(known) = self.recall(module) {
            return Ok(Some(known));
        }
        // This reads files, and may compile or wait for who does.
        runtime::in_place(|| self.load_unknown(module, bytes))
    }

    fn load_unknown(
        &self,
        module: ModuleDigest,
        bytes: impl FnOnce() -> Result<Option<Vec<u8>>, LocalFault>,
    ) -> Result<Option<Loaded>, LocalFault> {
        let compile_fault = |detail| LocalFault::Compile {
            module: module.to_string(),
            detail,
        };
        self.cache.want(CodeKey::new(module, self.runtime.engine()));
        if let Some(ready) = self.ready_from_disk(module) {
            return Ok(Some(ready));
        }
        let Some(bytes) = bytes()? else {
            return Ok(None);
        };
        if module_digest(&bytes) != module {
            let detail = format!("the bytes of module {module} have another digest");
            return Err(LocalFault::CorruptRow {
                table: "modules",
                detail,
            });
        }
        match self.obtain(module, &bytes, self.purpose.limits()) {
            Ok(loaded) => Ok(Some(loaded)),
            Err(LoadError::Compile(CompileError::Refused(_))) => {
                lock(&self.known).insert(module, Loaded::Invalid, 0);
                Ok(Some(Loaded::Invalid))
            }
            Err(LoadError::Compile(error)) if error.is_of_this_machine() => {
                Err(LocalFault::Compiler {
                    module: module.to_string(),
                    detail: error.to_string(),
                })
            }
            Err(LoadError::Compile(error)) => Err(compile_fault(error.to_string())),
            Err(LoadError::Load(what)) => Err(compile_fault(what)),
        }
    }

    /// A module that is ready without its bytes.
    fn ready_from_disk(&self, module: ModuleDigest) -> Option<Loaded> {
        let _landing = self.take_off(module);
        self.recall(module).or_else(|| self.load_from_disk(module))
    }

    /// Makes a module ready: from memory, from disk, or with the compiler.
    fn obtain(
        &self,
        module: ModuleDigest,
        bytes: &[u8],
        limits: CompileLimits,
    ) -> Result<Loaded, LoadError> {
        let _landing = self.take_off(module);
        if let Some(known) = self.recall(module) {
            return Ok(known);
        }
        if let Some(ready) = self.load_from_disk(module) {
            return Ok(ready);
        }
        let code = self
            .compiler
            .compile(bytes, limits)
            .map_err(LoadError::Compile)?;
        let engine = self.runtime.engine();
        if self.purpose == Purpose::Apply
            && let Err(error) = self.cache.store(CodeKey::new(module, engine), &code)
        {
            // A cache that cannot be written costs time after the next restart, nothing else.
            tracing::warn!(%module, %error, "compiled policy not kept on disk");
        }
        let compiled = cache::adopt(&code, engine).map_err(LoadError::Load)?;
        self.adopt(module, &compiled).map_err(LoadError::Load)
    }

    fn load_from_disk(&self, module: ModuleDigest) -> Option<Loaded> {
        let engine = self.runtime.engine();
        let compiled = self.cache.load(CodeKey::new(module, engine), engine)?;
        self.adopt(module, &compiled).ok()
    }

    fn adopt(&self, module: ModuleDigest, compiled: &Module) -> Result<Loaded, String> {
        let loaded = Loaded::Ready(Arc::new(self.runtime.ready(compiled)?));
        let image = compiled.image_range();
        let bytes = image.end as u64 - image.start as u64;
        lock(&self.known).insert(module, loaded.clone(), bytes);
        Ok(loaded)
    }

    /// Waits until no other thread gets `module` ready, and claims it.
    fn take_off(&self, module: ModuleDigest) -> Landing<'_> {
        let mut in_flight = lock(&self.in_flight);
        while !in_flight.insert(module) {
            in_flight = self
                .landed
                .wait(in_flight)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Landing { host: self, module }
    }
}

/// Gives a claimed module free again.
struct Landing<'a> {
    host: &'a WasmHost,
    module: ModuleDigest,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        lock(&self.host.in_flight).remove(&self.module);
        self.host.landed.notify_all();
    }
}

impl PolicyHost for WasmHost {
    /// Invariant: the caller has made sure that the state holds `call.module`. A module that is
    /// ready here is not looked up again, so one that was deleted would still answer on this
    /// replica and not on one that restarted.
    fn evaluate(
        &self,
        call: &PolicyCall<'_>,
        modules: &dyn ModuleSource,
    ) -> Result<Evaluation, LocalFault> {
        let denied = |error| Ok(not_asked(error));
        match self.load(call.module, || modules.module_bytes(call.module))? {
            None => denied(PolicyError::UnknownModule),
            Some(Loaded::Invalid) => denied(PolicyError::InvalidModule),
            Some(Loaded::Ready(ready)) => {
                let begun = Instant::now();
                let evaluation =
                    self.runtime
                        .evaluate(&ready, call.export, call.input, call.gas)?;
                let (module, gas, took) = (call.module, evaluation.gas, begun.elapsed());
                self.tally.evaluated(module, call.export, gas, took);
                Ok(evaluation)
            }
        }
    }

    fn decided(&self, decided: &Decided<'_>) {
        self.tally.decided(decided);
    }

    /// It is known in memory, or sound on disk. One that is refused needs no compiler either.
    ///
    /// Never waits for a compiler: one that some thread gets ready just now is not compiled yet.
    /// Invariant: test `who_asks_whether_a_module_is_compiled_does_not_wait_for_the_compiler`.
    fn is_compiled(&self, module: ModuleDigest) -> bool {
        if self.recall(module).is_some() {
            return true;
        }
        if !lock(&self.in_flight).insert(module) {
            return false;
        }
        let _landing = Landing { host: self, module };
        self.recall(module)
            .or_else(|| self.load_from_disk(module))
            .is_some()
    }
}

impl AloudHost for WasmHost {
    fn evaluate_aloud(
        &self,
        call: &PolicyCall<'_>,
        modules: &dyn ModuleSource,
    ) -> Result<Trial, LocalFault> {
        let denied = |error| Trial {
            evaluation: not_asked(error),
            panic: None,
        };
        Ok(
            match self.load(call.module, || modules.module_bytes(call.module))? {
                None => denied(PolicyError::UnknownModule),
                Some(Loaded::Invalid) => denied(PolicyError::InvalidModule),
                Some(Loaded::Ready(ready)) => {
                    let (export, input, gas) = (call.export, call.input, call.gas);
                    let asked = self.runtime.evaluate_aloud(&ready, export, input, gas);
                    let (evaluation, panic) = asked?;
                    Trial { evaluation, panic }
                }
            },
        )
    }
}

/// What comes of asking a module that cannot be asked.
const fn not_asked(error: PolicyError) -> Evaluation {
    Evaluation {
        gas: 0,
        output: Err(error),
    }
}

/// The modules known in memory, bounded in number and in bytes; the one unused for longest goes
/// first.
#[derive(Default)]
struct Known {
    modules: HashMap<ModuleDigest, Entry>,
    bytes: u64,
    uses: u64,
}

/// One of them.
struct Entry {
    loaded: Loaded,
    /// Of its compiled code.
    bytes: u64,
    used: u64,
}

impl Known {
    fn get(&mut self, module: ModuleDigest) -> Option<Loaded> {
        self.uses += 1;
        let entry = self.modules.get_mut(&module)?;
        entry.used = self.uses;
        Some(entry.loaded.clone())
    }

    fn insert(&mut self, module: ModuleDigest, loaded: Loaded, bytes: u64) {
        self.uses += 1;
        let entry = Entry {
            loaded,
            bytes,
            used: self.uses,
        };
        self.bytes += bytes;
        if let Some(before) = self.modules.insert(module, entry) {
            self.bytes -= before.bytes;
        }
        // The newest stays, however large it is: it is about to be asked.
        while self.modules.len() > 1
            && (self.modules.len() > READY_MODULES_MAX || self.bytes > READY_BYTES_MAX)
        {
            let oldest = self.modules.iter().min_by_key(|(_, entry)| entry.used);
            let oldest = oldest.map(|(module, _)| *module);
            let gone = oldest.and_then(|module| self.modules.remove(&module));
            self.bytes -= gone.map_or(0, |entry| entry.bytes);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test is to panic")]
mod tests {
    use super::*;
    use crate::policy::InProcessCompiler;

    const fn module(n: u8) -> ModuleDigest {
        ModuleDigest([n; 32])
    }

    #[test]
    fn modules_that_are_ready_are_bounded_in_bytes() {
        let mut known = Known::default();
        for n in 0..8 {
            known.insert(module(n), Loaded::Invalid, READY_BYTES_MAX / 4);
            assert!(known.bytes <= READY_BYTES_MAX);
            assert!(known.get(module(0)).is_some(), "used last of all but {n}");
        }
        assert!(known.get(module(7)).is_some() && known.get(module(1)).is_none());
        assert_eq!(known.modules.len(), 4);
        // The same one again counts once.
        known.insert(module(7), Loaded::Invalid, READY_BYTES_MAX / 4);
        assert_eq!((known.modules.len(), known.bytes), (4, READY_BYTES_MAX));
        known.insert(module(9), Loaded::Invalid, 2 * READY_BYTES_MAX);
        assert!(known.get(module(9)).is_some(), "the newest stays");
        assert_eq!(known.modules.len(), 1);
    }

    #[test]
    fn modules_that_are_ready_are_bounded_in_number() {
        let mut known = Known::default();
        for n in 0..=READY_MODULES_MAX as u8 {
            known.insert(module(n), Loaded::Invalid, 1);
        }
        assert_eq!(known.modules.len(), READY_MODULES_MAX);
        assert!(known.get(module(0)).is_none());
        assert_eq!(known.bytes, READY_MODULES_MAX as u64);
    }

    #[test]
    fn a_module_that_is_ready_counts_with_its_native_code() {
        let dir = tempfile::tempdir().unwrap();
        let settings = EngineSettings::default();
        let host = WasmHost::new(HostOptions {
            cache_dir: dir.path().to_owned(),
            compiler: Arc::new(InProcessCompiler::new(settings)),
            settings,
        })
        .unwrap();
        let bytes = include_bytes!("../../../policies/prebuilt/standard-deduction.wasm");
        host.prepare_upload(bytes).unwrap();
        let counted = lock(&host.known).bytes;
        assert!(counted > bytes.len() as u64 / 4, "{counted} bytes");
        // The same from disk, after a restart.
        drop(host);
        let again = WasmHost::new(HostOptions {
            cache_dir: dir.path().to_owned(),
            compiler: Arc::new(InProcessCompiler::new(settings)),
            settings,
        })
        .unwrap();
        assert!(again.is_compiled(module_digest(bytes)));
        assert_eq!(lock(&again.known).bytes, counted);
    }
}
