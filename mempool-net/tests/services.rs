//! What programs that are no nodes find at a node's port: the standard services, our own, and the bytes of values.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use mempool_core::{Blob, PoolOptions};
use mempool_net::{Node, NodeName};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

fn start() -> Node<Blob> {
    let pool = PoolOptions::new().memory_limit(1 << 20).open(Blob);
    Node::builder(pool).name(NodeName::new("a").expect("a label")).start().expect("a free port")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads")
}

fn channel(node: &Node<Blob>) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", node.address())).expect("an address");
    endpoint.connect_with_connector_lazy(Plain)
}

/// Connects over plain TCP.
struct Plain;

impl tonic::codegen::Service<http::Uri> for Plain {
    type Response = hyper_util::rt::TokioIo<tokio::net::TcpStream>;
    type Error = std::io::Error;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, std::io::Error>> + Send>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), std::io::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        Box::pin(async move {
            let address = uri.authority().expect("an address").to_string();
            tokio::net::TcpStream::connect(address).await.map(hyper_util::rt::TokioIo::new)
        })
    }
}

#[test]
fn a_node_says_that_it_is_ready_until_it_leaves() {
    let node = start();
    runtime().block_on(async {
        let mut health = HealthClient::new(channel(&node));
        let ask = || HealthCheckRequest { service: String::new() };
        let status = health.check(ask()).await.expect("it answers").into_inner().status();
        assert_eq!(status.as_str_name(), "SERVING");
        let mut watched = health.watch(ask()).await.expect("it answers").into_inner();
        let first = watched.message().await.expect("it is there").expect("a status");
        assert_eq!(first.status().as_str_name(), "SERVING");
        let (_, next) = tokio::join!(
            async {
                tokio::task::spawn_blocking({
                    let node = node.clone();
                    move || node.leave()
                })
                .await
            },
            watched.message(),
        );
        assert_eq!(
            next.expect("it is there").expect("a status").status().as_str_name(),
            "NOT_SERVING"
        );
    });
}

#[test]
fn a_tool_is_shown_what_can_be_called() {
    let node = start();
    let names = runtime().block_on(async {
        let mut reflection = ServerReflectionClient::new(channel(&node));
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let requests = tonic::codegen::tokio_stream::once(request);
        let mut answers =
            reflection.server_reflection_info(requests).await.expect("it answers").into_inner();
        let answer = answers.message().await.expect("it answers").expect("an answer");
        match answer.message_response.expect("a response") {
            MessageResponse::ListServicesResponse(list) => {
                list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        }
    });
    for name in
        ["mempool.v1.Node", "mempool.v1.Values", "mempool.v1.Claims", "grpc.health.v1.Health"]
    {
        assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
    }
}

#[test]
fn the_bytes_of_a_value_are_on_the_same_port_and_any_client_reads_them() {
    let node = start();
    let value = node.pool().set(vec![b'x'; 1000]).expect("room");
    let id = node.global_id(&value);
    let get = |path: &str| {
        let mut stream = TcpStream::connect(node.address()).expect("it listens");
        let close = "Connection: close";
        write!(stream, "GET {path} HTTP/1.1\r\nHost: h\r\n{close}\r\n\r\n").expect("it listens");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers");
        answer
    };
    let answer = get(&format!("/v1/values/{id}"));
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    assert!(answer.ends_with(&[b'x'; 1000]));
    let missing = get(&format!("/v1/values/{}/9.9", id.birth));
    assert!(missing.starts_with(b"HTTP/1.1 404"), "{}", String::from_utf8_lossy(&missing));
}

#[test]
fn what_is_no_call_of_ours_is_refused_and_the_node_stays_up() {
    let node = start();
    for bad in [
        "mempool-from: nobody\r\n",
        "mempool-from: a/0@h:1\r\n",
        "mempool-to: 0\r\n",
        "mempool-from: \u{e4}\r\n",
    ] {
        let mut stream = TcpStream::connect(node.address()).expect("it listens");
        let path = "/mempool.v1.Node/Stats";
        let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/grpc\r\n");
        let rest = "Content-Length: 5\r\nConnection: close\r\n\r\n\0\0\0\0\0";
        stream.write_all(format!("{head}{bad}{rest}").as_bytes()).expect("it listens");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        assert!(!answer.contains("grpc-status: 0\r\n"), "{bad}: {answer}");
    }
    let other = Node::builder(PoolOptions::new().open(Blob)).start().expect("a free port");
    assert_eq!(other.meet(node.address()).expect("it is up").as_str(), "a");
}
