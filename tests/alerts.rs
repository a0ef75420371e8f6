//! Alerts: what goes wrong is told once, where the settings say, by the real program. Webhooks are taken by a small server of
//! the test's own that can be told to fail.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::hooks::Hooks;
use crate::support::house::House;

/// An app that ends at once until the file `well` is there.
const APP: &str = "import os, time\nprint('no module named hello', flush=True)\nif not os.path.exists('well'):\n    \
                   raise SystemExit(3)\nimport socket\nlistener = socket.socket()\n\
                   listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
                   listener.bind(('127.0.0.1', int(os.environ['PORT'])))\nlistener.listen(8)\n\
                   while True:\n    listener.accept()[0].close()\n";

fn settings(alerts: &str) -> String {
    format!(
        "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\nroute = [{{ path = \"/*\", proxy = \"hello\" }}]\n\
         [app.hello]\nrun = [\"python3\", \"app.py\"]\nrestart = {{ after = \"10ms\", longest = \"20ms\", at_most = \"2 per 1m\" }}\n{alerts}\n"
    )
}

fn house(alerts: &str) -> House {
    House::start(&settings(alerts), &[("app.py", APP.as_bytes())])
}

fn list(house: &House) -> Value {
    let output = house.ask(&["alert", "list", "--json"]);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn is_firing(house: &House) -> bool {
    list(house)[0]["count"] != 0
}

// Goal: an app that fails for good is told exactly once, with its last lines, and so is its coming back; neither a reload nor a
// restart of the server tells it again. Method: `repeat` is never, `group` is nothing: only the rules hold messages back.
#[test]
fn an_app_that_fails_is_told_once_with_its_last_lines() {
    let hooks = Hooks::start();
    let alerts = format!(
        "[alert.apps]\nwhen = \"app failed\"\nsend = \"webhook http://{}/T0?key=hush\"\nrepeat = \"never\"\ngroup = \"0s\"",
        hooks.address
    );
    let mut house = house(&alerts);
    house.until(|| !hooks.taken().is_empty());
    let post = &hooks.all()[0];
    assert!(post.head[0].starts_with("post /t0?key=hush "), "{:?}", post.head);
    let message = post.json();
    assert_eq!((message["alert"].as_str(), message["status"].as_str()), (Some("apps"), Some("firing")));
    assert_eq!(message["firing"][0]["subject"], "app hello");
    assert_eq!(message["firing"][0]["lines"][0], "no module named hello", "{message}");
    assert!(message["text"].as_str().unwrap().contains("app hello has failed: it ended 3 times within 1m"));
    assert_eq!(post.field("idempotency-key"), message["id"].as_str().unwrap());

    house.reload(&settings(&format!("{alerts}\ntimeout = \"5s\"")));
    house.until(|| is_firing(&house));
    house.kill_and_start_again();
    house.until(|| house.said().contains("hello: has failed"));
    house.until(|| is_firing(&house));
    assert_eq!(hooks.all().len(), 1, "told again");

    house.write("well", "");
    assert!(house.ask(&["app", "start", "hello"]).status.success());
    house.until(|| hooks.taken().len() == 2);
    let over = hooks.all()[1].json();
    assert_eq!(
        (over["status"].as_str(), over["resolved"][0]["subject"].as_str()),
        (Some("resolved"), Some("app hello"))
    );
    assert!(!is_firing(&house));

    let shown = String::from_utf8(house.ask(&["alert", "list"]).stdout).unwrap();
    assert!(shown.contains("apps  quiet  app failed  told 20"), "{shown}");
    let state = std::fs::read_to_string(house.path("data/alerts.json")).unwrap();
    for text in [shown, state, house.said(), house.metrics(), house.json("plan").to_string()] {
        assert!(!text.contains("hush"), "a webhook's query is shown: {text}");
    }
    house.signal(Signal::TERM);
    assert!(house.ended().success());
    assert_eq!(hooks.all().len(), 2);
}

// Goal: a webhook that is away gets the message once it is back, once, signed, with the same id at every attempt; the secret is
// shown nowhere. Method: answers of 503, then 200; then nobody listening over a restart.
#[test]
fn a_webhook_that_was_away_gets_the_message_once() {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let hooks = Hooks::start();
    hooks.answer(503);
    let alerts = format!(
        "[alert.apps]\nwhen = \"app failed\"\nsend = [\"log\", \"webhook http://{}/\"]\nsecret_file = \"hook.key\"",
        hooks.address
    );
    let house = House::start(
        &settings(""),
        &[("app.py", APP.as_bytes()), ("hook.key", format!("{SECRET}\n").as_bytes())],
    );
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(house.path("hook.key"), mode).unwrap();
    house.reload(&settings(&alerts));
    house.until_said("apps by webhook 127.0.0.1");
    assert!(house.said().contains("answered 503; it is tried again"), "{}", house.said());
    house.until_said("apps firing: app hello has failed");
    hooks.answer(200);
    house.until(|| !hooks.taken().is_empty());
    house.until(|| list(&house)[0]["ways"][1]["waiting"] == 0);
    let posts = hooks.all();
    let ids: Vec<String> = posts.iter().map(|post| post.field("idempotency-key")).collect();
    assert!(posts.len() >= 2 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(hooks.taken().len(), 1, "delivered twice");

    let post = &hooks.taken()[0];
    assert!(post.is_signed_by(SECRET));
    let metrics = house.metrics();
    let taken = "result=\"taken\"} 1";
    assert!(
        metrics.contains("madang_alert_firing{alert=\"apps\"} 1") && metrics.contains(taken),
        "{metrics}"
    );
    let state = std::fs::read_to_string(house.path("data/alerts.json")).unwrap();
    for text in [state, house.said(), metrics, list(&house).to_string()] {
        assert!(!text.contains(SECRET), "the secret is shown: {text}");
    }
}

// Goal: a message that nobody took when the server was killed is delivered by the next one. Method: a webhook that answers 503
// until the server was killed and started again.
#[test]
fn what_waits_survives_a_kill() {
    let hooks = Hooks::start();
    hooks.answer(503);
    let alerts = format!("[alert.apps]\nwhen = \"app failed\"\nsend = \"webhook http://{}/\"", hooks.address);
    let mut house = house(&alerts);
    house.until(|| !hooks.all().is_empty());
    house.kill_and_start_again();
    hooks.answer(200);
    house.until(|| !hooks.taken().is_empty());
    house.until(|| list(&house)[0]["ways"][0]["waiting"] == 0);
    let ids: Vec<String> = hooks.all().iter().map(|post| post.field("idempotency-key")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(hooks.taken().len(), 1);
}

// Goal: `madang alert test` says of each way whether it works. Method: a program that takes the message, one that fails, one that
// hangs with a child, one that does not exist, a webhook that refuses, the log.
#[test]
fn every_way_can_be_tried() {
    let hooks = Hooks::start();
    let alerts = format!(
        "[alert.good]\nwhen = \"pool down\"\nsend = [\"log\", [\"sh\", \"-c\", \"cat > told.json; echo $MADANG_ALERT > alert\"], \"webhook http://{0}/\"]\n\
         [alert.bad]\nwhen = \"pool down\"\ntimeout = \"300ms\"\nsend = [[\"sh\", \"-c\", \"echo no such room >&2; exit 4\"], \
         [\"sh\", \"-c\", \"sleep 60 & echo $! > sleeper; wait\"], [\"/no/such/program\"], \"webhook http://127.0.0.1:1/\"]\n\
         [alert.one]\nwhen = \"pool down\"\nsend = [\"sh\", \"-c\", \"exit 0\"]",
        hooks.address
    );
    let house = house(&alerts);
    let good = house.ask(&["alert", "test", "good"]);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    let told = String::from_utf8(good.stdout).unwrap();
    let webhook = format!("webhook {}: answered 204", hooks.address);
    for line in ["log: in the log", "program sh: ended with code 0", &webhook] {
        assert!(told.contains(line), "{told}");
    }
    let given: Value = serde_json::from_slice(&std::fs::read(house.path("told.json")).unwrap()).unwrap();
    assert_eq!(
        (given["status"].as_str(), hooks.all()[0].json()["status"].as_str()),
        (Some("test"), Some("test"))
    );
    assert_eq!(std::fs::read_to_string(house.path("alert")).unwrap(), "good\n");
    assert!(house.said().contains("good: this is a test, nothing is wrong"), "{}", house.said());
    assert!(house.ask(&["alert", "test", "one"]).status.success());

    let bad = house.ask(&["alert", "test", "bad"]);
    assert_eq!(bad.status.code(), Some(1));
    let told = String::from_utf8(bad.stderr).unwrap();
    for line in [
        "program sh: ended with code 4: no such room",
        "program sh #2: was killed after 300ms",
        "program /no/such/program: could not be started: No such file",
        "webhook 127.0.0.1:1: cannot connect to 127.0.0.1:1",
    ] {
        assert!(told.contains(line), "{told}");
    }
    let unknown = house.ask(&["alert", "test", "nothing"]);
    let told = String::from_utf8(unknown.stderr).unwrap();
    assert!(told.contains("there is no alert \"nothing\"; alerts here: good, bad, one"), "{told}");
}

// Goal: pools, servers, certificates, disk and memory are seen as they are. Method: a pool nobody listens for, a certificate of
// our own authority that ends within the years asked for, bounds that every machine is under.
#[test]
fn everything_that_can_be_watched_is_seen() {
    let settings = "[server]\nworkers = 1\n[site.main]\nlisten = \"https://127.0.0.1:0\"\ntls = \"local\"\nhosts = [\"localhost\"]\n\
                    route = [{ path = \"/*\", proxy = \"api\" }]\n\
                    [pool.api]\nservers = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\nhealth = { tcp = true, every = \"100ms\", fall = 1 }\n\
                    [alert.pool]\nwhen = \"pool down\"\nof = \"api\"\nsend = \"log\"\n\
                    [alert.server]\nwhen = \"server down for 1s\"\nsend = \"log\"\n\
                    [alert.certificate]\nwhen = \"certificate expires in 400d\"\nof = \"main\"\nsend = \"log\"\n\
                    [alert.disk]\nwhen = \"disk under 99 %\"\nsend = \"log\"\n\
                    [alert.memory]\nwhen = \"memory under 99 %\"\nsend = \"log\"\n";
    let house = House::start(settings, &[]);
    house.until_said("pool firing: pool api: 0 of 2 servers are up");
    // Whichever was found first is named, the other is counted.
    house.until_said("server firing: server 127.0.0.1:");
    house.until_said("certificate firing: certificate of localhost (site main) ends in ");
    house.until_said("disk firing: disk of ");
    house.until_said("memory firing: memory of this machine: ");
    house.until(|| list(&house)[1]["count"] == 2);
    let taken_out = house.ask(&["pool", "disable", "api", "127.0.0.1:1"]);
    assert!(taken_out.status.success());
    house.until(|| list(&house)[1]["count"] == 1);
}

// Goal: a deploy that was taken back is told. Method: a version that ends at once, and one that is well.
#[test]
fn a_deploy_that_was_taken_back_is_told() {
    let alerts = "deploy = { watch = \"100ms\", healthy_within = \"5s\" }\n[alert.deploys]\nwhen = \"deploy taken back\"\nsend = \"log\"\ngroup = \"0s\"";
    let house = House::start(&settings(alerts), &[("app.py", APP.as_bytes()), ("well", b"")]);
    house.until(|| house.said().contains("hello: instance 1 is ready"));
    house.write("broken/app.py", "import sys\nsys.exit(1)\n");
    let dir = house.path("broken");
    assert!(!house.ask(&["app", "deploy", "hello", "--dir", dir.to_str().unwrap()]).status.success());
    house.until_said(
        "deploys firing: app hello: version 2 was taken back: an instance of it ended with code 1",
    );
    assert!(house.ask(&["app", "restart", "hello"]).status.success());
    house.until_said("deploys resolved: over: app hello: version 3 is in");
}
