//! Numbers out of the Prometheus text.
//!
//! **Job.** The sum of all lines that hold some parts; the rules of the format, checked on every line. **Called by** tests.
//!
//! Not here: asking for the text (`house`).

use std::collections::BTreeMap;

/// The sum of all samples whose lines hold all these parts.
pub fn value(text: &str, parts: &[&str]) -> f64 {
    let lines =
        text.lines().filter(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Checks every line by the rules of the text format 0.0.4: a type and a help text before its samples, each family once, each
/// sample once.
#[track_caller]
pub fn check_format(text: &str) {
    let (mut typed, mut helped, mut samples) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(kind != "counter" || name.ends_with("_total"), "{line}");
            assert!(typed.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} has two types");
            assert!(helped.contains_key(name), "{name} has no help");
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && helped.insert(name.to_owned(), ()).is_none(), "{line}");
        } else {
            let (series, number) = line.rsplit_once(' ').unwrap();
            assert!(number.parse::<f64>().is_ok(), "{line}");
            assert!(samples.insert(series.to_owned(), ()).is_none(), "{series} is there twice");
            let name = series.split('{').next().unwrap();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end).filter(|base| typed.contains_key(*base)))
                .unwrap_or(name);
            assert!(typed.contains_key(family), "{line} has no type");
        }
    }
}
