//! The bytes between host and guest. `ABI.md` is the normative text.

use minicbor::{Decode, Encode};

/// Name of the exported function that marks the ABI version: `() -> ()`, never called.
pub const ABI_MARKER: &str = "raft3d_abi_1";
/// Name of the exported allocation function: `(len: i32) -> ptr: i32`.
pub const ALLOC: &str = "raft3d_alloc";
/// Name of the exported memory.
pub const MEMORY: &str = "memory";
/// Name of the exported function that checks a configuration: `(ptr: i32, len: i32) -> i64`.
pub const CHECK_CONFIG: &str = "check_config";

/// What a hook is called with: its input and the binding's configuration.
///
/// `check_config` is called with the configuration's bytes alone.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Call<'a, T> {
    /// The hook's input.
    #[n(0)]
    pub input: T,
    /// The configuration: one CBOR map with text keys.
    #[cbor(b(1), with = "minicbor::bytes")]
    pub config: &'a [u8],
}

/// Packs the place of an answer: pointer in the upper half, length in the lower half.
#[must_use]
pub const fn pack(ptr: u32, len: u32) -> u64 {
    ((ptr as u64) << 32) | len as u64
}

/// The pointer and the length that [`pack`] put together.
#[must_use]
pub const fn unpack(packed: u64) -> (u32, u32) {
    ((packed >> 32) as u32, (packed & 0xffff_ffff) as u32)
}
