//! For the tests of codecs and stores: what a pool does for them, without a pool; a store that fails on demand; and
//! forked children.

mod child;
mod codec;
mod faulty;

pub use child::{ChildEnd, in_child};
pub use codec::{decode, encode, encode_value, frame_of, room, with_frame};
pub use faulty::{Call, FaultyStore, Switch};
