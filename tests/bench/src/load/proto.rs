//! The few messages of etcd's API that are needed, by their field numbers (etcd's `rpc.proto` and
//! `kv.proto`, API version 3). Fields that nobody looks at are left out; protobuf skips them.

/// Path of the call that writes one key.
pub const PUT: &str = "/etcdserverpb.KV/Put";
/// Path of the call that reads keys.
pub const RANGE: &str = "/etcdserverpb.KV/Range";
/// Path of the call that says who leads.
pub const STATUS: &str = "/etcdserverpb.Maintenance/Status";

/// Head of every answer.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct ResponseHeader {
    /// Member that answered.
    #[prost(uint64, tag = "2")]
    pub member_id: u64,
    /// Revision of the store at that time.
    #[prost(int64, tag = "3")]
    pub revision: i64,
}

/// Writes one key.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct PutRequest {
    /// Key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: bytes::Bytes,
    /// Value.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: bytes::Bytes,
}

/// Answer to [`PutRequest`].
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct PutResponse {
    /// Head.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
}

/// Reads one key. Linearizable: `serializable` (field 7) is left at its default, false.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct RangeRequest {
    /// Key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: bytes::Bytes,
}

/// A key with its value.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct KeyValue {
    /// Key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: bytes::Bytes,
    /// Value.
    #[prost(bytes = "bytes", tag = "5")]
    pub value: bytes::Bytes,
}

/// Answer to [`RangeRequest`].
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct RangeResponse {
    /// Head.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// What was found.
    #[prost(message, repeated, tag = "2")]
    pub kvs: Vec<KeyValue>,
}

/// Asks for a member's state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct StatusRequest {}

/// Answer to [`StatusRequest`].
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct StatusResponse {
    /// Head.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// The member that leads; 0 where none does.
    #[prost(uint64, tag = "4")]
    pub leader: u64,
}
