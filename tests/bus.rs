//! Goal: what NATS says of itself reaches the operator: connected, away and back, in the log and in `madang status`; a login it does not take is
//! told with what to do, and without the login. TLS with an authority of one's own works by the settings alone.
//! Method: the real program and Debian's nats-server with TLS and a password, which is killed and started again.

use std::process::Command;

use serde_json::Value;

use crate::support::house::House;
use crate::support::nats::Nats;
use crate::support::postgres;

fn settings(database: &str, bus: &str) -> String {
    format!(
        "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\n\
         route = [{{ path = \"/chat/*\", chat = \"town\" }}]\n[chat.town]\n[store]\ndatabase = \"{database}\"\n[bus]\n{bus}\n"
    )
}

fn bus(house: &House) -> Value {
    house.json("status")["bus"].clone()
}

#[test]
fn what_nats_says_is_told_to_the_operator() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(folder.path().join("nats.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("nats.key"), made.signing_key.serialize_pem()).unwrap();
    let database = postgres::Server::start();
    let mut nats = Nats::start(&format!(
        "tls {{ cert_file: \"{place}/nats.pem\", key_file: \"{place}/nats.key\" }}\n\
         authorization {{ user: mina, password: hunter2 }}"
    ));
    let address = database.database("town");
    let port = nats.port;
    let with = |login: &str| {
        let ca = format!("ca = \"{place}/nats.pem\"");
        settings(&address, &format!("nats = \"tls://{login}@127.0.0.1:{port}\"\n{ca}"))
    };
    let house = House::start(&with("mina:hunter2"), &[]);
    let shown = format!("tls://mina:…@127.0.0.1:{port}");
    house.until_said(&format!("connected with NATS ({shown})"));
    house.until(|| bus(&house)["state"] == "connected");
    assert_eq!(bus(&house)["servers"][0], shown.as_str());
    let table = house.ask(&["status"]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("BUS") && table.contains("connected"), "{table}");
    nats.crash();
    house.until_said("is away: other machines are not heard");
    house.until(|| bus(&house)["state"] == "away");
    nats.up();
    house.until_said("connected again with NATS");
    house.until(|| bus(&house)["state"] == "connected" && bus(&house)["trouble"].is_null());

    let stranger = House::start(&with("mina:hunter3"), &[]);
    stranger.until_said("it does not know this user");
    stranger.until(|| bus(&stranger)["trouble"].as_str().is_some_and(|why| why.contains("does not know")));
    for house in [&house, &stranger] {
        let mut show: Command = crate::support::house::program();
        let output = show.args(["status", "--json", "-c"]).arg(house.path("madang.toml")).output().unwrap();
        let all = house.said() + &String::from_utf8_lossy(&output.stdout) + &house.metrics();
        assert!(!all.contains("hunter"), "{all}");
    }
}
