//! References that travel: clusters simulated from seeds, exact cuts, a reference model, and the rules one by one.
//!
//! `SEEDS=0..100000 cargo test -p mempool-net --release --test claims seeded` runs so many clusters; `SEED=17` replays one and
//! prints what happened.

mod claims {
    pub(crate) mod cuts;
    pub(crate) mod dice;
    pub(crate) mod model;
    pub(crate) mod play;
    pub(crate) mod rules;
    pub(crate) mod world;
}

use claims::cuts::{Deed, cut_everywhere};
use claims::model::run_sequences;
use claims::play::run_seeds;
use claims::rules::{epoch_once, late_release, lost_claims_nothing};

#[test]
fn seeded_clusters_free_nothing_early_and_leak_nothing() {
    // Without optimization a cluster takes a tenth of a second.
    run_seeds(0..if cfg!(debug_assertions) { 200 } else { 2000 });
}

/// A get by name: the node registers itself, and renews for the first time.
#[test]
fn a_get_is_cut_at_each_message() {
    println!("{} cases", cut_everywhere(Deed::Get, 8));
}

/// A share: the owner registers the receiver, the receiver takes the reference and makes its first contact.
#[test]
fn a_share_is_cut_at_each_message() {
    println!("{} cases", cut_everywhere(Deed::Share, 12));
}

#[test]
fn a_drop_is_cut_at_each_message() {
    println!("{} cases", cut_everywhere(Deed::Drop, 6));
}

/// A move: offer, copy, commit, the holder's way to the new owner, and the old owner's word that its claims have ended.
#[test]
fn a_move_is_cut_at_each_message() {
    println!("{} cases", cut_everywhere(Deed::Migrate, 30));
}

#[test]
fn a_late_release_ends_nothing_newer() {
    late_release();
}

#[test]
fn an_epoch_is_given_once() {
    epoch_once();
}

#[test]
fn an_owner_does_what_plain_sets_do() {
    run_sequences(2000);
}

/// Seed 29742 found it.
#[test]
fn a_lost_reference_claims_nothing() {
    lost_claims_nothing();
}
