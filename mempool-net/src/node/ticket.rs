//! Tickets: references that leave the cluster's own messages, as text.

use std::fmt;
use std::str::FromStr;

use crate::bytes;
use crate::identity::GlobalId;
use crate::node::wire::PeerId;
use crate::protocol;

/// A reference as text, for a queue, a file or a person: whoever has it can [`redeem`](crate::Node::redeem) it until its time
/// is over, and its value lives as long.
///
/// *Shape*: `mempool:NAME/START@HOST:PORT/BIRTH/SLOT.GENERATION/NUMBER/SECRET`. The secret is 128 random bits, so whoever sees the text
/// has the right to read the value.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    pub(crate) owner: PeerId,
    pub(crate) ticket: protocol::Ticket,
}

/// Why a text is no ticket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no ticket")]
pub struct TicketError {
    /// What was given, cut after so many characters as say where it comes from and not its secret.
    pub text: String,
}

impl Ticket {
    const PREFIX: &'static str = "mempool:";

    /// Which value it is for.
    #[must_use]
    pub fn value(&self) -> GlobalId {
        self.ticket.value
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol::Ticket { value, number, secret, .. } = self.ticket;
        write!(f, "{}{}/{value}/{number}/{secret:032x}", Self::PREFIX, self.owner.text())
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the secret.
        f.debug_struct("Ticket")
            .field("owner", &self.owner)
            .field("value", &self.ticket.value)
            .field("number", &self.ticket.number)
            .finish_non_exhaustive()
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        parse(text).ok_or_else(|| TicketError { text: text.chars().take(40).collect() })
    }
}

fn parse(text: &str) -> Option<Ticket> {
    let (rest, secret) = text.strip_prefix(Ticket::PREFIX)?.rsplit_once('/')?;
    let (rest, number) = rest.rsplit_once('/')?;
    let (rest, id) = rest.rsplit_once('/')?;
    let (owner, birth) = rest.rsplit_once('/')?;
    let owner: PeerId = owner.parse().ok()?;
    let hex = secret.len() == 32 && secret.bytes().all(|byte| byte.is_ascii_hexdigit());
    let secret = u128::from_str_radix(secret, 16).ok().filter(|_| hex)?;
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse().ok().filter(|_| digits)?;
    let value = bytes::value_of_text(&format!("{birth}/{id}"))?;
    let ticket = protocol::Ticket { value, owner: owner.incarnation, number, secret };
    Some(Ticket { owner, ticket })
}

#[cfg(test)]
mod tests {
    use mempool_core::Id;

    use super::*;
    use crate::identity::{Incarnation, NodeName};

    #[test]
    fn a_ticket_is_read_as_it_was_written_and_hides_its_secret() {
        let owner = PeerId {
            name: NodeName::new("a").expect("a label"),
            incarnation: Incarnation(0xab),
            address: "[::1]:7".into(),
        };
        let value = GlobalId { birth: Incarnation(9), id: Id { slot: 4, generation: 2 } };
        let secret = u128::MAX - 3;
        let ticket = protocol::Ticket { value, owner: owner.incarnation, number: 12, secret };
        let ticket = Ticket { owner, ticket };
        let text = ticket.to_string();
        assert_eq!(text.parse(), Ok(ticket.clone()));
        assert!(!format!("{ticket:?}").contains("fffffffffffffffc"));
        let (front, _) = text.rsplit_once('/').expect("a slash");
        for bad in [
            "",
            "mempool:",
            front,
            &text[1..],
            &format!("{text}0"),
            &format!("{front}/+{}", "0".repeat(31)),
        ] {
            let error = bad.parse::<Ticket>().expect_err("no ticket");
            assert!(!error.to_string().contains("fffffffffffffffc"), "{error}");
        }
    }
}
