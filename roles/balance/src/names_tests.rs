//! Goal: names are looked up when they are due and their addresses become servers as the records say, whatever comes back.
//! Method: answers fed at given moments; random answers for what must always hold.

use proptest::prelude::*;

use super::*;

const TTL: Duration = Duration::from_secs(60);

fn settings(servers: &[&str]) -> PoolSettings {
    let plain = |text: &&str| ServerSettings::plain(Address::parse(text).unwrap());
    PoolSettings::of("p", servers.iter().map(plain).collect())
}

fn at(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

fn host(addresses: &[u8]) -> Found<ServiceAddress> {
    let plain = |last: &u8| ServiceAddress { priority: 0, weight: 0, address: at(*last), of: 1 };
    Found { all: addresses.iter().map(plain).collect(), ttl: TTL, whole: true }
}

fn now() -> Instant {
    #[allow(clippy::disallowed_methods)] // any moment will do
    Instant::now()
}

/// Names of a pool with one name, which is out.
fn one() -> (Names, PoolSettings, Address, Instant) {
    let (settings, now) = (settings(&["api.internal:80"]), now());
    let mut names = Names::new(&settings, 7, now);
    let (address, question) = names.due(now).unwrap();
    assert_eq!(question, Question::Addresses("api.internal".to_owned(), 80));
    assert_eq!(names.due(now), None, "one look-up at a time");
    (names, settings, address, now)
}

fn places(names: &Names, settings: &PoolSettings) -> Vec<String> {
    names.endpoints(settings).iter().map(|endpoint| endpoint.place.to_string()).collect()
}

const GONE: LookupFailure = LookupFailure::Nothing { known: false, ttl: Duration::ZERO };

#[test]
fn an_answer_is_asked_for_again_within_its_bounds() {
    check(0, 1);
    check(1, 1);
    check(300, 300);
    check(3_600, 3_600);
    check(86_400, 3_600);

    #[track_caller]
    fn check(ttl: u64, seconds: u64) {
        let (mut names, _, address, now) = one();
        names.answered(&address, Ok(Found { ttl: Duration::from_secs(ttl), ..host(&[1]) }), now);
        let wait = names.next_deadline().unwrap() - now;
        let want = Duration::from_secs(seconds);
        assert!(wait >= want && wait <= want + want / 10, "{wait:?} for {ttl} s");
        assert_eq!(names.due(now + want - Duration::from_millis(1)), None);
        assert!(names.due(now + want + want / 10).is_some());
    }
}

#[test]
fn a_failure_takes_nothing_away_and_is_told_once() {
    let (mut names, settings, address, mut now) = one();
    assert!(names.is_waiting());
    let news = names.answered(&address, Err(GONE), now).unwrap();
    assert_eq!(news.to_string(), "cannot be looked up: there is no such name");
    assert!(!names.is_waiting(), "it was asked");
    assert_eq!(places(&names, &settings), [""; 0]);
    let news = names.answered(&address, Ok(host(&[1, 2])), now).unwrap();
    assert_eq!(news.to_string(), "leads elsewhere: came 10.0.0.1:80, 10.0.0.2:80");
    let mut waits = Vec::new();
    for round in 0..8 {
        let news = names.answered(&address, Err(LookupFailure::Late), now);
        let told = news.map(|news| news.to_string());
        let want = "cannot be looked up: no name server answered in time; the 2 known from before stay";
        assert_eq!(told.as_deref(), (round == 0).then_some(want));
        waits.push((names.next_deadline().unwrap() - now).as_secs());
        now = names.next_deadline().unwrap();
    }
    assert_eq!(places(&names, &settings), ["10.0.0.1:80", "10.0.0.2:80"]);
    let most: Vec<u64> = [1, 2, 4, 8, 16, 30, 30, 30].into_iter().collect();
    assert!(waits.iter().zip(&most).all(|(wait, most)| wait >= most && wait <= &(most + most / 10 + 1)));
    assert_eq!(names.answered(&address, Ok(host(&[1, 2])), now), Some(News::Back));
    assert_eq!(names.answered(&address, Ok(host(&[1, 2])), now), None, "nothing new");
    let news = names.answered(&address, Ok(host(&[2, 3])), now).unwrap();
    assert_eq!(news.to_string(), "leads elsewhere: came 10.0.0.3:80; left 10.0.0.1:80");
}

#[test]
fn an_answer_that_is_not_whole_takes_nothing_away() {
    let (mut names, settings, address, now) = one();
    names.answered(&address, Ok(host(&[1, 2])), now);
    names.answered(&address, Ok(Found { whole: false, ..host(&[3]) }), now);
    assert_eq!(places(&names, &settings), ["10.0.0.3:80", "10.0.0.1:80", "10.0.0.2:80"]);
    assert!(names.next_deadline().unwrap() - now <= RETRY_MAX + RETRY_MAX / 10, "asked again soon");
    names.answered(&address, Ok(host(&[3])), now);
    assert_eq!(places(&names, &settings), ["10.0.0.3:80"]);
}

#[test]
fn new_settings_keep_what_is_known_of_names_that_stay() {
    let (mut names, _, address, now) = one();
    names.answered(&address, Ok(host(&[1])), now);
    let other = settings(&["10.0.0.9:80", "other.internal:80", "api.internal:80"]);
    names.update(&other, now);
    assert!(names.is_waiting());
    assert_eq!(places(&names, &other), ["10.0.0.9:80", "10.0.0.1:80"]);
    let (address, _) = names.due(now).unwrap();
    assert_eq!(address.key(), "other.internal:80");
    assert_eq!(names.due(now), None);
    // An answer for a name that left is dropped.
    names.update(&settings(&["10.0.0.9:80"]), now);
    assert_eq!(names.answered(&address, Ok(host(&[5])), now), None);
    assert_eq!(names.next_deadline(), None);
}

// Records as (priority, weight, last byte, addresses of its target); servers as (last byte, weight, backup).
#[test]
fn priorities_make_backups_and_weights_shares() {
    check(&[(10, 60, 1, 1), (10, 40, 2, 1)], &[(1, 60, false), (2, 40, false)]);
    check(&[(10, 1, 1, 1), (20, 7, 2, 1), (30, 9, 3, 1)], &[(1, 1, false), (2, 7, true), (3, 9, true)]);
    // All zero: equal. Zero beside others: a small chance.
    check(&[(0, 0, 1, 1), (0, 0, 2, 1)], &[(1, 1, false), (2, 1, false)]);
    check(&[(0, 0, 1, 1), (0, 9, 2, 1)], &[(1, 1, false), (2, 9, false)]);
    // Larger than ours: in proportion.
    check(
        &[(0, 1000, 1, 1), (0, 500, 2, 1), (0, 1, 3, 1)],
        &[(1, 256, false), (2, 128, false), (3, 1, false)],
    );
    // A target of two addresses has its weight once.
    check(
        &[(0, 10, 1, 2), (0, 10, 2, 2), (0, 10, 3, 1)],
        &[(1, 128, false), (2, 128, false), (3, 256, false)],
    );
    // Two targets with one address: one server.
    check(&[(0, 3, 1, 1), (5, 3, 1, 1)], &[(1, 3, false)]);

    #[track_caller]
    fn check(records: &[(u16, u16, u8, u16)], want: &[(u8, u16, bool)]) {
        let records: Vec<ServiceAddress> = records
            .iter()
            .map(|(priority, weight, last, of)| ServiceAddress {
                priority: *priority,
                weight: *weight,
                address: at(*last),
                of: *of,
            })
            .collect();
        let want: Vec<Target> = want
            .iter()
            .map(|(last, weight, backup)| Target { address: at(*last), weight: *weight, backup: *backup })
            .collect();
        assert_eq!(targets(&records), want);
    }
}

#[test]
fn the_records_weigh_and_the_settings_bound() {
    let mut settings = settings(&["srv://_http._tcp.api.internal"]);
    settings.servers[0].max_connections = 9;
    settings.servers[0].backup = true;
    let now = now();
    let mut names = Names::new(&settings, 7, now);
    let (address, question) = names.due(now).unwrap();
    assert_eq!(question, Question::Services("_http._tcp.api.internal".to_owned()));
    let record = ServiceAddress { priority: 1, weight: 30, address: at(1), of: 1 };
    names.answered(&address, Ok(Found { all: vec![record], ttl: TTL, whole: true }), now);
    let endpoint = names.endpoints(&settings).remove(0);
    assert_eq!((endpoint.settings.weight, endpoint.settings.backup), (30, true));
    assert_eq!((endpoint.settings.max_connections, endpoint.place), (9, Place::Ip(at(1))));
}

proptest! {
    #[test]
    fn every_answer_makes_servers_that_can_be_used(
        records in prop::collection::vec((0_u16..4, any::<u16>(), any::<u16>(), 0_u16..20), 0..600),
        whole in any::<bool>(),
    ) {
        let (mut names, settings, address, now) = one();
        let mut all: Vec<ServiceAddress> = records
            .into_iter()
            .map(|(priority, weight, port, of)| ServiceAddress {
                priority,
                weight,
                address: SocketAddr::from(([10, 0, 0, 1], port)),
                of,
            })
            .collect();
        all.sort();
        all.dedup();
        let many = all.len();
        names.answered(&address, Ok(Found { all, ttl: TTL, whole }), now);
        let endpoints = names.endpoints(&settings);
        prop_assert!(endpoints.len() <= SERVERS_MAX);
        prop_assert!((many == 0) == endpoints.is_empty());
        prop_assert!(many == 0 || endpoints.iter().any(|endpoint| !endpoint.settings.backup));
        for target in &names.entries[0].known {
            prop_assert!((1..=256).contains(&target.weight));
        }
    }
}
