//! The way of a request through the web role: one array, in order.
//!
//! **Job.** Take a request through [`PIPELINE`] from top to bottom: deciding steps until one decides, then the steps that
//! every answer passes. **Called by** `web`. **Calls** the parts each step is made of.
//!
//! Invariants
//! 1. Every answer passes `explain` and `shape`, whoever made it, and is recorded exactly once.
//! 2. A step that waits holds nothing of the worker; the request goes on at the step after it.
//! 3. From `identify` to a cached file and out again nothing is allocated.
//!
//! Not here: how the parts work (`client`, `routes`, `limit`, …), reading and writing of bytes (`http`).

use std::rc::Rc;

use bytes::Bytes;
use madang_host::gate::{address_key, allowed};
use madang_http::exchange::{Exchange, Outcome, Reply, Service};
use madang_settings::unit::RateKey;
use madang_wire::request::{Framing, Scheme};

use crate::actions::server_options;
use crate::auth::{Looked, login};
use crate::client;
use crate::config::{Action, Auth, LoginRule, Route};
use crate::error_page;
use crate::routes::other_methods;
use crate::site::{RouteParts, Site};
use crate::verdict::{Blame, Failure, Resume, Verdict};
use crate::web::Web;

/// One step of the way.
pub struct Step {
    /// Its name, as `trace` shows it.
    pub name: &'static str,
    run: Run,
    /// Why it stands where it stands.
    pub why_here: &'static str,
}

#[derive(Clone, Copy)]
enum Run {
    /// May decide the answer; passed over once one is decided.
    Decide(fn(&Web, &mut Exchange, &mut Journey) -> Verdict),
    /// Every answer passes it.
    Finish(fn(&Web, &mut Exchange, &Journey)),
    /// After the last byte left.
    Record(fn(&Web, &Exchange, Outcome)),
}

/// Every request takes these steps, in this order.
pub const PIPELINE: &[Step] = &[
    Step {
        name: "identify",
        run: Run::Decide(identify),
        why_here: "first: everything after it may ask who the client is and whether it came by https",
    },
    Step {
        name: "site",
        run: Run::Decide(site),
        why_here: "settings belong to a site, so no other setting can be asked before",
    },
    Step {
        name: "number",
        run: Run::Decide(number),
        why_here: "before anything can fail, so that every error page and log line has the id",
    },
    Step {
        name: "secure",
        run: Run::Decide(secure),
        why_here: "before a route can ask for a password: none is ever asked for in the clear",
    },
    Step {
        name: "route",
        run: Run::Decide(route),
        why_here: "limits, users and answers are the route's; rewrites are followed here, before any of them",
    },
    Step {
        name: "admit",
        run: Run::Decide(admit),
        why_here: "addresses cost nothing to judge, and who is not admitted shall not use up anybody's rate",
    },
    Step {
        name: "limit",
        run: Run::Decide(limit),
        why_here: "before passwords are looked at: guessing them is limited, too",
    },
    Step {
        name: "preflight",
        run: Run::Decide(preflight),
        why_here: "before authorise: browsers send preflights without credentials",
    },
    Step {
        name: "authorise",
        run: Run::Decide(authorise),
        why_here: "before anything of the route's content, its size limits included, can be learned",
    },
    Step {
        name: "sign-in",
        run: Run::Decide(sign_in),
        why_here: "beside authorise, for the same reason; after it, because most routes ask for neither",
    },
    Step { name: "limit-users", run: Run::Decide(limit_users), why_here: "as soon as the user is known" },
    Step { name: "bound", run: Run::Decide(bound), why_here: "just before somebody may read the body" },
    Step {
        name: "answer",
        run: Run::Decide(answer),
        why_here: "everything that could forbid it has had its say",
    },
    Step {
        name: "explain",
        run: Run::Finish(explain),
        why_here: "before shape: error answers get the site's fields as well",
    },
    Step {
        name: "shape",
        run: Run::Finish(shape),
        why_here: "last before the bytes: nobody changes the answer after",
    },
    Step {
        name: "record",
        run: Run::Record(record),
        why_here: "after the last byte left: only then size, time and completeness are known",
    },
];

/// Rewrites one request may follow.
const REWRITES_MAX: usize = 8;

/// What is known about a request on its way; small, and on the stack while nothing waits.
#[derive(Debug, Default)]
pub(crate) struct Journey {
    site: Option<usize>,
    /// Routes whose rewrites were followed: their limits and rules count as well.
    passed: [usize; REWRITES_MAX],
    passed_count: usize,
    route: Option<usize>,
    from_trusted_proxy: bool,
    failure: Option<Failure>,
}

impl Journey {
    fn site<'w>(&self, web: &'w Web) -> Option<&'w Site> {
        web.sites.get(self.site?)
    }

    /// The route that answers.
    fn route<'w>(&self, web: &'w Web) -> Option<(&'w Route, &'w RouteParts)> {
        self.site(web)?.route(self.route?)
    }

    /// The routes whose rules count: those that rewrote, then the one that answers.
    fn routes<'w>(&self, web: &'w Web) -> impl Iterator<Item = (&'w Route, &'w RouteParts)> + use<'w> {
        let site = self.site(web);
        let passed = self.passed.into_iter().take(self.passed_count);
        passed.chain(self.route).filter_map(move |place| site?.route(place))
    }
}

fn identify(web: &Web, exchange: &mut Exchange, journey: &mut Journey) -> Verdict {
    journey.from_trusted_proxy = client::identify(exchange, &web.worker.trusted());
    Verdict::Next
}

fn site(web: &Web, exchange: &mut Exchange, journey: &mut Journey) -> Verdict {
    journey.site = web.hosts.find(exchange.head.host());
    let Some(site) = journey.site(web) else {
        // Under TLS the client may have come by another name's connection and can come again by its own (RFC 9110 15.5.20).
        let status = if exchange.connection.secure { 421 } else { 404 };
        return Failure::new(status, Blame::Client, "unknown-host", "no site has this name").into();
    };
    exchange.notes.site = Some(Rc::clone(&site.name));
    Verdict::Next
}

fn number(web: &Web, exchange: &mut Exchange, journey: &mut Journey) -> Verdict {
    if journey.site(web).is_some_and(|site| site.settings.request_id) {
        let sent = exchange.head.get("x-request-id");
        let id = match sent.filter(|id| journey.from_trusted_proxy && client::is_request_id(id)) {
            Some(id) => bytes::Bytes::copy_from_slice(id),
            None => web.worker.request_id(),
        };
        exchange.head.remove_field("x-request-id");
        exchange.head.push_field("x-request-id", &id);
        exchange.notes.request_id = Some(id);
    }
    Verdict::Next
}

fn secure(web: &Web, exchange: &mut Exchange, journey: &mut Journey) -> Verdict {
    let Some(port) = journey.site(web).and_then(|site| site.https_port) else { return Verdict::Next };
    // Certificates are proven over plain http (RFC 8555 8.3): that path is the one exception.
    if exchange.head.scheme() == Scheme::Https
        || exchange.head.path().starts_with("/.well-known/acme-challenge/")
    {
        return Verdict::Next;
    }
    let (host, target) = (exchange.head.host(), exchange.head.target());
    if host.is_empty() || !target.starts_with('/') {
        return Failure::new(400, Blame::Client, "host-missing", "cannot be sent to https without a host")
            .into();
    }
    let location = if port == 443 {
        format!("https://{host}{target}")
    } else {
        format!("https://{host}:{port}{target}")
    };
    exchange.response.status = 308;
    exchange.response.fields.set("location", location);
    Verdict::Answer
}

fn route(web: &Web, exchange: &mut Exchange, journey: &mut Journey) -> Verdict {
    let Some(site) = journey.site(web) else { return Verdict::Next };
    if server_options(exchange) {
        return Verdict::Answer;
    }
    let client = exchange.client().to_canonical();
    let routes = &site.settings.routes;
    let mut from = 0;
    while let Some(place) = site.index.find(routes, from, &exchange.head, client) {
        exchange.notes.route = u32::try_from(place).ok();
        let Some((settings, parts)) = site.route(place) else { break };
        match parts.action.rewrite(settings, exchange) {
            None => {
                journey.route = Some(place);
                return Verdict::Next;
            }
            Some(Err(failure)) => return failure.into(),
            Some(Ok(())) => {}
        }
        // Always further down the list: rewrites cannot go round in circles.
        let Some(slot) = journey.passed.get_mut(journey.passed_count) else {
            return Failure::new(500, Blame::Operator, "too-many-rewrites", "more than 8 rewrites in a row")
                .into();
        };
        *slot = place;
        journey.passed_count += 1;
        from = place + 1;
    }
    let methods = other_methods(routes, &exchange.head, client);
    if methods.is_empty() {
        return Failure::new(404, Blame::Client, "no-route", "no route takes this request").into();
    }
    exchange.response.fields.set("allow", methods.join(", "));
    Failure::new(405, Blame::Client, "method-not-allowed", "routes for this path take other methods").into()
}

fn admit(web: &Web, exchange: &mut Exchange, journey: &mut Journey) -> Verdict {
    let client = exchange.client();
    if journey.routes(web).all(|(route, _)| allowed(client, &route.allow, &route.deny)) {
        return Verdict::Next;
    }
    Failure::new(403, Blame::Client, "address-denied", "the route does not admit this address").into()
}

fn limit(web: &Web, exchange: &mut Exchange, journey: &mut Journey) -> Verdict {
    count_limits(web, exchange, journey, false)
}

fn limit_users(web: &Web, exchange: &mut Exchange, journey: &mut Journey) -> Verdict {
    count_limits(web, exchange, journey, true)
}

/// Counts the request against the rates by user, or against all others.
fn count_limits(web: &Web, exchange: &mut Exchange, journey: &Journey, by_user: bool) -> Verdict {
    let client = exchange.client();
    let mut least = u32::MAX;
    for (_, parts) in journey.routes(web) {
        for limit in
            parts.limits.iter().filter(|limit| (limit.limiter.rate().key == RateKey::User) == by_user)
        {
            let (key, now) = (&limit.limiter.rate().key, exchange.started);
            let allowance = match (key, &exchange.notes.user) {
                (RateKey::All, _) => limit.limiter.check(&(), now),
                (RateKey::User, Some(user)) => limit.limiter.check(&**user, now),
                // Who does not send the field shares one place with all who do not.
                (RateKey::Header(name), _) => limit.limiter.check(&exchange.head.get(name), now),
                (RateKey::Ip | RateKey::User, _) => limit.limiter.check(&address_key(client), now),
            };
            if !allowance.admitted || allowance.remaining < least {
                least = allowance.remaining;
                limit.fields.write(&allowance, &mut exchange.response.fields);
            }
            if !allowance.admitted {
                exchange.notes.limit = Some(limit.fields.name());
                return Failure::new(429, Blame::Load, "rate-limited", "over the route's rate").into();
            }
        }
    }
    Verdict::Next
}

fn preflight(web: &Web, exchange: &mut Exchange, journey: &mut Journey) -> Verdict {
    match journey.route(web).and_then(|(_, parts)| parts.cors.as_ref()) {
        Some(cors) if cors.preflight(exchange) => Verdict::Answer,
        _ => Verdict::Next,
    }
}

fn authorise(web: &Web, exchange: &mut Exchange, journey: &mut Journey) -> Verdict {
    let mut questions = Vec::new();
    for auth in journey.routes(web).filter_map(|(_, parts)| parts.auth.as_ref()) {
        match auth.look(&exchange.head, web.worker.verified(), exchange.started) {
            Looked::Known(user) => welcome(exchange, user),
            Looked::Ask(question) => questions.push(question),
            Looked::Refused(failure) => {
                exchange.response.fields.set("www-authenticate", auth.challenge());
                return failure.into();
            }
        }
    }
    if questions.is_empty() {
        if exchange.notes.user.is_some() {
            exchange.head.remove_field("authorization");
        }
        return Verdict::Next;
    }
    let (desk, verified) = web.worker.passwords();
    Verdict::Wait(Box::new(move |mut exchange| {
        Box::pin(async move {
            for question in questions {
                let challenge = question.challenge();
                match question.ask(&desk, &verified, exchange.started).await {
                    Ok(user) => welcome(&mut exchange, user),
                    Err(failure) => {
                        match failure.status {
                            401 => exchange.response.fields.set("www-authenticate", challenge),
                            _ => exchange.response.fields.set("retry-after", "1"),
                        }
                        exchange.notes.user = None;
                        return (exchange, failure.into());
                    }
                }
            }
            exchange.head.remove_field("authorization");
            (exchange, Verdict::Next)
        })
    }))
}

/// The same for routes that want a login of this house.
fn sign_in(web: &Web, exchange: &mut Exchange, journey: &mut Journey) -> Verdict {
    let mut rules = journey.routes(web).filter_map(|(route, _)| match &route.auth {
        Some(Auth::Login(rule)) => Some(rule),
        _ => None,
    });
    let Some(first) = rules.next() else { return Verdict::Next };
    let rules: Vec<LoginRule> = std::iter::once(first).chain(rules).cloned().collect();
    // Our own roles may look at it again; another server would be that user with it.
    let leaves = journey.route(web).is_some_and(|(route, _)| matches!(route.action, Action::Proxy(_)));
    let Some(logins) = web.worker.logins() else { return login::nobody_knows().into() };
    let shown = logins.look(&exchange.head);
    let asking = match shown {
        login::Shown::Known(who) => return signed_in(exchange, Ok(who), &rules, leaves),
        login::Shown::Nobody(not) => return signed_in(exchange, Err(not), &rules, leaves),
        login::Shown::Ask(asking) => asking,
    };
    Verdict::Wait(Box::new(move |mut exchange| {
        Box::pin(async move {
            let found = asking.await;
            let verdict = signed_in(&mut exchange, found, &rules, leaves);
            (exchange, verdict)
        })
    }))
}

fn signed_in(
    exchange: &mut Exchange,
    found: Result<login::SignedIn, login::NotSignedIn>,
    rules: &[LoginRule],
    leaves: bool,
) -> Verdict {
    let who = match found {
        Ok(who) => who,
        Err(not) => {
            if not.status == 401 {
                exchange.response.fields.set("www-authenticate", login::CHALLENGE);
            }
            return login::refused(not).into();
        }
    };
    // Who is refused is noted as well: the record tells who wanted what.
    welcome(exchange, Rc::clone(&who.name));
    for rule in rules {
        if let Err(failure) = login::admit(rule, &who) {
            return failure.into();
        }
    }
    if leaves {
        exchange.head.remove_field("authorization");
    }
    Verdict::Next
}

/// Notes who asks, for limits, the record and `madang connections`.
fn welcome(exchange: &mut Exchange, user: Rc<str>) {
    exchange.connection.set_user(Some(Rc::clone(&user)));
    exchange.notes.user = Some(user);
}

fn bound(web: &Web, exchange: &mut Exchange, journey: &mut Journey) -> Verdict {
    let own = journey.routes(web).filter_map(|(route, _)| route.body_max).last();
    if let Some(max) = own {
        exchange.body.set_limit(max);
    }
    match (exchange.head.framing(), own.or_else(|| exchange.body.limit())) {
        // Known to be too much: said before a byte of it is read, and before a server is asked.
        (Framing::Length(length), Some(max)) if length > max => {
            let limit = if own.is_some() { "body_max" } else { "body_bytes_max" };
            exchange.notes.limit = Some(limit);
            let why = format!("announces {length} bytes, {limit} is {max}");
            Failure::new(413, Blame::Client, "body-too-large", why).into()
        }
        _ => Verdict::Next,
    }
}

fn answer(web: &Web, exchange: &mut Exchange, journey: &mut Journey) -> Verdict {
    let Some((route, parts)) = journey.route(web) else { return Verdict::Next };
    parts.action.answer(route, exchange)
}

fn explain(web: &Web, exchange: &mut Exchange, journey: &Journey) {
    let own = journey.site(web).map_or(&[][..], |site| &site.pages);
    let Some(failure) = &journey.failure else { return };
    exchange.notes.error = Some(failure.name);
    if exchange.notes.request_id.is_none() {
        // An error page is something people ask about: it always has an id to ask by.
        exchange.notes.request_id = Some(web.worker.request_id());
    }
    web.worker.recorder().failed(exchange, failure);
    error_page::write(exchange, failure, own);
}

const POLICY: &str = "content-security-policy";

fn shape(web: &Web, exchange: &mut Exchange, journey: &Journey) {
    if let Some(id) = &exchange.notes.request_id {
        exchange.response.fields.set("x-request-id", id.clone());
    }
    let Some(site) = journey.site(web) else { return };
    site.shape.apply(&mut exchange.response, exchange.head.scheme() == Scheme::Https);
    let Some((route, parts)) = journey.route(web) else { return };
    if matches!(route.auth, Some(Auth::Login(_))) && exchange.response.fields.get("cache-control").is_none() {
        // Made for somebody who is signed in, perhaps by a cookie: no cache between us may give it to others.
        exchange.response.fields.set("cache-control", "private");
    }
    if let Some(cors) = &parts.cors {
        cors.apply(&exchange.head, &mut exchange.response);
    }
    // The policy of our own error page fits that page only, and no other policy does.
    let own = journey.failure.as_ref().and_then(|_| exchange.response.fields.get(POLICY).map(<[u8]>::to_vec));
    parts.shape.apply(&mut exchange.response);
    if let Some(own) = own {
        exchange.response.fields.set(POLICY, Bytes::from(own));
    }
}

fn record(web: &Web, exchange: &Exchange, outcome: Outcome) {
    web.worker.recorder().record(exchange, outcome);
}

/// How far the deciding steps came.
enum Progress {
    Decided,
    Waits(Resume, usize),
    Hands(Rc<dyn Service>),
}

/// Takes a request through the whole way.
pub(crate) fn run(web: &Rc<Web>, mut exchange: Box<Exchange>) -> Reply {
    let mut journey = Journey::default();
    match decide(web, &mut exchange, &mut journey, 0) {
        Progress::Decided => {
            finish(web, &mut exchange, &journey);
            Reply::Now(exchange)
        }
        Progress::Waits(resume, next) => {
            Reply::Later(Box::pin(go_on(Rc::clone(web), exchange, journey, resume, next)))
        }
        Progress::Hands(service) => match service.call(exchange) {
            Reply::Now(mut exchange) => {
                taken_back(&mut exchange, &mut journey);
                finish(web, &mut exchange, &journey);
                Reply::Now(exchange)
            }
            Reply::Later(answer) => {
                let web = Rc::clone(web);
                Reply::Later(Box::pin(async move {
                    let mut exchange = answer.await;
                    taken_back(&mut exchange, &mut journey);
                    finish(&web, &mut exchange, &journey);
                    exchange
                }))
            }
        },
    }
}

/// The way from a step that waits.
async fn go_on(
    web: Rc<Web>,
    mut exchange: Box<Exchange>,
    mut journey: Journey,
    mut resume: Resume,
    mut next: usize,
) -> Box<Exchange> {
    loop {
        let (back, verdict) = resume(exchange).await;
        exchange = back;
        let progress = match judge(verdict, &mut journey) {
            None => decide(&web, &mut exchange, &mut journey, next),
            Some(Progress::Waits(again, _)) => Progress::Waits(again, next),
            Some(progress) => progress,
        };
        match progress {
            Progress::Decided => break,
            Progress::Waits(again, then) => (resume, next) = (again, then),
            Progress::Hands(service) => {
                exchange = match service.call(exchange) {
                    Reply::Now(exchange) => exchange,
                    Reply::Later(answer) => answer.await,
                };
                taken_back(&mut exchange, &mut journey);
                break;
            }
        }
    }
    finish(&web, &mut exchange, &journey);
    exchange
}

/// A role that could not answer names the error and leaves the page to us.
fn taken_back(exchange: &mut Exchange, journey: &mut Journey) {
    let status = exchange.response.status;
    if let Some(name) = exchange.notes.error
        && status >= 400
        && exchange.response.body.is_empty()
    {
        let blame = match status {
            502 | 504 => Blame::Upstream,
            // Not too much work but nobody to do it.
            503 if name == "pool-nobody-up" => Blame::Upstream,
            500.. => Blame::Load,
            _ => Blame::Client,
        };
        let detail = exchange.notes.error_detail.take().unwrap_or_default();
        journey.failure = Some(Failure::new(status, blame, name, detail));
    }
}

/// Runs deciding steps from `from` until one decides.
fn decide(web: &Web, exchange: &mut Exchange, journey: &mut Journey, from: usize) -> Progress {
    for (place, step) in PIPELINE.iter().enumerate().skip(from) {
        let Run::Decide(run) = step.run else { break };
        let verdict = run(web, exchange, journey);
        match judge(verdict, journey) {
            None => {}
            Some(Progress::Waits(resume, _)) => return Progress::Waits(resume, place + 1),
            Some(progress) => return progress,
        }
    }
    journey.failure = Some(Failure::new(404, Blame::Client, "no-answer", "the route had nothing to say"));
    Progress::Decided
}

/// What a verdict means for the way; `None`: the next step.
fn judge(verdict: Verdict, journey: &mut Journey) -> Option<Progress> {
    match verdict {
        Verdict::Next => None,
        Verdict::Answer => Some(Progress::Decided),
        Verdict::Wait(resume) => Some(Progress::Waits(resume, 0)),
        Verdict::Hand(service) => Some(Progress::Hands(service)),
        Verdict::Fail(failure) => {
            journey.failure = Some(failure);
            Some(Progress::Decided)
        }
    }
}

/// What every answer passes.
fn finish(web: &Web, exchange: &mut Exchange, journey: &Journey) {
    for step in PIPELINE {
        if let Run::Finish(run) = step.run {
            run(web, exchange, journey);
        }
    }
}

/// After the answer left.
pub(crate) fn recorded(web: &Web, exchange: &Exchange, outcome: Outcome) {
    for step in PIPELINE {
        if let Run::Record(run) = step.run {
            run(web, exchange, outcome);
        }
    }
}
