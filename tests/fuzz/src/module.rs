//! Policy modules: what the static check takes can be run, and answers the same everywhere.
//!
//! With an even byte 0 the rest is a module. With an odd one it is what `wasm-smith` makes a module
//! of, which then gets a manifest and the exports of the ABI: random bytes hardly ever pass the
//! validator.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use raft3d_core::limits::GAS_PER_EVALUATION_MAX;
use raft3d_core::{
    Evaluation, Export, LocalFault, ModuleDigest, ModuleSource, PolicyCall, PolicyHost,
};
use raft3d_engine::policy::instrument::instrumented;
use raft3d_engine::policy::{
    EngineSettings, HostOptions, InProcessCompiler, WasmHost, inspect, module_digest,
};
use raft3d_sdk::HookSet;
use raft3d_sdk::limits::OUTPUT_BYTES_MAX;
use tempfile::TempDir;
use wasmparser::{Validator, WasmFeatures};

use crate::smith;

/// Input of the hooks: nothing that a policy understands, which is all the same to a random one.
const HOOK_INPUT: &[u8] = b"\xa2\x00\xa0\x01\x41\xa0, or something like it";

pub(crate) fn run(input: &[u8]) -> bool {
    let Some((kind, bytes)) = input.split_first() else {
        return false;
    };
    if kind % 2 == 0 {
        return check(bytes);
    }
    smith::module(smith::config(), bytes).is_some_and(|module| check(&module))
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
            reuse: optimise,
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
        let call = PolicyCall::new(module_digest(module), export, HOOK_INPUT);
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
