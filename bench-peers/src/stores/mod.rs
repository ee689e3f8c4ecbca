//! One store a file: how it is opened for this job, and why so.

pub(crate) mod files;
pub(crate) mod fjall;
pub(crate) mod foyer;
pub(crate) mod lmdb;
pub(crate) mod mapped;
pub(crate) mod mempool;
pub(crate) mod redb;
