//! The modules that are built into this program, so that nobody needs a WebAssembly compiler to
//! run a shop: checked in under `policies/prebuilt/`, made from the sources beside it.

/// What a new cluster begins with, in the order in which they are asked.
pub(crate) const DEFAULT_MODULES: [&[u8]; 2] = [
    include_bytes!("../../policies/prebuilt/standard-lifecycle.wasm"),
    include_bytes!("../../policies/prebuilt/standard-deduction.wasm"),
];

/// What is shipped for shops that want more; `policies/README.md` describes them.
const MORE_MODULES: [&[u8]; 7] = [
    include_bytes!("../../policies/prebuilt/exclusive-printer.wasm"),
    include_bytes!("../../policies/prebuilt/waste-factor.wasm"),
    include_bytes!("../../policies/prebuilt/approval.wasm"),
    include_bytes!("../../policies/prebuilt/material-match.wasm"),
    include_bytes!("../../policies/prebuilt/quiet-hours.wasm"),
    include_bytes!("../../policies/prebuilt/safety-margin.wasm"),
    include_bytes!("../../policies/prebuilt/quota.wasm"),
];

/// Every module that is shipped, the default ones first.
pub(crate) fn modules() -> impl Iterator<Item = &'static [u8]> {
    DEFAULT_MODULES.into_iter().chain(MORE_MODULES)
}
