//! Goal: whatever happens to an app's instances, somebody is there for its requests, nobody is there twice, and it comes to
//! rest as it is wanted.
//! Method: a world of processes that start slowly, get well, get sick, crash, ignore TERM; versions that are good or broken;
//! an operator who deploys, restarts, scales and goes back. One seed plays one history; the invariants are looked at whenever
//! everything that was due is done.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use madang_host::draws::Draws;
use madang_host::process::exit::Exit;
use madang_http::check::{Check, HealthSettings};
use madang_supervise::app::{Action, App, Place};
use madang_supervise::config::{
    AppSettings, AtMost, DeploySettings, Environment, Give, ImageSettings, Kind, Limits, Program, Ready,
    RestartSettings, ScaleBy, ScaleSettings, StopSettings, StopSignal, Target,
};
use madang_supervise::life::Look;
use madang_supervise::releases::resume::resume;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn program(name: &str) -> Arc<Program> {
    Arc::new(Program {
        run: vec![name.to_owned()],
        dir: PathBuf::from("/"),
        user: None,
        environment: Environment::default(),
        give: Give::Port,
        limits: Limits::default(),
        no_new_privs: true,
        read_only: Vec::new(),
        image: ImageSettings::default(),
        root: None,
        image_user: None,
    })
}

fn settings(instances: u32) -> AppSettings {
    AppSettings {
        per_connection: None,
        log_files: 2,
        log_rate: 1 << 20,
        name: "hello".into(),
        program: program("good"),
        kind: Kind::Service,
        instances_min: instances,
        instances_max: instances,
        ready: Ready::Health,
        health: HealthSettings {
            check: Check::Tcp,
            every: seconds(1),
            timeout: seconds(1),
            rise: 1,
            fall: 3,
            host: None,
            port: None,
            tls: None,
        },
        start_within: seconds(20),
        restart: RestartSettings { after: seconds(1), longest: seconds(10), at_most: AtMost::Always },
        stop: StopSettings { drain: seconds(10), signal: StopSignal::Term, grace: seconds(5) },
        after: Vec::new(),
        deploy: DeploySettings {
            steps: vec![10, 50, 100],
            pause: seconds(5),
            healthy_within: seconds(30),
            watch: seconds(10),
            keep: 3,
            disk: 1 << 30,
        },
        scale: ScaleSettings {
            targets: vec![Target { by: ScaleBy::InFlight, each: 16.0 }],
            up: seconds(3),
            down: seconds(60),
            idle: seconds(600),
        },
        max_connections: 0,
        log_keep: 1 << 20,
    }
}

struct Process {
    /// `broken`: never well; `flaky`: ends soon after it got well; else good.
    kind: String,
    well_at: Instant,
    ends_at: Option<Instant>,
    deaf: bool,
    open: u32,
    asked: bool,
}

struct World {
    app: App,
    now: Instant,
    draws: Draws,
    processes: BTreeMap<u32, Process>,
    places: Vec<Place>,
    told: Vec<String>,
    /// The version on its way in.
    under_way: Option<u32>,
    /// Requests that were open where SIGTERM went before their time to drain was over.
    cut: u32,
    deaf_percent: u64,
}

impl World {
    fn new(settings: AppSettings, seed: u64) -> Self {
        let now = madang_host::clock::now();
        let settings = Arc::new(settings);
        let resumed = resume(None, &settings.program, Path::new("/"), &BTreeSet::new());
        let mut app = App::new(settings, resumed, seed, now);
        app.allow();
        Self {
            app,
            now,
            draws: Draws::new(seed),
            processes: BTreeMap::new(),
            places: Vec::new(),
            told: Vec::new(),
            under_way: None,
            cut: 0,
            deaf_percent: 0,
        }
    }

    fn is_well(&self, number: u32) -> bool {
        let process = &self.processes[&number];
        process.kind != "broken" && self.now >= process.well_at
    }

    /// Instances that a request can go to.
    fn serving(&self) -> usize {
        let serves = |place: &&Place| {
            place.weight > 0
                && !place.draining
                && self.processes.contains_key(&place.instance)
                && self.is_well(place.instance)
        };
        self.places.iter().filter(serves).count()
    }

    /// Goes on by 100 ms.
    fn tick(&mut self) {
        self.now += Duration::from_millis(100);
        let over: Vec<u32> = self
            .processes
            .iter()
            .filter(|(_, process)| process.ends_at.is_some_and(|at| self.now >= at))
            .map(|(number, _)| *number)
            .collect();
        for number in over {
            let asked = self.processes.remove(&number).unwrap().asked;
            let exit = if asked { Exit::Code(0) } else { Exit::Signal { number: 9, core: false } };
            self.app.ended(number, &exit, &[], self.now);
        }
        // Requests come and go where they may.
        for place in &self.places {
            let Some(process) = self.processes.get_mut(&place.instance) else { continue };
            let open = place.weight > 0 && !place.draining;
            process.open = match (open, self.draws.below(4)) {
                (true, 0) => process.open + 1,
                (_, 1 | 2) => process.open.saturating_sub(1),
                _ => process.open,
            };
        }
        let looks: Vec<(u32, Look)> = self
            .processes
            .keys()
            .map(|number| {
                let placed = self.places.iter().any(|place| place.instance == *number);
                let in_flight = self.processes[number].open;
                // Not well is known only once it was.
                let fit = placed.then(|| self.is_well(*number)).filter(|well| *well);
                (*number, Look { fit, notified: false, in_flight })
            })
            .collect();
        for (number, look) in looks {
            self.app.see(number, look);
        }
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.app.poll(self.now) {
            match action {
                Action::Start { instance, release } => {
                    let kind = release.program.run[0].clone();
                    let well_at = self.now + self.draws.up_to(seconds(5));
                    let ends_at = (kind == "flaky").then(|| well_at + self.draws.up_to(seconds(8)));
                    let deaf = self.draws.below(100) < self.deaf_percent;
                    let process = Process { kind, well_at, ends_at, deaf, open: 0, asked: false };
                    assert!(self.processes.insert(instance, process).is_none(), "started twice");
                    self.app.started(instance);
                }
                Action::Stop(instance) => {
                    let place = self.places.iter().find(|place| place.instance == instance);
                    assert!(place.is_none_or(|place| place.draining), "asked to end while it gets requests");
                    let process = self.processes.get_mut(&instance).unwrap();
                    self.cut += process.open;
                    process.asked = true;
                    if !process.deaf {
                        process.ends_at = Some(self.now + self.draws.up_to(seconds(1)));
                    }
                }
                Action::Kill(instance) => {
                    self.processes.get_mut(&instance).unwrap().ends_at = Some(self.now);
                }
                Action::Places => self.places = self.app.places(),
                Action::Tell(_, sentence) => self.told.push(sentence),
                Action::Begun { version, .. } => {
                    assert_eq!(self.under_way.replace(version), None, "two versions on their way in");
                }
                Action::Over { version, .. } => {
                    assert_eq!(self.under_way.take(), Some(version), "over without having begun");
                }
                Action::Forget(_) => panic!("no files are made here"),
                Action::AskSchedule => panic!("not a job"),
            }
        }
        let view = self.app.view(self.now);
        for version in view.instances.iter().map(|instance| instance.version) {
            let stay = view.instances.iter().filter(|instance| {
                instance.version == version && matches!(instance.state, "starting" | "ready" | "sick")
            });
            assert!(stay.count() <= view.wanted.max(1) as usize, "more than wanted: {view:?}");
        }
    }

    #[track_caller]
    fn until(&mut self, limit: Duration, mut so: impl FnMut(&Self) -> bool) {
        let deadline = self.now + limit;
        while !so(self) {
            assert!(
                self.now < deadline,
                "not within {limit:?}: {:?}\n{:#?}",
                self.app.view(self.now),
                self.told
            );
            self.tick();
        }
    }

    fn is_at_rest(&self, instances: usize) -> bool {
        let view = self.app.view(self.now);
        let ready = view.instances.iter().all(|instance| instance.state == "ready");
        view.deploy.is_none()
            && view.instances.len() == instances
            && ready
            && self.processes.len() == instances
    }
}

// Goal: deploys, restarts and rollbacks never leave requests without an instance, good ones come in, broken ones do not.
// Method: two instances, thirty changes in a row, half of them of versions that are broken in two ways.
#[test]
fn changes_of_version_never_leave_requests_alone() {
    for seed in 0..40 {
        let mut world = World::new(settings(2), seed);
        world.until(seconds(30), |world| world.is_at_rest(2));
        let mut draws = Draws::new(seed);
        let mut expected = "good".to_owned();
        for change in 0..8 {
            let kind = match draws.below(5) {
                0 => "broken".to_owned(),
                1 => "flaky".to_owned(),
                2 => expected.clone(),
                _ => format!("good-{change}"),
            };
            if kind == expected {
                world.app.restart(world.now).unwrap();
            } else {
                world.app.deploy(program(&kind), world.now).unwrap();
            }
            let deadline = world.now + seconds(120);
            while world.app.view(world.now).deploy.is_some() || !world.is_at_rest(2) {
                world.tick();
                assert!(world.serving() > 0, "seed {seed}: nobody serves\n{:#?}", world.told);
                assert!(world.now < deadline, "seed {seed}: {:#?}", world.told);
            }
            let lost = world.app.view(world.now).last_deploy.unwrap().1;
            assert_eq!(lost.is_some(), matches!(kind.as_str(), "broken" | "flaky"), "{kind}: {lost:?}");
            if lost.is_none() {
                expected = kind;
            }
            assert_eq!(world.app.view(world.now).version.run, [expected.clone()]);
        }
        assert_eq!(world.cut, 0, "seed {seed}: requests were cut");
    }
}

// Goal: an instance that is killed is replaced, and the other one serves meanwhile.
#[test]
fn killed_instances_come_back() {
    for seed in 0..40 {
        let mut world = World::new(settings(2), seed);
        world.until(seconds(30), |world| world.is_at_rest(2));
        for _ in 0..30 {
            let victim = *world.processes.keys().next().unwrap();
            world.processes.get_mut(&victim).unwrap().ends_at = Some(world.now);
            world.tick();
            let deadline = world.now + seconds(60);
            while !world.is_at_rest(2) {
                assert!(world.serving() > 0, "seed {seed}: nobody serves\n{:#?}", world.told);
                assert!(world.now < deadline, "seed {seed}: {:#?}", world.told);
                world.tick();
            }
        }
    }
}

// Goal: an app whose every start fails is given up in bounded time, and comes back when somebody starts it.
#[test]
fn a_crash_loop_ends_in_failed_and_a_start_forgives() {
    let mut settings = settings(1);
    settings.program = program("flaky");
    settings.restart.at_most = AtMost::Count(5, seconds(600));
    let mut world = World::new(settings, 3);
    world.until(seconds(300), |world| world.app.view(world.now).state == "failed");
    assert!(
        world.told.iter().any(|told| told.contains("has failed: it ended 6 times within 10m")),
        "{:#?}",
        world.told
    );
    for _ in 0..1000 {
        world.tick();
    }
    assert!(world.processes.is_empty(), "nothing is started any more");
    world.app.deploy(program("good"), world.now).unwrap();
    world.until(seconds(120), |world| world.is_at_rest(1));
    assert_eq!(world.app.view(world.now).state, "running");
}

// Goal: scaling by order goes up and down without cutting a request; what ignores TERM is killed.
#[test]
fn scaling_and_stopping_cut_nobody() {
    for seed in 0..20 {
        let mut world = World::new(settings(2), seed);
        world.deaf_percent = 30;
        world.until(seconds(30), |world| world.is_at_rest(2));
        for count in [5, 1, 3, 8, 2] {
            world.app.scale(count, world.now).unwrap();
            let deadline = world.now + seconds(60);
            while !world.is_at_rest(count as usize) {
                world.tick();
                assert!(world.serving() > 0, "seed {seed}: {:#?}", world.told);
                assert!(world.now < deadline, "seed {seed}: {:#?}", world.told);
            }
        }
        assert_eq!(world.cut, 0);
        world.app.stop_all(world.now);
        world.until(seconds(60), |world| world.processes.is_empty());
        assert_eq!(world.app.view(world.now).state, "stopped");
        world.app.start_all(world.now);
        world.until(seconds(60), |world| world.is_at_rest(2));
    }
}

// Goal: whatever is ordered in whatever order, among crashes, it comes to rest as wanted. Method: random histories.
#[test]
fn every_history_comes_to_rest() {
    for seed in 0..200 {
        let mut world = World::new(settings(3), seed);
        world.deaf_percent = 10;
        let mut draws = Draws::new(seed ^ 0xABCD);
        let mut wanted = 3;
        for _ in 0..60 {
            let now = world.now;
            // Refusals are answers too.
            match draws.below(10) {
                0 => drop(world.app.deploy(program(&format!("good-{}", draws.below(5))), now)),
                1 => drop(world.app.deploy(program("broken"), now)),
                2 => drop(world.app.deploy(program("flaky"), now)),
                3 => drop(world.app.restart(now)),
                4 => drop(world.app.roll_back(None, now)),
                5 => {
                    wanted = 1 + u32::try_from(draws.below(5)).unwrap();
                    world.app.scale(wanted, now).unwrap();
                }
                6 => world.app.stop_all(now),
                7 => world.app.start_all(now),
                _ => {
                    if let Some((_, process)) = world.processes.iter_mut().next() {
                        process.ends_at = Some(now);
                    }
                }
            }
            for _ in 0..draws.below(100) {
                world.tick();
            }
        }
        // Flaky and broken versions may be what is there: a good one must come in all the same.
        world.app.start_all(world.now);
        world.until(seconds(120), |world| world.app.view(world.now).deploy.is_none());
        world.app.deploy(program("last"), world.now).unwrap();
        world.until(seconds(200), |world| world.is_at_rest(wanted as usize));
        assert_eq!(world.app.view(world.now).version.run, ["last"], "seed {seed}: {:#?}", world.told);
    }
}
