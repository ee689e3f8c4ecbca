//! Errors of nodes: what each says, and of which kind it is.

use std::io;
use std::time::Duration;

use mempool_core::{Error, ErrorKind, Id};
use mempool_net::host::HostError;
use mempool_net::protocol::Refusal;
use mempool_net::security::SecurityError;
use mempool_net::{GlobalId, Incarnation, NetError, NodeName, Reason, Ticket, TicketError};

#[test]
fn each_error_names_the_node_and_is_of_one_kind() {
    let name = NodeName::new("node-7").expect("a label");
    let (node, call) = (name.to_string(), "stat");
    let (meant, found) = (Incarnation(1), Some(Incarnation(2)));
    let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
    let (kind, reason, said) = (ErrorKind::Limit, Reason::NoRoom, "no room".to_owned());
    for (error, kind) in [
        (NetError::UnknownNode { node: name.clone() }, ErrorKind::Misuse),
        (
            NetError::Unreachable { node: node.clone(), call, source: refused().into() },
            ErrorKind::Environment,
        ),
        (
            NetError::Deadline { node: node.clone(), call, after: Duration::from_secs(3) },
            ErrorKind::Limit,
        ),
        (NetError::Ended { node: name, meant, found }, ErrorKind::Environment),
        (NetError::Remote { node: node.clone(), call, kind, reason, said }, ErrorKind::Limit),
        (NetError::Checksum { node: node.clone(), ours: 1, found: 2 }, ErrorKind::Misuse),
        (NetError::Answer { node, call, what: "no value".to_owned() }, ErrorKind::Damage),
    ] {
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains("node-7"), "{error}");
        let reason = matches!(error, NetError::Remote { .. }).then_some(Reason::NoRoom);
        assert_eq!(error.reason(), reason);
    }
    let address = "h:1".to_owned();
    let value = GlobalId { birth: meant, id: Id { slot: 0, generation: 1 } };
    for (error, kind) in [
        (NetError::Listen { address, source: refused() }, ErrorKind::Environment),
        (NetError::Start { source: refused() }, ErrorKind::Environment),
        (NetError::Left, ErrorKind::Misuse),
        (NetError::Claim(Refusal::OwnerDown { owner: meant }), ErrorKind::Environment),
        (NetError::Pool(Error::Cancelled), ErrorKind::Limit),
        (NetError::Host(HostError::NoValue { peer: meant, value }), ErrorKind::Misuse),
        (
            NetError::Security(SecurityError::PlainText { address: ([1, 1, 1, 1], 1).into() }),
            ErrorKind::Misuse,
        ),
    ] {
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.reason(), None);
    }
}

#[test]
fn a_text_that_is_no_ticket_is_told_without_what_may_be_its_secret() {
    let text = format!("mempool:x/{}", "s".repeat(100));
    let error: TicketError = text.parse::<Ticket>().expect_err("no ticket");
    assert!(text.starts_with(&error.text) && error.text.len() < text.len(), "{error}");
}
