//! What a crash drill tells in the end.
//!
//! **Job.** A table for people, a line of JSON for programs; both on standard output. **Called by** `crash`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::book::Counts;

/// So many findings are shown to people.
const SHOWN: usize = 20;

/// The result.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// What it can be repeated with.
    pub seed: u64,
    /// How many.
    pub clients: u32,
    /// How many machines.
    pub nodes: u32,
    /// How often something broke.
    pub faults: u64,
    /// What, how often; at the end every machine is killed once more.
    pub by_kind: BTreeMap<&'static str, u64>,
    /// What was to be rehearsed and could not be, and why.
    pub left_out: Vec<String>,
    /// What happened.
    #[serde(flatten)]
    pub counts: Counts,
    /// Until the last message was acknowledged.
    pub sending_seconds: f64,
    /// In all.
    pub seconds: f64,
    /// What was lost, doubled or disordered; empty: nothing.
    pub findings: Vec<String>,
}

impl Report {
    /// Prints it.
    pub(super) fn tell(&self, json: bool) {
        if json {
            println!("{}", serde_json::to_string(self).unwrap_or_default());
            return;
        }
        let counts = &self.counts;
        let lines = [
            ("seed", self.seed),
            ("clients", self.clients.into()),
            ("machines", self.nodes.into()),
            ("faults", self.faults),
            ("messages sent", counts.sent),
            ("acknowledged", counts.acked),
            ("sent again", counts.resent),
            ("of those known already", counts.duplicates),
            ("given up, not known", counts.given_up),
            ("put off by the server", counts.put_off),
            ("entries seen by clients", counts.delivered),
            ("connections opened again", counts.reconnects),
            ("of those cut by clients", counts.cuts),
            ("slowest resume, ms", counts.slowest_resume_ms),
        ];
        for (name, value) in lines {
            println!("{name:<26} {value:>10}");
        }
        let kinds: Vec<String> = self.by_kind.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        println!("{:<26} {}", "of what kind", kinds.join(", "));
        for left_out in &self.left_out {
            println!("{:<26} {left_out}", "LEFT OUT");
        }
        println!("{:<26} {:>10.1}", "seconds of sending", self.sending_seconds);
        println!("{:<26} {:>10.1}", "seconds", self.seconds);
        println!("{:<26} {:>10}", "lost, doubled, disordered", self.findings.len());
        for finding in self.findings.iter().take(SHOWN) {
            println!("  {finding}");
        }
        if self.findings.len() > SHOWN {
            println!("  and {} more", self.findings.len() - SHOWN);
        }
    }
}
