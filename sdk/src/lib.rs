//! The vocabulary that Raft3D's host and its guest policies share, and what a policy author needs.
//!
//! A policy is a WebAssembly module that answers one or more *hooks* (admission, transition,
//! deduction). It gets its input as CBOR maps with integer keys and answers the same way; the
//! contract for authors in any language is `ABI.md` beside this crate.
//!
//! Nothing here may name a float, a clock, a thread or randomness: a guest that could do so would
//! answer differently on two replicas.
#![cfg_attr(not(any(test, feature = "manifest")), no_std)]

extern crate alloc;

pub mod config;
pub mod distinct;
mod export;
#[cfg(all(target_arch = "wasm32", not(feature = "manifest")))]
pub mod guest;
pub mod lifecycle;
pub mod limits;
pub mod manifest;
pub mod model;
pub mod names;
#[cfg(not(target_arch = "wasm32"))]
pub mod native;
pub mod policy;
pub mod quantity;
pub mod reader;
#[cfg(feature = "manifest")]
pub mod schema;
pub mod steps;
#[cfg(not(target_arch = "wasm32"))]
pub mod testkit;
pub mod text;
pub mod verdict;
pub mod wire;

pub use config::{ConfigError, NoConfig, PolicyConfig};
pub use lifecycle::{Claim, Lifecycle, State};
pub use manifest::{Hook, HookSet, Manifest};
pub use model::{
    ActorView, AdmissionInput, DeductionInput, FilamentView, JobView, Label, PrinterStatus,
    PrinterView, Reported, TransitionInput,
};
#[cfg(not(target_arch = "wasm32"))]
pub use native::{NativeError, call_native};
pub use policy::{CallError, Policy};
pub use quantity::{Grams, GramsError};
pub use verdict::{ConfigVerdict, DeductionOutput, Deny, DenyClass, RuleOutput, Warning};

/// What the macros name; no part of the API.
#[doc(hidden)]
#[cfg(feature = "manifest")]
pub mod __private {
    pub use {schemars, serde};
}
