//! The laws, and one round through a pool.

use codec_plugin::{Notes, Recording, RecordingCodec, Resident};
use mempool_codec::codec_laws;
use mempool_core::PoolOptions;

fn recording(n: u64) -> Recording {
    Recording {
        samples: (0..n * 3).map(|i| i as f32 / 7.0).collect(),
        notes: Notes {
            place: format!("room {n}"),
            tags: (0..n % 4).map(|tag| format!("tag {tag}")).collect(),
        },
    }
}

fn shows(view: &Resident, value: &Recording) -> bool {
    let bits = |sample: f32| sample.to_bits();
    view.samples().map(bits).eq(value.samples.iter().copied().map(bits))
        && view.notes() == &value.notes
}

codec_laws!(recordings, RecordingCodec, recording, shows);

#[test]
fn a_recording_comes_back_from_the_slower_tier() {
    let pool = PoolOptions::new().memory_limit(20_000).open(RecordingCodec);
    let all: Vec<_> = (0..100).map(|n| pool.set(recording(n)).unwrap()).collect();
    assert!(pool.stats().spills > 0);
    for (n, reference) in (0..).zip(&all) {
        assert!(shows(&pool.get(reference).unwrap(), &recording(n)), "{n}");
    }
}
