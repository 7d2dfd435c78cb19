//! The door to the policies. The core knows what to ask and how to read the answer; it does not
//! know WebAssembly. Production answers through the engine's WASM host; there is no native
//! fallback.

use minicbor::{Decode, Encode};
use raft3d_sdk::Hook;

use crate::error::LocalFault;
use crate::ids::{BindingId, ModuleDigest};
use crate::limits::GAS_PER_EVALUATION_MAX;

/// Which export of a module is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Export {
    /// A hook.
    Hook(Hook),
    /// `check_config`.
    CheckConfig,
}

impl Export {
    /// Name of the export.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hook(hook) => hook.name(),
            Self::CheckConfig => raft3d_sdk::wire::CHECK_CONFIG,
        }
    }
}

/// One evaluation to make.
#[derive(Clone, Copy, Debug)]
pub struct PolicyCall<'a> {
    /// Which module.
    pub module: ModuleDigest,
    /// Which export.
    pub export: Export,
    /// The input: `wire::Call` as CBOR, or the configuration's CBOR for `check_config`.
    pub input: &'a [u8],
    /// Gas that it may use, at most [`GAS_PER_EVALUATION_MAX`].
    pub gas: u64,
}

impl<'a> PolicyCall<'a> {
    /// A call with all the gas that one evaluation may use.
    #[must_use]
    pub const fn new(module: ModuleDigest, export: Export, input: &'a [u8]) -> Self {
        Self {
            module,
            export,
            input,
            gas: GAS_PER_EVALUATION_MAX,
        }
    }
}

/// What an evaluation came to: the same on every replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// Gas used, up to what the call gave.
    pub gas: u64,
    /// The answer's bytes, not yet decoded; or why there is none.
    pub output: Result<Vec<u8>, PolicyError>,
}

impl Evaluation {
    /// What comes of asking for an export that a module does not have.
    pub const MISSING_EXPORT: Self = Self {
        gas: 0,
        output: Err(PolicyError::MissingExport),
    };
}

/// Why a policy gave no usable answer. Failure is closed: each of these denies.
///
/// The numbers are replicated (in stored responses) and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum PolicyError {
    /// The gas budget ran out.
    #[n(0)]
    OutOfGas,
    /// The injected stack counter ran over.
    #[n(1)]
    StackOverflow,
    /// `unreachable`: a Rust guest's panic ends here too.
    #[n(2)]
    Unreachable,
    /// A load or store outside memory.
    #[n(3)]
    MemoryOutOfBounds,
    /// A table access outside the table, an empty element, or a call of another signature.
    #[n(4)]
    BadIndirectCall,
    /// Integer division by zero.
    #[n(5)]
    DivisionByZero,
    /// Integer division overflow.
    #[n(6)]
    IntegerOverflow,
    /// The allocation function answered with a place outside memory.
    #[n(7)]
    BadAllocation,
    /// The answer's place lies outside memory, or is longer than the limit.
    #[n(8)]
    BadOutputRange,
    /// The answer does not decode, or breaks a limit of its fields.
    #[n(9)]
    BadOutput,
    /// The module does not export what is called.
    #[n(10)]
    MissingExport,
    /// The module breaks a static limit of this engine epoch.
    #[n(11)]
    InvalidModule,
    /// The state holds no such module.
    #[n(12)]
    UnknownModule,
    /// What the entry's earlier evaluations left of its gas was not enough
    /// ([`GAS_PER_ENTRY_MAX`](crate::limits::GAS_PER_ENTRY_MAX)).
    #[n(45)]
    EntryOutOfGas,
}

impl PolicyError {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::OutOfGas,
        Self::StackOverflow,
        Self::Unreachable,
        Self::MemoryOutOfBounds,
        Self::BadIndirectCall,
        Self::DivisionByZero,
        Self::IntegerOverflow,
        Self::BadAllocation,
        Self::BadOutputRange,
        Self::BadOutput,
        Self::MissingExport,
        Self::InvalidModule,
        Self::UnknownModule,
        Self::EntryOutOfGas,
    ];

    /// The error of that code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|error| error.code() == code)
    }

    /// Stable code for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::OutOfGas => "out_of_gas",
            Self::StackOverflow => "stack_overflow",
            Self::Unreachable => "unreachable",
            Self::MemoryOutOfBounds => "memory_out_of_bounds",
            Self::BadIndirectCall => "bad_indirect_call",
            Self::DivisionByZero => "division_by_zero",
            Self::IntegerOverflow => "integer_overflow",
            Self::BadAllocation => "bad_allocation",
            Self::BadOutputRange => "bad_output_range",
            Self::BadOutput => "bad_output",
            Self::MissingExport => "missing_export",
            Self::InvalidModule => "invalid_module",
            Self::UnknownModule => "unknown_module",
            Self::EntryOutOfGas => "entry_out_of_gas",
        }
    }
}

/// Where a host finds a module's original bytes when it does not have it compiled yet.
pub trait ModuleSource {
    /// The bytes of `module`; none where the state does not hold it.
    ///
    /// # Errors
    /// A fault of this replica's store.
    fn module_bytes(&self, module: ModuleDigest) -> Result<Option<Vec<u8>>, LocalFault>;
}

/// Evaluates policies: deterministic in the module's bytes and the input.
pub trait PolicyHost: Send + Sync {
    /// Makes one evaluation, of which nothing is left for a later one to see.
    ///
    /// # Errors
    /// A fault of this replica alone; never something that the module did.
    fn evaluate(
        &self,
        call: &PolicyCall<'_>,
        modules: &dyn ModuleSource,
    ) -> Result<Evaluation, LocalFault>;

    /// Whether an evaluation of `module` would find it compiled. Nothing that apply computes may
    /// depend on it.
    fn is_compiled(&self, module: ModuleDigest) -> bool;

    /// Told what an evaluation came to, for whoever counts. Nothing that apply computes may depend
    /// on it.
    fn decided(&self, _decided: &Decided<'_>) {}
}

/// What an evaluation came to, as apply read it.
#[derive(Clone, Copy, Debug)]
pub struct Decided<'a> {
    /// Binding that was asked.
    pub binding: &'a BindingId,
    /// Its module.
    pub module: ModuleDigest,
    /// Hook.
    pub hook: Hook,
    /// Whether the binding is watched only.
    pub is_shadow: bool,
    /// What it said.
    pub said: Said<'a>,
}

/// What a policy said, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// A rule allowed it.
    Allow,
    /// A rule denied it, with this code.
    Deny(&'a str),
    /// A deduction left it to the next binding.
    Pass,
    /// A deduction said what to take.
    Take,
    /// No usable answer.
    Failed(PolicyError),
}
