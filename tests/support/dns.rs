//! A name server whose zone a test changes while it runs.
//!
//! **Job.** Answer DNS over UDP from a table, or not at all. **Called by** tests of names. **Calls** hickory-proto for the form
//! of messages, sockets.
//!
//! Not here: zones, recursion, TCP: names of tests are few and their answers short.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::str::FromStr as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::SRV;
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// What it does with questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Answers them.
    Well,
    /// Says nothing.
    Silent,
    /// Answers SERVFAIL.
    Failing,
}

struct Zone {
    records: HashMap<(String, RecordType), Vec<Record>>,
    mood: Mood,
    asked: usize,
    ended: bool,
}

/// One running name server.
pub struct NameServer {
    /// Where it listens.
    pub address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

impl NameServer {
    /// One that knows no name.
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Zone { records: HashMap::new(), mood: Mood::Well, asked: 0, ended: false };
        let zone = Arc::new(Mutex::new(zone));
        let all = Arc::clone(&zone);
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while !all.lock().unwrap().ended {
                let Ok((count, peer)) = socket.recv_from(&mut piece) else { continue };
                if let Some(answer) = answer(&piece[..count], &mut all.lock().unwrap()) {
                    let _ = socket.send_to(&answer, peer);
                }
            }
        });
        Self { address, zone }
    }

    /// What this name has from now on, for so many seconds.
    pub fn set(&self, name: &str, ttl: u32, addresses: &[IpAddr]) {
        let owner = Name::from_str(&format!("{name}.")).unwrap();
        let mut zone = self.zone.lock().unwrap();
        for kind in [RecordType::A, RecordType::AAAA] {
            let of_kind = addresses.iter().filter(|ip| ip.is_ipv4() == (kind == RecordType::A));
            let records =
                of_kind.map(|ip| Record::from_rdata(owner.clone(), ttl, RData::from(*ip))).collect();
            zone.records.insert((name.to_owned(), kind), records);
        }
    }

    /// The servers of a service: priority, weight, port, target.
    pub fn set_service(&self, name: &str, ttl: u32, servers: &[(u16, u16, u16, &str)]) {
        let owner = Name::from_str(&format!("{name}.")).unwrap();
        let record = |(priority, weight, port, target): &(u16, u16, u16, &str)| {
            let target = Name::from_str(&format!("{target}.")).unwrap();
            Record::from_rdata(owner.clone(), ttl, RData::SRV(SRV::new(*priority, *weight, *port, target)))
        };
        let records = servers.iter().map(record).collect();
        self.zone.lock().unwrap().records.insert((name.to_owned(), RecordType::SRV), records);
    }

    /// Nobody knows this name any more.
    pub fn forget(&self, name: &str) {
        self.zone.lock().unwrap().records.retain(|(owner, _), _| owner != name);
    }

    /// What it does with questions from now on.
    pub fn set_mood(&self, mood: Mood) {
        self.zone.lock().unwrap().mood = mood;
    }

    /// Questions so far.
    pub fn asked(&self) -> usize {
        self.zone.lock().unwrap().asked
    }

    /// Nobody listens there any more.
    pub fn die(&self) {
        self.zone.lock().unwrap().ended = true;
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.die();
    }
}

fn answer(bytes: &[u8], zone: &mut Zone) -> Option<Vec<u8>> {
    let question = Message::from_vec(bytes).ok()?;
    let query = question.queries.first()?.clone();
    zone.asked += 1;
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    match zone.mood {
        Mood::Silent => return None,
        Mood::Failing => answer.metadata.response_code = ResponseCode::ServFail,
        Mood::Well => {
            let name = query.name().to_string().trim_end_matches('.').to_ascii_lowercase();
            if let Some(records) = zone.records.get(&(name.clone(), query.query_type())) {
                answer.add_answers(records.iter().cloned());
            } else if !zone.records.keys().any(|(owner, _)| *owner == name) {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
        }
    }
    answer.to_vec().ok()
}
