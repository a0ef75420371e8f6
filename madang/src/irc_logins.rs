//! Logins of IRC: SASL and PASS, by whoever knows the users.
//!
//! **Job.** Take the steps of a login to identity and give what comes of it. **Made by** `room`. **Calls** `madang_identity`.
//!
//! Invariants
//! 1. What is told of a failure does not say which part was wrong.
//!
//! Not here: pieces of AUTHENTICATE (`roles/chat/src/irc/sasl.rs`), whether a password is right (`engine/identity`).

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use madang_chat::irc::sasl::{Accounts, Attempt, Login, Step, Stepping, read_plain};
use madang_chat::post::Claim;
use madang_host::clock;
use madang_identity::{Identity, Refused, Scram, Who};

use crate::logins::claim;

/// Passwords and tokens, as the IRC face of a chat on one worker has to know them.
pub struct IrcLogins(Identity);

impl IrcLogins {
    /// Those of this identity.
    pub fn of(identity: Option<&Identity>) -> Option<Rc<dyn Accounts>> {
        identity.map(|identity| Rc::new(Self(identity.clone())) as Rc<dyn Accounts>)
    }
}

impl Accounts for IrcLogins {
    fn mechanisms(&self) -> &'static [&'static str] {
        if self.0.has_scram() { &["SCRAM-SHA-256", "PLAIN"] } else { &["PLAIN"] }
    }

    fn begin(&self, from: SocketAddr) -> Box<dyn Login> {
        Box::new(OneLogin { identity: self.0.clone(), from: from.ip(), stage: Rc::default() })
    }
}

/// How far a login is.
#[derive(Default)]
enum Stage {
    #[default]
    Nothing,
    Plain,
    ScramFirst,
    /// The server's first message has left.
    Scram(Box<Scram>),
    /// And its last one: the client acknowledges it.
    Proved(Claim),
}

struct OneLogin {
    identity: Identity,
    from: IpAddr,
    stage: Rc<RefCell<Stage>>,
}

impl Login for OneLogin {
    fn step(&mut self, attempt: Attempt) -> Stepping {
        let (identity, from, kept) = (self.identity.clone(), self.from, Rc::clone(&self.stage));
        Box::pin(async move {
            let stage = kept.take();
            let (step, next) = take(&identity, from, stage, attempt).await;
            kept.replace(next);
            step
        })
    }
}

async fn take(identity: &Identity, from: IpAddr, stage: Stage, attempt: Attempt) -> (Step, Stage) {
    let greeting = || Step::Challenge(Vec::new());
    match (attempt, stage) {
        (Attempt::Begin("SCRAM-SHA-256"), _) => (greeting(), Stage::ScramFirst),
        (Attempt::Begin(_), _) => (greeting(), Stage::Plain),
        (Attempt::Abort, _) => (Step::NoLogin, Stage::Nothing),
        (Attempt::Pass(pass), _) => (by_pass(identity, from, &pass).await, Stage::Nothing),
        (Attempt::Message(message), Stage::Plain) => match read_plain(&message) {
            Some((name, password)) => {
                (settled(identity, identity.login_once(name, password, from).await), Stage::Nothing)
            }
            None => (
                Step::Refused("that is no PLAIN message: name and password are needed".into()),
                Stage::Nothing,
            ),
        },
        (Attempt::Message(message), Stage::ScramFirst) => {
            match identity.scram(&String::from_utf8_lossy(&message), from).await {
                Ok(scram) => {
                    (Step::Challenge(scram.message().as_bytes().to_vec()), Stage::Scram(Box::new(scram)))
                }
                Err(refused) => (Step::Refused(refused.to_string()), Stage::Nothing),
            }
        }
        (Attempt::Message(message), Stage::Scram(scram)) => {
            match scram.finish(&String::from_utf8_lossy(&message)) {
                Ok((last, who)) => (Step::Challenge(last.into_bytes()), Stage::Proved(claim(identity, who))),
                Err(refused) => (Step::Refused(refused.to_string()), Stage::Nothing),
            }
        }
        (Attempt::Message(_), Stage::Proved(claim)) => (Step::Done(claim), Stage::Nothing),
        (Attempt::Message(_), Stage::Nothing) => (Step::Refused("no login was begun".into()), Stage::Nothing),
    }
}

/// `name:password`, or a token; else perhaps a guest's key.
async fn by_pass(identity: &Identity, from: IpAddr, pass: &str) -> Step {
    match pass.split_once(':') {
        Some((name, password)) => settled(identity, identity.login_once(name, password, from).await),
        None => match identity.identify(pass, clock::unix_seconds(clock::wall())).await {
            Ok(who) => Step::Done(claim(identity, who)),
            Err(_) => Step::NoLogin,
        },
    }
}

fn settled(identity: &Identity, outcome: Result<Who, Refused>) -> Step {
    match outcome {
        Ok(who) => Step::Done(claim(identity, who)),
        Err(refused) => Step::Refused(refused.to_string()),
    }
}
