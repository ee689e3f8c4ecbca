//! Why a node does not give or take a value: the same list on both sides of the wire.

use std::fmt;

use http::StatusCode;
use mempool_core::ErrorKind;

/// Why a node does not give or take a value, as both sides name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalKind {
    /// The request is not one.
    BadRequest,
    /// The asker has no right to this.
    Forbidden,
    /// There is no such value here, and none that went from here is known.
    NotFound,
    /// The value was deleted, or its last reference was dropped.
    Gone,
    /// The value lies with another node, which the message names.
    Moved,
    /// The path is there, and the method is not.
    Method,
    /// The body or the headers did not come in time.
    TooSlow,
    /// A new value must say how long it is.
    LengthRequired,
    /// The new value is larger than this node takes.
    TooLarge,
    /// The frame has no bytes in that range.
    Range,
    /// The bytes are no frame, or not what its checksums say.
    Damaged,
    /// Neither memory nor disk has room.
    NoRoom,
    /// The node is closing, or has too much to do.
    Unavailable,
    /// The node failed.
    Failed,
}

/// Each kind with its status and its name on the wire.
const KINDS: [(RefusalKind, StatusCode, &str); 14] = [
    (RefusalKind::BadRequest, StatusCode::BAD_REQUEST, "bad_request"),
    (RefusalKind::Forbidden, StatusCode::FORBIDDEN, "forbidden"),
    (RefusalKind::NotFound, StatusCode::NOT_FOUND, "not_found"),
    (RefusalKind::Gone, StatusCode::GONE, "gone"),
    (RefusalKind::Moved, StatusCode::MISDIRECTED_REQUEST, "moved"),
    (RefusalKind::Method, StatusCode::METHOD_NOT_ALLOWED, "method"),
    (RefusalKind::TooSlow, StatusCode::REQUEST_TIMEOUT, "too_slow"),
    (RefusalKind::LengthRequired, StatusCode::LENGTH_REQUIRED, "length_required"),
    (RefusalKind::TooLarge, StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
    (RefusalKind::Range, StatusCode::RANGE_NOT_SATISFIABLE, "range"),
    (RefusalKind::Damaged, StatusCode::UNPROCESSABLE_ENTITY, "damaged"),
    (RefusalKind::NoRoom, StatusCode::INSUFFICIENT_STORAGE, "no_room"),
    (RefusalKind::Unavailable, StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    (RefusalKind::Failed, StatusCode::INTERNAL_SERVER_ERROR, "failed"),
];

impl RefusalKind {
    fn row(self) -> &'static (Self, StatusCode, &'static str) {
        KINDS.iter().find(|(kind, ..)| *kind == self).expect("each kind has a row")
    }

    /// The status that it is answered with.
    #[must_use]
    pub fn status(self) -> StatusCode {
        self.row().1
    }

    /// Its name, in the header `mempool-error` and in the body.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// The kind that an answer means: by its name, or else, when it was not a node that answered, by its status.
    pub(crate) fn of(name: Option<&str>, status: StatusCode) -> Self {
        let named = name.and_then(|name| KINDS.iter().find(|(.., known)| *known == name));
        let row = named.or_else(|| KINDS.iter().find(|(_, known, _)| *known == status));
        row.map_or(Self::Failed, |(kind, ..)| *kind)
    }

    /// What to do about it.
    #[must_use]
    pub fn error_kind(self) -> ErrorKind {
        match self {
            Self::TooLarge | Self::NoRoom => ErrorKind::Limit,
            Self::TooSlow | Self::Unavailable | Self::Failed => ErrorKind::Environment,
            Self::Damaged => ErrorKind::Damage,
            _ => ErrorKind::Misuse,
        }
    }
}

/// A node's answer to a request that it does not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it is about.
    pub kind: RefusalKind,
    /// For a person, in one line.
    pub message: String,
}

impl Refusal {
    /// A refusal with its reason.
    #[must_use]
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The body of the answer: `{"error":"not_found","message":"…"}`, in ASCII.
    pub(crate) fn body(&self) -> String {
        let mut message = String::new();
        for unit in self.message.encode_utf16().take(Self::MESSAGE_MAX) {
            match char::from_u32(u32::from(unit)) {
                Some(plain @ (' '..='~')) if plain != '"' && plain != '\\' => message.push(plain),
                _ => message.push_str(&format!("\\u{unit:04x}")),
            }
        }
        format!("{{\"error\":\"{}\",\"message\":\"{message}\"}}\n", self.kind.name())
    }

    /// The message in a body that [`body`](Self::body) made; another body is its own message, as far as it is printable.
    pub(crate) fn message_of(body: &[u8]) -> String {
        let text: String =
            String::from_utf8_lossy(body).chars().take(Self::MESSAGE_MAX * 6).collect();
        let inner = text.split_once("\"message\":\"").and_then(|(_, rest)| rest.rsplit_once("\"}"));
        let Some((message, _)) = inner else { return text.trim().escape_debug().collect() };
        let mut parts = message.split("\\u");
        let mut units: Vec<u16> = parts.next().unwrap_or_default().encode_utf16().collect();
        for part in parts {
            let (digits, rest) = part.split_at_checked(4).unwrap_or((part, ""));
            units.push(u16::from_str_radix(digits, 16).unwrap_or(u16::from(b'?')));
            units.extend(rest.encode_utf16());
        }
        String::from_utf16_lossy(&units)
    }

    /// The most characters of a message that are sent.
    const MESSAGE_MAX: usize = 1000;
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.message)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_again_by_its_name_or_its_status() {
        for (kind, status, name) in KINDS {
            assert_eq!((kind.status(), kind.name()), (status, name));
            assert_eq!(RefusalKind::of(Some(name), StatusCode::OK), kind);
            assert_eq!(RefusalKind::of(None, status), kind);
        }
        assert_eq!(RefusalKind::of(Some("tea"), StatusCode::IM_A_TEAPOT), RefusalKind::Failed);
    }

    #[test]
    fn a_body_of_somebody_else_is_its_own_message() {
        assert_eq!(
            Refusal::message_of(b"<html>\x1b[2J\xff</html>\n"),
            "<html>\\u{1b}[2J\u{fffd}</html>"
        );
        assert_eq!(Refusal::message_of(br#"{"message":"a\uzzzzb\u12"}"#), "a?b\u{12}");
        assert_eq!(Refusal::message_of(b""), "");
    }

    #[test]
    fn a_body_is_json_in_ascii_whatever_the_message_says() {
        let refusal = Refusal::new(RefusalKind::Gone, "\"a\"\\\n\u{1F600}ä");
        let expected =
            r#"{"error":"gone","message":"\u0022a\u0022\u005c\u000a\ud83d\ude00\u00e4"}"#;
        assert_eq!(refusal.body(), format!("{expected}\n"));
        assert_eq!(Refusal::message_of(refusal.body().as_bytes()), refusal.message);
        let long = Refusal::new(RefusalKind::Gone, "x".repeat(1 << 20));
        assert!(long.body().len() < 1100);
    }
}
