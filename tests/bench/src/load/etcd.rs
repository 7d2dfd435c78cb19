//! A client of etcd: one HTTP/2 connection, one call at a time, through tonic's codec.
//!
//! Without tonic's `Channel`: its balancing, buffering and reconnecting cost the client processor
//! time that the other side's client does not spend either.

use std::net::SocketAddr;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic_prost::ProstCodec;

use super::proto::{
    PUT, PutRequest, PutResponse, RANGE, RangeRequest, RangeResponse, STATUS, StatusRequest,
    StatusResponse,
};

/// One HTTP/2 connection, as tonic wants to see it.
struct Http2(SendRequest<Body>);

impl GrpcService<Body> for Http2 {
    type ResponseBody = Incoming;
    type Error = hyper::Error;
    type Future = std::pin::Pin<
        Box<dyn Future<Output = Result<Response<Incoming>, hyper::Error>> + Send + 'static>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// A connection to one member.
pub struct EtcdClient {
    grpc: Grpc<Http2>,
}

impl EtcdClient {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there, or it does not speak HTTP/2.
    pub async fn connect(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        // Ends with the connection; the sender then says so.
        tokio::spawn(connection);
        let origin: Uri = format!("http://{addr}").parse()?;
        Ok(Self {
            grpc: Grpc::with_origin(Http2(sender), origin),
        })
    }

    /// Writes one key.
    ///
    /// # Errors
    /// It is not acknowledged.
    pub async fn put(&mut self, key: Bytes, value: Bytes) -> Result<()> {
        let answer: PutResponse = self.call(PUT, PutRequest { key, value }).await?;
        answer.header.context("an answer without a header")?;
        Ok(())
    }

    /// Reads one key, linearizably.
    ///
    /// # Errors
    /// It is not answered, or the key is not there.
    pub async fn get(&mut self, key: Bytes) -> Result<()> {
        let answer: RangeResponse = self.call(RANGE, RangeRequest { key }).await?;
        ensure!(answer.kvs.len() == 1, "the key is not there");
        Ok(())
    }

    /// The member's own id, and the leader's (0: none).
    ///
    /// # Errors
    /// It is not answered.
    pub async fn status(&mut self) -> Result<(u64, u64)> {
        let answer: StatusResponse = self.call(STATUS, StatusRequest {}).await?;
        let header = answer.header.context("an answer without a header")?;
        Ok((header.member_id, answer.leader))
    }

    async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.grpc.ready().await?;
        let path = PathAndQuery::from_static(path);
        let codec = ProstCodec::<Q, A>::default();
        let answer = self.grpc.unary(tonic::Request::new(request), path, codec);
        Ok(answer.await?.into_inner())
    }
}
