//! References that travel: who owns a value, who holds it, and when it may be freed.
//!
//! This is the protocol as a state machine, without I/O, threads or clocks. Time comes in with each call, messages go out as
//! effects, and the same code runs under the real transport and under the simulator.
//!
//! # Words
//!
//! | word | meaning |
//! | --- | --- |
//! | owner | the node that keeps a value, and alone may free or move it |
//! | holder | a node that has references to it; a *use* is one of them |
//! | registration | an owner's note that a holder has a value, with a version |
//! | claim | all registrations of one holder at one owner; it ends as a whole |
//! | lease | the time for which a claim stands unless it is renewed |
//! | tie | a holder's side of its claim: what was renewed, and when |
//! | era | the version at which a claim began |
//! | fence | the holder's refusal to believe its references, before the owner may free them |
//! | share | references on their way from one node to another |
//!
//! # Where what stands
//!
//! `message` is what nodes say; `owner`, `holder`, `share`, `ticket`, `migration` are the roles, each with a drawing of its exchanges;
//! `lease` is the arithmetic of two clocks; `machine` puts the roles of one node together.
//!
//! # What is promised
//!
//! 1. **No early free**: while a node believes a reference ([`Machine::standing`]), its owner keeps the value, or is dead.
//! 2. **No leak**: what nobody holds, and nobody can hold any more, is let go within two leases and a transfer, counted from when messages
//!    get through.
//! 3. **Every call ends**, with what was asked for or with a typed refusal, by its deadline.
//! 4. **Repeated, late and reordered messages change nothing** that a newer one has settled.
//! 5. **Everything is bounded**, whoever asks: lists in messages, tables, what waits.

mod holder;
mod lease;
mod machine;
mod message;
mod migration;
mod outbox;
mod owner;
mod refusal;
mod share;
mod step;
mod ticket;

pub use holder::Holder;
pub use lease::{CLOCK_RATES_DIFFER_PER_MILLE, Lease, LeaseError};
pub use machine::Machine;
pub use message::{
    Answer, BATCH_MAX, Message, MovedTicket, NAME_BYTES_MAX, Reference, Registration, Ticket,
};
pub use owner::Owner;
pub use refusal::{Bound, Refusal};
pub use step::{Call, Effect, Hold, Keeper, Limits, Outcome, Settings};
pub use ticket::Uses;
