//! Modules in WebAssembly text: a frame that is sound, in which one thing is made to be wrong.

use raft3d_sdk::manifest::{ABI_VERSION, SECTION};
use raft3d_sdk::{Hook, HookSet, Manifest, wire};
use wasm_encoder::{CustomSection, Section};

/// The answer "all is well", one byte at 16: an empty map, good for every export.
pub const ALLOW: &str = "(i64.const 0x10_00000001)";
/// Where [`answering`] puts the answer's bytes.
const ANSWER_AT: usize = 4096;
/// Size of a page of memory, in bytes.
const PAGE: usize = 64 * 1024;

/// The parts of a module. The default is sound, and allows everything.
#[derive(Clone, Debug)]
pub struct Guest {
    /// What stands in front of everything: imports.
    pub first: String,
    /// The memory, with its export.
    pub memory: String,
    /// The segment that [`ALLOW`] points to.
    pub data: String,
    /// The ABI marker.
    pub marker: String,
    /// Body of `raft3d_alloc`.
    pub alloc: String,
    /// Body of `check_config`.
    pub check: String,
    /// The hook that it answers.
    pub hook: Hook,
    /// Body of that hook.
    pub body: String,
    /// Further fields of the module.
    pub extra: String,
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            first: String::new(),
            memory: r#"(memory (export "memory") 1)"#.to_owned(),
            data: r#"(data (i32.const 16) "\a0")"#.to_owned(),
            marker: r#"(func (export "raft3d_abi_1"))"#.to_owned(),
            alloc: "(i32.const 1024)".to_owned(),
            check: ALLOW.to_owned(),
            hook: Hook::Admission,
            body: ALLOW.to_owned(),
            extra: String::new(),
        }
    }
}

impl Guest {
    /// One whose hook has this body, among these further fields.
    #[must_use]
    pub fn body(body: impl Into<String>, extra: impl Into<String>) -> Self {
        Self {
            body: body.into(),
            extra: extra.into(),
            ..Self::default()
        }
    }

    /// One that is sound but for these further fields.
    #[must_use]
    pub fn extra(extra: impl Into<String>) -> Self {
        Self {
            extra: extra.into(),
            ..Self::default()
        }
    }

    /// One with this memory: `(memory (export "memory") …)`.
    #[must_use]
    pub fn memory(pages: &str, body: impl Into<String>) -> Self {
        Self {
            memory: format!(r#"(memory (export "memory") {pages})"#),
            body: body.into(),
            ..Self::default()
        }
    }

    /// One whose hook gives these bytes for an answer.
    #[must_use]
    pub fn answering(hook: Hook, answer: &[u8]) -> Self {
        let packed = wire::pack(ANSWER_AT as u32, answer.len() as u32);
        Self {
            memory: memory_for(ANSWER_AT + answer.len()),
            hook,
            body: format!("(i64.const {packed:#x})"),
            extra: format!("(data (i32.const {ANSWER_AT}) \"{}\")", escaped(answer)),
            ..Self::default()
        }
    }

    /// The manifest that tells the truth about it.
    #[must_use]
    pub fn manifest(&self, name: &str) -> Manifest {
        Manifest {
            abi: ABI_VERSION,
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            description: "Means harm.".to_owned(),
            hooks: HookSet::of(&[self.hook]),
            config_schema: None,
            lifecycle: None,
            ..Manifest::default()
        }
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> String {
        let Self {
            first,
            memory,
            data,
            marker,
            alloc,
            check,
            hook,
            body,
            extra,
        } = self;
        let hook = hook.name();
        format!(
            r#"(module {first} {memory} {data} {marker}
                 (func $alloc (export "raft3d_alloc") (param i32) (result i32) {alloc})
                 (func $check (export "check_config") (param i32 i32) (result i64) {check})
                 (func $hook (export "{hook}") (param i32 i32) (result i64) {body})
                 {extra})"#
        )
    }

    /// The module with the manifest that tells the truth.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let manifest = minicbor::to_vec(self.manifest(name)).expect("a manifest");
        with_manifest(&self.text(), &manifest)
    }
}

/// The text's module with these bytes for its manifest.
#[must_use]
pub fn with_manifest(text: &str, manifest: &[u8]) -> Vec<u8> {
    let mut bytes = assemble(text);
    append_custom(&mut bytes, SECTION, manifest);
    bytes
}

/// The text's module.
#[must_use]
pub fn assemble(text: &str) -> Vec<u8> {
    let start = text.get(..200).unwrap_or(text);
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{start}"))
}

/// Adds a custom section.
pub fn append_custom(bytes: &mut Vec<u8>, name: &str, data: &[u8]) {
    CustomSection {
        name: name.into(),
        data: data.into(),
    }
    .append_to(bytes);
}

/// A memory that has room for so many bytes.
#[must_use]
pub fn memory_for(bytes: usize) -> String {
    format!(r#"(memory (export "memory") {})"#, bytes.div_ceil(PAGE))
}

/// Bytes inside a text's quotes.
#[must_use]
pub fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// The same text so many times.
#[must_use]
pub fn many(count: usize, text: &str) -> String {
    text.repeat(count)
}

/// So many texts, each made for its number.
pub fn numbered(count: usize, make: impl Fn(usize) -> String) -> String {
    (0..count).map(make).collect()
}
