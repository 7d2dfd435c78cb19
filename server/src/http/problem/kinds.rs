//! The kinds of problem: one table, from which answers and documentation pages are made.

use axum::http::StatusCode;

/// What is said of a kind of problem.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// HTTP status.
    pub(crate) status: StatusCode,
    /// Last part of the problem type's URI. Stable: clients compare it.
    pub(crate) slug: &'static str,
    /// What is the matter, in a few words.
    pub(crate) title: &'static str,
    /// What to do about it.
    pub(crate) advice: &'static str,
}

macro_rules! kinds {
    ($($kind:ident: $status:ident, $slug:literal, $title:literal, $advice:literal;)*) => {
        /// One type per kind of problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind {
            $($kind,)*
        }

        impl Kind {
            /// All of them, by status.
            pub(crate) const ALL: &[Self] = &[$(Self::$kind,)*];

            /// What is said of it.
            pub(crate) const fn row(self) -> Row {
                match self {
                    $(Self::$kind => Row {
                        status: StatusCode::$status,
                        slug: $slug,
                        title: $title,
                        advice: $advice,
                    },)*
                }
            }
        }
    };
}

kinds! {
    MalformedBody: BAD_REQUEST, "malformed-body",
        "The body is malformed",
        "Send one whole JSON object in UTF-8. The detail says at which line and column \
         reading stopped.";
    InvalidField: BAD_REQUEST, "invalid-field",
        "A field is not acceptable",
        "Correct the field that pointer names; the detail says what it may hold.";
    UnknownField: BAD_REQUEST, "unknown-field",
        "A field is not known",
        "Leave the field out, or correct its spelling. The classic API ignores such fields.";
    InvalidParameter: BAD_REQUEST, "invalid-parameter",
        "A parameter of the address is not acceptable",
        "Correct the parameter of the path or the query that field names. Page tokens are \
         taken from the Link header as they are.";
    InvalidHeader: BAD_REQUEST, "invalid-header",
        "A header is not acceptable",
        "Correct the header that field names, or leave it out.";
    UnknownState: BAD_REQUEST, "unknown-state",
        "There is no such status",
        "Use a state of the active lifecycle (GET /api/v1/ruleset) or one of its aliases.";
    NotFound: NOT_FOUND, "not-found",
        "There is no such thing here",
        "Check the address and the id; ids are compared byte for byte.";
    MethodNotAllowed: METHOD_NOT_ALLOWED, "method-not-allowed",
        "The method is not allowed here",
        "Use one of the methods that the Allow header names.";
    RequestTimeout: REQUEST_TIMEOUT, "request-timeout",
        "The request took too long to arrive",
        "Send the whole body at once; a slow connection may need smaller requests.";
    AlreadyExists: CONFLICT, "already-exists",
        "The id is taken",
        "Choose another id, or leave it out and the server makes one. To retry a write \
         safely, send an Idempotency-Key.";
    IllegalTransition: CONFLICT, "illegal-transition",
        "The status cannot change so",
        "Read the job: its status may have changed meanwhile. The detail says from where the \
         status asked for can be reached.";
    LimitReached: CONFLICT, "limit-reached",
        "A limit is reached",
        "Delete what is no longer needed; the detail names the limit.";
    ModuleInUse: CONFLICT, "module-in-use",
        "The module is in use",
        "A kept ruleset revision names the module, so a rollback may need it. Delete it when \
         that revision is no longer kept.";
    ActivationBlocked: CONFLICT, "activation-blocked",
        "The ruleset cannot be activated",
        "Settle each point that details lists. With force, open jobs in states that the new \
         lifecycle lacks are stranded, and names in configurations that match nothing pass.";
    AlreadyBootstrapped: CONFLICT, "already-bootstrapped",
        "The cluster is bootstrapped already",
        "Nothing needs to be done: the cluster exists.";
    KeyTooOld: CONFLICT, "key-too-old",
        "The idempotency key is too old",
        "The key carries its time (a UUID of version 7, or a ULID), and answers to keys of that age \
         are no longer remembered: the request may have been done before, so it was not run. Read \
         whether it was; if it was not, send it with a new key. Raft3d-Keys-Certain-Since says since \
         when this actor's keys are certain.";
    MembershipRefused: CONFLICT, "membership-refused",
        "The membership cannot change so now",
        "Read GET /api/v1/cluster; the detail says what stands in the way. Another change may \
         have to end first.";
    Gone: GONE, "gone",
        "Part of what was asked for is no longer kept",
        "Only the newest records of a stream are kept. Go on after deleted_to, or leave after \
         out to begin with the oldest that is kept (oldest; null if there is none), and know \
         that what came before is missed. The ruleset's decisions_kept says how many decision \
         records are kept and for how long.";
    RevisionMismatch: PRECONDITION_FAILED, "revision-mismatch",
        "If-Match did not match",
        "Somebody else was faster. Read again, look at what has changed, and send the new \
         ETag as If-Match.";
    PreconditionRequired: PRECONDITION_REQUIRED, "precondition-required",
        "If-Match is required",
        "Read the resource first and send its ETag as If-Match, so that nobody's change is \
         undone unseen.";
    BodyTooLarge: PAYLOAD_TOO_LARGE, "body-too-large",
        "The body is too large",
        "Send less: a body has at most 64 KiB, a module at most 512 KiB.";
    UnsupportedMediaType: UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type",
        "The content type is not supported",
        "Send Content-Type: application/json, or application/wasm for a module.";
    UnknownReference: UNPROCESSABLE_ENTITY, "unknown-reference",
        "A field refers to nothing",
        "Create what the field refers to first, or correct the id.";
    PolicyDenied: UNPROCESSABLE_ENTITY, "policy-denied",
        "A policy denied the request",
        "The shop's rules do not allow it: code and message say which, binding and module say \
         whose. Change the request, or the ruleset.";
    PolicyFailed: UNPROCESSABLE_ENTITY, "policy-failed",
        "A policy gave no answer",
        "A bound module trapped, ran out of gas or answered nonsense; code says which. Roll \
         the ruleset back, and tell the policy's author.";
    NoPolicyBound: UNPROCESSABLE_ENTITY, "no-policy-bound",
        "No policy decides this",
        "No enforcing binding decides this hook for this printer and filament, and what \
         nobody allows is denied. Bind a policy to it.";
    DeductionExceedsRemaining: UNPROCESSABLE_ENTITY, "deduction-exceeds-remaining",
        "The deduction exceeds what remains",
        "The filament holds less than the job is to take. Correct the weight used, or the \
         filament.";
    ReservationExceedsAvailable: UNPROCESSABLE_ENTITY, "reservation-exceeds-available",
        "The reservation exceeds what is available",
        "Other open jobs reserve what is left of the filament. Finish or cancel some, or \
         choose another filament.";
    RequestMismatch: UNPROCESSABLE_ENTITY, "request-mismatch",
        "The idempotency key was used for another request",
        "A key belongs to one request. Send a new Idempotency-Key with a new request, and the \
         same request with an old one.";
    ModuleRefused: UNPROCESSABLE_ENTITY, "module-refused",
        "The module is refused",
        "Correct the module: code says what is wrong; place, limit, value and max say where \
         and by how much. sdk/ABI.md has the rules.";
    Overloaded: TOO_MANY_REQUESTS, "overloaded",
        "Too many requests are waiting",
        "Wait as long as Retry-After says and send it again; nothing has happened.";
    TooManyKeys: TOO_MANY_REQUESTS, "too-many-keys",
        "Too many keys of this actor are remembered",
        "The answers to an actor's keys are remembered for 15 minutes at least, and there is no room \
         for more of this one's. Nothing has happened: wait as long as Retry-After says. Writes \
         without an Idempotency-Key, other actors and operators are not concerned.";
    NoLeader: SERVICE_UNAVAILABLE, "no-leader",
        "No leader was reachable",
        "Nothing has happened. Wait as long as Retry-After says and send it again, also to \
         another node. If it lasts, a majority of the voters is away.";
    WritesStopped: SERVICE_UNAVAILABLE, "writes-stopped",
        "An alarm stops all writes",
        "Nothing has happened, and no node takes writes; reads go on. The detail names the alarm \
         and the way out, which an operator has to go. Then send it again.";
    WritesPaused: SERVICE_UNAVAILABLE, "writes-paused",
        "No writes are taken for now",
        "Nothing has happened; reads go on. The detail, /readyz and /api/v1/cluster say what stands \
         in the way and what an operator has to do. Send it again when that is mended.";
    OutcomeUnknown: SERVICE_UNAVAILABLE, "outcome-unknown",
        "The outcome is unknown",
        "It may or may not have happened. Send the same request with Idempotency-Key set to \
         request_id, to any node: it is then done once, and answered.";
    DeadlineExceeded: SERVICE_UNAVAILABLE, "deadline-exceeded",
        "The request came too late",
        "Nothing has happened. Send it again under a new Idempotency-Key.";
    NotBootstrapped: SERVICE_UNAVAILABLE, "not-bootstrapped",
        "The cluster is not bootstrapped",
        "The cluster is being founded. Wait as long as Retry-After says; all its initial \
         members must run.";
    ModulesNotCompiled: SERVICE_UNAVAILABLE, "modules-not-compiled",
        "The voters are still compiling",
        "Nothing has happened. Wait as long as Retry-After says and send it again; the detail \
         names the nodes that have not compiled the ruleset's modules, or are silent. A rollback \
         does not wait for them.";
    ReplicaBehind: SERVICE_UNAVAILABLE, "replica-behind",
        "This replica is behind",
        "Wait as long as Retry-After says, or ask another node.";
    Unavailable: SERVICE_UNAVAILABLE, "unavailable",
        "This node does not serve",
        "Ask another node; the detail, /readyz and the node's log say why this one does not \
         serve.";
    Internal: INTERNAL_SERVER_ERROR, "internal",
        "This node has a fault",
        "Ask another node, and look into this one's log.";
}
