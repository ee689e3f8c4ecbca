//! `Placement`: which of several directories a frame goes to. Decides, and asks none.

use crate::directory::DirectoryState;

/// Which of several directories a frame goes to.
///
/// Whatever the policy says, a directory that is full, fails or hangs is passed over for the next one; see
/// [`DirectoryState`]. A value is written to one directory, and stays there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// To the first that takes it, in the order in which they were given: the fastest disk first.
    ///
    /// The default, for it never puts a value on a slower disk than it must. Between disks that are equally fast it
    /// wins no bandwidth: only the second policy does.
    #[default]
    InOrder,
    /// To the one that the fewest bytes are being written to; of these, to the one that is filled to the smallest part
    /// of the room that it had at opening: for the bandwidth of several disks that are equally fast.
    Spread,
}

/// How busy and how full a directory is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) state: DirectoryState,
    /// What is being written at this moment.
    pub(crate) writing_bytes: u64,
    pub(crate) live_bytes: u64,
    /// What live bytes are measured by.
    pub(crate) room_bytes: u64,
}

impl Load {
    /// The part of its room that is filled, in parts of 2^64.
    fn filled(&self) -> u128 {
        (u128::from(self.live_bytes) << 64) / u128::from(self.room_bytes.max(1))
    }
}

impl Placement {
    /// The order in which directories are asked, by their indexes.
    pub(crate) fn order(self, loads: &[Load]) -> Vec<usize> {
        let mut order: Vec<(usize, &Load)> = loads.iter().enumerate().collect();
        // Stable: what is equal stays in the order in which it was given.
        match self {
            Self::InOrder => order.sort_by_key(|(_, load)| load.state),
            Self::Spread => {
                order.sort_by_key(|(_, load)| (load.state, load.writing_bytes, load.filled()));
            }
        }
        order.into_iter().map(|(index, _)| index).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Load =
        Load { state: DirectoryState::Ready, writing_bytes: 0, live_bytes: 0, room_bytes: 100 };

    #[test]
    fn in_order_takes_the_first_that_is_ready() {
        let busy = Load { writing_bytes: 9, live_bytes: 99, ..IDLE };
        assert_eq!(Placement::InOrder.order(&[busy, IDLE, busy]), [0, 1, 2]);
        let passed = Load { state: DirectoryState::PassedOver, ..IDLE };
        let stalled = Load { state: DirectoryState::Stalled, ..IDLE };
        assert_eq!(Placement::InOrder.order(&[stalled, passed, busy, IDLE]), [2, 3, 1, 0]);
    }

    #[test]
    fn spread_takes_the_least_busy_and_then_the_emptiest_for_its_size() {
        let busy = Load { writing_bytes: 1, ..IDLE };
        let small = Load { live_bytes: 10, room_bytes: 20, ..IDLE };
        let large = Load { live_bytes: 40, ..IDLE };
        assert_eq!(Placement::Spread.order(&[busy, small, large, IDLE]), [3, 2, 1, 0]);
        let full = Load { live_bytes: u64::MAX, room_bytes: 0, ..IDLE };
        assert_eq!(Placement::Spread.order(&[full, busy]), [0, 1]);
        let stalled = Load { state: DirectoryState::Stalled, ..IDLE };
        assert_eq!(Placement::Spread.order(&[stalled, busy]), [1, 0]);
    }
}
