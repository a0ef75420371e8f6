//! The machine and the settings: units, packet filters, control groups.
//!
//! **Job.** Look whether what was installed is what the settings need now, and whether anybody keeps clients out.
//! **Called by** `doctor`. **Calls** `install`, `firewall`, nft(8), systemctl(1); they only look.
//!
//! Invariants
//! 1. It changes nothing.
//! 2. What cannot be known (rules of iptables, somebody who is not root) is said to be unknown, not well.
//!
//! Not here: bringing it in step (`install`).

use std::collections::BTreeSet;
use std::path::Path;

use madang_host::process::tool::Tool;
use serde_json::Value;

use super::{Finding, fine, wrong};
use crate::cli::firewall::{self, rules, ssh};
use crate::cli::install::{
    Facts, Found, Manifest, Place, Service, found, is_active, kept, paths, service, socket, systemd_runs,
};

/// What can be said of these facts; `file` is where the settings lie.
pub(super) fn findings(place: &Place, facts: &Facts, file: &Path) -> Vec<Finding> {
    let mut all = units(place, facts, file);
    all.extend(firewalls(place, facts));
    if facts.limits {
        all.push(groups(place));
    }
    all
}

fn units(place: &Place, facts: &Facts, file: &Path) -> Vec<Finding> {
    const WHAT: &str = "service";
    let manifest = match Manifest::read(place) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return vec![fine(WHAT, "not installed; `madang install` makes it a service of systemd")],
        Err(stop) => return vec![wrong(WHAT, stop.to_string(), "madang install writes it anew")],
    };
    let there = place.there(file);
    if manifest.settings != there {
        return vec![fine(WHAT, format!("installed for other settings: {}", manifest.settings.display()))];
    }
    let remedy = format!("madang install -c {}", there.display());
    let place = &place.with_prefix(&manifest.prefix);
    let of = Service {
        program: &place.program(),
        settings: &there,
        environment: &paths::environment(),
        user: &manifest.user,
        facts,
    };
    let mut all = vec![unit(place, paths::SERVICE, Some(&service(&of)), &remedy)];
    let words = socket(facts, &manifest.user);
    all.push(unit(place, paths::SOCKET, words.as_deref(), &remedy));
    if place.is_here() && systemd_runs() {
        if words.is_some() && is_active(paths::SERVICE) && !is_active(paths::SOCKET) {
            all.push(wrong(
                WHAT,
                "the server runs without its socket unit: its ports close while it restarts",
                "systemctl stop madang.service && systemctl start madang.socket madang.service",
            ));
        }
        let said =
            Tool::new(["systemctl", "show", "--property=NeedDaemonReload", paths::SERVICE, paths::SOCKET])
                .run();
        if said.is_ok_and(|said| said.out.contains("NeedDaemonReload=yes")) {
            all.push(wrong(
                WHAT,
                "systemd has not read the units since they changed",
                "systemctl daemon-reload",
            ));
        }
    }
    all
}

/// One unit: as it is and as it would be written now.
fn unit(place: &Place, name: &'static str, words: Option<&str>, remedy: &str) -> Finding {
    let text = std::fs::read_to_string(place.here(&place.unit(name))).ok();
    let (text, words) = match (text, words) {
        (None, None) => return fine(name, "not needed: no address could be kept"),
        (None, Some(_)) => return wrong(name, "it is missing", remedy),
        (Some(_), None) => return wrong(name, "it keeps addresses, the settings have none", remedy),
        (Some(text), Some(words)) => (text, words),
    };
    match found(&text, words) {
        Found::Same => fine(name, "in step with the settings"),
        Found::Edited { outdated: false } => fine(name, "in step with the settings, edited by hand"),
        Found::Foreign => fine(name, "not written by `madang install`"),
        Found::Ours | Found::Edited { .. } => wrong(name, difference(&text, words), remedy),
    }
}

fn difference(text: &str, words: &str) -> String {
    let (have, want): (BTreeSet<String>, BTreeSet<String>) =
        (kept(text).into_iter().collect(), kept(words).into_iter().collect());
    let list = |one: &BTreeSet<String>, other: &BTreeSet<String>| {
        one.difference(other).cloned().collect::<Vec<_>>().join(", ")
    };
    let (missing, too_many) = (list(&want, &have), list(&have, &want));
    let mut parts = Vec::new();
    if !missing.is_empty() {
        parts.push(format!("it does not keep {missing}"));
    }
    if !too_many.is_empty() {
        parts.push(format!("it keeps {too_many}, which the settings do not have"));
    }
    if parts.is_empty() {
        parts.push("the settings ask for another one now".to_owned());
    }
    parts.join("; ")
}

/// Our packet filter, and those of others.
fn firewalls(place: &Place, facts: &Facts) -> Vec<Finding> {
    const WHAT: &str = "firewall";
    let open = rules::open(facts, &ssh::ports(place));
    let mut all = Vec::new();
    let on_disk = firewall::on_disk(place);
    if let Ok(Some(text)) = &on_disk {
        all.push(match found(text, &rules::words(&open)) {
            Found::Same => fine(WHAT, firewall::opened(&open)),
            Found::Edited { outdated: false } | Found::Foreign => {
                fine(WHAT, format!("{} is edited by hand", paths::rules().display()))
            }
            Found::Ours | Found::Edited { .. } => wrong(
                WHAT,
                "its rules are not those of the settings as they are now",
                "madang install --firewall",
            ),
        });
    }
    if !place.is_here() {
        return all;
    }
    if !rustix::process::geteuid().is_root() {
        all.push(fine(WHAT, "only root sees what is loaded"));
        return all;
    }
    let Ok(loaded) = firewall::loaded() else {
        all.push(fine(WHAT, "nft is not here; rules of iptables are not looked at"));
        return all;
    };
    if loaded.is_none() && matches!(on_disk, Ok(Some(_))) {
        all.push(wrong(
            WHAT,
            "the rules of Madang are written but not loaded",
            "systemctl start madang-firewall",
        ));
    }
    let said = Tool::new(["nft", "-j", "list", "ruleset"]).run().map(|said| said.out).unwrap_or_default();
    let Ok(ruleset) = serde_json::from_str::<Value>(&said) else { return all };
    let wanted = rules::open(facts, &[]);
    for table in closing(&ruleset) {
        all.push(match &table {
            Closing { name, knows: None } => {
                fine(WHAT, format!("the table {name} drops what it does not know; its rules are iptables' own and not looked into"))
            }
            Closing { name, knows: Some(ports) } => {
                let shut: Vec<String> = wanted
                    .iter()
                    .filter(|(_, _, port)| !ports.iter().any(|(from, to)| (from..=to).contains(&port)))
                    .map(|(protocol, _, port)| format!("{port}/{protocol}"))
                    .collect();
                if shut.is_empty() {
                    fine(WHAT, format!("the table {name} names every port of the settings"))
                } else {
                    wrong(
                        WHAT,
                        format!("the table {name} drops what it does not know, and no rule of it names {}", shut.join(", ")),
                        format!("open it there: ufw allow {0}, or firewall-cmd --add-port={0} --permanent", shut[0]),
                    )
                }
            }
        });
    }
    if all.is_empty() {
        all.push(fine(WHAT, "none that drops; `madang install --firewall` makes one"));
    }
    all
}

/// A table of somebody else's that drops what comes in unless a rule says otherwise.
#[derive(Debug, PartialEq, Eq)]
struct Closing {
    name: String,
    /// Ranges of ports that its rules name; `None`: they cannot be read.
    knows: Option<Vec<(u16, u16)>>,
}

/// In the JSON of nft (libnftables-json(5)).
fn closing(ruleset: &Value) -> Vec<Closing> {
    let items = || ruleset["nftables"].as_array().into_iter().flatten();
    let name = |of: &Value| Some((of["family"].as_str()?.to_owned(), of["table"].as_str()?.to_owned()));
    let drops = |chain: &Value| chain["hook"] == "input" && chain["policy"] == "drop";
    let tables: BTreeSet<(String, String)> =
        items().map(|item| &item["chain"]).filter(|chain| drops(chain)).filter_map(name).collect();
    let of = |table: &(String, String)| {
        let rules = || items().map(|item| &item["rule"]).filter(|rule| name(rule).as_ref() == Some(table));
        let expressions = || rules().flat_map(|rule| rule["expr"].as_array().into_iter().flatten());
        let opaque = expressions().any(|expression| expression.get("xt").is_some());
        let ports = expressions()
            .filter(|expression| expression["match"]["left"]["payload"]["field"] == "dport")
            .flat_map(|expression| ports(&expression["match"]["right"]))
            .collect();
        Closing { name: format!("{} {}", table.0, table.1), knows: (!opaque).then_some(ports) }
    };
    tables.iter().filter(|table| (table.0.as_str(), table.1.as_str()) != ("inet", "madang")).map(of).collect()
}

fn ports(value: &Value) -> Vec<(u16, u16)> {
    let one = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    if let Some(port) = one(value) {
        return vec![(port, port)];
    }
    if let Some(range) = value["range"].as_array() {
        return match &range[..] {
            [from, to] => one(from).zip(one(to)).into_iter().collect(),
            _ => Vec::new(),
        };
    }
    value["set"].as_array().into_iter().flatten().flat_map(ports).collect()
}

/// Whether limits of apps can be kept.
fn groups(place: &Place) -> Finding {
    const WHAT: &str = "app limits";
    let root = place.here(Path::new("/sys/fs/cgroup"));
    let unified = std::fs::read_to_string(root.join("cgroup.controllers"));
    if let Ok(unit) = std::fs::read_to_string(place.here(&place.unit(paths::SERVICE)))
        && !unit.lines().any(|line| line.trim() == "Delegate=yes")
    {
        return wrong(
            WHAT,
            "madang.service has no Delegate=yes: its control groups are systemd's",
            "systemctl edit madang",
        );
    }
    match unified {
        Ok(controllers) => {
            let missing: Vec<&str> = ["memory", "cpu", "pids"]
                .into_iter()
                .filter(|one| !controllers.split_whitespace().any(|have| have == *one))
                .collect();
            if missing.is_empty() {
                fine(WHAT, "control groups of version 2, with memory, cpu and pids")
            } else {
                wrong(
                    WHAT,
                    format!("the kernel does not give {} to control groups", missing.join(", ")),
                    "add cgroup_enable=memory to the kernel's command line and start the machine anew",
                )
            }
        }
        Err(_) if root.join("memory").is_dir() => {
            fine(WHAT, "control groups of version 1: a server that is root can limit")
        }
        Err(_) => wrong(
            WHAT,
            "there are no control groups here, and the settings limit an app",
            "boot with systemd.unified_cgroup_hierarchy=1, or take the limits out",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // Goal: of others' tables only those that drop count, with every way to write a port; iptables' own stay unknown.
    #[test]
    fn a_table_of_others_that_keeps_clients_out_is_found() {
        let chain = |table: &str, hook: &str, policy: &str| json!({ "chain": { "family": "inet", "table": table, "name": "in", "hook": hook, "policy": policy } });
        let rule = |table: &str, right: Value| {
            let expr = json!([{ "match": { "op": "==", "right": right,
                "left": { "payload": { "protocol": "tcp", "field": "dport" } } } }, { "accept": null }]);
            json!({ "rule": { "family": "inet", "table": table, "chain": "in", "expr": expr } })
        };
        let ruleset = json!({ "nftables": [
            { "metainfo": { "version": "1.0.6" } },
            chain("madang", "input", "drop"),
            chain("open", "input", "accept"),
            chain("docker", "forward", "drop"),
            chain("filter", "input", "drop"),
            rule("filter", json!(22)),
            rule("filter", json!({ "set": [80, { "range": [8000, 8100] }] })),
            rule("open", json!(443)),
            chain("old", "input", "drop"),
            { "rule": { "family": "inet", "table": "old", "chain": "in", "expr": [{ "xt": null }] } },
        ] });
        let want = [
            Closing { name: "inet filter".to_owned(), knows: Some(vec![(22, 22), (80, 80), (8000, 8100)]) },
            Closing { name: "inet old".to_owned(), knows: None },
        ];
        assert_eq!(closing(&ruleset), want);
        assert_eq!(closing(&json!({})), []);
    }

    // Goal: the difference between two socket units is told in addresses.
    #[test]
    fn units_out_of_step_are_told_by_address() {
        check(
            "ListenStream=0.0.0.0:80\n",
            "ListenStream=0.0.0.0:80\nListenDatagram=0.0.0.0:53\n",
            "it does not keep udp:0.0.0.0:53",
        );
        check("ListenStream=0.0.0.0:80\n", "", "it keeps 0.0.0.0:80, which the settings do not have");
        check("A=1\n", "A=2\n", "the settings ask for another one now");

        #[track_caller]
        fn check(have: &str, now: &str, want: &str) {
            assert_eq!(difference(have, now), want);
        }
    }
}
