//! Answers: JSON bodies with the revision and the entity tag in their headers.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use raft3d_engine::core::Revision;
use serde::Serialize;

use super::problem::Problem;
use super::wire::time::TimeOut;

/// The revision of the state that an answer speaks of.
pub(crate) const REVISION: HeaderName = HeaderName::from_static("raft3d-revision");
/// There and `true` where the answer is the stored one of an earlier try.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Since when the keys of the actor who asks are certain (RFC 3339): what was asked under one then or
/// later is remembered.
pub(crate) const CERTAIN_SINCE: HeaderName = HeaderName::from_static("raft3d-keys-certain-since");

/// Puts that time into `headers`, log time in milliseconds; nothing if the client chose no key.
pub(crate) fn insert_certain_since(headers: &mut HeaderMap, certain_since_ms: Option<u64>) {
    let shown = certain_since_ms.map(|ms| TimeOut(ms).to_string());
    if let Some(value) = shown.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(CERTAIN_SINCE, value);
    }
}

/// Puts the revision into `headers`.
pub(crate) fn insert_revision(headers: &mut HeaderMap, revision: Revision) {
    headers.insert(REVISION, HeaderValue::from(revision.0));
}

/// Says that the answer is the stored one of an earlier try.
pub(crate) fn mark_replayed(headers: &mut HeaderMap) {
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
}

/// An answer with a JSON body.
pub(crate) fn json(
    status: StatusCode,
    revision: Revision,
    body: &impl Serialize,
) -> Result<Response, Problem> {
    let bytes = serde_json::to_vec(body).map_err(Problem::internal)?;
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    insert_revision(headers, revision);
    Ok(response)
}

/// An answer in plain text.
pub(crate) fn text(status: StatusCode, revision: Option<Revision>, text: &str) -> Response {
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    if let Some(revision) = revision {
        insert_revision(headers, revision);
    }
    response
}

/// What this node tells of itself at this moment, which nobody may keep.
pub(crate) fn of_now(content_type: &'static str, revision: Revision, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    insert_revision(headers, revision);
    response
}

/// An answer without a body.
pub(crate) fn empty(revision: Revision) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    insert_revision(response.headers_mut(), revision);
    response
}

/// The same with the row's revision as its entity tag.
pub(crate) fn with_etag(mut response: Response, row: Revision) -> Response {
    if let Ok(value) = HeaderValue::try_from(format!("\"{row}\"")) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

/// The same with the place of what was created. `id` is percent-encoded (RFC 3986, 2.1).
pub(crate) fn with_location(mut response: Response, collection: &str, id: &str) -> Response {
    if let Ok(value) = HeaderValue::try_from(format!("{collection}/{}", percent_encode(id))) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

/// Everything but unreserved characters as `%XX`.
fn percent_encode(text: &str) -> String {
    use core::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
