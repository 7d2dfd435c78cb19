//! Errors as `application/problem+json` (RFC 9457): the one place where an error gets its HTTP
//! status and its problem type.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use raft3d_engine::core::state::window::ResumeError;
use raft3d_engine::core::{LocalFault, Rejection, RejectionKind, Revision};
use raft3d_engine::policy::ModuleProblem;
use raft3d_engine::raft::api::{MembershipError, ReadError, WriteError};
use raft3d_engine::raft::readiness::NotCompiled;
use raft3d_engine::sdk::DenyClass;
use serde_json::{Map, Value};

use super::reply::{insert_certain_since, insert_revision, mark_replayed};

mod kinds;

pub(crate) use kinds::Kind;

/// Where the documentation pages of the problem types are.
pub(crate) const TYPE_PREFIX: &str = "/docs/problems/";
/// How long a client should wait after a 429 or 503, in seconds.
const RETRY_AFTER_S: u64 = 1;

/// An error on its way to the client.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    revision: Option<Revision>,
    replayed: bool,
    members: Map<String, Value>,
    retry_after_s: u64,
    certain_since_ms: Option<u64>,
}

impl Problem {
    /// A problem without members.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            revision: None,
            replayed: false,
            members: Map::new(),
            retry_after_s: RETRY_AFTER_S,
            certain_since_ms: None,
        }
    }

    /// The body's field at `pointer` (RFC 6901) is not acceptable.
    pub(crate) fn field(pointer: &str, why: impl core::fmt::Display) -> Self {
        let name = pointer.strip_prefix('/').unwrap_or(pointer);
        Self::new(Kind::InvalidField, format!("{name}: {why}")).at(pointer)
    }

    /// The query parameter `name` is not acceptable.
    pub(crate) fn parameter(name: &str, why: impl core::fmt::Display) -> Self {
        Self::new(
            Kind::InvalidParameter,
            format!("query parameter {name}: {why}"),
        )
        .with("field", name)
    }

    /// The part `name` of the path is not acceptable.
    pub(crate) fn path(name: &str, why: impl core::fmt::Display) -> Self {
        Self::new(Kind::InvalidParameter, format!("{name} in the path: {why}")).with("field", name)
    }

    /// The header `name` is not acceptable.
    pub(crate) fn header(name: &str, why: impl core::fmt::Display) -> Self {
        Self::new(Kind::InvalidHeader, format!("header {name}: {why}")).with("field", name)
    }

    /// There is no `what` of the id `id`.
    pub(crate) fn not_found(what: &str, id: impl core::fmt::Display) -> Self {
        Self::new(Kind::NotFound, format!("there is no {what} \"{id}\""))
    }

    /// A fault of this node. The client is told that there is one, the log is told which.
    pub(crate) fn internal(why: impl core::fmt::Display) -> Self {
        tracing::error!(error = %why, "a request met a fault of this node");
        Self::new(
            Kind::Internal,
            "this node could not answer; its log says why",
        )
    }

    /// The same with the field at fault.
    pub(crate) fn at(self, pointer: &str) -> Self {
        let name = pointer.strip_prefix('/').unwrap_or(pointer).to_owned();
        self.with("pointer", pointer).with("field", name)
    }

    /// The same with one more member.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// The same, with the revision at which it was found.
    pub(crate) fn revision(mut self, revision: Revision) -> Self {
        self.revision = Some(revision);
        self
    }

    /// The same, as the stored answer of an earlier try.
    pub(crate) fn replayed(mut self, replayed: bool) -> Self {
        self.replayed = replayed;
        self
    }

    /// Whether it is the stored answer of an earlier try.
    pub(crate) fn is_replayed(&self) -> bool {
        self.replayed
    }

    /// The same, with the time since when the client's keys are certain, log time in milliseconds.
    pub(crate) fn certain_since(mut self, certain_since_ms: Option<u64>) -> Self {
        self.certain_since_ms = certain_since_ms;
        self
    }

    /// What kind of problem it is.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The sentence for people.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The revision at which it was found.
    pub(crate) fn found_at(&self) -> Option<Revision> {
        self.revision
    }

    /// Its HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        self.kind.row().status
    }

    /// The body that a client gets.
    pub(crate) fn value(&self) -> Value {
        let row = self.kind.row();
        let mut body = self.members.clone();
        body.insert(
            "type".to_owned(),
            format!("{TYPE_PREFIX}{}", row.slug).into(),
        );
        body.insert("title".to_owned(), row.title.into());
        body.insert("status".to_owned(), row.status.as_u16().into());
        body.insert("detail".to_owned(), self.detail.clone().into());
        Value::Object(body)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        tracing::debug!(status = status.as_u16(), kind = ?self.kind, detail = %self.detail);
        let mut response = Response::new(Body::from(self.value().to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after_s));
        }
        if let Some(revision) = self.revision {
            insert_revision(headers, revision);
        }
        if self.replayed {
            mark_replayed(headers);
        }
        insert_certain_since(headers, self.certain_since_ms);
        response
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let illegal = rejection
            .policy
            .as_ref()
            .is_some_and(|refusal| refusal.class == DenyClass::IllegalTransition);
        let kind = rejection_kind(rejection.kind, illegal);
        let mut problem = Self::new(kind, rejection.message.clone());
        if let Some(field) = &rejection.field {
            problem = problem.at(field);
        }
        if let Some(policy) = rejection.policy {
            problem = problem
                .with("binding", policy.binding.as_str())
                .with("module", policy.module.to_string())
                .with("module_name", policy.module_name)
                .with("hook", policy.hook)
                .with("code", policy.code)
                .with("message", rejection.message);
        }
        if let Some(ms) = rejection.retry_after_ms {
            problem.retry_after_s = ms.div_ceil(1_000).max(RETRY_AFTER_S);
        }
        if !rejection.details.is_empty() {
            problem = problem.with("details", rejection.details);
        }
        problem
    }
}

/// `illegal`: whether a policy gave its denial the class `illegal_transition`.
fn rejection_kind(kind: RejectionKind, illegal: bool) -> Kind {
    match kind {
        RejectionKind::InvalidField => Kind::InvalidField,
        RejectionKind::NotFound => Kind::NotFound,
        RejectionKind::AlreadyExists => Kind::AlreadyExists,
        RejectionKind::UnknownReference => Kind::UnknownReference,
        RejectionKind::UnknownState => Kind::UnknownState,
        RejectionKind::IllegalTransition => Kind::IllegalTransition,
        RejectionKind::PolicyDenied if illegal => Kind::IllegalTransition,
        RejectionKind::PolicyDenied => Kind::PolicyDenied,
        RejectionKind::PolicyFailed => Kind::PolicyFailed,
        RejectionKind::NoPolicyBound => Kind::NoPolicyBound,
        RejectionKind::DeductionExceedsRemaining => Kind::DeductionExceedsRemaining,
        RejectionKind::ReservationExceedsAvailable => Kind::ReservationExceedsAvailable,
        RejectionKind::RevisionMismatch => Kind::RevisionMismatch,
        RejectionKind::RequestMismatch => Kind::RequestMismatch,
        RejectionKind::DeadlineExceeded => Kind::DeadlineExceeded,
        RejectionKind::LimitReached => Kind::LimitReached,
        RejectionKind::TooManyRequests => Kind::TooManyKeys,
        RejectionKind::KeyTooOld => Kind::KeyTooOld,
        RejectionKind::ModuleInUse => Kind::ModuleInUse,
        RejectionKind::ActivationBlocked => Kind::ActivationBlocked,
        RejectionKind::AlreadyBootstrapped => Kind::AlreadyBootstrapped,
        RejectionKind::NotBootstrapped => Kind::NotBootstrapped,
    }
}

impl Problem {
    /// A write without an outcome. `client_key`: whether the client chose the request's id.
    pub(crate) fn from_write(error: WriteError, client_key: bool) -> Self {
        let text = error.to_string();
        match error {
            WriteError::NoLeader => Self::new(Kind::NoLeader, text),
            WriteError::Overloaded => Self::new(Kind::Overloaded, text),
            WriteError::Unavailable { .. } => Self::new(Kind::Unavailable, text),
            WriteError::Stopped { .. } => Self::new(Kind::WritesStopped, text),
            WriteError::Paused { .. } => Self::new(Kind::WritesPaused, text),
            WriteError::TooLarge { .. } => Self::new(Kind::BodyTooLarge, text),
            WriteError::OutcomeUnknown { request_id } => {
                let origin = if client_key {
                    "the same Idempotency-Key"
                } else {
                    "this node's own id for it, given in request_id, as the Idempotency-Key \
                     (it is remembered for twice the request's time limit)"
                };
                let detail = format!(
                    "the write may or may not have happened; send the same request again with \
                     {origin} to learn its outcome without doing it twice"
                );
                Self::new(Kind::OutcomeUnknown, detail).with("request_id", request_id.as_str())
            }
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let kind = match error {
            ReadError::NoLeader => Kind::NoLeader,
            ReadError::Behind { .. } => Kind::ReplicaBehind,
            ReadError::Unavailable { .. } => Kind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<NotCompiled> for Problem {
    fn from(error: NotCompiled) -> Self {
        Self::new(Kind::ModulesNotCompiled, error.to_string())
    }
}

impl From<MembershipError> for Problem {
    fn from(error: MembershipError) -> Self {
        let kind = match error {
            MembershipError::RevisionMismatch { .. } => Kind::RevisionMismatch,
            MembershipError::UnknownMember { .. } => Kind::NotFound,
            MembershipError::Refused { .. } => Kind::MembershipRefused,
            MembershipError::NoLeader => Kind::NoLeader,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<ModuleProblem> for Problem {
    fn from(problem: ModuleProblem) -> Self {
        let mut out = Self::new(Kind::ModuleRefused, problem.message).with("code", problem.code);
        if let Some(place) = problem.place {
            out = out.with("place", place);
        }
        if let Some(used) = problem.limit {
            out = out
                .with("limit", used.limit)
                .with("value", used.value)
                .with("max", used.max);
        }
        out
    }
}

impl From<ResumeError> for Problem {
    fn from(error: ResumeError) -> Self {
        match error {
            ResumeError::Gone(gone) => Self::new(Kind::Gone, gone.to_string())
                .with("oldest", gone.oldest.map(|oldest| oldest.0))
                .with("deleted_to", gone.deleted_to.0),
            ResumeError::Fault(fault) => fault.into(),
        }
    }
}

impl From<LocalFault> for Problem {
    fn from(fault: LocalFault) -> Self {
        Self::internal(fault)
    }
}
