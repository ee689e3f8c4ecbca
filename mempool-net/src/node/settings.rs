//! The settings of a node: what its builder was told.

use std::time::Duration;

use crate::security::Exports;

/// What the parts of a node read while it runs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How long a call may take that moves no bytes of values.
    pub(crate) call_timeout: Duration,
    /// How long it may take to find out who answers where somebody else did before.
    pub(crate) probe_timeout: Duration,
    /// Lease and bounds of the claims.
    pub(crate) protocol: crate::protocol::Settings,
    /// Where saved values of others go; off unless it is set.
    pub(crate) exports: Exports,
    /// Addresses of nodes to join.
    pub(crate) seeds: Vec<String>,
}

impl Settings {
    /// How long a call may take unless another time is set.
    pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(10);
    /// How long a look at who answers may take.
    const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            call_timeout: Self::CALL_TIMEOUT,
            probe_timeout: Self::PROBE_TIMEOUT,
            protocol: crate::protocol::Settings::default(),
            exports: Exports::off(),
            seeds: Vec::new(),
        }
    }
}
