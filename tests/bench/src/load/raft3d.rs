//! A client of Raft3D: one HTTP/1.1 connection, one request at a time.

use std::net::SocketAddr;

use anyhow::{Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A connection to one node.
pub struct Raft3dClient {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
}

impl Raft3dClient {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn connect(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the connection; the sender then says so.
        tokio::spawn(connection);
        Ok(Self {
            sender,
            host: HeaderValue::from_str(&addr.to_string())?,
        })
    }

    /// Creates a print job from `body`.
    ///
    /// # Errors
    /// It is not created.
    pub async fn create_job(&mut self, body: Bytes) -> Result<()> {
        let uri = Uri::from_static("/api/v1/print_jobs");
        self.call(Method::POST, uri, body, &[StatusCode::CREATED])
            .await
    }

    /// Creates a print job, unless it is there already.
    ///
    /// # Errors
    /// It may not be there.
    pub async fn ensure_job(&mut self, body: Bytes) -> Result<()> {
        let uri = Uri::from_static("/api/v1/print_jobs");
        let stored = [StatusCode::CREATED, StatusCode::CONFLICT];
        self.call(Method::POST, uri, body, &stored).await
    }

    /// Asks for a print job that the rules refuse.
    ///
    /// # Errors
    /// It is not refused.
    pub async fn refused_job(&mut self, body: Bytes) -> Result<()> {
        let uri = Uri::from_static("/api/v1/print_jobs");
        let refused = [StatusCode::UNPROCESSABLE_ENTITY];
        self.call(Method::POST, uri, body, &refused).await
    }

    /// Reads one print job, linearizably.
    ///
    /// # Errors
    /// It is not answered, or the job is not there.
    pub async fn get_job(&mut self, id: &str) -> Result<()> {
        let uri = Uri::try_from(format!("/api/v1/print_jobs/{id}"))?;
        self.call(Method::GET, uri, Bytes::new(), &[StatusCode::OK])
            .await
    }

    async fn call(
        &mut self,
        method: Method,
        uri: Uri,
        body: Bytes,
        expected: &[StatusCode],
    ) -> Result<()> {
        self.sender.ready().await?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !expected.contains(&status) {
            bail!("{status} {}", String::from_utf8_lossy(&body));
        }
        Ok(())
    }
}
