//! Requests of clients, through the whole router to the rows and back.
//!
//! The input is a request as text: a line `METHOD URI`, lines `name: value`, an empty line, the
//! body. It goes to a stocked shop, and then once more.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use raft3d_server::http::router;
use serde_json::Value;
use tower::ServiceExt;

use crate::shop::{ShopNode, block_on};

/// Problem types that are about one field, header or parameter, and so name it.
const NAMES_ITS_FIELD: [&str; 4] = [
    "invalid-field",
    "invalid-header",
    "invalid-parameter",
    "unknown-field",
];
/// The one call that answers refusals in plain text.
const CLASSIC_STATUS: &str = "/printjobs/";

pub(crate) fn run(input: &[u8]) -> bool {
    let Some(call) = Call::parse(input) else {
        return false;
    };
    let node = Arc::new(ShopNode::stocked());
    let api = router(Arc::clone(&node) as _);
    let (index, rows) = {
        let shop = node.shop();
        (shop.index(), shop.rows().clone())
    };
    let first = call.send(&api);
    first.check(&call);
    node.shop().check();
    if !first.status.is_success() && node.shop().index() == index {
        assert!(*node.shop().rows() == rows, "a refusal changes nothing");
    }
    let second = call.send(&api);
    second.check(&call);
    node.shop().check();
    if call.has_key() && first.status.is_success() && node.shop().index() > index {
        assert_eq!(
            (second.status, &second.body),
            (first.status, &first.body),
            "a retry gets the stored answer"
        );
        assert!(
            second.headers.contains_key("idempotent-replayed"),
            "{second:?}"
        );
    }
    first.status.is_success()
}

/// A request that a client could send.
struct Call<'a> {
    method: &'a str,
    uri: Uri,
    headers: Vec<(&'a str, &'a [u8])>,
    body: &'a [u8],
}

impl<'a> Call<'a> {
    fn parse(mut input: &'a [u8]) -> Option<Self> {
        let (method, uri) = core::str::from_utf8(line(&mut input))
            .ok()?
            .split_once(' ')?;
        let uri: Uri = uri.trim().parse().ok()?;
        let mut headers = Vec::new();
        loop {
            let line = line(&mut input);
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                break;
            };
            let name = core::str::from_utf8(&line[..colon]).ok()?;
            headers.push((name, line[colon + 1..].trim_ascii()));
        }
        let call = Self {
            method,
            uri,
            headers,
            body: input,
        };
        call.request().is_some().then_some(call)
    }

    /// None where it is none that HTTP could carry.
    fn request(&self) -> Option<Request<Body>> {
        let mut request = Request::builder().method(self.method).uri(self.uri.clone());
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        request.body(Body::from(self.body.to_vec())).ok()
    }

    fn send(&self, api: &Router) -> Answer {
        let request = self.request().expect("it was one before");
        block_on(async {
            let response = api.clone().oneshot(request).await;
            let (parts, body) = response.expect("the router never fails").into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes();
            Answer {
                status: parts.status,
                headers: parts.headers,
                body: String::from_utf8_lossy(&body).into_owned(),
            }
        })
    }

    fn has_key(&self) -> bool {
        let is_key = |name: &str| name.eq_ignore_ascii_case("idempotency-key");
        self.headers.iter().any(|(name, _)| is_key(name))
    }
}

/// Splits the first line off.
fn line<'a>(input: &mut &'a [u8]) -> &'a [u8] {
    let end = input.iter().position(|byte| *byte == b'\n');
    let (line, rest) = input.split_at(end.unwrap_or(input.len()));
    *input = rest.get(1..).unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn check(&self, call: &Call<'_>) {
        assert!(self.headers.contains_key("raft3d-revision"), "{self:?}");
        let status = self.status;
        assert!(
            status.is_success() || status.is_client_error() || status.as_u16() == 503,
            "{self:?}"
        );
        let kind = self.headers.get("content-type");
        let kind = kind.map_or("", |kind| kind.to_str().expect("a plain content type"));
        if kind.ends_with("json") {
            let json = serde_json::from_str::<Value>(&self.body);
            json.unwrap_or_else(|error| panic!("{error}: {self:?}"));
        }
        if status.is_success() {
            return;
        }
        if kind.starts_with("text/plain") {
            assert!(call.uri.path().starts_with(CLASSIC_STATUS), "{self:?}");
            assert!(!self.body.contains(['\r', '\n']), "one line: {self:?}");
            return;
        }
        assert_eq!(kind, "application/problem+json", "{self:?}");
        self.check_problem();
    }

    /// RFC 9457, and the field by name where there is one.
    fn check_problem(&self) {
        let json: Value = serde_json::from_str(&self.body).expect("a problem in JSON");
        assert_eq!(json["status"], self.status.as_u16(), "{self:?}");
        assert!(json["title"].is_string(), "{self:?}");
        let detail = json["detail"].as_str().expect("a sentence");
        assert!(!detail.is_empty(), "{self:?}");
        let kind = json["type"].as_str().expect("a type");
        let slug = kind.strip_prefix("/docs/problems/").expect("its page");
        if NAMES_ITS_FIELD.contains(&slug) {
            let field = json["field"].as_str();
            assert!(field.is_some() || slug == "invalid-parameter", "{self:?}");
        }
    }
}
