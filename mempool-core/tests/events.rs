//! What a subscriber is told, in which order, and inside which span.
#![cfg(all(feature = "testing", feature = "tracing"))]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::cell::RefCell;
use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::time::Duration;

use mempool_core::testing::{Call, FaultyStore, Switch};
use mempool_core::{
    Blob, Buffer, Error, MemoryStore, Pool, PoolOptions, SetOptions, StoreErrorKind,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

const VALUE: usize = 1000;

thread_local! {
    /// What this thread was told, and the spans that it is in.
    static TOLD: RefCell<(Vec<String>, Vec<u64>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

thread_local! {
    /// A pool that this thread asks for its figures whenever it is told something.
    static ASKED: RefCell<Option<Pool<Blob>>> = const { RefCell::new(None) };
}

/// Keeps what each thread is told as lines, indented inside a span; warnings of all threads also in one list.
struct Lines;

static SPANS: AtomicU64 = AtomicU64::new(0);
static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The fields behind the message.
#[derive(Default)]
struct Fields {
    message: String,
    others: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => write!(self.others, " {name}={value:?}").unwrap(),
        }
    }
}

fn tell(metadata: &Metadata<'_>, what: &str, fields: &str) {
    ASKED.with_borrow(|pool| {
        if let Some(pool) = pool {
            assert!(pool.stats().limit_bytes > 0);
        }
    });
    let target = metadata.target().strip_prefix("mempool_core::").unwrap();
    TOLD.with_borrow_mut(|(lines, inside)| {
        let indent = "  ".repeat(inside.len());
        lines.push(format!("{indent}{target} {} {what}{fields}", metadata.level()));
    });
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("mempool_core")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        tell(span.metadata(), &format!("[{}]", span.metadata().name()), &fields.others);
        Id::from_u64(SPANS.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        tell(event.metadata(), &fields.message, &fields.others);
        if *event.metadata().level() == Level::WARN {
            WARNINGS.lock().unwrap().push(fields.message);
        }
    }

    fn enter(&self, span: &Id) {
        TOLD.with_borrow_mut(|(_, inside)| inside.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        TOLD.with_borrow_mut(|(_, inside)| assert_eq!(inside.pop(), Some(span.into_u64())));
    }
}

/// What this thread was told since it was asked last. Installs the subscriber of the process when it is asked first.
fn told() -> Vec<String> {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| tracing::subscriber::set_global_default(Lines).unwrap());
    TOLD.with_borrow_mut(|(lines, inside)| {
        assert_eq!(inside.len(), 0, "every span was left");
        std::mem::take(lines)
    })
}

fn charge() -> u64 {
    VALUE as u64 + Buffer::adoption_bytes::<Vec<u8>>()
}

fn pool(switch: &Switch) -> Pool<Blob> {
    told();
    PoolOptions::new()
        .name("p")
        .memory_limit(2 * charge())
        .room_timeout(Duration::ZERO)
        .store(FaultyStore::new(MemoryStore::new(), switch))
        .open(Blob)
}

#[test]
fn the_life_of_a_value() {
    let pool = pool(&Switch::new());
    let limit = 2 * charge();
    let opened = format!("pool DEBUG a pool was opened pool=\"p\" limit_bytes={limit} policy=Lru");
    assert_eq!(told(), [opened]);
    let one = pool.set(vec![1; VALUE]).unwrap();
    let other = pool.set(vec![2; VALUE]).unwrap();
    assert_eq!(pool.get(&one).unwrap()[0], 1);
    drop(other);
    assert_eq!(told(), [""; 0], "what needs no room and no I/O says nothing");

    let big = pool.set(vec![3; VALUE + 1]).unwrap();
    let asked = charge() + 1;
    assert_eq!(
        told(),
        [
            "evict DEBUG [evict] pool=\"p\" asked_bytes=1".into(),
            "  write DEBUG [write] pool=\"p\" frames=1".into(),
            format!(
                "  evict DEBUG a value was spilled pool=\"p\" value=0.1 resident_bytes={}",
                charge()
            ),
            "  evict TRACE a value's memory was released pool=\"p\" value=0.1".into(),
            "  evict DEBUG a pass has made room pool=\"p\" asked_bytes=1".into(),
        ]
    );
    assert_eq!(pool.stats().used_bytes, asked);

    assert_eq!(pool.get(&one).unwrap()[0], 1);
    let lines = told();
    assert!(
        lines[0].starts_with("load DEBUG [read] pool=\"p\" value=0.1 frame_bytes="),
        "{lines:?}"
    );
    assert_eq!(lines[1..], ["load DEBUG a value came back pool=\"p\" value=0.1 mapped=true"]);

    let file = pool.save_to_disk(&big, "file").unwrap();
    assert_eq!(pool.get_file(&file).unwrap().len(), VALUE + 1);
    assert_eq!(
        told(),
        [
            "write DEBUG [save] pool=\"p\" value=1.2 path=file",
            "load DEBUG [read] pool=\"p\" path=file",
        ]
    );
    pool.close().unwrap();
    assert_eq!(
        told(),
        [
            "pool DEBUG [close] pool=\"p\"",
            "  pool DEBUG a pool was closed, and its values ended pool=\"p\" values=2",
        ]
    );
}

#[test]
fn what_goes_wrong() {
    let switch = Switch::new();
    let pool = pool(&switch);
    let one = pool.set(vec![1; VALUE]).unwrap();
    let other = pool.set(vec![2; VALUE]).unwrap();
    told();
    switch.fail(Call::Write, 0, u64::MAX, StoreErrorKind::Full);
    assert!(matches!(pool.set(vec![3; VALUE]).unwrap_err().error, Error::Spill { .. }));
    let lines = told();
    let warned = lines.iter().find(|line| line.contains(" WARN ")).unwrap();
    assert!(warned.starts_with("  write WARN a frame could not be written"), "{warned}");
    assert!(warned.contains("pool=\"p\" written=0 frames=1 error="), "{warned}");
    assert!(lines.last().unwrap().contains("DEBUG a pass could not make room"), "{lines:?}");

    switch.heal();
    pool.move_to_disk(&one).unwrap();
    switch.fail(Call::Open, 0, 1, StoreErrorKind::Io);
    told();
    assert!(matches!(pool.get(&one), Err(Error::Store(_))));
    assert!(
        told()[1].starts_with("load DEBUG a value could not come back pool=\"p\" value=0.1 error=")
    );

    let pins = (pool.get(&other).unwrap(), pool.reserve(charge()).unwrap());
    told();
    assert!(matches!(pool.try_reserve(1), Err(Error::NoRoom(_))));
    let lines = told();
    assert!(lines.iter().any(|line| line.contains("a pass found nothing to evict")), "{lines:?}");
    let report = lines.last().unwrap();
    assert!(
        report.starts_with("room DEBUG a request found no room pool=\"p\" report=no room for 1")
    );
    assert!(report.contains("events.rs"), "the report names who pins: {report}");
    drop(pins);

    let discardable = SetOptions::new().discardable().destructor(|| panic!("on purpose"));
    let _dropped = pool.set_with(vec![4; VALUE], discardable).unwrap();
    told();
    let _room = pool.reserve(2 * charge()).unwrap();
    assert!(
        told().iter().any(|line| line.starts_with("  evict DEBUG a discardable value was dropped"))
    );
    pool.quiesce();
    let warnings = WARNINGS.lock().unwrap();
    assert!(warnings.iter().any(|line| line == "a destructor or a drop of the user's panicked"));
}

#[test]
fn nothing_is_told_under_a_lock() {
    let pool = pool(&Switch::new());
    let all: Vec<_> = (0..3).map(|n| pool.set(vec![n; VALUE]).unwrap()).collect();
    told();
    ASKED.set(Some(pool.clone()));
    let more = pool.set(vec![9; VALUE]).unwrap();
    assert_eq!(pool.get(&all[0]).unwrap()[0], 0);
    pool.save_to_disk(&more, "file").unwrap();
    pool.set_memory_limit(charge()).unwrap();
    assert!(matches!(pool.reserve(2 * charge()), Err(Error::TooLarge { .. })));
    let pin = pool.get(&more).unwrap();
    assert!(told().len() > 9, "it was asked each time");
    ASKED.set(None);
    drop((pin, all));
}
