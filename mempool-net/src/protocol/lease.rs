//! The time for which a claim stands, on two clocks that nobody sets.
//!
//! ```text
//! holder   sends ───────────── lease - slack ──────────▶ fences itself
//!            ╲
//! owner       ╲ hears ──────────── lease + slack ───────────────────▶ may free
//! ```
//!
//! The holder counts from the instant at which it *sent* the latest renewal that was acknowledged, the owner from the
//! instant at which it *heard* the latest. The owner's interval starts later and is longer by two slacks, so it ends later
//! even where the holder's clock is the slower one, as long as the clocks' rates differ by less than `2 × slack / lease`.

use std::time::Duration;

/// Clocks of two nodes run at rates which differ by at most this many parts in a thousand.
pub const CLOCK_RATES_DIFFER_PER_MILLE: u32 = 1;

/// How long a claim stands without being renewed.
///
/// *Units*: time on the node's own clock, which must count while the machine sleeps (`CLOCK_BOOTTIME`) and never go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    lease: Duration,
    slack: Duration,
}

/// A slack that does not fit its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a lease of {lease:?} wants a slack from a five-hundredth to a quarter of it, not {slack:?}"
)]
pub struct LeaseError {
    /// The lease.
    pub lease: Duration,
    /// The slack.
    pub slack: Duration,
}

impl Lease {
    /// A lease with that slack. The slack must cover what the clocks differ by twice over, and leave most of the lease.
    ///
    /// # Errors
    /// [`LeaseError`] for a slack below a five-hundredth or above a quarter of the lease, and for a lease of nothing.
    pub fn new(lease: Duration, slack: Duration) -> Result<Self, LeaseError> {
        let least = lease.saturating_mul(2 * CLOCK_RATES_DIFFER_PER_MILLE) / 1000;
        if slack.is_zero() || slack < least || slack > lease / 4 {
            return Err(LeaseError { lease, slack });
        }
        Ok(Self { lease, slack })
    }

    /// Its length.
    #[must_use]
    pub fn lease(self) -> Duration {
        self.lease
    }

    /// What the holder takes off and the owner adds.
    #[must_use]
    pub fn slack(self) -> Duration {
        self.slack
    }

    /// When a holder fences itself whose last acknowledged renewal was sent at `sent`, on its own clock.
    pub(super) fn fence(self, sent: Duration) -> Duration {
        if mutant!("holder_never_fenced") {
            return Duration::MAX;
        }
        sent.saturating_add(self.lease).saturating_sub(self.slack)
    }

    /// When an owner ends a claim whose last renewal it heard at `heard`, on its own clock.
    pub(super) fn expiry(self, heard: Duration) -> Duration {
        if mutant!("lease_never_expires") {
            return Duration::MAX;
        }
        heard.saturating_add(self.lease).saturating_add(self.slack)
    }

    /// How often a holder renews: so often that four renewals in a row may get lost.
    pub(super) fn renewal(self) -> Duration {
        self.lease / 6
    }
}

impl Default for Lease {
    /// Ten seconds, with half a second of slack.
    fn default() -> Self {
        Self { lease: Duration::from_secs(10), slack: Duration::from_millis(500) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_holder_fences_itself_first_on_clocks_of_any_rates() {
        for (lease, slack) in [(10_000, 500), (10_000, 20), (300, 75), (500, 1)] {
            let lease = Lease::new(ms(lease), ms(slack)).expect("a lease");
            // The holder's clock is the slower one: what it counts lasts longer.
            let fence = lease.fence(Duration::ZERO) * 1001 / 1000;
            assert!(fence < lease.expiry(Duration::ZERO), "{lease:?}");
        }
    }

    #[test]
    fn a_slack_that_does_not_fit_is_refused() {
        for (lease, slack) in [(0, 0), (10_000, 0), (10_000, 19), (10_000, 2_501)] {
            let error = Lease::new(ms(lease), ms(slack)).expect_err("no lease");
            assert_eq!(error, LeaseError { lease: ms(lease), slack: ms(slack) });
        }
    }
}
