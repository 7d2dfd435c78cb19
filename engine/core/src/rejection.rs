//! A domain rejection: an outcome like any other, the same on every replica, stored like any other.

use minicbor::{Decode, Encode};
use raft3d_sdk::DenyClass;

use crate::ids::{BindingId, ModuleDigest};

/// What is kept of a refusal's message, in bytes of UTF-8.
const REMEMBERED_MESSAGE_BYTES_MAX: usize = 200;
/// What is kept of a module's name in it, in bytes of UTF-8.
const REMEMBERED_NAME_BYTES_MAX: usize = 64;

/// What kind of rejection it is. The numbers are replicated and never reused; the server maps each
/// to one problem type and status in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum RejectionKind {
    /// A field's value is not acceptable (400).
    #[n(0)]
    InvalidField,
    /// The thing addressed does not exist (404).
    #[n(1)]
    NotFound,
    /// The id is taken (409).
    #[n(2)]
    AlreadyExists,
    /// A field refers to something that does not exist (422).
    #[n(3)]
    UnknownReference,
    /// The lifecycle knows no such state (400).
    #[n(4)]
    UnknownState,
    /// A transition that the engine itself never allows: out of a terminal state, or to the same
    /// state (409).
    #[n(5)]
    IllegalTransition,
    /// A policy denied (409 or 422, by its class).
    #[n(6)]
    PolicyDenied,
    /// A policy gave no usable answer (422): failure is closed.
    #[n(7)]
    PolicyFailed,
    /// No enforcing binding for this hook is in scope (422).
    #[n(8)]
    NoPolicyBound,
    /// The deduction is above what remains (422).
    #[n(9)]
    DeductionExceedsRemaining,
    /// Entering a reserving state does not fit what is available (422).
    #[n(10)]
    ReservationExceedsAvailable,
    /// If-Match did not match (412).
    #[n(11)]
    RevisionMismatch,
    /// The same idempotency key with another request (422).
    #[n(12)]
    RequestMismatch,
    /// The entry was older than its deadline when it was applied (503, retry with a new key).
    #[n(13)]
    DeadlineExceeded,
    /// A cap of the state is reached (409).
    #[n(14)]
    LimitReached,
    /// The actor's share of remembered keys is full, and none may be forgotten yet (429).
    #[n(15)]
    TooManyRequests,
    /// A kept ruleset revision names the module (409).
    #[n(16)]
    ModuleInUse,
    /// A ruleset cannot be activated as things are (409); `details` lists what stands in the way.
    #[n(17)]
    ActivationBlocked,
    /// The cluster is bootstrapped already (409).
    #[n(18)]
    AlreadyBootstrapped,
    /// The cluster is not bootstrapped yet (503).
    #[n(19)]
    NotBootstrapped,
    /// The key may have been used before, and its answer be forgotten (409).
    #[n(20)]
    KeyTooOld,
}

/// Which policy said no.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PolicyRefusal {
    /// The binding.
    #[n(0)]
    pub binding: BindingId,
    /// The module.
    #[n(1)]
    pub module: ModuleDigest,
    /// The module's name, from its manifest.
    #[n(2)]
    pub module_name: String,
    /// `admission`, `transition`, `deduction` or `check_config`.
    #[n(3)]
    pub hook: String,
    /// The class.
    #[n(4)]
    pub class: DenyClass,
    /// The policy's code, or the [`PolicyError`](crate::policy::PolicyError)'s where it failed.
    #[n(5)]
    pub code: String,
}

/// A rejection.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Rejection {
    /// Kind.
    #[n(0)]
    pub kind: RejectionKind,
    /// One sentence for people: what is wrong and what to do.
    #[n(1)]
    pub message: String,
    /// JSON Pointer of the field at fault.
    #[n(2)]
    pub field: Option<String>,
    /// The policy that said no.
    #[n(3)]
    pub policy: Option<PolicyRefusal>,
    /// What stands in the way, one line each.
    #[n(4)]
    #[cbor(default)]
    pub details: Vec<String>,
    /// After so many milliseconds another try is of use, if that is known.
    #[n(40)]
    pub retry_after_ms: Option<u64>,
}

impl Rejection {
    /// A rejection without field, policy or details.
    #[must_use]
    pub fn new(kind: RejectionKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            field: None,
            policy: None,
            details: Vec::new(),
            retry_after_ms: None,
        }
    }

    /// What is kept of it for retries under a client's key: it did nothing, so it may not cost much. The
    /// kind, the field and who said no are the same; the message may be cut, and `details` are told
    /// once.
    #[must_use]
    pub fn remembered(&self) -> Self {
        let policy = self.policy.clone().map(|policy| PolicyRefusal {
            module_name: cut(&policy.module_name, REMEMBERED_NAME_BYTES_MAX),
            ..policy
        });
        Self {
            message: cut(&self.message, REMEMBERED_MESSAGE_BYTES_MAX),
            policy,
            details: Vec::new(),
            ..self.clone()
        }
    }

    /// The same with the field at fault.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

/// The beginning of a text that is longer than `bytes_max`, with a mark.
fn cut(text: &str, bytes_max: usize) -> String {
    const MARK: &str = "\u{2026}";
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let room = bytes_max.saturating_sub(MARK.len());
    let end = text.floor_char_boundary(room);
    format!("{}{MARK}", text.get(..end).unwrap_or_default())
}
