//! Goal: the judge finds everything that can go wrong, and nothing where nothing went wrong.
//! Method: one small history, spoilt in one way at a time.

use std::collections::{BTreeMap, HashMap};

use super::ledger::{Finding, Logs, Number, Print, Promise, Seen, View};

const ROOM: &str = "lobby";

fn print(message: u32) -> Print {
    Print::of("message", "c0", &message.to_string())
}

fn entry(offset: u64, message: u32) -> Seen {
    Seen { offset, print: print(message), message: true }
}

/// Three messages, acknowledged at the offsets 2 to 4; at 1 is the room's beginning.
fn promised() -> (HashMap<Print, Number>, BTreeMap<Number, Promise>) {
    let number = |message| Number { client: 0, message };
    let sent = (0..3).map(|message| (print(message), number(message))).collect();
    let acked = (0..3).map(|message| {
        let offset = Some(u64::from(message) + 2);
        (number(message), Promise { conversation: ROOM.into(), epoch: 7, offset, print: print(message) })
    });
    (sent, acked.collect())
}

fn judge(entries: &[Seen]) -> Vec<String> {
    let (sent, acked) = promised();
    let mut logs = Logs::default();
    let mut findings = logs.put(ROOM, entries);
    findings.extend(logs.judge_promises(&sent, &acked));
    findings.iter().map(Finding::to_string).collect()
}

fn whole() -> Vec<Seen> {
    let created = Seen { offset: 1, print: Print::of("created", "c0", ""), message: false };
    vec![created, entry(2, 0), entry(3, 1), entry(4, 2)]
}

#[test]
fn what_is_promised_is_kept_or_told() {
    assert_eq!(judge(&whole()), Vec::<String>::new());
    check(|log| log.truncate(3), "lost: message 2 of client 0, acknowledged at offset 4 of lobby");
    check(|log| log.push(entry(5, 1)), "twice: message 1 of client 0 is at the offsets [3, 5]");
    check(|log| log.push(entry(5, 9)), "unknown: nobody sent what is at offset 5 of lobby");
    check(|log| log.push(entry(6, 9)), "gap: the log of lobby has 6 after 4");
    check(
        |log| {
            log.swap(1, 2);
            (log[1].offset, log[2].offset) = (2, 3);
        },
        "moved: message 0 of client 0 was acknowledged at offset 2 and is at 3",
    );

    #[track_caller]
    fn check(spoil: impl Fn(&mut Vec<Seen>), want: &str) {
        let mut log = whole();
        spoil(&mut log);
        let findings = judge(&log);
        assert!(findings.iter().any(|finding| finding == want), "{findings:?}");
    }
}

// Goal: a message that nobody was promised may be missing, and may be there once.
#[test]
fn what_was_not_acknowledged_may_be_there_or_not() {
    let (sent, mut acked) = promised();
    acked.remove(&Number { client: 0, message: 2 });
    for entries in [&whole()[..], &whole()[..3]] {
        let mut logs = Logs::default();
        assert_eq!(logs.put(ROOM, entries), []);
        assert_eq!(logs.judge_promises(&sent, &acked), []);
    }
}

#[test]
fn a_view_is_the_log_or_the_difference_is_told() {
    let mut logs = Logs::default();
    logs.put(ROOM, &whole());
    let view_of = |entries: &[Seen]| {
        let mut view = View::default();
        view.joined(4, ROOM, 7, entries[0].offset).unwrap();
        for seen in entries {
            view.saw(4, ROOM, seen).unwrap();
        }
        logs.judge_view(4, ROOM, &view).map(|finding| finding.to_string())
    };
    assert_eq!(view_of(&whole()), None);
    assert_eq!(view_of(&whole()[2..]), None, "whoever came later saw less");
    assert_eq!(view_of(&whole()[..3]).unwrap(), "short: client 4 saw lobby up to 4, it ends at 5");
    let other = [entry(2, 0), entry(3, 2), entry(4, 2)];
    let want = "differs: client 4 saw something else at offset 3 of lobby than the log has";
    assert_eq!(view_of(&other).unwrap(), want);
}

// Goal: what comes is the next offset of the same life, or it is told.
#[test]
fn a_view_takes_only_what_comes_next() {
    let mut view = View::default();
    assert_eq!(view.next(), None);
    view.joined(1, ROOM, 7, 3).unwrap();
    view.saw(1, ROOM, &entry(3, 1)).unwrap();
    let told = |finding: Result<(), Finding>| finding.unwrap_err().to_string();
    assert_eq!(
        told(view.saw(1, ROOM, &entry(3, 1))),
        "order: client 1 was told offset 3 of lobby, 4 was next"
    );
    assert_eq!(
        told(view.saw(1, ROOM, &entry(5, 2))),
        "order: client 1 was told offset 5 of lobby, 4 was next"
    );
    assert_eq!(told(view.joined(1, ROOM, 7, 5)), "order: client 1 was told offset 5 of lobby, 4 was next");
    assert_eq!(told(view.joined(1, ROOM, 8, 1)), "new life: client 1 had to begin lobby anew");
    assert_eq!(view.next(), Some(1));
}

// Goal: whoever cannot resume hears a piece of the log without its own words, and anything else is told.
#[test]
fn what_is_heard_over_one_connection_is_a_piece_of_the_log() {
    let mut logs = Logs::default();
    logs.put(ROOM, &whole());
    let sent = HashMap::from([(print(1), Number { client: 2, message: 0 })]);
    let judge = |client, heard: &[u32]| {
        let heard: Vec<Print> = heard.iter().map(|message| print(*message)).collect();
        logs.judge_piece(client, ROOM, &heard, &sent).is_none()
    };
    assert!(judge(3, &[]) && judge(3, &[0, 1, 2]) && judge(3, &[1, 2]) && judge(3, &[1]));
    assert!(judge(2, &[0, 2]), "its own words are not told to it");
    assert!(!judge(3, &[0, 2]), "one is left out");
    assert!(!judge(3, &[0, 0, 1]) && !judge(3, &[0, 1, 0]), "twice");
    assert!(!judge(3, &[1, 0]) && !judge(3, &[9]), "out of order, or nobody's");
}

// Goal: whoever hears messages only hears all of them, in order.
#[test]
fn what_is_heard_is_the_row_of_messages() {
    let mut logs = Logs::default();
    logs.put(ROOM, &whole());
    let judge = |heard: &[u32]| {
        let heard: Vec<Print> = heard.iter().map(|message| print(*message)).collect();
        logs.judge_heard(2, ROOM, &heard).map(|finding| finding.to_string())
    };
    assert_eq!((judge(&[0, 1, 2]), logs.messages(ROOM)), (None, 3));
    let told = |heard, from| {
        Some(format!(
            "heard: client 2 heard {heard} messages of 3 in lobby, others than the log has from {from} on"
        ))
    };
    assert_eq!(judge(&[0, 1]), told(2, 2));
    assert_eq!(judge(&[0, 2]), told(2, 1));
    assert_eq!(judge(&[0, 1, 1, 2]), told(4, 2));
    assert_eq!(judge(&[0, 1, 2, 2]), told(4, 3));
}
