//! Engines and modules that are ready to run: linked, looked up, with instances at hand.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use raft3d_core::{Evaluation, Export, LocalFault, PolicyError};
use raft3d_sdk::{Hook, wire};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{
    Config, Enabled, Engine, ExternType, InstanceAllocationStrategy, InstancePre, Linker, Module,
    ModuleExport, OptLevel, PoolingAllocationConfig,
};

use super::gas::PER_PAGE;
use super::host::READY_MODULES_MAX;
use super::instance::{Pristine, Running, Watcher};
use super::instrument::{GAS_EXPORT, STACK_EXPORT};
use super::limits::{GAS_BUDGET, GLOBALS, MEMORY_BYTES, NATIVE_STACK_BYTES, TABLE_ELEMENTS};
use crate::sabotage::{Bug, armed};

/// Instances that are kept for later evaluations, of all modules together: one of each module that
/// is kept ready, where one thread asks them.
const KEPT_MAX: u32 = READY_MODULES_MAX as u32;
/// Memories of the pool beyond those: wasmtime takes a free one for a moment where the last use of a
/// module ends, whoever ends it.
const SPARE_MEMORIES: u32 = 8;
/// Time between two ticks of the watchdog, in milliseconds.
const TICK_MS: u64 = 250;
/// Bytes of a used memory that are reset in place instead of given back to the system.
const KEEP_RESIDENT_BYTES: usize = 512 * 1024;
/// Target of code for Pulley on this processor: 64 bits, little-endian.
const PULLEY: &str = "pulley64";
/// Evaluations at once, by default.
const SLOTS_DEFAULT: u32 = 8;

/// What may be varied without changing any answer: the tests prove that it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// Whether Cranelift optimises.
    pub optimise: bool,
    /// Whether instances start from copy-on-write images.
    pub copy_on_write: bool,
    /// Whether Pulley, wasmtime's interpreter, runs the code, and not the processor. Only where
    /// wasmtime is built with its feature `pulley`, as tests have it: elsewhere nothing loads.
    pub interpret: bool,
    /// Whether an instance is used again once everything in it is as it was ([`Pristine`]).
    pub reuse: bool,
    /// Evaluations at once; more of them wait.
    pub slots: u32,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            optimise: true,
            copy_on_write: true,
            interpret: false,
            reuse: true,
            slots: SLOTS_DEFAULT,
        }
    }
}

/// The settings that decide what compiled code looks like, and so its compatibility.
fn config(settings: EngineSettings) -> Result<Config, String> {
    let level = if settings.optimise {
        OptLevel::Speed
    } else {
        OptLevel::None
    };
    let mut config = Config::new();
    config
        .cranelift_opt_level(level)
        .memory_init_cow(settings.copy_on_write)
        .consume_fuel(false)
        .epoch_interruption(true)
        .concurrency_support(false)
        .max_wasm_stack(NATIVE_STACK_BYTES)
        .wasm_backtrace_max_frames(None)
        .native_unwind_info(false)
        .generate_address_map(false)
        .wasm_relaxed_simd(false)
        .wasm_simd(false)
        .wasm_tail_call(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_extended_const(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false);
    if settings.interpret {
        config
            .target(PULLEY)
            .map_err(|error| format!("{error:#}"))?;
    }
    Ok(config)
}

/// An engine that only compiles: it reserves no pool, so that it also runs in little address
/// space, and yet makes code that [`Runtime`] takes.
///
/// # Errors
/// A message where this machine cannot run wasmtime.
pub(crate) fn compile_engine(settings: EngineSettings) -> Result<Engine, String> {
    Engine::new(&config(settings)?).map_err(|error| format!("{error:#}"))
}

/// The engine that runs policies.
pub(crate) struct Runtime {
    engine: Engine,
    reuse: bool,
    slots: Slots,
    /// One permit for each instance that may be kept.
    places: Arc<Semaphore>,
    /// Stops with the runtime.
    _ticker: Ticker,
}

/// A module that is ready to run.
pub(crate) struct ReadyModule {
    pub(super) pre: InstancePre<Watcher>,
    pub(super) memory: ModuleExport,
    pub(super) alloc: ModuleExport,
    pub(super) check_config: ModuleExport,
    /// What is called before anything else, where the module has it.
    pub(super) initialize: Option<ModuleExport>,
    /// Gas for the memory that its instances start with.
    memory_gas: u64,
    hooks: [Option<ModuleExport>; Hook::ALL.len()],
    pub(super) gas: ModuleExport,
    pub(super) stack: ModuleExport,
    /// Tells what a panic was about, where the module has it.
    pub(super) panic: Option<ModuleExport>,
    /// What its instances are when they start; none where they are not used again.
    pub(super) pristine: Option<Pristine>,
    /// Instances for the next evaluations.
    kept: Mutex<Vec<Kept>>,
    places: Arc<Semaphore>,
}

/// An instance that waits for its next evaluation.
struct Kept {
    running: Running,
    /// Always so, but for tests that must notice ([`Bug::GuestMemoryReused`]).
    is_pristine: bool,
    place: Place,
}

/// The right to keep one instance, also while it runs.
type Place = OwnedSemaphorePermit;

impl ReadyModule {
    /// What answers a call; none where the module does not have it.
    fn entry(&self, export: Export) -> Option<&ModuleExport> {
        match export {
            Export::CheckConfig => Some(&self.check_config),
            Export::Hook(hook) => self.hooks.get(hook as usize).and_then(Option::as_ref),
        }
    }

    /// An instance to run, and its place among those that are kept, if it has one.
    fn instance(&self, gas: u64) -> Result<(Running, Option<Place>), LocalFault> {
        let kept = lock(&self.kept).pop();
        match kept.filter(|kept| kept.is_pristine || armed(Bug::GuestMemoryReused)) {
            Some(mut kept) => {
                // Now and not when it was put back: it may have waited for longer than any
                // evaluation may take.
                kept.running.refuel(gas)?;
                Ok((kept.running, Some(kept.place)))
            }
            None => {
                let mut running = Running::start(self)?;
                running.refuel(gas)?;
                Ok((running, None))
            }
        }
    }

    /// Keeps an instance whose evaluation came to an answer, if there is a place for it and it can
    /// be put back to what it was.
    fn keep(&self, mut running: Running, place: Option<Place>) -> Result<(), LocalFault> {
        let free = || Arc::clone(&self.places).try_acquire_owned().ok();
        let Some(place) = place.or_else(free) else {
            return Ok(());
        };
        let as_it_is = armed(Bug::GuestMemoryReused);
        let is_pristine = match &self.pristine {
            Some(pristine) if !as_it_is => running.put_back(pristine)?,
            _ => false,
        };
        if is_pristine || as_it_is {
            lock(&self.kept).push(Kept {
                running,
                is_pristine,
                place,
            });
        }
        Ok(())
    }
}

impl Runtime {
    /// # Errors
    /// A message where wasmtime does not start here: no address space for the pool, for instance.
    pub(crate) fn new(settings: EngineSettings) -> Result<Self, String> {
        // Those that run have a slot or a place each.
        let instances = settings.slots + KEPT_MAX;
        let mut pool = PoolingAllocationConfig::new();
        pool.total_core_instances(instances)
            .total_memories(instances + SPARE_MEMORIES)
            .total_tables(instances)
            .max_memories_per_module(1)
            .max_tables_per_module(1)
            .table_elements(TABLE_ELEMENTS.max as usize)
            .max_memory_size(MEMORY_BYTES.max as usize)
            .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
            .table_keep_resident(KEEP_RESIDENT_BYTES)
            .max_unused_warm_slots(settings.slots)
            .pagemap_scan(Enabled::Auto);
        let mut config = config(settings)?;
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config).map_err(|error| format!("{error:#}"))?;
        let ticker = Ticker::start(engine.clone())?;
        Ok(Self {
            engine,
            reuse: settings.reuse,
            slots: Slots::new(settings.slots),
            places: Arc::new(Semaphore::new(KEPT_MAX as usize)),
            _ticker: ticker,
        })
    }

    pub(crate) const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Links a module and looks its exports up, once for all evaluations.
    pub(crate) fn ready(&self, module: &Module) -> Result<ReadyModule, String> {
        let export = |name: &str| {
            module
                .get_export_index(name)
                .ok_or_else(|| format!("export {name} is missing"))
        };
        let pre = Linker::new(&self.engine)
            .instantiate_pre(module)
            .map_err(|error| format!("{error:#}"))?;
        let mut ready = ReadyModule {
            pre,
            memory: export(wire::MEMORY)?,
            alloc: export(wire::ALLOC)?,
            check_config: export(wire::CHECK_CONFIG)?,
            initialize: module.get_export_index(wire::INITIALIZE),
            memory_gas: memory_gas(module)?,
            hooks: Hook::ALL.map(|hook| module.get_export_index(hook.name())),
            gas: export(GAS_EXPORT)?,
            stack: export(STACK_EXPORT)?,
            panic: module.get_export_index(wire::PANIC),
            pristine: None,
            kept: Mutex::default(),
            places: Arc::clone(&self.places),
        };
        if self.reuse {
            let _slot = self.slots.take();
            // It works without, too.
            ready.pristine = Pristine::of(&ready, module).ok().flatten();
        }
        Ok(ready)
    }

    /// Makes one evaluation with `gas` at most. Waits where as many are under way as there may be at
    /// once.
    ///
    /// The caller's thread needs [`NATIVE_STACK_BYTES`] of stack that it does not use itself.
    pub(crate) fn evaluate(
        &self,
        module: &ReadyModule,
        export: Export,
        input: &[u8],
        gas: u64,
    ) -> Result<Evaluation, LocalFault> {
        Ok(self.ask(module, export, input, gas, |_| Ok(None))?.0)
    }

    /// As [`evaluate`](Self::evaluate), and what the guest said where it panicked. For authors:
    /// what it says must never become part of an answer.
    pub(crate) fn evaluate_aloud(
        &self,
        module: &ReadyModule,
        export: Export,
        input: &[u8],
        gas: u64,
    ) -> Result<(Evaluation, Option<String>), LocalFault> {
        self.ask(module, export, input, gas, |running| match &module.panic {
            Some(panic) => running.last_words(panic),
            None => Ok(None),
        })
    }

    /// Makes one evaluation; `panicked` listens to a guest that ended itself.
    fn ask(
        &self,
        module: &ReadyModule,
        export: Export,
        input: &[u8],
        gas: u64,
        panicked: impl FnOnce(&mut Running) -> Result<Option<String>, LocalFault>,
    ) -> Result<(Evaluation, Option<String>), LocalFault> {
        let Some(entry) = module.entry(export) else {
            return Ok((Evaluation::MISSING_EXPORT, None));
        };
        let Some(left) = gas.min(GAS_BUDGET).checked_sub(module.memory_gas) else {
            let output = Err(PolicyError::OutOfGas);
            return Ok((Evaluation { gas, output }, None));
        };
        let _slot = self.slots.take();
        let (mut running, place) = module.instance(left)?;
        let output = running.run(module.initialize.as_ref(), export, entry, input)?;
        let gas = module.memory_gas + running.gas_used();
        let words = match &output {
            Err(PolicyError::Unreachable) => panicked(&mut running)?,
            _ => None,
        };
        if output.is_ok() || armed(Bug::GuestMemoryReused) {
            module.keep(running, place)?;
        }
        Ok((Evaluation { gas, output }, words))
    }
}

/// Gas for the memory that instances of `module` start with: as much as if they had grown it.
fn memory_gas(module: &Module) -> Result<u64, String> {
    let Some(ExternType::Memory(memory)) = module.get_export(wire::MEMORY) else {
        return Err("the memory is missing".into());
    };
    Ok(memory.minimum() * PER_PAGE)
}

/// Counts evaluations in, so that the pool is never asked for more than it has.
struct Slots {
    count: Mutex<Count>,
    freed: Condvar,
}

struct Count {
    free: u32,
    /// Who waits: to wake nobody is a system call too.
    waiting: u32,
}

struct Slot<'a>(&'a Slots);

impl Slots {
    const fn new(free: u32) -> Self {
        Self {
            count: Mutex::new(Count { free, waiting: 0 }),
            freed: Condvar::new(),
        }
    }

    fn take(&self) -> Slot<'_> {
        let mut count = lock(&self.count);
        while count.free == 0 {
            count.waiting += 1;
            count = self
                .freed
                .wait(count)
                .unwrap_or_else(PoisonError::into_inner);
            count.waiting -= 1;
        }
        count.free -= 1;
        Slot(self)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut count = lock(&self.0.count);
        count.free += 1;
        if count.waiting > 0 {
            self.0.freed.notify_one();
        }
    }
}

/// Locks; what a panicking holder left behind is a plain value that is still right.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The watchdog's clock: one thread that moves the engine's epoch on.
struct Ticker {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: Engine) -> Result<Self, String> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let shared = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("policy-watchdog".into())
            .spawn(move || {
                let (stopped, changed) = &*shared;
                let mut guard = lock(stopped);
                while !*guard {
                    let tick = Duration::from_millis(TICK_MS);
                    guard = changed
                        .wait_timeout(guard, tick)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                    engine.increment_epoch();
                }
            })
            .map_err(|error| format!("the watchdog thread does not start: {error}"))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        *lock(&self.stop.0) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // A watchdog that panicked has nothing to say any more.
            let _ = thread.join();
        }
    }
}

/// The guest's globals and the two counters behind them.
const _: () = assert!(
    GLOBALS.max + 2 <= 128,
    "counter indices are two bytes of LEB128 at most"
);

#[cfg(test)]
#[path = "runtime_tests.rs"]
mod tests;
