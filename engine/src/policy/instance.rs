//! One instance of a module: started, run, and made again what it was when it started.
//!
//! To start an instance and to throw it away costs twice what a guest of the SDK runs for. So one
//! whose evaluation came to an answer is put back to what it was ([`Pristine`]) and used again. No
//! guest can tell it from a fresh one, because this is done only where all that a call can change
//! is put back:
//!
//! - the memory, byte by byte, if it is one page and has not grown;
//! - the mutable globals, which instrumentation exports for this;
//! - nothing else, because the static check takes no instruction that changes a table, and a module
//!   with a passive data segment, which a guest can drop, gets no such exports.
//!
//! What ended in any other way than with an answer is thrown away.
//!
//! Invariant: engines that reuse instances and engines that do not give the same answers and the
//! same gas (`tests/hostile`, whose modules try to keep something in every way there is).

use raft3d_core::{Export, LocalFault, PolicyError};
use raft3d_sdk::limits::PANIC_BYTES_MAX;
use raft3d_sdk::wire;
use wasmtime::{
    Extern, Global, Instance, Memory, Module, ModuleExport, ResourceLimiter, Store, Trap,
    TypedFunc, Val, WasmParams, WasmResults,
};

use super::instrument::{MUTABLE_COUNT_EXPORT, mutable_export};
use super::limits::{GAS_BUDGET, MEMORY_BYTES, OUTPUT_BYTES, PAGE_BYTES, TABLE_ELEMENTS};
use super::runtime::ReadyModule;
use super::traps::{self, TrapMeaning};

/// How long one evaluation may take before this replica gives up on itself. The gas budget ends
/// every evaluation within milliseconds, so this only fires where something is badly wrong.
pub(super) const WATCHDOG_TICKS: u64 = 40;
/// Largest memory that is put back, in bytes: all of it is looked at each time, and of a larger one
/// the system finds faster which pages a guest has written.
const MEMORY_PUT_BACK_BYTES_MAX: usize = PAGE_BYTES as usize;

/// Bytes that are looked at, and cleared, at once.
const CLEARED_BYTES: usize = 1_024;

/// What the instances of a module are when they start.
pub(crate) struct Pristine {
    memory_bytes: usize,
    /// Where the first byte lies that is not zero.
    data_at: usize,
    /// From there up to the last one.
    data: Box<[u8]>,
    /// Every mutable global, with its value.
    globals: Vec<(ModuleExport, Val)>,
}

impl Pristine {
    /// Looks at an instance that has just started; none where instances cannot be put back.
    pub(super) fn of(ready: &ReadyModule, module: &Module) -> Result<Option<Self>, LocalFault> {
        let Some(count) = module.get_export_index(MUTABLE_COUNT_EXPORT) else {
            return Ok(None);
        };
        let mut fresh = Running::start(ready)?;
        let memory = fresh.memory.data(&fresh.store);
        if memory.len() > MEMORY_PUT_BACK_BYTES_MAX {
            return Ok(None);
        }
        let is_set = |byte: &u8| *byte != 0;
        let data_at = memory.iter().position(is_set).unwrap_or(memory.len());
        let data_end = memory.iter().rposition(is_set).map_or(data_at, |at| at + 1);
        let data = memory.get(data_at..data_end).unwrap_or_default().into();
        let memory_bytes = memory.len();
        let mut value = |export: &ModuleExport| {
            let global = global(&fresh.instance, &mut fresh.store, export)?;
            Ok(global.get(&mut fresh.store))
        };
        let count = value(&count)?.i32().ok_or_else(lacks)?;
        let own = (0..count).map(|n| {
            module
                .get_export_index(&mutable_export(n))
                .ok_or_else(lacks)
        });
        let globals = own.chain([Ok(ready.stack)]).map(|export| {
            let export = export?;
            Ok((export, value(&export)?))
        });
        Ok(Some(Self {
            globals: globals.collect::<Result<_, LocalFault>>()?,
            memory_bytes,
            data_at,
            data,
        }))
    }
}

/// An instance, as good as fresh before it runs, and its counters.
pub(super) struct Running {
    pub(super) store: Store<Watcher>,
    instance: Instance,
    memory: Memory,
    alloc: TypedFunc<i32, i32>,
    /// What was called before: it is looked up by its name and type once.
    entries: Vec<(Export, Entry)>,
    gas: Global,
    /// What it was last given of it.
    budget: u64,
    stack: Global,
    /// Those of [`Pristine`], in its order.
    mutable: Vec<Global>,
}

/// What takes an input: its place and length; and answers with those of an output.
type Entry = TypedFunc<(i32, i32), i64>;

/// Why a call ended early: at once a verdict, or a fault of this replica.
enum Ended {
    Verdict(PolicyError),
    Fault(LocalFault),
}

impl Running {
    pub(super) fn start(module: &ReadyModule) -> Result<Self, LocalFault> {
        let mut store = Store::new(module.pre.module().engine(), Watcher::default());
        store.limiter(|watcher| watcher);
        // Also for what sets up memory and globals: some settings compile that to code.
        store.set_epoch_deadline(WATCHDOG_TICKS);
        // Segments fit and there is no start function (the static check saw to both), so this
        // fails only for want of something local.
        let instance = module
            .pre
            .instantiate(&mut store)
            .map_err(|error| fault(&error))?;
        let mut export = |export| self::export(&instance, &mut store, export);
        let memory = export(&module.memory)?.into_memory().ok_or_else(lacks)?;
        let alloc = export(&module.alloc)?.into_func().ok_or_else(lacks)?;
        let gas = global(&instance, &mut store, &module.gas)?;
        let stack = global(&instance, &mut store, &module.stack)?;
        let pristine = module.pristine.as_ref();
        let mutable = pristine.map_or(&[][..], |pristine| &pristine.globals);
        let mutable = mutable
            .iter()
            .map(|(export, _)| global(&instance, &mut store, export));
        let mutable = mutable.collect::<Result<_, _>>()?;
        let alloc = alloc.typed(&store).map_err(|error| fault(&error))?;
        Ok(Self {
            store,
            instance,
            memory,
            alloc,
            entries: Vec::new(),
            gas,
            budget: 0,
            stack,
            mutable,
        })
    }

    /// Makes it what it was when it started, but for the budget ([`Running::refuel`]). Answers false
    /// where that cannot be: its memory has grown.
    pub(super) fn put_back(&mut self, pristine: &Pristine) -> Result<bool, LocalFault> {
        let memory = self.memory.data_mut(&mut self.store);
        if memory.len() != pristine.memory_bytes {
            return Ok(false);
        }
        let (before, rest) = memory.split_at_mut(pristine.data_at);
        let (data, behind) = rest.split_at_mut(pristine.data.len());
        clear(before);
        data.copy_from_slice(&pristine.data);
        clear(behind);
        for (global, (_, value)) in self.mutable.iter().zip(&pristine.globals) {
            let set = global.set(&mut self.store, *value);
            set.map_err(|error| fault(&error))?;
        }
        Ok(true)
    }

    /// Gives it `gas`, at most [`GAS_BUDGET`], and the time for one evaluation.
    pub(super) fn refuel(&mut self, gas: u64) -> Result<(), LocalFault> {
        self.budget = gas.min(GAS_BUDGET);
        self.store.set_epoch_deadline(WATCHDOG_TICKS);
        self.gas
            .set(&mut self.store, Val::I64(self.budget as i64))
            .map_err(|error| fault(&error))
    }

    /// Lets the module initialise itself, hands the input over, calls `export`, which is at `place`,
    /// and copies the answer out.
    pub(super) fn run(
        &mut self,
        initialize: Option<&ModuleExport>,
        export: Export,
        place: &ModuleExport,
        input: &[u8],
    ) -> Result<Result<Vec<u8>, PolicyError>, LocalFault> {
        let initialized = initialize.map_or(Ok(()), |place| self.initialize(place));
        match initialized.and_then(|()| self.try_run(export, place, input)) {
            Ok(output) => Ok(Ok(output)),
            Err(Ended::Verdict(verdict)) => Ok(Err(verdict)),
            Err(Ended::Fault(fault)) => Err(fault),
        }
    }

    fn initialize(&mut self, place: &ModuleExport) -> Result<(), Ended> {
        let initialize = self.function::<(), ()>(place)?;
        let called = call(&mut self.store, &initialize, ());
        called.map_err(|failure| self.ended(failure))
    }

    fn try_run(
        &mut self,
        export: Export,
        place: &ModuleExport,
        input: &[u8],
    ) -> Result<Vec<u8>, Ended> {
        let bad_allocation = Ended::Verdict(PolicyError::BadAllocation);
        let Ok(len) = i32::try_from(input.len()) else {
            return Err(bad_allocation);
        };
        let allocated = call(&mut self.store, &self.alloc, len);
        let ptr = allocated.map_err(|failure| self.ended(failure))?;
        // Addresses are unsigned, WebAssembly's i32 has no sign of its own.
        let start = ptr as u32 as usize;
        let room = start
            .checked_add(input.len())
            .and_then(|end| self.memory.data_mut(&mut self.store).get_mut(start..end));
        let Some(room) = room else {
            return Err(bad_allocation);
        };
        room.copy_from_slice(input);

        let at = self.entry(export, place)?;
        let answered = match self.entries.get(at) {
            Some((_, entry)) => call(&mut self.store, entry, (ptr, len)),
            None => return Err(Ended::Fault(lacks())),
        };
        let answered = answered.map_err(|failure| self.ended(failure))?;
        let (ptr, len) = wire::unpack(answered as u64);
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
    pub(super) fn last_words(
        &mut self,
        panic: &ModuleExport,
    ) -> Result<Option<String>, LocalFault> {
        // It may have used its gas up.
        self.refuel(GAS_BUDGET)?;
        let place = self.function::<(), i64>(panic).and_then(|panic| {
            let called = call(&mut self.store, &panic, ());
            called.map_err(|failure| self.ended(failure))
        });
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
        self::export(&self.instance, &mut self.store, export)
            .and_then(|export| export.into_func().ok_or_else(lacks))
            .and_then(|function| function.typed(&self.store).map_err(|error| fault(&error)))
            .map_err(Ended::Fault)
    }

    /// Where among [`entries`](Self::entries) the function is.
    fn entry(&mut self, export: Export, place: &ModuleExport) -> Result<usize, Ended> {
        let known = self.entries.iter().position(|(known, _)| *known == export);
        if let Some(at) = known {
            return Ok(at);
        }
        let entry = self.function(place)?;
        self.entries.push((export, entry));
        Ok(self.entries.len() - 1)
    }

    fn ended(&mut self, failure: Failure) -> Ended {
        let error = match failure {
            Failure::Growth(what) => return Ended::Fault(LocalFault::Runtime(what)),
            Failure::Error(error) => error,
        };
        let Some(trap) = error.downcast_ref::<Trap>() else {
            return Ended::Fault(fault(&error));
        };
        match traps::meaning(*trap) {
            TrapMeaning::Verdict(verdict) => Ended::Verdict(verdict),
            TrapMeaning::LocalFault => Ended::Fault(fault(&error)),
            TrapMeaning::AskCounters => {
                let stack = self.stack.get(&mut self.store).i32().unwrap_or(0);
                Ended::Verdict(traps::behind_unreachable(self.gas_left(), stack))
            }
        }
    }

    /// All that a guest can see of it and change.
    #[cfg(test)]
    pub(super) fn state(&mut self) -> (Vec<u8>, Vec<String>) {
        let memory = self.memory.data(&self.store).to_vec();
        let mut value = |global: &Global| format!("{:?}", global.get(&mut self.store));
        let globals = self.mutable.iter().chain([&self.gas, &self.stack]);
        (memory, globals.map(&mut value).collect())
    }

    #[cfg(test)]
    pub(super) fn grow(&mut self) {
        assert!(self.memory.grow(&mut self.store, 1).is_ok());
    }

    fn gas_left(&mut self) -> i64 {
        self.gas.get(&mut self.store).i64().unwrap_or(0)
    }

    pub(super) fn gas_used(&mut self) -> u64 {
        // Below zero means that all of it is used.
        let left = u64::try_from(self.gas_left()).unwrap_or(0);
        self.budget.saturating_sub(left)
    }
}

/// Why a call has no result.
enum Failure {
    /// The machine could not give memory that the limits grant.
    Growth(String),
    Error(wasmtime::Error),
}

fn call<P: WasmParams, R: WasmResults>(
    store: &mut Store<Watcher>,
    function: &TypedFunc<P, R>,
    params: P,
) -> Result<R, Failure> {
    let result = function.call(&mut *store, params);
    // First: a growth that failed here may have led to anything, even to a good answer.
    match store.data_mut().fault.take() {
        Some(what) => Err(Failure::Growth(what)),
        None => result.map_err(Failure::Error),
    }
}

/// Makes all bytes zero. Most of them are, and those are read and not written.
fn clear(bytes: &mut [u8]) {
    for part in bytes.chunks_mut(CLEARED_BYTES) {
        if part.iter().fold(0, |all, byte| all | byte) != 0 {
            part.fill(0);
        }
    }
}

/// What an instance has under that name.
fn export(
    instance: &Instance,
    store: &mut Store<Watcher>,
    export: &ModuleExport,
) -> Result<Extern, LocalFault> {
    instance.get_module_export(store, export).ok_or_else(lacks)
}

fn global(
    instance: &Instance,
    store: &mut Store<Watcher>,
    export: &ModuleExport,
) -> Result<Global, LocalFault> {
    let global = self::export(instance, store, export)?.into_global();
    global.ok_or_else(lacks)
}

/// The static check and the instrumentation saw to it that all exports are there.
fn lacks() -> LocalFault {
    LocalFault::Runtime("compiled code lacks an export".into())
}

fn fault(error: &wasmtime::Error) -> LocalFault {
    LocalFault::Runtime(format!("{error:#}"))
}

/// Watches over growth: whether it is granted follows from the limits alone, and where the
/// machine cannot keep that promise, it is noted as a fault.
#[derive(Default)]
pub(super) struct Watcher {
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
