//! Policy modules: what the static check takes can be run, and answers the same everywhere.
//!
//! With an even byte 0 the rest is a module. With an odd one it is what `wasm-smith` makes a module
//! of, which then gets a manifest and the exports of the ABI: random bytes hardly ever pass the
//! validator.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arbitrary::Unstructured;
use raft3d_core::limits::GAS_PER_EVALUATION_MAX;
use raft3d_core::{
    Evaluation, Export, LocalFault, ModuleDigest, ModuleSource, PolicyCall, PolicyHost,
};
use raft3d_engine::policy::instrument::instrumented;
use raft3d_engine::policy::{
    EngineSettings, HostOptions, InProcessCompiler, WasmHost, inspect, module_digest,
};
use raft3d_sdk::limits::OUTPUT_BYTES_MAX;
use raft3d_sdk::{Hook, HookSet, Manifest, manifest, wire};
use tempfile::TempDir;
use wasm_encoder::{
    CodeSection, CustomSection, ExportKind, ExportSection, Function, FunctionSection, RawSection,
    Section, TypeSection, ValType,
};
use wasm_smith::Config;
use wasmparser::{Parser, Payload, Validator, WasmFeatures};

/// Input of the hooks: nothing that a policy understands, which is all the same to a random one.
const HOOK_INPUT: &[u8] = b"\xa2\x00\xa0\x01\x41\xa0, or something like it";

pub(crate) fn run(input: &[u8]) -> bool {
    let Some((kind, bytes)) = input.split_first() else {
        return false;
    };
    if kind % 2 == 0 {
        return check(bytes);
    }
    generated(bytes).is_some_and(|module| check(&module))
}

/// Answers whether the module was taken.
fn check(module: &[u8]) -> bool {
    let report = match (inspect(module), instrumented(module)) {
        (Ok(report), Ok(with_counters)) => {
            let mut validator = Validator::new_with_features(WasmFeatures::all());
            let valid = validator.validate_all(&with_counters);
            valid.expect("a module with counters is valid");
            report
        }
        (Err(problem), Err(same)) => {
            assert_eq!(problem, same);
            assert!(!problem.code.is_empty() && !problem.message.is_empty());
            assert_eq!(inspect(module).expect_err("refused before"), problem);
            return false;
        }
        (found, other) => panic!("{found:?} and {other:?}"),
    };
    assert_eq!(report.digest, module_digest(module));
    for usage in &report.limits_used {
        assert!(usage.value <= usage.max, "{usage:?}");
    }
    evaluate(module, report.manifest.hooks);
    true
}

/// Every export answers the same, at the same price, on engines that are set differently, and a
/// second time.
fn evaluate(module: &[u8], hooks: HookSet) {
    thread_local! {
        static HOSTS: RefCell<[Host; 2]> = RefCell::new([Host::new(true), Host::new(false)]);
    }
    let exports = hooks.iter().map(Export::Hook);
    HOSTS.with_borrow(|[optimised, plain]| {
        for export in exports.chain([Export::CheckConfig]) {
            let answer = optimised.evaluate(module, export);
            assert!(answer.gas <= GAS_PER_EVALUATION_MAX, "{answer:?}");
            if let Ok(output) = &answer.output {
                assert!(output.len() <= OUTPUT_BYTES_MAX, "{} bytes", output.len());
            }
            assert_eq!(optimised.evaluate(module, export), answer, "a second time");
            assert_eq!(plain.evaluate(module, export), answer, "another engine");
        }
        optimised.forget_code();
        plain.forget_code();
    });
}

struct Host {
    host: WasmHost,
    dir: TempDir,
}

struct Source<'a>(&'a [u8]);

impl ModuleSource for Source<'_> {
    fn module_bytes(&self, _: ModuleDigest) -> Result<Option<Vec<u8>>, LocalFault> {
        Ok(Some(self.0.to_vec()))
    }
}

impl Host {
    fn new(optimise: bool) -> Self {
        let dir = crate::scratch_dir();
        let settings = EngineSettings {
            optimise,
            copy_on_write: optimise,
            interpret: false,
            slots: 1,
        };
        let host = WasmHost::new(HostOptions {
            cache_dir: dir.path().to_owned(),
            compiler: Arc::new(InProcessCompiler::new(settings)),
            settings,
        });
        Self {
            host: host.expect("an engine"),
            dir,
        }
    }

    /// What passed the check compiles, and no module is a fault of this replica.
    fn evaluate(&self, module: &[u8], export: Export) -> Evaluation {
        let call = PolicyCall {
            module: module_digest(module),
            export,
            input: HOOK_INPUT,
        };
        let answer = self.host.evaluate(&call, &Source(module));
        answer.unwrap_or_else(|fault| panic!("{fault}"))
    }

    /// Native code would pile up.
    fn forget_code(&self) {
        let files = fs::read_dir(self.dir.path()).expect("the cache");
        let paths = files.map(|file| file.expect("a file").path());
        let is_code = |path: &Path| path.extension().is_some_and(|text| text == "native");
        for path in paths.filter(|path| is_code(path)) {
            fs::remove_file(path).expect("a file of its own");
        }
    }
}

/// A module out of any bytes: mostly one that keeps within the limits.
fn generated(bytes: &[u8]) -> Option<Vec<u8>> {
    let config = Config {
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
        max_memory32_bytes: 4 << 20,
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
    };
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
    };
    minicbor::to_vec(manifest).expect("encoding into memory")
});
