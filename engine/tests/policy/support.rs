//! Small guests in WebAssembly text, and hosts to run them.

use std::sync::Arc;

use raft3d_core::{
    Evaluation, Export, LocalFault, ModuleDigest, ModuleSource, PolicyCall, PolicyError, PolicyHost,
};
use raft3d_engine::policy::{
    EngineSettings, HostOptions, InProcessCompiler, WasmHost, module_digest,
};
use raft3d_sdk::{Hook, HookSet, Manifest};
use tempfile::TempDir;
use wasm_encoder::{CustomSection, Section};

/// Engines that must all give the same answers.
pub const SETTINGS: [EngineSettings; 4] = [
    EngineSettings {
        optimise: true,
        copy_on_write: true,
        interpret: false,
        reuse: true,
        slots: 2,
    },
    EngineSettings {
        optimise: true,
        copy_on_write: false,
        interpret: false,
        reuse: false,
        slots: 2,
    },
    EngineSettings {
        optimise: false,
        copy_on_write: true,
        interpret: false,
        reuse: true,
        slots: 2,
    },
    EngineSettings {
        optimise: false,
        copy_on_write: false,
        interpret: false,
        reuse: false,
        slots: 2,
    },
];

/// A manifest with the hook `admission` alone.
pub fn manifest() -> Manifest {
    Manifest {
        abi: 1,
        name: "guest".into(),
        version: "1.0.0".into(),
        description: "A guest of the tests.".into(),
        hooks: HookSet::of(&[Hook::Admission]),
        config_schema: None,
        lifecycle: None,
        ..Manifest::default()
    }
}

/// A guest whose `admission` has `body`; `extra` stands among the module's fields.
pub fn guest(body: &str, extra: &str) -> Vec<u8> {
    module(&format!(
        r#"(memory (export "memory") 1)
           (func (export "raft3d_alloc") (param i32) (result i32) i32.const 1024)
           (func (export "admission") (param i32 i32) (result i64) {body})
           {extra}"#
    ))
}

/// A module with the marker, `check_config` and `fields`.
pub fn module(fields: &str) -> Vec<u8> {
    with_manifest(
        &format!(
            r#"(module
                 (func (export "raft3d_abi_1"))
                 (func (export "check_config") (param i32 i32) (result i64) i64.const 0)
                 {fields})"#
        ),
        &minicbor::to_vec(manifest()).unwrap(),
    )
}

/// The text's module with a manifest section.
pub fn with_manifest(text: &str, manifest: &[u8]) -> Vec<u8> {
    let mut bytes = wat::parse_str(text).unwrap();
    append_custom(&mut bytes, raft3d_sdk::manifest::SECTION, manifest);
    bytes
}

pub fn append_custom(bytes: &mut Vec<u8>, name: &str, data: &[u8]) {
    CustomSection {
        name: name.into(),
        data: data.into(),
    }
    .append_to(bytes);
}

/// A place that holds one module's bytes, or none.
pub struct Source(pub Option<Vec<u8>>);

impl ModuleSource for Source {
    fn module_bytes(&self, _: ModuleDigest) -> Result<Option<Vec<u8>>, LocalFault> {
        Ok(self.0.clone())
    }
}

/// A host with a folder of its own.
pub struct TestHost {
    pub host: WasmHost,
    _dir: TempDir,
}

impl TestHost {
    pub fn new() -> Self {
        Self::with(EngineSettings {
            slots: 2,
            ..EngineSettings::default()
        })
    }

    pub fn with(settings: EngineSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let host = WasmHost::new(HostOptions {
            cache_dir: dir.path().join("modules-cache"),
            compiler: Arc::new(InProcessCompiler::new(settings)),
            settings,
        });
        Self {
            host: host.unwrap(),
            _dir: dir,
        }
    }

    /// Evaluates `admission`.
    pub fn admission(&self, bytes: &[u8], input: &[u8]) -> Evaluation {
        self.evaluate(bytes, Export::Hook(Hook::Admission), input)
            .unwrap()
    }

    pub fn evaluate(
        &self,
        bytes: &[u8],
        export: Export,
        input: &[u8],
    ) -> Result<Evaluation, LocalFault> {
        let call = PolicyCall::new(module_digest(bytes), export, input);
        self.host.evaluate(&call, &Source(Some(bytes.to_vec())))
    }

    /// The error of a guest's `admission` with an empty input.
    pub fn error(&self, bytes: &[u8]) -> PolicyError {
        self.admission(bytes, b"").output.unwrap_err()
    }
}
