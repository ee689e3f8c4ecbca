//! The listener of a node: one port, on which HTTP/2 carries calls and HTTP/1.1 the bytes of values. Who is at the other end
//! of a connection is known before its first request is read, and goes with each of them.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::sync::watch;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::service::Routes;

use crate::bytes::{ServeLimits, ValueService};
use crate::node::inner::{Inner, refused};
use crate::node::shelf::Shelf;
use crate::node::{calls, deliveries, values};
use crate::proto;
use crate::proto::claims_server::ClaimsServer;
use crate::proto::node_server::NodeServer;
use crate::proto::values_server::ValuesServer;
use crate::security::{Arrival, Guard, Listener, Peer, Permit, Stream};

/// What answers the requests of a node.
#[derive(Clone)]
struct Services {
    calls: Routes,
    values: ValueService,
    guard: Guard,
}

/// Takes connections until `leaving` says that the node goes.
pub(crate) async fn serve(
    mut listener: Listener,
    inner: Arc<Inner>,
    mut leaving: watch::Receiver<bool>,
) {
    let values = ValueService::new(Arc::new(Shelf::new(&inner)), ServeLimits::default());
    let services = Services { calls: routes(&inner), values, guard: inner.guard.clone() };
    // Tasks end with `leaving`; they must not keep the node.
    drop(inner);
    loop {
        let arrival = tokio::select! {
            arrival = listener.next() => arrival,
            _ = leaving.wait_for(|leaving| *leaving) => return,
        };
        // Who is refused has been told, and concerns nobody else.
        if let Arrival::Peer(stream) = arrival {
            tokio::spawn(connection(stream, services.clone(), leaving.clone()));
        }
    }
}

/// All calls: ours, and the two services that gRPC programs expect beside them.
fn routes(inner: &Arc<Inner>) -> Routes {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    let largest = inner.guard.policy().bounds.message_bytes_max.max(values::MESSAGE_BYTES_MAX);
    let values =
        ValuesServer::new(values::ValueCalls::new(inner)).max_decoding_message_size(largest);
    let mut routes = Routes::new(NodeServer::new(calls::Calls::new(inner)))
        .add_service(values)
        .add_service(ClaimsServer::new(deliveries::Deliveries::new(inner)))
        .add_service(inner.health_service());
    // The descriptors are our own, made by the build.
    if let Ok(service) = reflection.build_v1() {
        routes = routes.add_service(service);
    }
    routes.prepare()
}

/// Serves one connection until its end, or until the node leaves: then what is in flight is answered and nothing new.
async fn connection(stream: Stream, services: Services, mut leaving: watch::Receiver<bool>) {
    let peer = stream.peer().clone();
    let policy = services.guard.policy();
    let (bounds, deadlines) = (policy.bounds.clone(), policy.deadlines.clone());
    let service = service_fn(move |request| respond(services.clone(), peer.clone(), request));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let head_bytes = bounds.header_bytes_max;
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(deadlines.idle)
        .max_headers(ServeLimits::default().headers)
        .max_buf_size(ServeLimits::default().read_buffer_bytes.max(head_bytes));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(u32::try_from(bounds.peer_requests_max).unwrap_or(u32::MAX))
        .keep_alive_timeout(deadlines.body_progress);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // Who broke it knows why.
        _ended = connection.as_mut() => return,
        _ = leaving.wait_for(|leaving| *leaving) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ended = connection.await;
}

async fn respond(
    services: Services,
    peer: Peer,
    mut request: Request<Incoming>,
) -> Result<Response<Counted>, Infallible> {
    let permit = match services.guard.request(&peer) {
        Ok(permit) => permit,
        Err(crowded) => {
            let kind = proto::Kind::Limit;
            let status = refused(proto::Reason::Unspecified, kind, crowded.to_string());
            return Ok(status.into_http::<Body>().map(|body| Counted { body, _permit: None }));
        }
    };
    request.extensions_mut().insert(peer);
    let response = if ValueService::serves(request.uri()) {
        services.values.answer(request).await.map(Body::new)
    } else {
        let mut calls = services.calls;
        calls.call(request).await?
    };
    Ok(response.map(|body| Counted { body, _permit: Some(permit) }))
}

/// The body of an answer, whose request is in flight until it has left.
struct Counted {
    body: Body,
    _permit: Option<Permit>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
