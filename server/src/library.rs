//! The modules that are built into this program, so that nobody needs a WebAssembly compiler to
//! run a shop: checked in under `policies/prebuilt/`, made from the sources beside it.

/// What a new cluster begins with, in the order in which they are asked.
pub(crate) const DEFAULT_MODULES: [&[u8]; 2] = [
    include_bytes!("../../policies/prebuilt/standard-lifecycle.wasm"),
    include_bytes!("../../policies/prebuilt/standard-deduction.wasm"),
];

/// Every module that is shipped, the default ones first.
pub(crate) fn modules() -> impl Iterator<Item = &'static [u8]> {
    DEFAULT_MODULES.into_iter()
}
