//! The service by itself: what it answers to what, without a socket.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use mempool_core::Buffer;
use mempool_net::bytes::{BufferFrame, ServeLimits, ValueBody, ValueService};

use crate::support::{Shelf, Watched, frame_of, head_of, id, run};

/// No body.
struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}

async fn pieces(answer: &mut Response<ValueBody>) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    while let Some(piece) = poll_fn(|cx| Pin::new(answer.body_mut()).poll_frame(cx)).await {
        pieces.push(piece.expect("a piece").into_data().expect("data"));
    }
    pieces
}

struct Asked {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

async fn ask(
    service: &ValueService,
    method: Method,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Asked {
    let mut request = Request::new(Nothing);
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().expect("a path");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a value"));
    }
    let mut answer = service.answer(request).await;
    let body = pieces(&mut answer).await.concat();
    Asked { status: answer.status(), headers: answer.headers().clone(), body }
}

fn service_of(frame: &[u8]) -> ValueService {
    let shelf = Shelf::new();
    shelf.put(id(1), crate::support::served(frame));
    ValueService::new(shelf.source(), ServeLimits::default())
}

fn path(slot: u32) -> String {
    format!("/v1/values/{}", id(slot))
}

#[test]
fn the_pieces_of_a_body_are_parts_of_the_buffer() {
    run(async {
        let frame = frame_of((3 << 20) + 5);
        let buffer = Buffer::uncounted(&frame).expect("memory");
        let shelf = Shelf::new();
        let served = BufferFrame::new(head_of(&frame), buffer.clone()).expect("its head");
        shelf.put(id(1), served);
        let service = ValueService::new(shelf.source(), ServeLimits::default());
        let mut request = Request::new(Nothing);
        *request.uri_mut() = path(1).parse().expect("a path");
        let mut answer = service.answer(request).await;
        let mut at = buffer.as_ptr();
        for piece in pieces(&mut answer).await {
            assert_eq!(piece.as_ptr(), at, "it lies where the buffer has it");
            at = at.wrapping_add(piece.len());
        }
        assert_eq!(at, buffer.as_ptr_range().end);
    });
}

#[test]
fn an_answer_says_what_the_frame_is() {
    run(async {
        let frame = frame_of(1000);
        let service = service_of(&frame);
        let got = ask(&service, Method::GET, &path(1), &[]).await;
        assert_eq!(got.status, StatusCode::OK);
        assert!(got.body == frame);
        let sum = u64::from_le_bytes(frame[120..128].try_into().expect("eight bytes"));
        for (name, value) in [
            ("content-length", "1192"),
            ("accept-ranges", "bytes"),
            ("content-type", "application/vnd.mempool.frame"),
            ("etag", &format!("\"{sum:016x}-4a8\"")),
            ("mempool-format", "raw/0000000000000007/0"),
            ("mempool-type", "Vec<u8>"),
            ("mempool-resident-bytes", "1000"),
            ("mempool-references", "2"),
        ] {
            assert_eq!(got.headers[name], value, "{name}");
        }
        let head = ask(&service, Method::HEAD, &path(1), &[]).await;
        assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
        assert_eq!(head.headers, got.headers);
    });
}

#[test]
fn ranges_are_answered_as_the_rfc_says() {
    run(async {
        let frame = frame_of(1000);
        let service = service_of(&frame);
        let range = async |range: &str| {
            let got = ask(&service, Method::GET, &path(1), &[("range", range)]).await;
            (got.status.as_u16(), got.headers, got.body)
        };
        for (asked, part, said) in [
            ("bytes=0-9", 0..10, "bytes 0-9/1192"),
            ("bytes=-10", 1182..1192, "bytes 1182-1191/1192"),
            ("bytes=1191-", 1191..1192, "bytes 1191-1191/1192"),
            ("bytes=5-99999999999999999999", 5..1192, "bytes 5-1191/1192"),
        ] {
            let (status, headers, body) = range(asked).await;
            assert_eq!(status, 206, "{asked}");
            assert_eq!(headers["content-range"], said);
            assert_eq!(headers["content-length"], part.len().to_string().as_str());
            assert!(body == frame[part], "{asked}");
        }
        for (asked, expected) in
            [("bytes=1192-", 416), ("bytes=-0", 416), ("bytes=9-1", 400), ("bytes=0-1,3-4", 200)]
        {
            assert_eq!(range(asked).await.0, expected, "{asked}");
        }
    });
}

#[test]
fn a_range_of_another_frame_is_answered_with_the_whole() {
    run(async {
        let frame = frame_of(1000);
        let service = service_of(&frame);
        let tag = ask(&service, Method::HEAD, &path(1), &[]).await.headers["etag"].clone();
        let tag = tag.to_str().expect("ASCII");
        for (if_range, status) in [(tag, 206), ("\"other\"", 200), ("W/\"x\"", 200)] {
            let headers = [("range", "bytes=0-9"), ("if-range", if_range)];
            let got = ask(&service, Method::GET, &path(1), &headers).await;
            assert_eq!(got.status.as_u16(), status, "{if_range}");
        }
    });
}

#[test]
fn what_cannot_be_done_is_answered_with_its_reason() {
    run(async {
        let service = service_of(&frame_of(10));
        for (method, path, headers, status, name) in [
            (Method::GET, path(2), &[][..], 410, "gone"),
            (Method::GET, "/v1/values/1/2".into(), &[], 404, "not_found"),
            (Method::GET, "/".into(), &[], 404, "not_found"),
            (Method::DELETE, path(1), &[], 405, "method"),
            (Method::GET, "/v1/values".into(), &[], 405, "method"),
            (Method::PUT, path(1), &[], 405, "method"),
            (Method::PUT, "/v1/values".into(), &[], 411, "length_required"),
            (Method::PUT, "/v1/values".into(), &[("content-length", "x")], 400, "bad_request"),
            (Method::PUT, "/v1/values".into(), &[("content-length", "9")], 422, "damaged"),
            (Method::PUT, "/v1/values".into(), &[("content-length", "200")], 400, "bad_request"),
            (
                Method::PUT,
                "/v1/values".into(),
                &[("content-length", "99999999999999")],
                413,
                "too_large",
            ),
            (Method::PUT, "/v1/values".into(), &[("content-length", "99999999")], 507, "no_room"),
        ] {
            let got = ask(&service, method.clone(), &path, headers).await;
            assert_eq!(got.status.as_u16(), status, "{method} {path} {headers:?}");
            assert_eq!(got.headers["mempool-error"], name);
            let body = String::from_utf8(got.body).expect("ASCII");
            assert!(body.starts_with(&format!("{{\"error\":\"{name}\",\"message\":\"")), "{body}");
        }
    });
}

#[test]
fn a_source_that_gives_wrong_pieces_ends_the_body() {
    run(async {
        let frame = frame_of(1000);
        let mut failing = Watched::new(&frame);
        failing.piece_bytes = 0;
        let shelf = Shelf::new();
        shelf.put(id(1), failing);
        let service = ValueService::new(shelf.source(), ServeLimits::default());
        let mut request = Request::new(Nothing);
        *request.uri_mut() = path(1).parse().expect("a path");
        let mut answer = service.answer(request).await;
        let piece = poll_fn(|cx| Pin::new(answer.body_mut()).poll_frame(cx)).await;
        assert!(piece.expect("an error").is_err());
        let next = poll_fn(|cx| Pin::new(answer.body_mut()).poll_frame(cx)).await;
        assert!(next.is_none());
    });
}
