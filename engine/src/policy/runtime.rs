//! One evaluation in wasmtime: a fresh instance from the pool, counters set, answer copied out.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use raft3d_core::{Evaluation, Export, LocalFault, PolicyError};
use raft3d_sdk::limits::PANIC_BYTES_MAX;
use raft3d_sdk::{Hook, wire};
use wasmtime::{
    Config, Enabled, Engine, Global, Instance, InstanceAllocationStrategy, InstancePre, Linker,
    Memory, Module, ModuleExport, OptLevel, PoolingAllocationConfig, ResourceLimiter, Store, Trap,
    TypedFunc, Val, WasmParams, WasmResults,
};

use super::instrument::{GAS_EXPORT, STACK_EXPORT};
use super::limits::{
    GAS_BUDGET, GLOBALS, MEMORY_BYTES, NATIVE_STACK_BYTES, OUTPUT_BYTES, TABLE_ELEMENTS,
};
use super::traps::{self, TrapMeaning};
use crate::sabotage::{Bug, armed};

/// Modules that may each keep an instance where [`Bug::GuestMemoryReused`] is armed.
const KEPT_MAX: u32 = 32;
/// How long one evaluation may take before this replica gives up on itself. The gas budget ends
/// every evaluation within milliseconds, so this only fires where something is badly wrong.
const WATCHDOG_TICKS: u64 = 40;
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
    /// Evaluations at once; more of them wait.
    pub slots: u32,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            optimise: true,
            copy_on_write: true,
            interpret: false,
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
    slots: Slots,
    /// Stops with the runtime.
    _ticker: Ticker,
}

/// A module that is ready to run.
pub(crate) struct ReadyModule {
    pre: InstancePre<Watcher>,
    memory: ModuleExport,
    alloc: ModuleExport,
    check_config: ModuleExport,
    hooks: [Option<ModuleExport>; Hook::ALL.len()],
    gas: ModuleExport,
    stack: ModuleExport,
    /// Tells what a panic was about, where the module has it.
    panic: Option<ModuleExport>,
    /// An instance for the next evaluation: always empty, but for tests that must notice
    /// ([`Bug::GuestMemoryReused`]).
    kept: Mutex<Option<Running>>,
}

impl ReadyModule {
    /// What answers a call; none where the module does not have it.
    fn entry(&self, export: Export) -> Option<&ModuleExport> {
        match export {
            Export::CheckConfig => Some(&self.check_config),
            Export::Hook(hook) => self.hooks.get(hook as usize).and_then(Option::as_ref),
        }
    }

    fn kept(&self) -> Option<Running> {
        armed(Bug::GuestMemoryReused).then(|| lock(&self.kept).take())?
    }

    fn keep(&self, mut running: Running) -> Result<(), LocalFault> {
        if armed(Bug::GuestMemoryReused) {
            running.refuel()?;
            *lock(&self.kept) = Some(running);
        }
        Ok(())
    }
}

impl Runtime {
    /// # Errors
    /// A message where wasmtime does not start here: no address space for the pool, for instance.
    pub(crate) fn new(settings: EngineSettings) -> Result<Self, String> {
        let kept = if armed(Bug::GuestMemoryReused) {
            KEPT_MAX
        } else {
            0
        };
        let instances = settings.slots + kept;
        let mut pool = PoolingAllocationConfig::new();
        pool.total_core_instances(instances)
            .total_memories(instances)
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
            slots: Slots::new(settings.slots),
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
        Ok(ReadyModule {
            pre,
            memory: export(wire::MEMORY)?,
            alloc: export(wire::ALLOC)?,
            check_config: export(wire::CHECK_CONFIG)?,
            hooks: Hook::ALL.map(|hook| module.get_export_index(hook.name())),
            gas: export(GAS_EXPORT)?,
            stack: export(STACK_EXPORT)?,
            panic: module.get_export_index(wire::PANIC),
            kept: Mutex::default(),
        })
    }

    /// Makes one evaluation. Waits where every slot of the pool is taken.
    ///
    /// The caller's thread needs [`NATIVE_STACK_BYTES`] of stack that it does not use itself.
    pub(crate) fn evaluate(
        &self,
        module: &ReadyModule,
        export: Export,
        input: &[u8],
    ) -> Result<Evaluation, LocalFault> {
        let Some(entry) = module.entry(export) else {
            return Ok(Evaluation::MISSING_EXPORT);
        };
        let _slot = self.slots.take();
        let mut running = match module.kept() {
            Some(running) => running,
            None => Running::start(&self.engine, module)?,
        };
        let output = running.run(module, entry, input)?;
        let gas = running.gas_used();
        module.keep(running)?;
        Ok(Evaluation { gas, output })
    }

    /// As [`evaluate`](Self::evaluate), and what the guest said where it panicked. For authors:
    /// what it says must never become part of an answer.
    pub(crate) fn evaluate_aloud(
        &self,
        module: &ReadyModule,
        export: Export,
        input: &[u8],
    ) -> Result<(Evaluation, Option<String>), LocalFault> {
        let Some(entry) = module.entry(export) else {
            return Ok((Evaluation::MISSING_EXPORT, None));
        };
        let _slot = self.slots.take();
        let mut running = Running::start(&self.engine, module)?;
        let output = running.run(module, entry, input)?;
        let gas = running.gas_used();
        let panic = match (&output, &module.panic) {
            (Err(PolicyError::Unreachable), Some(panic)) => running.last_words(panic)?,
            _ => None,
        };
        Ok((Evaluation { gas, output }, panic))
    }
}

/// A fresh instance and its counters.
struct Running {
    store: Store<Watcher>,
    instance: Instance,
    memory: Memory,
    gas: Global,
    stack: Global,
}

/// Why a call ended early: at once a verdict, or a fault of this replica.
enum Ended {
    Verdict(PolicyError),
    Fault(LocalFault),
}

impl Running {
    fn start(engine: &Engine, module: &ReadyModule) -> Result<Self, LocalFault> {
        let mut store = Store::new(engine, Watcher::default());
        store.limiter(|watcher| watcher);
        // Also for what sets up memory and globals: some settings compile that to code.
        store.set_epoch_deadline(WATCHDOG_TICKS);
        // Segments fit and there is no start function (the static check saw to both), so this
        // fails only for want of something local.
        let instance = module
            .pre
            .instantiate(&mut store)
            .map_err(|error| fault(&error))?;
        let memory = instance
            .get_module_export(&mut store, &module.memory)
            .and_then(wasmtime::Extern::into_memory);
        let gas = instance
            .get_module_export(&mut store, &module.gas)
            .and_then(wasmtime::Extern::into_global);
        let stack = instance
            .get_module_export(&mut store, &module.stack)
            .and_then(wasmtime::Extern::into_global);
        let (Some(memory), Some(gas), Some(stack)) = (memory, gas, stack) else {
            return Err(LocalFault::Runtime("compiled code lacks an export".into()));
        };
        let mut running = Self {
            store,
            instance,
            memory,
            gas,
            stack,
        };
        running.refuel()?;
        Ok(running)
    }

    /// Gives it the whole budget.
    fn refuel(&mut self) -> Result<(), LocalFault> {
        let budget = Val::I64(GAS_BUDGET as i64);
        self.store.set_epoch_deadline(WATCHDOG_TICKS);
        self.gas
            .set(&mut self.store, budget)
            .map_err(|error| fault(&error))
    }

    /// Hands the input over, calls the hook and copies the answer out.
    fn run(
        &mut self,
        module: &ReadyModule,
        entry: &ModuleExport,
        input: &[u8],
    ) -> Result<Result<Vec<u8>, PolicyError>, LocalFault> {
        match self.try_run(module, entry, input) {
            Ok(output) => Ok(Ok(output)),
            Err(Ended::Verdict(verdict)) => Ok(Err(verdict)),
            Err(Ended::Fault(fault)) => Err(fault),
        }
    }

    fn try_run(
        &mut self,
        module: &ReadyModule,
        entry: &ModuleExport,
        input: &[u8],
    ) -> Result<Vec<u8>, Ended> {
        let bad_allocation = Ended::Verdict(PolicyError::BadAllocation);
        let Ok(len) = i32::try_from(input.len()) else {
            return Err(bad_allocation);
        };
        let alloc = self.function::<i32, i32>(&module.alloc)?;
        let ptr = self.call(&alloc, len)?;
        // Addresses are unsigned, WebAssembly's i32 has no sign of its own.
        let start = ptr as u32 as usize;
        let room = start
            .checked_add(input.len())
            .and_then(|end| self.memory.data_mut(&mut self.store).get_mut(start..end));
        let Some(room) = room else {
            return Err(bad_allocation);
        };
        room.copy_from_slice(input);

        let hook = self.function::<(i32, i32), i64>(entry)?;
        let (ptr, len) = wire::unpack(self.call(&hook, (ptr, len))? as u64);
        let bad_range = Ended::Verdict(PolicyError::BadOutputRange);
        if len > OUTPUT_BYTES {
            return Err(bad_range);
        }
        let start = ptr as usize;
        let output = start
            .checked_add(len as usize)
            .and_then(|end| self.memory.data(&self.store).get(start..end));
        output.map(<[u8]>::to_vec).ok_or(bad_range)
    }

    /// What a guest that panicked has to say; none where it says nothing that can be read.
    fn last_words(&mut self, panic: &ModuleExport) -> Result<Option<String>, LocalFault> {
        // It may have used its gas up.
        self.refuel()?;
        let place = self
            .function::<(), i64>(panic)
            .and_then(|panic| self.call(&panic, ()));
        let (ptr, len) = match place {
            Ok(place) => wire::unpack(place as u64),
            Err(Ended::Verdict(_)) => return Ok(None),
            Err(Ended::Fault(fault)) => return Err(fault),
        };
        let start = ptr as usize;
        let bytes = start
            .checked_add((len as usize).min(PANIC_BYTES_MAX))
            .and_then(|end| self.memory.data(&self.store).get(start..end))
            .unwrap_or_default();
        let text: String = String::from_utf8_lossy(bytes)
            .chars()
            // It goes to a terminal.
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        Ok((!text.is_empty()).then_some(text))
    }

    fn function<P: WasmParams, R: WasmResults>(
        &mut self,
        export: &ModuleExport,
    ) -> Result<TypedFunc<P, R>, Ended> {
        self.instance
            .get_module_export(&mut self.store, export)
            .and_then(wasmtime::Extern::into_func)
            .and_then(|function| function.typed(&self.store).ok())
            .ok_or_else(|| Ended::Fault(LocalFault::Runtime("a compiled export is wrong".into())))
    }

    fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        function: &TypedFunc<P, R>,
        params: P,
    ) -> Result<R, Ended> {
        let result = function.call(&mut self.store, params);
        // First: a growth that failed here may have led to anything, even to a good answer.
        if let Some(what) = self.store.data_mut().fault.take() {
            return Err(Ended::Fault(LocalFault::Runtime(what)));
        }
        result.map_err(|error| self.ended(&error))
    }

    fn ended(&mut self, error: &wasmtime::Error) -> Ended {
        let Some(trap) = error.downcast_ref::<Trap>() else {
            return Ended::Fault(fault(error));
        };
        match traps::meaning(*trap) {
            TrapMeaning::Verdict(verdict) => Ended::Verdict(verdict),
            TrapMeaning::LocalFault => Ended::Fault(fault(error)),
            TrapMeaning::AskCounters => {
                let stack = self.stack.get(&mut self.store).i32().unwrap_or(0);
                Ended::Verdict(traps::behind_unreachable(self.gas_left(), stack))
            }
        }
    }

    fn gas_left(&mut self) -> i64 {
        self.gas.get(&mut self.store).i64().unwrap_or(0)
    }

    fn gas_used(&mut self) -> u64 {
        // Below zero means that all of it is used.
        let left = u64::try_from(self.gas_left()).unwrap_or(0);
        GAS_BUDGET.saturating_sub(left)
    }
}

fn fault(error: &wasmtime::Error) -> LocalFault {
    LocalFault::Runtime(format!("{error:#}"))
}

/// Watches over growth: whether it is granted follows from the limits alone, and where the
/// machine cannot keep that promise, it is noted as a fault.
#[derive(Default)]
struct Watcher {
    fault: Option<String>,
}

impl ResourceLimiter for Watcher {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let max = MEMORY_BYTES.max as usize;
        Ok(desired <= maximum.map_or(max, |own| own.min(max)))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.fault = Some(format!(
            "memory within the limit could not be had: {error:#}"
        ));
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired as u64 <= TABLE_ELEMENTS.max)
    }
}

/// Counts evaluations in, so that the pool is never asked for more than it has.
struct Slots {
    free: Mutex<u32>,
    freed: Condvar,
}

struct Slot<'a>(&'a Slots);

impl Slots {
    const fn new(count: u32) -> Self {
        Self {
            free: Mutex::new(count),
            freed: Condvar::new(),
        }
    }

    fn take(&self) -> Slot<'_> {
        let mut free = lock(&self.free);
        while *free == 0 {
            free = self
                .freed
                .wait(free)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Slot(self)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.freed.notify_one();
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

/// The most globals an instance has: the guest's and the two counters.
const _: () = assert!(
    GLOBALS.max + 2 <= 128,
    "counter indices are two bytes of LEB128 at most"
);

#[cfg(test)]
#[path = "runtime_tests.rs"]
mod tests;
