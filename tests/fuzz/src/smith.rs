//! Whole modules out of random bytes: random bytes themselves hardly ever pass the validator.

use std::sync::LazyLock;

use arbitrary::Unstructured;
use raft3d_sdk::{Hook, HookSet, Manifest, manifest, wire};
use wasm_encoder::{
    CodeSection, CustomSection, ExportKind, ExportSection, Function, FunctionSection, RawSection,
    Section, TypeSection, ValType,
};
pub use wasm_smith::Config;
use wasmparser::{Parser, Payload};

/// What modules are made of: mostly what the static check takes.
#[must_use]
pub fn config() -> Config {
    Config {
        exports: Some(EXPORTS.clone()),
        allow_floats: false,
        allow_start_export: false,
        bulk_memory_enabled: true,
        exceptions_enabled: false,
        extended_const_enabled: false,
        gc_enabled: false,
        max_data_segments: 4,
        max_element_segments: 4,
        max_elements: 32,
        max_funcs: 16,
        max_globals: 16,
        max_imports: 0,
        max_instructions: 200,
        max_memories: 1,
        max_memory32_bytes: 2 << 20,
        max_table_elements: 200,
        max_types: 16,
        memory64_enabled: false,
        min_memories: 1,
        reference_types_enabled: false,
        relaxed_simd_enabled: false,
        saturating_float_to_int_enabled: false,
        simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        ..Config::default()
    }
}

/// A module out of any bytes, with every export of the ABI and a manifest; none where they do not
/// make one.
///
/// # Panics
/// `wasm-smith` made something that does not parse.
#[must_use]
pub fn module(config: Config, bytes: &[u8]) -> Option<Vec<u8>> {
    let module = wasm_smith::Module::new(config, &mut Unstructured::new(bytes)).ok()?;
    let mut bytes = with_memory_export(&module.to_bytes());
    CustomSection {
        name: manifest::SECTION.into(),
        data: MANIFEST.as_slice().into(),
    }
    .append_to(&mut bytes);
    Some(bytes)
}

/// The same module, its memory exported: `wasm-smith` exports functions and globals on demand.
fn with_memory_export(module: &[u8]) -> Vec<u8> {
    let mut out = wasm_encoder::Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.expect("a generated module parses");
        if let Payload::ExportSection(reader) = &payload {
            let mut exports = ExportSection::new();
            for export in reader.clone() {
                let export = export.expect("an export");
                exports.export(export.name, ExportKind::Func, export.index);
            }
            exports.export(wire::MEMORY, ExportKind::Memory, 0);
            out.section(&exports);
        } else if let Some((id, range)) = payload.as_section() {
            let data = &module[range];
            out.section(&RawSection { id, data });
        }
    }
    out.finish()
}

/// The functions of the ABI, all hooks among them.
static EXPORTS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    use ValType::{I32, I64};
    let mut types = TypeSection::new();
    types.ty().function([], []);
    types.ty().function([I32], [I32]);
    types.ty().function([I32, I32], [I64]);
    let marker_and_alloc = [(wire::ABI_MARKER, 0), (wire::ALLOC, 1)];
    let hooks = Hook::ALL.map(|hook| (hook.name(), 2));
    let all = marker_and_alloc.into_iter().chain(hooks);
    let (mut functions, mut exports) = (FunctionSection::new(), ExportSection::new());
    let mut code = CodeSection::new();
    for (nth, (name, ty)) in (0..).zip(all.chain([(wire::CHECK_CONFIG, 2)])) {
        functions.function(ty);
        exports.export(name, ExportKind::Func, nth);
        let mut body = Function::new([]);
        body.instructions().unreachable().end();
        code.function(&body);
    }
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&functions);
    module.section(&exports).section(&code);
    module.finish()
});

static MANIFEST: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let manifest = Manifest {
        abi: manifest::ABI_VERSION,
        name: "generated".to_owned(),
        version: "1.0.0".to_owned(),
        description: "A module of the fuzzer.".to_owned(),
        hooks: HookSet::of(&Hook::ALL),
        config_schema: None,
        lifecycle: None,
        ..Manifest::default()
    };
    minicbor::to_vec(manifest).expect("encoding into memory")
});
