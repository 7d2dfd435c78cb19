//! Every limit of a module, in one place. Part of the engine epoch: changing one changes which
//! modules a replica evaluates.
//!
//! The static ones bound what the compiler can be made to do: hostile modules that take Cranelift
//! 21 s for 256 KiB, or 17 GiB for 1 MiB, exist. Real guests of the SDK peak at a body of 7.6 KiB,
//! 45 locals and a nesting of 66.

use raft3d_core::limits::{GAS_PER_EVALUATION_MAX, MODULE_BYTES_MAX};
use raft3d_sdk::limits as sdk;

/// A static limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Stable name with its unit, such as `function_body_bytes`.
    pub name: &'static str,
    /// Stable code of the refusal, such as `function_body_too_large`.
    pub code: &'static str,
    /// The largest value allowed.
    pub max: u64,
}

/// One static limit and how much of it a module uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitUse {
    /// Stable name, such as `function_body_bytes`.
    pub limit: &'static str,
    /// The module's value; for limits of one part, the largest one found.
    pub value: u64,
    /// The limit.
    pub max: u64,
}

const fn limit(name: &'static str, code: &'static str, max: u64) -> Limit {
    Limit { name, code, max }
}

/// Size of a WebAssembly page, in bytes.
pub const PAGE_BYTES: u64 = 64 * 1024;

/// Size of the module.
pub const MODULE_BYTES: Limit = limit("module_bytes", "module_too_large", MODULE_BYTES_MAX as u64);
/// Entries of the type section.
pub const TYPES: Limit = limit("types", "too_many_types", 1_000);
/// Parameters of one function type.
pub const PARAMS: Limit = limit("parameters", "too_many_parameters", 32);
/// Results of one function type.
pub const RESULTS: Limit = limit("results", "too_many_results", 32);
/// Functions.
pub const FUNCTIONS: Limit = limit("functions", "too_many_functions", 5_000);
/// Size of one function's body.
pub const BODY_BYTES: Limit = limit("function_body_bytes", "function_body_too_large", 32 * 1024);
/// Locals of one function, parameters not counted.
pub const LOCALS: Limit = limit("function_locals", "too_many_locals", 256);
/// Locals of all functions together.
pub const LOCALS_ALL: Limit = limit("locals", "too_many_locals_in_all", 10_000);
/// Depth of nested blocks in one function.
pub const NESTING: Limit = limit("nesting", "nesting_too_deep", 128);
/// Targets of one `br_table`, its default not counted.
pub const BR_TABLE: Limit = limit("br_table_targets", "br_table_too_large", 1_024);
/// Globals.
pub const GLOBALS: Limit = limit("globals", "too_many_globals", 64);
/// Tables.
pub const TABLES: Limit = limit("tables", "too_many_tables", 1);
/// Elements of the table.
pub const TABLE_ELEMENTS: Limit = limit("table_elements", "table_too_large", 2_500);
/// Memory that the module starts with; growth ends there too. A shadow stack of 1 MiB, which rustc
/// and wasm-ld give where they are not told otherwise, leaves as much again.
pub const MEMORY_BYTES: Limit = limit("memory_bytes", "memory_too_large", 2 * 1024 * 1024);
/// Exports.
pub const EXPORTS: Limit = limit("exports", "too_many_exports", 64);
/// Data segments.
pub const DATA_SEGMENTS: Limit = limit("data_segments", "too_many_data_segments", 256);
/// Bytes from the first to behind the last byte that active data segments fill: compiled code holds
/// all that lies between. Twice the longest module: data of full size, with gaps before and behind.
pub const DATA_SPAN: Limit = limit(
    "data_span_bytes",
    "data_span_too_large",
    2 * MODULE_BYTES_MAX as u64,
);
/// Element segments.
pub const ELEMENT_SEGMENTS: Limit = limit("element_segments", "too_many_element_segments", 64);
/// Items of all element segments together.
pub const ELEMENT_ITEMS: Limit = limit("element_items", "too_many_element_items", 10_000);
/// Size of the manifest.
pub const MANIFEST_BYTES: Limit = limit(
    "manifest_bytes",
    "manifest_too_large",
    sdk::MANIFEST_BYTES_MAX as u64,
);
/// Size of the module once the counters are in it. Real guests grow by some 60 %.
pub const INSTRUMENTED_BYTES: Limit = limit(
    "instrumented_bytes",
    "instrumented_module_too_large",
    2 * 1024 * 1024,
);
/// Size of one function's body once the counters are in it.
pub const INSTRUMENTED_BODY_BYTES: Limit = limit(
    "instrumented_body_bytes",
    "instrumented_body_too_large",
    128 * 1024,
);

/// All of them, as `sdk/ABI.md` lists them.
pub const ALL: [Limit; 22] = [
    MODULE_BYTES,
    TYPES,
    PARAMS,
    RESULTS,
    FUNCTIONS,
    BODY_BYTES,
    LOCALS,
    LOCALS_ALL,
    NESTING,
    BR_TABLE,
    GLOBALS,
    TABLES,
    TABLE_ELEMENTS,
    MEMORY_BYTES,
    EXPORTS,
    DATA_SEGMENTS,
    DATA_SPAN,
    ELEMENT_SEGMENTS,
    ELEMENT_ITEMS,
    MANIFEST_BYTES,
    INSTRUMENTED_BYTES,
    INSTRUMENTED_BODY_BYTES,
];

/// Gas for one evaluation: the allocation and the hook together.
pub const GAS_BUDGET: u64 = GAS_PER_EVALUATION_MAX;
/// Logical stack of one evaluation, in bytes as [`crate::policy::gas::frame_bytes`] counts them.
pub const STACK_BYTES: u32 = 64 * 1024;
/// Native stack per logical byte: the injected counter must always run over first.
pub const NATIVE_STACK_FACTOR: usize = 16;
/// Native stack that WebAssembly may use, in bytes; it lies on the caller's own stack.
pub const NATIVE_STACK_BYTES: usize = STACK_BYTES as usize * NATIVE_STACK_FACTOR;
/// Largest answer of one evaluation, in bytes.
pub const OUTPUT_BYTES: u32 = sdk::OUTPUT_BYTES_MAX as u32;
