//! A policy that notices when its memory outlives a call: it allows every job, unless a byte that
//! it sets in each call is set already.
//!
//! The shipped policies hold nothing between calls, so with them alone an engine that used an
//! instance twice would go unnoticed for thousands of evaluations. Bind this one to `admission`
//! too, and [`REMEMBERS`] is the code of a denial that must never be seen.

use raft3d_sdk::manifest::{ABI_VERSION, SECTION};
use raft3d_sdk::wire::{ABI_MARKER, ALLOC, CHECK_CONFIG, MEMORY, pack};
use raft3d_sdk::{ConfigVerdict, Deny, Hook, HookSet, Manifest, RuleOutput};

/// The code with which it denies.
pub const REMEMBERS: &str = "memory_was_used_before";

/// Where its answers stand in its memory, and where it takes its input.
const GOOD_AT: u32 = 1_024;
const ALLOW_AT: u32 = 2_048;
const DENY_AT: u32 = 3_072;
const INPUT_AT: u32 = 4_096;
/// The byte that no call may find set.
const MARK_AT: u32 = 16;

/// The module's bytes, ready to be uploaded.
///
/// # Panics
/// Never: what it is made of is constant.
#[must_use]
#[expect(
    clippy::expect_used,
    reason = "the text and its answers are constant, and tested"
)]
pub fn module() -> Vec<u8> {
    let deny = Deny::new(REMEMBERS, "This instance has served another call before");
    let good = minicbor::to_vec(ConfigVerdict::good()).expect("a verdict encodes");
    let allow = minicbor::to_vec(RuleOutput::allow()).expect("a verdict encodes");
    let deny = minicbor::to_vec(RuleOutput::from(Err(deny))).expect("a verdict encodes");
    let data = |at: u32, bytes: &[u8]| {
        let bytes: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
        format!("(data (i32.const {at}) \"{bytes}\")")
    };
    let at = |at: u32, bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        format!("i64.const {}", pack(at, length))
    };
    let text = format!(
        r#"(module
             (memory (export "{MEMORY}") 2)
             {good_data} {allow_data} {deny_data}
             (func (export "{ABI_MARKER}"))
             (func (export "{ALLOC}") (param i32) (result i32) i32.const {INPUT_AT})
             (func (export "{CHECK_CONFIG}") (param i32 i32) (result i64) {good_at})
             (func (export "{hook}") (param i32 i32) (result i64)
               (if (result i64) (i32.load8_u (i32.const {MARK_AT}))
                 (then {deny_at})
                 (else (i32.store8 (i32.const {MARK_AT}) (i32.const 1)) {allow_at}))))"#,
        good_data = data(GOOD_AT, &good),
        allow_data = data(ALLOW_AT, &allow),
        deny_data = data(DENY_AT, &deny),
        good_at = at(GOOD_AT, &good),
        allow_at = at(ALLOW_AT, &allow),
        deny_at = at(DENY_AT, &deny),
        hook = Hook::Admission.name(),
    );
    let mut bytes = wat::parse_str(&text).expect("the text is a module");
    let manifest = Manifest {
        abi: ABI_VERSION,
        name: "canary".to_owned(),
        version: "1.0.0".to_owned(),
        description: "Denies what is asked of an instance that was used before.".to_owned(),
        hooks: HookSet::of(&[Hook::Admission]),
        config_schema: None,
        lifecycle: None,
        ..Manifest::default()
    };
    let manifest = minicbor::to_vec(manifest).expect("a manifest encodes");
    append_section(&mut bytes, SECTION, &manifest);
    bytes
}

/// Appends a custom section (WebAssembly Core Specification, 5.5.3).
fn append_section(module: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut section = leb128(name.len());
    section.extend_from_slice(name.as_bytes());
    section.extend_from_slice(content);
    module.push(0);
    module.extend(leb128(section.len()));
    module.extend(section);
}

/// An unsigned number in LEB128 (WebAssembly Core Specification, 5.2.2).
fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
