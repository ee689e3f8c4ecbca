//! References that travel: clusters simulated from seeds, exact cuts, a reference model, and the rules one by one.
//!
//! `SEEDS=0..100000 cargo test -p mempool-net --release --test claims seeded` runs so many clusters; `SEED=17` replays one and
//! prints what happened.

mod claims {
    pub(crate) mod dice;
    pub(crate) mod play;
    pub(crate) mod world;
}

use claims::play::run_seeds;

#[test]
fn seeded_clusters_free_nothing_early_and_leak_nothing() {
    run_seeds(0..500);
}
