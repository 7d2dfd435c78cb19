//! A client of one node. Every call gives the answer whatever its status: it is the test that
//! decides what is right.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::{HeaderMap, Method, Request, Response};

/// Longest wait for one answer. Longer than any deadline of the server, so that it is the server
/// that gives up first and says why.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);
/// Largest answer read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was asked, for messages.
    pub question: String,
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// Where it is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("no JSON ({error}): {self}"),
        }
    }

    /// A header's text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The revision that the answer carries.
    ///
    /// # Panics
    /// Where it carries none.
    #[must_use]
    #[track_caller]
    pub fn revision(&self) -> u64 {
        let revision = self
            .header("raft3d-revision")
            .and_then(|text| text.parse().ok());
        revision.unwrap_or_else(|| panic!("no Raft3d-Revision: {self}"))
    }

    /// Every value of a member named `code`, wherever in the body it stands.
    #[must_use]
    pub fn codes(&self) -> Vec<String> {
        let mut codes = Vec::new();
        if let Ok(body) = serde_json::from_slice(&self.body) {
            collect_codes(&body, &mut codes);
        }
        codes
    }

    /// The same answer, once its status is checked.
    ///
    /// # Panics
    /// Where it has another status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.text();
        let shown: String = text.chars().take(2_000).collect();
        write!(f, "{} answered {} {shown}", self.question, self.status)
    }
}

fn collect_codes(value: &Value, codes: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(code) if name == "code" => codes.push(code.clone()),
                    other => collect_codes(other, codes),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_codes(item, codes)),
        _ => {}
    }
}

/// A client of one node.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    base: String,
}

impl Client {
    /// A client of the node at `addr`.
    #[must_use]
    pub fn new(addr: SocketAddr) -> Self {
        Self::with_patience(addr, ANSWER_PATIENCE)
    }

    /// A client that waits at most `patience` for an answer.
    #[must_use]
    pub fn with_patience(addr: SocketAddr, patience: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(patience))
            .allow_non_standard_methods(true)
            // Nodes are killed and come back: a kept connection would only be a stale one.
            .max_idle_connections(0)
            .max_redirects(0)
            .build();
        Self {
            agent: config.new_agent(),
            base: format!("http://{addr}"),
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// Where there is no whole answer.
    pub fn try_call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, ureq::Error> {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = Request::builder()
            .method(&method)
            .uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = match body {
            Some(body) => self.agent.run(request.body(body)?)?,
            None => self.agent.run(request.body(())?)?,
        };
        answer(format!("{method} {}{path}", self.base), response)
    }

    /// Sends a request that must be answered.
    ///
    /// # Panics
    /// Where there is no whole answer.
    #[track_caller]
    pub fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Answer {
        match self.try_call(method, path, headers, body) {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {}{path}: {error}", self.base),
        }
    }

    /// GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], None)
    }

    /// POST of JSON.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, &[], body)
    }

    /// POST of JSON with headers.
    #[track_caller]
    pub fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let headers = [&[("content-type", "application/json")], headers].concat();
        self.call("POST", path, &headers, Some(body.to_string().as_bytes()))
    }

    /// POST without a body.
    #[track_caller]
    pub fn post_empty(&self, path: &str) -> Answer {
        self.call("POST", path, &[], Some(b""))
    }

    /// DELETE.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &[], None)
    }

    /// Adds a printer with that id.
    #[track_caller]
    pub fn create_printer(&self, id: &str) -> Answer {
        let body = json!({"id": id, "company": "Prusa", "model": "MK4"});
        self.post("/api/v1/printers", &body)
    }

    /// Adds a filament.
    #[track_caller]
    pub fn create_filament(&self, id: &str, material: &str, grams: u64) -> Answer {
        let body = json!({
            "id": id, "type": material, "color": "Red", "total_weight_in_grams": grams,
        });
        self.post("/api/v1/filaments", &body)
    }

    /// Adds a print job.
    #[track_caller]
    pub fn create_job(&self, id: &str, printer: &str, filament: &str, grams: u64) -> Answer {
        self.post("/api/v1/print_jobs", &job(id, printer, filament, grams))
    }

    /// Asks for a job's transition.
    #[track_caller]
    pub fn set_status(&self, job: &str, status: &str) -> Answer {
        let path = format!("/api/v1/print_jobs/{job}/status");
        self.post(&path, &json!({"status": status}))
    }

    /// Uploads a module.
    #[track_caller]
    pub fn upload(&self, module: &[u8]) -> Answer {
        let headers = [("content-type", "application/wasm")];
        self.call("POST", "/api/v1/policies", &headers, Some(module))
    }

    /// The active ruleset.
    #[track_caller]
    pub fn ruleset(&self) -> Value {
        self.get("/api/v1/ruleset").expect(200).json()
    }

    /// Activates `bindings` in place of the ruleset of `revision`.
    #[track_caller]
    pub fn put_ruleset(&self, bindings: &Value, revision: u64) -> Answer {
        let if_match = format!("\"{revision}\"");
        let headers = [
            ("content-type", "application/json"),
            ("if-match", if_match.as_str()),
        ];
        let body = json!({"bindings": bindings}).to_string();
        self.call("PUT", "/api/v1/ruleset", &headers, Some(body.as_bytes()))
    }

    /// The cluster as this node sees it.
    #[track_caller]
    pub fn cluster(&self) -> Value {
        self.get("/api/v1/cluster").expect(200).json()
    }

    /// Every page of a list, as this replica has it once it has applied `min_revision`.
    ///
    /// # Panics
    /// Where a page is refused.
    #[must_use]
    #[track_caller]
    pub fn list_stale(&self, resource: &str, min_revision: u64) -> Vec<Value> {
        let mut items = Vec::new();
        let mut path = format!("/api/v1/{resource}?consistency=stale&min_revision={min_revision}");
        loop {
            let page = self.get(&path).expect(200);
            match page.json() {
                Value::Array(page) => items.extend(page),
                other => panic!("{path} is not a list: {other}"),
            }
            match page.header("link").and_then(next_page) {
                Some(next) => path = next,
                None => return items,
            }
        }
    }
}

/// The body of a new print job.
#[must_use]
pub fn job(id: &str, printer: &str, filament: &str, grams: u64) -> Value {
    json!({
        "id": id, "printer_id": printer, "filament_id": filament,
        "filepath": format!("/models/{id}.stl"), "print_weight_in_grams": grams,
    })
}

fn answer(question: String, response: Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    let (parts, mut body) = response.into_parts();
    let body = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
    Ok(Answer {
        question,
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    })
}

/// The path of the page that `Link: <…>; rel="next"` (RFC 8288) names.
pub fn next_page(link: &str) -> Option<String> {
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    let target = next.split_once('<')?.1.split_once('>')?.0;
    // Absolute or relative: the path is what follows the authority.
    let path = match target.split_once("://") {
        Some((_, rest)) => &rest[rest.find('/')?..],
        None => target,
    };
    Some(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_in_a_link_header() {
        let path = Some("/api/v1/printers?page_token=x".to_owned());
        assert_eq!(
            next_page("</api/v1/printers?page_token=x>; rel=\"next\""),
            path
        );
        let absolute = "<http://h:1/api/v1/printers?page_token=x>; rel=\"next\"";
        assert_eq!(next_page(absolute), path);
        let second = "</first>; rel=\"first\", </api/v1/printers?page_token=x>; rel=\"next\"";
        assert_eq!(next_page(second), path);
        assert_eq!(next_page("</first>; rel=\"first\""), None);
    }

    #[test]
    fn codes_are_found_at_any_depth() {
        let mut codes = Vec::new();
        collect_codes(
            &json!({"code": "a", "policy": {"code": "b"}, "x": [{"code": "c"}]}),
            &mut codes,
        );
        codes.sort();
        assert_eq!(codes, ["a", "b", "c"]);
    }
}
