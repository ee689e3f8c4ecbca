//! For the tests of codecs and stores: what a pool does for them, without a pool; and a store that fails on demand.

mod codec;
mod faulty;

pub use codec::{decode, encode, encode_value, frame_of, room, with_frame};
pub use faulty::{Call, FaultyStore, Switch};
