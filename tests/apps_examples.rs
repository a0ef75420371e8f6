//! examples/apps as it is: what it promises in its own README.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::process::Signal;

use crate::support::client::Client;
use crate::support::house::House;

/// examples/apps as it is, but for its port.
fn house() -> House {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/apps");
    let settings = std::fs::read_to_string(folder.join("madang.toml")).unwrap().replace(":8080", ":0");
    let files = ["python/app.py", "node/app.js", "rust/app.rs"];
    let files = files.map(|name| (name, std::fs::read(folder.join(name)).unwrap()));
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, content)| (*name, content.as_slice())).collect();
    House::start(&settings, &files)
}

// Goal: one settings file starts an app in each language; each is balanced over its two instances and logged, and when
// the server ends each finishes what it has begun. Method: ask all, then end the server while all are asked for something slow.
#[test]
fn apps_in_three_languages_are_balanced_logged_and_end_well() {
    let mut house = house();
    let mut client = house.client();
    for (path, name) in [("/", "python"), ("/node/", "node"), ("/rust/", "rust")] {
        let mut seen = BTreeSet::new();
        // The first waits until the app is there, the Rust one until it is built; the second instance may come later.
        house.until(|| {
            let answer = client.get(path);
            assert_eq!(answer.status, 200, "{path}: {}\n{}", answer.text(), house.said());
            let text = answer.text();
            let mut words = text.split_whitespace();
            assert_eq!(words.next(), Some(name));
            seen.insert(words.next().unwrap().to_owned());
            seen.len() == 2
        });
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["1", "2"], "{name}");
    }

    let slow: Vec<_> = ["/slow", "/node/slow", "/rust/slow"]
        .map(|path| {
            let address = house.address(0);
            std::thread::spawn(move || Client::plain(address).get(path).status)
        })
        .into_iter()
        .collect();
    // Each is open at its app: nothing before that may end the server.
    house.until(|| {
        let apps = house.json("status")["apps"].clone();
        let open = |app: &serde_json::Value| -> u64 {
            app["instances"].as_array().unwrap().iter().filter_map(|one| one["in_flight"].as_u64()).sum()
        };
        apps.as_array().unwrap().iter().map(open).sum::<u64>() == 3
            || slow.iter().all(|one| one.is_finished())
    });
    house.signal(Signal::TERM);
    for one in slow {
        assert_eq!(one.join().unwrap(), 200, "{}", house.said());
    }
    assert!(house.ended().success());
    for name in ["python", "node", "rust"] {
        let log = std::fs::read_to_string(house.path(&format!("data/logs/app-{name}.log"))).unwrap();
        for said in ["1 out - listening on ", "2 out - listening on ", "1 out - goodbye", "2 out - goodbye"] {
            assert!(
                log.lines().any(|line| line.contains(&format!("Z {said}"))),
                "{name}: {said:?} is not in\n{log}"
            );
        }
        for instance in [1, 2] {
            let end = format!("{name}: instance {instance} ended with code 0, as asked");
            assert!(house.said().contains(&end), "{end:?} is not in\n{}", house.said());
        }
    }
}
