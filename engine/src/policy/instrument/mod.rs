//! Writes the gas and stack counters into a module.
//!
//! Both are globals of the module itself, counted down inline: nothing is called, so counting
//! costs a few machine instructions. The analysis is `finite-wasm`'s; the rewriting is ours.
//! Neither of wasmtime's own mechanisms will do: the fuel of one module differed between two
//! releases, and the depth at which the native stack overflows depends on compiler and processor.
//!
//! A counter that runs below zero is followed by `unreachable`; that it is negative tells the host
//! which of the two it was, and no guest can write to it, because its index is above all of theirs.
//!
//! Gas is charged once for each run of instructions without a branch, at its start. A trap in the
//! middle of a run has therefore paid for all of it: everywhere the same, which is what matters.

mod body;

use finite_wasm::gas::InstrumentationKind;
use finite_wasm::{Analysis, AnalysisOutcome};
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataCountSection, DataSection, ElementSection, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, MemorySection, MemoryType,
    TableSection, TableType, TypeSection, ValType,
};
use wasmparser::{DataKind, FunctionBody, Parser, Payload};

use body::{Body, Charge, Plan, charges};

use super::limits::{
    INSTRUMENTED_BODY_BYTES, INSTRUMENTED_BYTES, MEMORY_BYTES, PAGE_BYTES, STACK_BYTES,
};
use super::validate::{Meter, ModuleProblem};
use super::{gas, validate};

/// Version of the rewriting. Part of the engine epoch, and compiled code is cached under it.
pub const INSTRUMENTATION_VERSION: u32 = 3;

/// Export of the gas that is left: a mutable `i64`, negative once it ran out.
pub(crate) const GAS_EXPORT: &str = "raft3d:gas";
/// Export of the stack that is left: a mutable `i32`, negative once it ran over.
pub(crate) const STACK_EXPORT: &str = "raft3d:stack";

/// Export of how many mutable globals the guest has: an `i32`. Only in modules of which everything
/// that a call changes can be put back: without passive data segments, which a guest can drop.
pub(crate) const MUTABLE_COUNT_EXPORT: &str = "raft3d:mutable";

/// Export of the guest's mutable global number `n`, counted from 0, where they are counted.
pub(crate) fn mutable_export(n: i32) -> String {
    format!("{MUTABLE_COUNT_EXPORT}:{n}")
}

/// Rewrites a module that passed every check before this one.
pub(super) fn instrument(bytes: &[u8], meter: &mut Meter) -> Result<Vec<u8>, ModuleProblem> {
    let analysis = analyse(bytes)?;
    let mut rewriter = Rewriter::new(bytes, &analysis);
    for payload in Parser::new(0).parse_all(bytes) {
        rewriter.payload(payload.map_err(ModuleProblem::malformed)?, meter)?;
    }
    let output = rewriter.finish();
    meter.note(INSTRUMENTED_BYTES, output.len() as u64, || {
        "the module with counters".into()
    })?;
    Ok(output)
}

/// Runs the analysis. Its assertions are about modules that are not valid, which never get here;
/// should one fail all the same, it fails everywhere, so it is a refusal and not a local fault.
fn analyse(bytes: &[u8]) -> Result<AnalysisOutcome, ModuleProblem> {
    let access = gas::access(memory_pages_max(bytes)?);
    let outcome = std::panic::catch_unwind(|| {
        Analysis::new()
            .with_stack(gas::FrameSizes)
            .with_gas(gas::Prices { access })
            .analyze(bytes)
    });
    match outcome {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(error)) => Err(not_instrumentable(&error.to_string())),
        Err(_) => Err(not_instrumentable("the analysis gave up")),
    }
}

/// Pages that the module's memory may grow to.
fn memory_pages_max(bytes: &[u8]) -> Result<u64, ModuleProblem> {
    for payload in Parser::new(0).parse_all(bytes) {
        if let Payload::MemorySection(reader) = payload.map_err(ModuleProblem::malformed)?
            && let Some(memory) = reader.into_iter().next()
        {
            let ty = memory.map_err(ModuleProblem::malformed)?;
            return Ok(bounded_pages(ty.maximum));
        }
    }
    Err(not_instrumentable("there is no memory"))
}

fn not_instrumentable(what: &str) -> ModuleProblem {
    ModuleProblem::new(
        "not_instrumentable",
        format!("gas and stack cannot be counted: {what}"),
    )
}

struct Rewriter<'a> {
    bytes: &'a [u8],
    analysis: &'a AnalysisOutcome,
    reencoder: RoundtripReencoder,
    /// Parameters and results of each type, those added here at the end.
    signatures: Vec<(Vec<ValType>, Vec<ValType>)>,
    /// Type index of each function.
    function_types: Vec<u32>,
    /// Functions whose body is rewritten.
    bodies: usize,
    /// The guest's globals that it can change.
    mutable: Vec<u32>,
    /// Whether the guest can drop a data segment that it uses.
    has_passive_data: bool,
    functions: FunctionSection,
    tables: TableSection,
    memories: MemorySection,
    globals: GlobalSection,
    exports: ExportSection,
    elements: ElementSection,
    data_count: Option<DataCountSection>,
    code: CodeSection,
    data: DataSection,
}

impl<'a> Rewriter<'a> {
    fn new(bytes: &'a [u8], analysis: &'a AnalysisOutcome) -> Self {
        Self {
            bytes,
            analysis,
            reencoder: RoundtripReencoder,
            signatures: Vec::new(),
            function_types: Vec::new(),
            bodies: 0,
            mutable: Vec::new(),
            has_passive_data: false,
            functions: FunctionSection::new(),
            tables: TableSection::new(),
            memories: MemorySection::new(),
            globals: GlobalSection::new(),
            exports: ExportSection::new(),
            elements: ElementSection::new(),
            data_count: None,
            code: CodeSection::new(),
            data: DataSection::new(),
        }
    }

    fn payload(&mut self, payload: Payload<'a>, meter: &mut Meter) -> Result<(), ModuleProblem> {
        match payload {
            Payload::TypeSection(reader) => {
                for ty in reader.into_iter_err_on_gc_types() {
                    let ty = ty.map_err(ModuleProblem::malformed)?;
                    let params = self.values(ty.params())?;
                    let results = self.values(ty.results())?;
                    self.signatures.push((params, results));
                }
            }
            Payload::FunctionSection(reader) => {
                for ty in reader {
                    let ty = ty.map_err(ModuleProblem::malformed)?;
                    self.functions.function(ty);
                    self.function_types.push(ty);
                }
            }
            Payload::TableSection(reader) => {
                for table in reader {
                    let table = table.map_err(ModuleProblem::malformed)?;
                    let ty = self
                        .reencoder
                        .table_type(table.ty)
                        .map_err(|e| encode(&e))?;
                    self.tables.table(TableType {
                        maximum: Some(ty.minimum),
                        ..ty
                    });
                }
            }
            Payload::MemorySection(reader) => {
                for memory in reader {
                    let ty = self
                        .reencoder
                        .memory_type(memory.map_err(ModuleProblem::malformed)?);
                    self.memories.memory(bounded(ty));
                }
            }
            Payload::GlobalSection(reader) => {
                for (index, global) in (0..).zip(reader.clone()) {
                    if global.map_err(ModuleProblem::malformed)?.ty.mutable {
                        self.mutable.push(index);
                    }
                }
                self.reencoder
                    .parse_global_section(&mut self.globals, reader)
                    .map_err(|e| encode(&e))?;
            }
            Payload::ExportSection(reader) => {
                for export in reader {
                    let export = export.map_err(ModuleProblem::malformed)?;
                    if called_by_host(export.name) {
                        self.reencoder.parse_export(&mut self.exports, export);
                    }
                }
            }
            Payload::ElementSection(reader) => self
                .reencoder
                .parse_element_section(&mut self.elements, reader)
                .map_err(|e| encode(&e))?,
            Payload::DataCountSection { count, .. } => {
                self.data_count = Some(DataCountSection { count });
            }
            Payload::CodeSectionEntry(body) => self.body(&body, meter)?,
            Payload::DataSection(reader) => {
                for segment in reader.clone() {
                    let segment = segment.map_err(ModuleProblem::malformed)?;
                    self.has_passive_data |= matches!(segment.kind, DataKind::Passive);
                }
                self.reencoder
                    .parse_data_section(&mut self.data, reader)
                    .map_err(|e| encode(&e))?;
            }
            // Custom sections are for people, and there is nothing else in a checked module.
            _ => {}
        }
        Ok(())
    }

    fn values(&mut self, types: &[wasmparser::ValType]) -> Result<Vec<ValType>, ModuleProblem> {
        types
            .iter()
            .map(|ty| self.reencoder.val_type(*ty).map_err(|e| encode(&e)))
            .collect()
    }

    fn body(&mut self, body: &FunctionBody<'a>, meter: &mut Meter) -> Result<(), ModuleProblem> {
        let index = self.bodies;
        self.bodies += 1;
        let plan = self.plan(index, body)?;
        let (params, results) = self
            .function_types
            .get(index)
            .and_then(|ty| self.signatures.get(*ty as usize))
            .cloned()
            .ok_or_else(|| not_instrumentable("a function has no type"))?;
        let function = Body {
            bytes: self.bytes,
            gas_global: self.globals.len(),
            stack_global: self.globals.len() + 1,
            scratch_local: params.len() as u32 + plan.locals,
            plan,
            output: Function::new([]),
        };
        let block = self.block_type(&results);
        let function = function.write(body, block, &mut self.reencoder)?;
        meter.note(INSTRUMENTED_BODY_BYTES, function.byte_len() as u64, || {
            format!("function {index} with counters")
        })?;
        self.code.function(&function);
        Ok(())
    }

    /// What the analysis says about one function.
    fn plan(&self, index: usize, body: &FunctionBody<'a>) -> Result<Plan, ModuleProblem> {
        let missing = || not_instrumentable("the analysis lacks a function");
        let values = self
            .analysis
            .function_frame_sizes
            .get(index)
            .ok_or_else(missing)?
            + self
                .analysis
                .function_operand_stack_sizes
                .get(index)
                .ok_or_else(missing)?;
        let frame = gas::frame_bytes(values, body.range().len() as u64);
        let mut locals = 0_u32;
        for declared in body.get_locals_reader().map_err(ModuleProblem::malformed)? {
            locals += declared.map_err(ModuleProblem::malformed)?.0;
        }
        let offsets = self.analysis.gas_offsets.get(index).ok_or_else(missing)?;
        let costs = self.analysis.gas_costs.get(index).ok_or_else(missing)?;
        let kinds = self.analysis.gas_kinds.get(index).ok_or_else(missing)?;
        let points = offsets
            .iter()
            .zip(costs)
            .zip(kinds)
            .filter_map(|((offset, fee), kind)| {
                let paid = fee.constant > 0 && *kind != InstrumentationKind::Unreachable;
                paid.then_some(Charge {
                    offset: *offset,
                    gas: fee.constant,
                })
            });
        Ok(Plan {
            locals,
            frame: i32::try_from(frame).map_err(|_| not_instrumentable("a frame is too large"))?,
            charges: charges(body, u64::from(locals), points.collect())?,
        })
    }

    /// The type of a block that yields what the function does.
    fn block_type(&mut self, results: &[ValType]) -> BlockType {
        match results {
            [] => BlockType::Empty,
            [one] => BlockType::Result(*one),
            many => {
                let same = |ty: &(Vec<ValType>, Vec<ValType>)| ty.0.is_empty() && ty.1 == many;
                let index = self.signatures.iter().position(same).unwrap_or_else(|| {
                    self.signatures.push((Vec::new(), many.to_vec()));
                    self.signatures.len() - 1
                });
                BlockType::FunctionType(index as u32)
            }
        }
    }

    fn export_mutable_globals(&mut self) {
        let count = self.globals.len();
        let ty = GlobalType {
            mutable: false,
            ..counter(ValType::I32)
        };
        // `limits::GLOBALS` of them at most.
        let value = ConstExpr::i32_const(self.mutable.len() as i32);
        self.globals.global(ty, &value);
        self.exports
            .export(MUTABLE_COUNT_EXPORT, ExportKind::Global, count);
        for (n, global) in (0..).zip(&self.mutable) {
            self.exports
                .export(&mutable_export(n), ExportKind::Global, *global);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let gas = self.globals.len();
        self.globals
            .global(counter(ValType::I64), &ConstExpr::i64_const(0));
        // The limit is far below `i32::MAX`.
        self.globals.global(
            counter(ValType::I32),
            &ConstExpr::i32_const(STACK_BYTES as i32),
        );
        self.exports.export(GAS_EXPORT, ExportKind::Global, gas);
        self.exports
            .export(STACK_EXPORT, ExportKind::Global, gas + 1);
        if !self.has_passive_data {
            self.export_mutable_globals();
        }
        let mut types = TypeSection::new();
        for (params, results) in &self.signatures {
            types
                .ty()
                .function(params.iter().copied(), results.iter().copied());
        }
        let mut module = wasm_encoder::Module::new();
        module.section(&types).section(&self.functions);
        if !self.tables.is_empty() {
            module.section(&self.tables);
        }
        module
            .section(&self.memories)
            .section(&self.globals)
            .section(&self.exports);
        if !self.elements.is_empty() {
            module.section(&self.elements);
        }
        if let Some(count) = &self.data_count {
            module.section(count);
        }
        module.section(&self.code);
        if !self.data.is_empty() {
            module.section(&self.data);
        }
        module.finish()
    }
}

fn encode(error: &wasm_encoder::reencode::Error) -> ModuleProblem {
    not_instrumentable(&error.to_string())
}

fn counter(val_type: ValType) -> GlobalType {
    GlobalType {
        val_type,
        mutable: true,
        shared: false,
    }
}

/// The memory's type with a maximum of ours, whatever the module declared.
fn bounded(ty: MemoryType) -> MemoryType {
    MemoryType {
        maximum: Some(bounded_pages(ty.maximum)),
        ..ty
    }
}

/// The maximum in pages, where a module declares `own` or none.
fn bounded_pages(own: Option<u64>) -> u64 {
    let pages = MEMORY_BYTES.max / PAGE_BYTES;
    own.map_or(pages, |own| own.min(pages))
}

/// Whether the host calls or reads an export; the others are left out.
fn called_by_host(name: &str) -> bool {
    use raft3d_sdk::{Hook, wire};
    [
        wire::MEMORY,
        wire::ALLOC,
        wire::CHECK_CONFIG,
        wire::INITIALIZE,
        wire::PANIC,
    ]
    .contains(&name)
        || Hook::from_name(name).is_some()
}

/// The instrumented form of a module, for tests and for people who want to look at it.
///
/// # Errors
/// As [`validate::inspect`].
pub fn instrumented(bytes: &[u8]) -> Result<Vec<u8>, ModuleProblem> {
    Ok(validate::check(bytes)?.instrumented)
}
