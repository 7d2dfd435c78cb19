//! What handlers take from a request: who asks, how to read, the body.

use core::str::FromStr;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{CONTENT_TYPE, EXPECT, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use http_body_util::BodyExt;
use raft3d_engine::core::command::Actor;
use raft3d_engine::core::limits::{ACTOR_BYTES_MAX, ID_BYTES_MAX, REQUEST_ID_BYTES_MAX};
use raft3d_engine::core::{RequestId, Revision};
use raft3d_engine::raft::api::{Consistency, ReadOptions};

use super::App;
use super::fields::{Door, Fields};
use super::limits::{BODY_READ_TIME_MAX, DRAIN_BYTES_MAX, PAGE_DEFAULT, PAGE_MAX, READ_TIME_MAX};
use super::problem::{Kind, Problem};

/// Who asks, where nobody says so.
const ANONYMOUS: &str = "anonymous";
const ACTOR: HeaderName = HeaderName::from_static("raft3d-actor");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Who makes a write, under which key and on which condition.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) actor: Actor,
    pub(crate) key: Option<RequestId>,
    /// A handler that honours it takes it; a write with one left over is refused.
    pub(crate) if_match: Option<IfMatch>,
}

/// The header `If-Match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// `*`.
    Any,
    /// A revision.
    Revision(Revision),
}

impl IfMatch {
    /// What to compare with; none where anything is fine.
    pub(crate) fn expected(self) -> Option<Revision> {
        match self {
            Self::Any => None,
            Self::Revision(revision) => Some(revision),
        }
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        let headers = &parts.headers;
        Ok(Self {
            actor: actor(headers)?,
            key: key(headers)?,
            if_match: if_match(headers)?,
        })
    }
}

/// The only value of a header, as UTF-8.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::header(name.as_str(), "is given more than once"));
    }
    let text = core::str::from_utf8(value.as_bytes());
    text.map(|text| Some(text.trim()))
        .map_err(|_| Problem::header(name.as_str(), "must be UTF-8"))
}

fn actor(headers: &HeaderMap) -> Result<Actor, Problem> {
    let name = single(headers, &ACTOR)?.unwrap_or(ANONYMOUS);
    if name.is_empty() || name.len() > ACTOR_BYTES_MAX || name.chars().any(char::is_control) {
        let why = format!("must be 1 to {ACTOR_BYTES_MAX} bytes without control characters");
        return Err(Problem::header("Raft3d-Actor", why));
    }
    Ok(Actor {
        name: name.to_owned(),
        verified: false,
    })
}

fn key(headers: &HeaderMap) -> Result<Option<RequestId>, Problem> {
    let Some(key) = single(headers, &IDEMPOTENCY_KEY)? else {
        return Ok(None);
    };
    let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
    if key.is_empty() || key.len() > REQUEST_ID_BYTES_MAX || !visible {
        let why = format!("must be 1 to {REQUEST_ID_BYTES_MAX} visible ASCII characters");
        return Err(Problem::header("Idempotency-Key", why));
    }
    Ok(Some(RequestId::new(key)))
}

fn if_match(headers: &HeaderMap) -> Result<Option<IfMatch>, Problem> {
    let Some(text) = single(headers, &IF_MATCH)? else {
        return Ok(None);
    };
    if text == "*" {
        return Ok(Some(IfMatch::Any));
    }
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let revision = inner.and_then(|text| text.parse::<u64>().ok());
    let revision = revision.ok_or_else(|| {
        Problem::header("If-Match", "must be * or one quoted revision, as in ETag")
    })?;
    Ok(Some(IfMatch::Revision(Revision(revision))))
}

/// An id (or another single word) in the path.
#[derive(Clone, Debug)]
pub(crate) struct PathId(pub(crate) String);

impl FromRequestParts<App> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let id = Path::<String>::from_request_parts(parts, app).await;
        let Ok(Path(id)) = id else {
            return Err(Problem::path("id", "must be UTF-8"));
        };
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            let why = format!("must have 1 to {ID_BYTES_MAX} bytes");
            return Err(Problem::path("id", why));
        }
        Ok(Self(id))
    }
}

/// The query parameters that nobody has taken yet.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    path: String,
    raw: String,
    pairs: Vec<(String, String)>,
}

/// Which page of a list is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// Most entries.
    pub(crate) limit: usize,
    /// The key of the last entry of the page before.
    pub(crate) after: Option<String>,
}

impl Page {
    /// The key of the last entry of the page before, in a list whose keys are of type `K`.
    pub(crate) fn after_key<K: FromStr>(&self) -> Result<Option<K>, Problem> {
        let key = self.after.as_deref().map(str::parse).transpose();
        key.map_err(|_| Problem::parameter("page_token", "is of another list"))
    }
}

impl FromRequestParts<App> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| Problem::new(Kind::InvalidParameter, error.body_text()))?;
        let raw = parts.uri.query().unwrap_or("").to_owned();
        Ok(Self {
            path: parts.uri.path().to_owned(),
            raw,
            pairs,
        })
    }
}

impl Params {
    /// Takes a parameter.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let Some(place) = self.pairs.iter().position(|(key, _)| key == name) else {
            return Ok(None);
        };
        let (_, value) = self.pairs.remove(place);
        if self.pairs.iter().any(|(key, _)| key == name) {
            return Err(Problem::parameter(name, "is given more than once"));
        }
        Ok(Some(value))
    }

    /// Takes `consistency` and `min_revision`.
    pub(crate) fn read_options(&mut self) -> Result<ReadOptions, Problem> {
        let consistency = match self.take("consistency")?.as_deref() {
            None | Some("linearizable") => Consistency::Linearizable,
            Some("stale") => Consistency::Stale,
            Some(_) => {
                return Err(Problem::parameter(
                    "consistency",
                    "must be linearizable or stale",
                ));
            }
        };
        let min_revision = match self.take("min_revision")? {
            None => None,
            Some(text) => Some(Revision(text.parse::<u64>().map_err(|_| {
                Problem::parameter("min_revision", "must be a whole number")
            })?)),
        };
        Ok(ReadOptions {
            consistency,
            min_revision,
            timeout: READ_TIME_MAX,
        })
    }

    /// Takes `limit` and `page_token`.
    pub(crate) fn page(&mut self) -> Result<Page, Problem> {
        let limit = match self.take("limit")? {
            None => PAGE_DEFAULT,
            Some(text) => text
                .parse::<usize>()
                .ok()
                .filter(|limit| (1..=PAGE_MAX).contains(limit))
                .ok_or_else(|| Problem::parameter("limit", format!("must be 1 to {PAGE_MAX}")))?,
        };
        let after = match self.take("page_token")? {
            None => None,
            Some(token) => Some(decode_token(&token).ok_or_else(|| {
                Problem::parameter("page_token", "is not a token that this API gave")
            })?),
        };
        Ok(Page { limit, after })
    }

    /// The address of the page after the entry `last`, for `Link: rel="next"` (RFC 8288).
    pub(crate) fn next_page(&self, last: &str) -> String {
        let mut query = String::new();
        for pair in self.raw.split('&') {
            if !pair.is_empty() && !pair.starts_with("page_token=") {
                query.push_str(pair);
                query.push('&');
            }
        }
        format!(
            "<{}?{query}page_token={}>; rel=\"next\"",
            self.path,
            encode_token(last)
        )
    }

    /// Refuses what nobody took, unless the door is the classic one.
    pub(crate) fn finish(&self, door: Door) -> Result<(), Problem> {
        match self.pairs.first() {
            Some((name, _)) if door == Door::V1 => Err(Problem::parameter(
                name,
                "is not a parameter of this request",
            )),
            _ => Ok(()),
        }
    }
}

/// Version of the page tokens; clients do not look inside.
const TOKEN_VERSION: char = '1';

fn encode_token(last: &str) -> String {
    format!("{TOKEN_VERSION}{}", hex::encode(last))
}

fn decode_token(token: &str) -> Option<String> {
    let bytes = hex::decode(token.strip_prefix(TOKEN_VERSION)?).ok()?;
    String::from_utf8(bytes).ok()
}

/// A body of at most `MAX` bytes.
#[derive(Debug)]
pub(crate) struct Payload<const MAX: usize> {
    pub(crate) bytes: Bytes,
    content_type: Option<String>,
}

/// A JSON body.
pub(crate) type JsonBody = Payload<{ super::limits::BODY_BYTES_MAX }>;
/// A module.
pub(crate) type ModuleBody = Payload<{ super::limits::MODULE_BODY_BYTES_MAX }>;

impl<const MAX: usize> FromRequest<App> for Payload<MAX> {
    type Rejection = Problem;

    async fn from_request(request: Request, _app: &App) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let content_type = single(&parts.headers, &CONTENT_TYPE)?.map(str::to_owned);
        // A client that asks first has not sent the body yet: nothing needs to be thrown away.
        let drain = if parts.headers.contains_key(EXPECT) {
            0
        } else {
            DRAIN_BYTES_MAX
        };
        let read = tokio::time::timeout(BODY_READ_TIME_MAX, read_body(body, MAX, drain));
        let bytes = read.await.map_err(|_| {
            let detail = format!("the body did not arrive within {BODY_READ_TIME_MAX:?}");
            Problem::new(Kind::RequestTimeout, detail)
        })??;
        Ok(Self {
            bytes,
            content_type,
        })
    }
}

/// Reads at most `max` bytes; of a longer body, up to `drain` bytes are thrown away.
async fn read_body(mut body: Body, max: usize, drain: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            Kind::BodyTooLarge,
            format!("the body must not exceed {max} bytes"),
        )
    };
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > max.max(drain) {
        return Err(too_large());
    }
    let mut kept = Vec::new();
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|_| Problem::new(Kind::MalformedBody, "the body broke off before its end"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        seen = seen.saturating_add(data.len());
        if seen <= max {
            kept.extend_from_slice(&data);
        } else if seen > drain {
            break;
        }
    }
    if seen > max {
        Err(too_large())
    } else {
        Ok(Bytes::from(kept))
    }
}

impl<const MAX: usize> Payload<MAX> {
    /// The fields of a JSON object. The classic API does not look at the content type.
    pub(crate) fn fields(&self, door: Door) -> Result<Fields<'_>, Problem> {
        if door == Door::V1 {
            self.require_type(|kind| kind == "application/json" || kind.ends_with("+json"))
                .map_err(|()| unsupported("application/json"))?;
        }
        Fields::parse(&self.bytes)
    }

    /// The same, or none where the body is empty.
    pub(crate) fn optional_fields(&self, door: Door) -> Result<Option<Fields<'_>>, Problem> {
        if self.bytes.is_empty() {
            Ok(None)
        } else {
            self.fields(door).map(Some)
        }
    }

    /// The bytes of a module.
    pub(crate) fn wasm(self) -> Result<Bytes, Problem> {
        self.require_type(|kind| kind == "application/wasm")
            .map_err(|()| unsupported("application/wasm"))?;
        Ok(self.bytes)
    }

    fn require_type(&self, is_right: impl Fn(&str) -> bool) -> Result<(), ()> {
        let full = self.content_type.as_deref().unwrap_or("");
        let essence = full
            .split(';')
            .next()
            .unwrap_or("")
            .trim()
            .to_ascii_lowercase();
        if is_right(&essence) { Ok(()) } else { Err(()) }
    }
}

fn unsupported(wanted: &str) -> Problem {
    let detail = format!("the Content-Type must be {wanted}");
    Problem::new(Kind::UnsupportedMediaType, detail).with("field", "Content-Type")
}
