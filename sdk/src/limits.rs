//! Limits that both sides of the ABI keep, each with its unit.

/// Longest id of a printer, filament or job, in bytes of UTF-8.
pub const ID_BYTES_MAX: usize = 128;
/// Longest free text (file path, company, model, reason …), in bytes of UTF-8.
pub const TEXT_BYTES_MAX: usize = 1024;
/// Longest actor name, in bytes of UTF-8.
pub const ACTOR_BYTES_MAX: usize = 128;
/// Most labels on one printer or job.
pub const LABELS_MAX: usize = 32;
/// Longest key or value of a label, in bytes of UTF-8.
pub const LABEL_BYTES_MAX: usize = 64;
/// Longest code of a denial or warning, in bytes of UTF-8.
pub const CODE_BYTES_MAX: usize = 64;
/// Longest message of a denial or warning, in bytes of UTF-8.
pub const MESSAGE_BYTES_MAX: usize = 512;
/// Longest JSON Pointer in an answer, in bytes of UTF-8.
pub const POINTER_BYTES_MAX: usize = 256;
/// Most warnings in one answer.
pub const WARNINGS_MAX: usize = 8;
/// Largest output of one evaluation, in bytes of CBOR.
pub const OUTPUT_BYTES_MAX: usize = 16 * 1024;
/// Longest message of a panic that a module keeps for its author, in bytes of UTF-8.
pub const PANIC_BYTES_MAX: usize = 512;
/// Largest configuration of one binding, in bytes of CBOR.
pub const CONFIG_BYTES_MAX: usize = 16 * 1024;
/// Most states in one lifecycle.
pub const STATES_MAX: usize = 32;
/// Most aliases of one state.
pub const ALIASES_MAX: usize = 8;
/// Longest name or alias of a state, in bytes of UTF-8.
pub const STATE_NAME_BYTES_MAX: usize = 32;
/// Largest manifest, in bytes of CBOR.
pub const MANIFEST_BYTES_MAX: usize = 64 * 1024;
/// Most places of a configuration that a manifest says hold names.
pub const CONFIG_NAMES_MAX: usize = 32;
/// Most names that hold where a configuration leaves out their field.
pub const DEFAULT_NAMES_MAX: usize = 32;
