//! Goal: apps are read as documented, every wrong value is named at its place, and no text breaks the reader.
//! Method: settings as text in, checked values or problems out; random values for random keys.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use madang_settings::report::Report;
use madang_settings::schema::{Key, Kind as Form, Section};
use madang_settings::source::{self, Source};
use proptest::prelude::*;

use super::*;

static ROOT: Section = Section {
    title: "root",
    doc: "Apps only.",
    keys: &[Key { name: "app", kind: Form::Named(&APP), default: "", doc: "Apps." }],
};

struct OneFile(String);

impl Source for OneFile {
    fn read(&self, _: &Path) -> io::Result<String> {
        Ok(self.0.clone())
    }
    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}

fn read_in(folder: &Path, text: &str) -> (Vec<Arc<AppSettings>>, Vec<String>) {
    let mut report = Report::default();
    let file = folder.join("a.toml");
    let tree = source::load(&file, &BTreeMap::new(), &OneFile(text.to_owned()), &mut report);
    let mut root = Reader::root(&tree, &ROOT, &mut report);
    let apps = root.named("app", &APP, |r, name| Arc::new(AppSettings::read(r, name)));
    check_order(&mut root, &apps);
    let json = report.to_json();
    let text = |problem: &serde_json::Value, key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    let told = json["problems"].as_array().unwrap().iter();
    (apps, told.map(|problem| format!("{}: {}", text(problem, "key"), text(problem, "message"))).collect())
}

fn read(text: &str) -> (Vec<Arc<AppSettings>>, Vec<String>) {
    read_in(Path::new("/"), text)
}

#[track_caller]
pub(crate) fn good(text: &str) -> Arc<AppSettings> {
    let (mut apps, problems) = read(text);
    assert_eq!(problems, Vec::<String>::new());
    apps.pop().unwrap()
}

#[test]
fn an_app_of_one_line_has_every_default() {
    let app = good("[app.hello]\nrun = \"true\"");
    assert_eq!((app.instances_min, app.instances_max, app.ready), (1, 1, Ready::Health));
    assert_eq!((&app.kind, app.health.check.clone(), app.health.rise), (&Kind::Service, Check::Tcp, 1));
    assert_eq!(app.program.run, ["true"]);
    assert_eq!(
        (app.program.give, app.program.user.as_ref(), app.program.no_new_privs),
        (Give::Port, None, true)
    );
    assert_eq!(app.program.limits, Limits::default());
    let seconds = Duration::from_secs;
    let restart =
        RestartSettings { after: seconds(5), longest: seconds(60), at_most: AtMost::Count(10, seconds(600)) };
    assert_eq!(app.restart, restart);
    assert_eq!(app.stop, StopSettings { drain: seconds(30), signal: StopSignal::Term, grace: seconds(10) });
    assert_eq!((app.deploy.steps.as_slice(), app.deploy.keep), (&[100][..], 3));
    assert_eq!(app.scale.targets, [Target { by: ScaleBy::InFlight, each: 16.0 }]);
    assert!(!app.scales());
}

#[test]
fn every_key_is_read() {
    let app = good(
        r#"
[app.db]
run = "true"
[app.hello]
run = ["sh", "-c", "exec sleep 1"]
dir = "/tmp"
user = "root"
env = { A = "1", PATH = "/bin:/usr/bin" }
instances = { min = 0, max = 8 }
give = "listener"
ready = "notify"
health = { path = "/healthz", every = "2s" }
start_within = "5s"
restart = { after = "1s", longest = "10s", at_most = "always" }
stop = { drain = "1s", signal = "INT", grace = "2s" }
limits = { memory = "128MiB", cpu = "150%", pids = 20 }
harden = { no_new_privs = false, read_only = "/usr" }
after = "db"
deploy = { steps = ["10%", "50%", "100%"], pause = "1s", healthy_within = "3s", watch = "0s", keep = 1 }
scale = { by = "latency", target = "50ms", up = "1s", down = "5s", idle = "1m" }
log = { keep = "1MiB" }
"#,
    );
    assert_eq!((app.instances_min, app.instances_max, app.scales()), (0, 8, true));
    assert_eq!((app.ready, app.program.give), (Ready::Notify, Give::Listener));
    assert_eq!(app.program.environment.get("A"), Some("1"));
    let limits = Limits { memory: Some(128 << 20), cpu: Some(150), pids: Some(20) };
    assert_eq!((app.program.limits, app.program.no_new_privs), (limits, false));
    assert_eq!(app.program.read_only, [PathBuf::from("/usr")]);
    assert_eq!((app.restart.at_most, app.stop.signal), (AtMost::Always, StopSignal::Int));
    assert_eq!((app.deploy.steps.as_slice(), app.deploy.keep), (&[10, 50, 100][..], 1));
    assert_eq!(app.scale.targets, [Target { by: ScaleBy::Latency, each: 50_000.0 }]);
    assert_eq!(app.log_keep, 1 << 20);

    let job = |text: &str| good(&format!("[app.job]\nrun = \"true\"\n{text}")).kind.clone();
    assert_eq!(job("once = true"), Kind::Once);
    assert_eq!(job("every = \"1h\""), Kind::Every(Duration::from_secs(3600)));
    assert!(matches!(job("schedule = \"@daily\""), Kind::At(_)));
}

#[test]
fn what_is_wrong_is_named_at_its_place() {
    check("", &["app.a.run: `run` is missing: the program and its arguments"]);
    check("run = []", &["app.a.run: `run` is empty: it needs a program"]);
    check("run = \"no-such-program-here\"", &["app.a.run: \"no-such-program-here\" is not in PATH"]);
    check("run = \"/etc/passwd\"", &["app.a.run: /etc/passwd is not executable"]);
    check("run = \"/etc\"", &["app.a.run: /etc is a folder, a program is needed"]);
    with("dir = \"/no/such\"", &["app.a.dir: there is no folder /no/such"]);
    with("user = \"nobody-of-this-name\"", &["app.a.user: this machine has no user \"nobody-of-this-name\""]);
    with("env = { \"A B\" = \"1\" }", &["app.a.env: \"A B\" cannot be the name of a variable"]);
    with(
        "env = { PORT = \"1\" }",
        &["app.a.env: PORT is what Madang tells the app: it would be overwritten"],
    );
    with("instances = 0", &["app.a.instances: 0 is not a number from 1 to 64"]);
    with("instances = { min = 3, max = 2 }", &["app.a.instances.min: min = 3 is more than max = 2"]);
    with("scale = { by = \"cpu\" }", &["app.a.scale: there is nothing to scale: `instances` is one number"]);
    with("restart = { at_most = \"often\" }", &["app.a.restart.at_most: \"often\" is no count of restarts"]);
    with(
        "restart = { at_most = \"0 per 1m\" }",
        &["app.a.restart.at_most: \"0 per 1m\" is no count of restarts"],
    );
    with(
        "restart = { after = \"5s\", longest = \"1s\" }",
        &["app.a.restart.longest: `longest` is shorter than `after`"],
    );
    with("limits = { cpu = \"half\" }", &["app.a.limits.cpu: \"half\" is not a share of CPU time"]);
    with("deploy = { steps = \"10\" }", &["app.a.deploy.steps: \"10\" is no share of the requests"]);
    with(
        "deploy = { steps = [\"50%\", \"10%\"] }",
        &["app.a.deploy.steps: the steps must grow and end with \"100%\""],
    );
    with(
        "instances = { min = 1, max = 2 }\nscale = { by = \"latency\", target = \"16\" }",
        &["app.a.scale.target: \"16\" is no target"],
    );
    with("once = true\nevery = \"1h\"", &["app.a.every: a job has one of `once`, `every` and `schedule`"]);
    with(
        "every = \"1h\"\ninstances = 2",
        &["app.a.instances: a job takes no requests: `instances` has no effect on it"],
    );
    with("schedule = \"* * *\"", &["app.a.schedule: a schedule has 5 fields, not 3"]);
    with("after = \"b\"", &["app.a.after: there is no app \"b\""]);
    with("after = \"a\"", &["app.a.after: these apps wait for each other: a after a"]);
    with("[app.\"a/b\"]\nrun = \"true\"", &["app.a/b: \"a/b\" cannot be the name of an app"]);
    with(
        "[app.b]\nrun = \"true\"\nevery = \"1s\"\n[app.c]\nrun = \"true\"\nafter = \"b\"",
        &["app.c.after: b is a job that comes again and again: nobody can wait for its end"],
    );

    #[track_caller]
    fn check(text: &str, want: &[&str]) {
        assert_eq!(read(&format!("[app.a]\n{text}\n")).1, want);
    }
    #[track_caller]
    fn with(text: &str, want: &[&str]) {
        check(&format!("run = \"true\"\n{text}"), want);
    }
}

// Goal: files of variables are read, the inline ones win, and neither a problem nor `Debug` shows a value.
#[test]
fn variables_come_from_files_and_are_never_shown() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write("env", "# a comment\n\nA=file\nexport B = 'in quotes'\nC=x=y\n", 0o644);
    write("secrets", "TOKEN=hunter2\nA=secret\n", 0o600);
    write("open", "TOKEN=hunter2\nhunter2\nPORT=hunter2\n", 0o644);
    let app = |keys: &str| read_in(folder.path(), &format!("[app.a]\nrun = \"true\"\n{keys}"));

    let (apps, problems) =
        app("env_file = \"env\"\nsecrets_file = \"secrets\"\nenv = { D = \"inline\", C = \"wins\" }");
    assert_eq!(problems, Vec::<String>::new());
    let environment = &apps[0].program.environment;
    let all: Vec<_> = environment.iter().collect();
    assert_eq!(
        all,
        [("A", "file"), ("B", "in quotes"), ("C", "wins"), ("D", "inline"), ("TOKEN", "hunter2")]
    );
    let shown = format!("{:?}", apps[0]);
    assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");

    let (_, problems) = app("secrets_file = \"open\"");
    let open = folder.path().join("open");
    let open = open.display();
    assert_eq!(
        problems,
        [
            format!("app.a.secrets_file: {open} can be read by others than its owner"),
            format!("app.a.secrets_file: {open} line 2: it is not NAME=value"),
            format!(
                "app.a.secrets_file: {open} line 3: PORT is what Madang tells the app: it would be overwritten"
            ),
        ]
    );
}

proptest! {
    #[test]
    fn no_value_breaks_the_reader_and_what_is_checked_is_in_range(
        key in prop::sample::select(APP.keys.iter().map(|key| key.name).collect::<Vec<_>>()),
        value in r#"-?[0-9]{1,6}|"[a-z0-9:/.% -]{0,12}"|true|\[\]|\{ ?\}|\{ [a-z_]{2,8} = ("[a-z0-9%]{0,6}"|[0-9]{1,4}) \}"#,
    ) {
        let (apps, _) = read(&format!("[app.a]\n{key} = {value}\n"));
        for app in apps {
            prop_assert!(app.instances_min <= app.instances_max && (1..=64).contains(&app.instances_max));
            prop_assert!(app.restart.after <= app.restart.longest);
            prop_assert!(app.scale.targets.iter().all(|target| target.each > 0.0) && (1..=100).contains(&app.deploy.keep));
        }
    }
}
