//! The text for Prometheus, read by a parser that is stricter than a scraper.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mempool_core::{Blob, PoolOptions, Prometheus, Stats};

/// A family: its kind, and its samples by the pool's name.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    samples: BTreeMap<String, u64>,
}

/// Reads a text, and refuses whatever the format does not want: a line without its end, a family in two places or without
/// help, type or samples, a name that says another kind, a sample twice, and all but whole numbers.
fn parse(text: &str) -> Result<BTreeMap<String, Family>, String> {
    let mut families = BTreeMap::new();
    let mut open: Option<(String, Option<Family>)> = None;
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line has no end".into());
    }
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            close(&mut families, open.take())?;
            let (name, help) = rest.split_once(' ').ok_or("no help")?;
            if !is_name(name) || !help.ends_with('.') || help.contains('\\') {
                return Err(format!("help of {name}: {help}"));
            }
            open = Some((name.to_owned(), None));
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("no type")?;
            let Some((opened, family @ None)) = &mut open else { return Err(line.into()) };
            let total = name.ends_with("_total");
            if opened != name
                || !["gauge", "counter"].contains(&kind)
                || total != (kind == "counter")
            {
                return Err(format!("{name} is no {kind} of {opened}"));
            }
            *family = Some(Family { kind: kind.to_owned(), ..Family::default() });
        } else {
            let Some((name, Some(family))) = &mut open else { return Err(line.into()) };
            let rest = line.strip_prefix(name.as_str()).ok_or(line)?;
            let rest = rest.strip_prefix("{pool=\"").ok_or(line)?;
            let (pool, rest) = unescape(rest)?;
            let value = rest.strip_prefix("} ").ok_or(line)?;
            if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(line.into());
            }
            let value = value.parse().map_err(|_| line)?;
            if family.samples.insert(pool, value).is_some() {
                return Err(format!("twice: {line}"));
            }
        }
    }
    close(&mut families, open)?;
    Ok(families)
}

fn close(
    families: &mut BTreeMap<String, Family>,
    open: Option<(String, Option<Family>)>,
) -> Result<(), String> {
    let Some((name, family)) = open else { return Ok(()) };
    let family = family.filter(|family| !family.samples.is_empty());
    let family = family.ok_or_else(|| format!("{name} has no type or no samples"))?;
    match families.insert(name.clone(), family) {
        None => Ok(()),
        Some(_) => Err(format!("{name} stands in two places")),
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with("mempool_")
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// A label's value up to its closing quote, and what follows.
fn unescape(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(match letters.next() {
                Some((_, 'n')) => '\n',
                Some((_, same @ ('\\' | '"'))) => same,
                other => return Err(format!("escaped: {other:?}")),
            }),
            letter => value.push(letter),
        }
    }
    Err("a label without end".into())
}

fn worked(name: &str) -> (String, Stats) {
    let options = PoolOptions::new().name(name).memory_limit(10_000).room_timeout(Duration::ZERO);
    let pool = options.open(Blob);
    let all: Vec<_> = (0..5).map(|n| pool.set(vec![n; 4000]).unwrap()).collect();
    for one in &all {
        assert_eq!(pool.get(one).unwrap().len(), 4000);
    }
    (pool.name().to_owned(), pool.stats())
}

#[test]
fn every_figure_is_told_in_its_unit() {
    let (name, stats) = worked("orders");
    let families = parse(&stats.prometheus(name).to_string()).unwrap();
    let value = |name: &str| families[name].samples["orders"];
    assert_eq!(value("mempool_memory_limit_bytes"), 10_000);
    assert_eq!(value("mempool_memory_used_bytes"), stats.used_bytes);
    assert_eq!(value("mempool_values"), 5);
    assert_eq!((value("mempool_sets_total"), value("mempool_gets_total")), (5, 5));
    assert_eq!(value("mempool_loads_total"), stats.loads);
    assert!(stats.spills > 0 && value("mempool_spills_total") == stats.spills);
    assert_eq!(value("mempool_written_bytes_total"), stats.written_bytes);
    assert_eq!(value("mempool_frames_live_bytes"), value("mempool_store_live_bytes"));
    let counters = families.values().filter(|family| family.kind == "counter").count();
    assert_eq!((families.len(), counters), (28, 17), "{:?}", families.keys());
    let sizes = families.keys().filter(|name| name.ends_with("_bytes"));
    assert_eq!(sizes.count(), 9, "{:?}", families.keys());
}

#[test]
fn a_limit_that_is_not_there_has_no_sample() {
    let (_, mut stats) = worked("a");
    let without = parse(&stats.prometheus("a").to_string()).unwrap();
    assert!(!without.contains_key("mempool_store_limit_bytes"));
    let other = stats;
    stats.store.limit_bytes = Some(7);
    let both = Prometheus::new().pool("a", &other).pool("b", &stats).to_string();
    let samples = &parse(&both).unwrap()["mempool_store_limit_bytes"].samples;
    assert_eq!(samples, &BTreeMap::from([("b".to_owned(), 7)]));
}

#[test]
fn several_pools_share_each_family() {
    let names = ["orders", "a \"quoted\\name\"\nof two lines", "größe"];
    let mut text = Prometheus::new();
    for name in names {
        let (name, stats) = worked(name);
        text = text.pool(name, &stats);
    }
    let families = parse(&text.to_string()).unwrap();
    for family in families.values() {
        let pools: BTreeSet<&str> = family.samples.keys().map(String::as_str).collect();
        assert_eq!(pools, BTreeSet::from(names));
    }
    assert_eq!(Prometheus::new().to_string(), "");
}

#[test]
fn pools_without_a_name_are_told_apart() {
    let (a, b) = (PoolOptions::new().open(Blob), PoolOptions::new().open(Blob));
    assert!(a.name().starts_with("pool-") && a.name() != b.name());
    assert_eq!(a.name(), a.clone().name());
    assert!(format!("{a:?}").contains(a.name()));
}

#[test]
fn a_counter_never_falls_while_threads_come_and_go() {
    let pool = PoolOptions::new().open(Blob);
    let one = pool.set(vec![1; 10]).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..1500 {
                    // Each thread registers a log of its own, and takes in those of threads that have ended.
                    let read = || (0..20).for_each(|_| drop(pool.get(&one).unwrap()));
                    std::thread::scope(|inner| drop(inner.spawn(read).join()));
                }
            });
        }
        let mut last = 0;
        while last < 60_000 {
            let gets = pool.stats().gets;
            assert!(gets >= last, "{gets} after {last}");
            last = gets;
        }
        assert_eq!(last, 60_000);
    });
}

#[test]
fn the_parser_is_strict() {
    let good = "# HELP mempool_a_total Help.\n# TYPE mempool_a_total counter\nmempool_a_total{pool=\"p\"} 1\n";
    assert_eq!(parse(good).unwrap().len(), 1);
    for (what, bad) in [
        ("no end", good.trim_end().to_owned()),
        ("twice", format!("{good}{good}")),
        ("sample twice", format!("{good}mempool_a_total{{pool=\"p\"}} 1\n")),
        ("no samples", good.lines().take(2).map(|line| format!("{line}\n")).collect()),
        ("no type", good.replace("# TYPE mempool_a_total counter\n", "")),
        ("kind", good.replace("counter", "gauge")),
        ("fraction", good.replace("} 1", "} 1.5")),
        ("sign", good.replace("} 1", "} +1")),
        ("quote", good.replace("\"p\"", "\"p\"q\"")),
        ("label", good.replace("pool=", "name=")),
        ("empty line", format!("{good}\n")),
    ] {
        assert!(parse(&bad).is_err(), "{what}: {bad}");
    }
}
