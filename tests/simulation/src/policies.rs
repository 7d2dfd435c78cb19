//! The policies of a simulated cluster: the shipped ones, and copies of them to upload.

use std::sync::Arc;

use raft3d_core::command::{Bootstrap, UploadModule};
use raft3d_core::state::rulesets::{Binding, Mode, Ruleset, SHARE_ALL, Scope};
use raft3d_core::{BindingId, ClusterId, PolicyHost};
use raft3d_engine::policy::{EngineSettings, HostOptions, InProcessCompiler, WasmHost, inspect};
use tempfile::TempDir;

const LIFECYCLE: &[u8] = include_bytes!("../../../policies/prebuilt/standard-lifecycle.wasm");
const DEDUCTION: &[u8] = include_bytes!("../../../policies/prebuilt/standard-deduction.wasm");
/// Modules that clients may upload.
const COPIES: u8 = 2;
/// A configuration without fields, as CBOR.
const EMPTY_CONFIG: [u8; 1] = [0xa0];

/// Modules with their native code, shared by the nodes of many runs.
#[derive(Debug)]
pub struct Policies {
    lifecycle: UploadModule,
    deduction: UploadModule,
    copies: Vec<UploadModule>,
    cache: TempDir,
}

impl Policies {
    /// Compiles all of them, in this process.
    #[must_use]
    pub fn compile() -> Arc<Self> {
        let policies = Self {
            lifecycle: module(LIFECYCLE.to_vec()),
            deduction: module(DEDUCTION.to_vec()),
            copies: (0..COPIES).map(|n| module(copy_of(DEDUCTION, n))).collect(),
            cache: TempDir::new().expect("a temporary folder"),
        };
        let host = policies.wasm_host();
        let modules = [&policies.lifecycle, &policies.deduction];
        for module in modules.into_iter().chain(&policies.copies) {
            host.prefetch(module.digest, &module.bytes)
                .expect("the shipped policies compile");
        }
        Arc::new(policies)
    }

    /// A host as a process has it that was just started.
    pub(crate) fn host(&self) -> Arc<dyn PolicyHost> {
        Arc::new(self.wasm_host())
    }

    fn wasm_host(&self) -> WasmHost {
        let settings = EngineSettings {
            slots: 2,
            ..EngineSettings::default()
        };
        let options = HostOptions {
            cache_dir: self.cache.path().to_owned(),
            compiler: Arc::new(InProcessCompiler::new(settings)),
            settings,
        };
        WasmHost::new(options).expect("wasmtime starts")
    }

    pub(crate) fn bootstrap(&self) -> Bootstrap {
        Bootstrap {
            cluster_id: ClusterId([7; 16]),
            modules: vec![self.lifecycle.clone(), self.deduction.clone()],
            ruleset: self.ruleset(&self.deduction),
        }
    }

    /// What a client may upload.
    pub(crate) fn copies(&self) -> &[UploadModule] {
        &self.copies
    }

    /// The shipped rules, with `deduction` for what is taken.
    pub(crate) fn ruleset(&self, deduction: &UploadModule) -> Ruleset {
        let binding = |module: &UploadModule| Binding {
            id: BindingId::new(module.manifest.name.clone()),
            module: module.digest,
            hooks: module.manifest.hooks,
            scope: Scope::All,
            mode: Mode::Enforce,
            share: SHARE_ALL,
            lifecycle: module.manifest.lifecycle.is_some(),
            config: EMPTY_CONFIG.to_vec(),
        };
        let bindings = vec![binding(&self.lifecycle), binding(deduction)];
        Ruleset { bindings }
    }
}

fn module(bytes: Vec<u8>) -> UploadModule {
    let report = inspect(&bytes).expect("the policy passes the static check");
    UploadModule {
        digest: report.digest,
        bytes,
        manifest: report.manifest,
    }
}

/// The same module with one custom section more: it does the same and is another one.
fn copy_of(module: &[u8], number: u8) -> Vec<u8> {
    let mut bytes = module.to_vec();
    // Section 0, 6 bytes: a name of 4, and the number.
    bytes.extend_from_slice(&[0, 6, 4]);
    bytes.extend_from_slice(b"copy");
    bytes.push(number);
    bytes
}
