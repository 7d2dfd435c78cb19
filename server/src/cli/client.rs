//! A node, seen from the command line.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Map, Value};
use ureq::http::{Request, Response};
use ureq::{Agent, Body, SendBody};

/// Longest wait for an answer: longer than any deadline of the server's, which then says more.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Most pages of one list: a server that never ends must not keep us for ever.
const PAGES_MAX: usize = 100;

/// Environment variable: the node to ask.
const NODE_VARIABLE: &str = "RAFT3D_NODE";
/// The node to ask where nobody names one.
const NODE_DEFAULT: &str = "http://127.0.0.1:8000";

/// Which node to ask.
#[derive(Args, Clone, Debug)]
pub(super) struct NodeArgs {
    /// URL of a node; every node takes every request
    #[arg(
        long,
        value_name = "URL",
        env = NODE_VARIABLE,
        default_value = NODE_DEFAULT,
        global = true
    )]
    node: String,
}

/// A client of one node.
pub(super) struct Node {
    agent: Agent,
    url: String,
}

/// What a node answered.
pub(super) struct Answer {
    /// HTTP status.
    pub(super) status: u16,
    /// Where the next page of a list is.
    pub(super) next: Option<String>,
    /// The revision of the state that it speaks of.
    pub(super) revision: Option<u64>,
    /// The body; null where there is none.
    pub(super) body: Value,
}

impl NodeArgs {
    /// The node at `url`; without one, the one that other commands ask.
    pub(super) fn or_default(url: Option<&str>) -> Self {
        let node = match url {
            Some(url) => url.to_owned(),
            None => std::env::var(NODE_VARIABLE).unwrap_or_else(|_| NODE_DEFAULT.to_owned()),
        };
        Self { node }
    }

    /// A client of the node.
    ///
    /// # Errors
    /// The URL is not `http://…`.
    pub(super) fn connect(&self) -> Result<Node> {
        let url = self.node.trim_end_matches('/').to_owned();
        if !url.starts_with("http://") {
            bail!(
                "--node {url}: must be a URL such as http://127.0.0.1:8000 (nodes speak plain HTTP)"
            );
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_TIME_MAX))
            .build();
        Ok(Node {
            agent: Agent::new_with_config(config),
            url,
        })
    }
}

impl Node {
    /// Reads one thing.
    ///
    /// # Errors
    /// The node cannot be asked, or refuses.
    pub(super) fn get(&self, path: &str) -> Result<Value> {
        Ok(self.read(path)?.body)
    }

    /// Reads one thing, or one page of a list, with what stands in the headers.
    ///
    /// # Errors
    /// The node cannot be asked, or refuses.
    pub(super) fn read(&self, path: &str) -> Result<Answer> {
        self.ask("GET", path, &[], ())
    }

    /// Reads bytes that are no JSON; none if there is no such thing.
    ///
    /// # Errors
    /// The node cannot be asked.
    pub(super) fn bytes(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let mut response = self.response("GET", path, &[], ())?;
        if !response.status().is_success() {
            return Ok(None);
        }
        bytes_of(&mut response).map(Some)
    }

    /// Reads a list, page after page, up to `items_max` items.
    ///
    /// # Errors
    /// The node cannot be asked, or refuses.
    pub(super) fn list(&self, path: &str, items_max: usize) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut next = Some(path.to_owned());
        for _ in 0..PAGES_MAX {
            let Some(path) = next.take() else { break };
            let answer = self.ask("GET", &path, &[], ())?;
            match answer.body {
                Value::Array(page) => items.extend(page),
                other => bail!("{}{path} answered no list: {other}", self.url),
            }
            next = answer.next.filter(|_| items.len() < items_max);
        }
        items.truncate(items_max);
        Ok(items)
    }

    /// Uploads a module.
    ///
    /// # Errors
    /// The node cannot be asked, or refuses.
    pub(super) fn upload(&self, module: &[u8]) -> Result<Answer> {
        let headers = [("content-type", "application/wasm")];
        self.ask("POST", "/api/v1/policies", &headers, module)
    }

    /// Sends JSON, where the ruleset still has the revision `expected`.
    ///
    /// # Errors
    /// The node cannot be asked, or refuses.
    pub(super) fn send(
        &self,
        method: &str,
        path: &str,
        body: &Value,
        expected: Option<u64>,
    ) -> Result<Value> {
        let if_match = expected.map(|revision| format!("\"{revision}\""));
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(if_match.iter().map(|tag| ("if-match", tag.as_str())));
        Ok(self
            .ask(method, path, &headers, body.to_string().as_str())?
            .body)
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl ureq::AsSendBody,
    ) -> Result<Answer> {
        let response = self.response(method, path, headers, body)?;
        read(response).with_context(|| format!("{method} {path} at {}", self.url))
    }

    fn response(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl ureq::AsSendBody,
    ) -> Result<Response<Body>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut body = body;
        let body: SendBody<'_> = body.as_body();
        let request = request.body(body).context("--node is not a good URL")?;
        self.agent.run(request).with_context(|| {
            format!(
                "cannot ask {} (is a node running there? --node URL or RAFT3D_NODE names another)",
                self.url
            )
        })
    }
}

fn bytes_of(response: &mut Response<Body>) -> Result<Vec<u8>> {
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
    body.read_to_vec().context("the answer cannot be read")
}

fn read(mut response: Response<Body>) -> Result<Answer> {
    let status = response.status();
    let next = response
        .headers()
        .get("link")
        .and_then(|link| link.to_str().ok())
        .and_then(next_page);
    let revision = response.headers().get("raft3d-revision");
    let revision = revision.and_then(|text| text.to_str().ok()?.parse().ok());
    let bytes = bytes_of(&mut response)?;
    if !status.is_success() {
        bail!("{}", refusal(status.as_u16(), &bytes));
    }
    let body = if bytes.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&bytes).context("the answer is not JSON: is this a Raft3D node?")?
    };
    Ok(Answer {
        status: status.as_u16(),
        next,
        revision,
        body,
    })
}

/// The path in `<path>; rel="next"`.
fn next_page(link: &str) -> Option<String> {
    let (path, rest) = link.strip_prefix('<')?.split_once('>')?;
    rest.contains("rel=\"next\"").then(|| path.to_owned())
}

/// A refusal for people: title, detail, the field at fault, and whatever else the problem tells.
fn refusal(status: u16, body: &[u8]) -> String {
    let Ok(Value::Object(problem)) = serde_json::from_slice::<Value>(body) else {
        let text = String::from_utf8_lossy(body);
        return format!("refused with status {status}: {}", text.trim());
    };
    let text = |name: &str| {
        problem
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let mut lines = format!("{} ({status}): {}", text("title"), text("detail"));
    if let Some(pointer) = problem.get("pointer").or_else(|| problem.get("field")) {
        lines += &format!("\n  field: {}", shown(pointer));
    }
    for (name, value) in others(&problem) {
        lines += &format!("\n  {name}: {}", shown(value));
    }
    lines
}

fn others(problem: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    let told = ["title", "detail", "status", "pointer", "field", "type"];
    problem
        .iter()
        .filter(move |(name, _)| !told.contains(&name.as_str()))
}

/// A value as people write it: a text without its quotes.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_refusal_shows_what_the_problem_says() {
        let problem = br#"{"type":"/docs/problems/x","title":"Bad field","status":400,
            "detail":"config: is required","pointer":"/bindings/0/config","field":"x","jobs":["a"]}"#;
        assert_eq!(
            refusal(400, problem),
            "Bad field (400): config: is required\n  field: /bindings/0/config\n  jobs: [\"a\"]"
        );
        assert_eq!(refusal(502, b" no \n"), "refused with status 502: no");
    }

    #[test]
    fn pages_are_followed_by_their_link() {
        let link = "</api/v1/policies?page_token=x>; rel=\"next\"";
        assert_eq!(next_page(link).unwrap(), "/api/v1/policies?page_token=x");
        assert_eq!(next_page("</a>; rel=\"prev\""), None);
    }

    #[test]
    fn only_plain_http_is_spoken() {
        let node = |url: &str| NodeArgs { node: url.into() };
        assert!(node("http://localhost:8000/").connect().is_ok());
        for url in ["https://localhost", "localhost:8000", ""] {
            assert!(node(url).connect().is_err(), "{url}");
        }
    }
}
