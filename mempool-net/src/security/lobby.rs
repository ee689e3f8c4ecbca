//! Those who are at the door: sockets that were taken and have not yet proved who they are. No I/O.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// Whose socket it is, before anything is proved: an address, or `None` for the Unix socket.
pub(crate) type Source = Option<IpAddr>;

/// At most so many entries; one more makes room for itself.
#[derive(Debug)]
pub(crate) struct Lobby<T> {
    limit: usize,
    next: u64,
    entries: BTreeMap<u64, (Source, T)>,
}

impl<T> Lobby<T> {
    /// An empty one, for one entry at least.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), next: 0, entries: BTreeMap::new() }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Lets an entry in, under a number that no other ever has, and names the one that has to go for it: of the source with
    /// the most entries the oldest. The new one counts, so that a source which fills the place pays for that itself.
    pub(crate) fn enter(&mut self, source: Source, entry: T) -> (u64, Option<T>) {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let leaves = match self.entries.len() >= self.limit {
            true if !mutant!("nobody_leaves") => {
                self.victim(source).and_then(|victim| self.leave(victim))
            }
            _ => None,
        };
        self.entries.insert(number, (source, entry));
        (number, leaves)
    }

    /// Lets the entry of that number out, if it is still in.
    pub(crate) fn leave(&mut self, number: u64) -> Option<T> {
        self.entries.remove(&number).map(|(_, entry)| entry)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn victim(&self, arriving: Source) -> Option<u64> {
        // The oldest of each source, and how many there are: the map is walked from the oldest on.
        let mut sources: HashMap<Source, (usize, u64)> = HashMap::new();
        for (&number, &(source, _)) in &self.entries {
            let arriving = usize::from(source == arriving);
            let (count, _) = sources.entry(source).or_insert((arriving, number));
            *count = count.saturating_add(1);
        }
        let most =
            sources.into_values().max_by_key(|&(count, oldest)| (count, std::cmp::Reverse(oldest)));
        most.map(|(_, oldest)| oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> Source {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn who_fills_the_place_pays_for_it() {
        let mut lobby = Lobby::new(4);
        assert_eq!(lobby.enter(source(1), "good"), (0, None));
        for number in 1..4 {
            assert_eq!(lobby.enter(source(2), "silent"), (number, None));
        }
        // Whoever comes, one of the many goes, the oldest first.
        let (number, gone) = lobby.enter(source(2), "silent");
        assert_eq!((number, gone), (4, Some("silent")));
        assert_eq!(lobby.leave(1), None, "it was the oldest of them");
        assert_eq!(lobby.enter(source(3), "good").1, Some("silent"));
        assert_eq!(lobby.leave(0), Some("good"));
        assert_eq!(lobby.leave(0), None);
        assert_eq!((lobby.len(), lobby.limit()), (3, 4));
    }

    #[test]
    fn of_one_source_the_oldest_goes() {
        let mut lobby = Lobby::new(2);
        for number in 0..10_u64 {
            assert_eq!(lobby.enter(None, number), (number, number.checked_sub(2)));
        }
        assert_eq!(lobby.len(), 2);
        assert_eq!(Lobby::<()>::new(0).limit(), 1);
    }
}
