//! The keys of `[app.NAME]`: one table for reading, schema and documentation.
//!
//! **Job.** Say name, kind, default and meaning of each key. **Called by** `config`, `madang schema`. **Calls** `settings::schema`.
//!
//! Not here: reading them (`config`).

use madang_http::check::HEALTH;
use madang_settings::schema::{Kind, Section, key};

use super::per_connection::QUEUE;

const TEXTS: Kind = Kind::List(&Kind::Text);

/// `[app.NAME]`.
pub const APP: Section = Section {
    title: "[app.NAME]",
    doc: "A program that Madang runs: started, asked whether it is well, balanced, restarted, deployed, scaled. Routes name it like a pool: `proxy = \"NAME\"`.",
    keys: &[
        key(
            "run",
            TEXTS,
            "",
            "The program and its arguments: `[\"python3\", \"app.py\"]`. No shell reads it; for one write `[\"sh\", \"-c\", \"…\"]`. An image that names a command runs its own (see `image`).",
        ),
        key("dir", Kind::Path, "\".\"", "The folder it starts in."),
        key(
            "user",
            Kind::Text,
            "",
            "The user it runs as; only a server that is root can choose. Left out: the server's.",
        ),
        key(
            "env",
            Kind::Map(&Kind::Text),
            "",
            "Its environment, beside PATH, HOME, LANG and TZ of the server's and what Madang adds (PORT, SOCKET or LISTEN_FDS; MADANG_APP, MADANG_INSTANCE).",
        ),
        key(
            "env_file",
            Kind::Path,
            "",
            "A file of more: lines `NAME=value`, `#` begins a comment. `env` wins.",
        ),
        key(
            "secrets_file",
            Kind::Path,
            "",
            "The same for secrets: nobody but its owner may read the file, and its values are shown nowhere.",
        ),
        key(
            "instances",
            Kind::Either(&[Kind::Count(1, 64), Kind::Table(&INSTANCES)]),
            "1",
            "How many run at once, or from how many to how many (see `scale`).",
        ),
        key(
            "max_connections",
            Kind::Count(0, 1_000_000),
            "0",
            "Requests open at once at one instance; the others wait in line (128 of them per worker, 5s each). 0: no limit.",
        ),
        key(
            "give",
            Kind::Choice(&["port", "socket", "listener"]),
            "\"port\"",
            "Where an instance listens: PORT holds a free port of 127.0.0.1; SOCKET the path of a unix socket to make; or it inherits the listening socket as descriptor 3 (LISTEN_FDS, LISTEN_PID).",
        ),
        key(
            "ready",
            Kind::Choice(&["health", "notify", "running"]),
            "\"health\"",
            "When it gets requests: once its health check passes, or once it has also said READY=1 (sd_notify). `\"running\"`: it gets none and is never asked; it is well as long as it runs, as workers are.",
        ),
        key(
            "health",
            Kind::Table(&HEALTH),
            "",
            "How its instances are asked, as in a pool. Left out: a connection must open (`tcp = true`), asked every 500ms.",
        ),
        key(
            "start_within",
            Kind::Duration("100ms", "1h"),
            "\"60s\"",
            "An instance that is not ready after this is ended and counts as failed.",
        ),
        key("restart", Kind::Table(&RESTART), "", "What happens when an instance ends unasked."),
        key("stop", Kind::Table(&STOP), "", "How an instance is ended."),
        key(
            "limits",
            Kind::Table(&LIMITS),
            "",
            "What one instance may use, where the machine allows it (cgroup v2).",
        ),
        key("harden", Kind::Table(&HARDEN), "", "What an instance may not do."),
        key(
            "after",
            TEXTS,
            "",
            "Apps that have to be ready (jobs that run once: ended well) before this one is started.",
        ),
        key("once", Kind::Bool, "false", "A job: it runs once at each start and at each change, and ends."),
        key(
            "every",
            Kind::Duration("1s", "30d"),
            "",
            "A job that runs so often, from the end of one run to the start of the next.",
        ),
        key(
            "schedule",
            Kind::Text,
            "",
            "A job that runs at these times (this machine's clock): `\"30 4 * * mon-fri\"` (minute, hour, day, month, weekday), `\"@hourly\"`, `\"@daily\"`, `\"@weekly\"`, `\"@monthly\"`. A run that is still going is not overtaken.",
        ),
        key("deploy", Kind::Table(&DEPLOY), "", "How a new version takes over."),
        key(
            "image",
            Kind::Table(&IMAGE),
            "",
            "What holds for versions that are images (`madang app deploy --image`).",
        ),
        key("scale", Kind::Table(&SCALE), "", "How the number of instances follows the load."),
        key("log", Kind::Table(&LOG), "", "What is kept of what it writes."),
        key(
            "mode",
            Kind::Choice(&["service", "per-connection"]),
            "\"service\"",
            "`per-connection`: one program for each connection that a `[stream.NAME]` brings, as inetd does it; the connection is its standard input and output, the log has its standard error. `limits` are for all of them together.",
        ),
        key(
            "workers",
            Kind::Count(0, 64),
            "0",
            "With `mode = \"per-connection\"`: programs that are started before anybody comes and wait for their input. 0: one is started when somebody comes, and finds the client in REMOTE_ADDR, REMOTE_PORT, TCPREMOTEIP, TCPREMOTEPORT, TCPLOCALIP and TCPLOCALPORT; one that waited does not (`proxy_protocol` of the stream tells it).",
        ),
        key(
            "connections_max",
            Kind::Count(1, 10_000),
            "64",
            "With `mode = \"per-connection\"`: connections served at once; more wait in `queue`. A place is free again once the program has ended.",
        ),
        key("queue", Kind::Table(&QUEUE), "", "With `mode = \"per-connection\"`: who waits for a place."),
    ],
};

/// `instances` as a table.
pub const INSTANCES: Section = Section {
    title: "instances",
    doc: "From how many to how many.",
    keys: &[
        key("min", Kind::Count(0, 64), "1", "Never fewer. 0: none while nobody asks (see `scale.idle`)."),
        key("max", Kind::Count(1, 64), "4", "Never more."),
    ],
};

/// `restart`.
pub const RESTART: Section = Section {
    title: "restart",
    doc: "An instance that ended unasked is started again; each further time it takes longer, give or take a tenth.",
    keys: &[
        key(
            "after",
            Kind::Duration("0s", "1h"),
            "\"5s\"",
            "The first wait; each further one is twice as long.",
        ),
        key("longest", Kind::Duration("0s", "1d"), "\"1m\"", "The longest wait."),
        key(
            "at_most",
            Kind::Text,
            "\"10 per 10m\"",
            "So many ends in this time, and the app has failed: nothing is started until somebody does (`madang app start`, a deploy, a reload that changes it). `\"never\"`: no restart at all; `\"always\"`: no limit.",
        ),
    ],
};

/// `stop`.
pub const STOP: Section = Section {
    title: "stop",
    doc: "First nothing new goes there, then open requests end, then the signal, then SIGKILL for whatever is left of it.",
    keys: &[
        key("drain", Kind::Duration("0s", "1h"), "\"30s\"", "How long open requests may take."),
        key(
            "signal",
            Kind::Choice(&["TERM", "INT", "QUIT", "HUP", "USR1", "USR2"]),
            "\"TERM\"",
            "The signal that asks it to end.",
        ),
        key("grace", Kind::Duration("0s", "1h"), "\"10s\"", "How long after that it is killed."),
    ],
};

/// `limits`.
pub const LIMITS: Section = Section {
    title: "limits",
    doc: "Left out: no limit. They need cgroup v2 and a server that is root, or whose group is delegated to it.",
    keys: &[
        key("memory", Kind::Size("1MiB", "16TiB"), "", "Memory, swap included."),
        key("cpu", Kind::Text, "", "CPU time: `\"50%\"` of one core, `\"150%\"` is one and a half."),
        key("pids", Kind::Count(1, 1_000_000), "", "Processes and threads."),
    ],
};

/// `harden`.
pub const HARDEN: Section = Section {
    title: "harden",
    doc: "Cheap and safe for most programs.",
    keys: &[
        key(
            "no_new_privs",
            Kind::Bool,
            "true",
            "No program it starts gains rights (setuid bits, file capabilities).",
        ),
        key(
            "read_only",
            Kind::List(&Kind::Path),
            "",
            "Folders it sees but cannot write. Needs a server that is root.",
        ),
    ],
};

/// `deploy`.
pub const DEPLOY: Section = Section {
    title: "deploy",
    doc: "New instances start beside the old ones; traffic goes over when they are well; a version that is not is taken back.",
    keys: &[
        key(
            "steps",
            TEXTS,
            "\"100%\"",
            "The new version's share of the requests, step by step: `[\"10%\", \"50%\", \"100%\"]`.",
        ),
        key("pause", Kind::Duration("0s", "1d"), "\"10s\"", "How long each step but the last is watched."),
        key(
            "healthy_within",
            Kind::Duration("1s", "1h"),
            "\"60s\"",
            "A new version that is not well after this is taken back.",
        ),
        key(
            "watch",
            Kind::Duration("0s", "1d"),
            "\"10s\"",
            "How long the old version is kept, without requests, after all of them went over: one that fails meanwhile is taken back.",
        ),
        key("keep", Kind::Count(1, 100), "3", "Versions kept to go back to."),
        key(
            "disk",
            Kind::Size("1MiB", "16TiB"),
            "\"2GiB\"",
            "What the versions that were copied (`--dir`, `--image`) may take on the disk together, the one that runs and the new one included: the oldest go first, and a new one that does not fit is refused.",
        ),
    ],
};

/// `image`.
pub const IMAGE: Section = Section {
    title: "image",
    doc: "An image (OCI, or `docker save`) says itself what is run, where and as whom; what stands here is done instead. `env` and the other environment of the app come on top of the image's.",
    keys: &[
        key(
            "run",
            TEXTS,
            "",
            "Instead of its Entrypoint and Cmd. `run` of the app holds only where neither says anything.",
        ),
        key("dir", Kind::Text, "", "Instead of its WorkingDir, seen from its own root: `\"/srv\"`."),
    ],
};

/// `scale`.
pub const SCALE: Section = Section {
    title: "scale",
    doc: "With `instances = { min, max }`: more at once when there is more to do, fewer after a while when there is less.",
    keys: &[
        key(
            "by",
            Kind::List(&Kind::Choice(&["in-flight", "latency", "cpu", "queue"])),
            "\"in-flight\"",
            "What is looked at: requests open per instance, time to the first byte, CPU of one core per instance, requests waiting in line per instance (needs `max_connections`). Of several the one that wants the most instances decides.",
        ),
        key(
            "target",
            TEXTS,
            "",
            "What one instance should have of it: `\"16\"` requests, `\"200ms\"`, `\"70%\"`, `\"1\"` waiting. Those are the defaults. With several in `by` one for each, in the same order.",
        ),
        key(
            "up",
            Kind::Duration("0s", "1h"),
            "\"3s\"",
            "The shortest time between two steps up; each at most doubles.",
        ),
        key(
            "down",
            Kind::Duration("1s", "1d"),
            "\"1m\"",
            "Fewer after the load asked for fewer all this time; each step takes away a quarter at most, or one. A number that was too few within twice this time is tried again after twice as long, up to 16 times as long.",
        ),
        key(
            "idle",
            Kind::Duration("1s", "30d"),
            "\"10m\"",
            "With `min = 0`: the last one goes after no request for so long.",
        ),
    ],
};

/// `log`.
pub const LOG: Section = Section {
    title: "log",
    doc: "What it writes to stdout and stderr, by line.",
    keys: &[
        key(
            "keep",
            Kind::Size("64KiB", "1TiB"),
            "\"10MiB\"",
            "Kept on disk, of all instances together. The oldest goes first.",
        ),
        key("files", Kind::Count(2, 100), "2", "In so many files of the same size."),
        key(
            "rate",
            Kind::Size("1KiB", "10MiB"),
            "\"1MiB\"",
            "Of one instance so much is kept a second; lines beyond that are dropped, and the log says how many. A program that writes more than 10 MiB a second is held back.",
        ),
    ],
};

/// `[scaler.NAME]`.
pub const SCALER: Section = Section {
    title: "[scaler.NAME]",
    doc: "Servers beyond this machine for the pool or the app of this name: a program of yours is told what is needed and says who is there (docs/scaler.md).",
    keys: &[
        key(
            "run",
            TEXTS,
            "",
            "The program and its arguments. It reads one JSON object on stdin and writes one on stdout: `{\"servers\": [\"10.0.0.5:3000\"]}`.",
        ),
        key("dir", Kind::Path, "\".\"", "The folder it starts in."),
        key(
            "env",
            Kind::Map(&Kind::Text),
            "",
            "Its environment, beside PATH, HOME, LANG and TZ of the server's.",
        ),
        key("env_file", Kind::Path, "", "A file of more: lines `NAME=value`. `env` wins."),
        key(
            "secrets_file",
            Kind::Path,
            "",
            "The same for secrets (a cloud's token): nobody but its owner may read the file, and its values are shown nowhere.",
        ),
        key(
            "every",
            Kind::Duration("500ms", "1h"),
            "\"10s\"",
            "How often it is asked; never before the last time is over.",
        ),
        key(
            "timeout",
            Kind::Duration("100ms", "1h"),
            "\"30s\"",
            "It is killed after this, with all it started.",
        ),
        key("min", Kind::Count(0, 64), "0", "Servers that are always asked for."),
        key(
            "max",
            Kind::Count(1, 64),
            "4",
            "Never more are asked for, and an answer with more changes nothing.",
        ),
        key(
            "by",
            Kind::List(&Kind::Choice(&["in-flight", "latency", "cpu", "queue"])),
            "\"in-flight\"",
            "What is looked at, as in `scale` of an app. `cpu` is known of an app's instances only, and taken for the others'.",
        ),
        key("target", TEXTS, "", "What one server should have of it, as in `scale` of an app."),
        key(
            "up",
            Kind::Duration("0s", "1h"),
            "\"10s\"",
            "The shortest time between two steps up; each at most doubles.",
        ),
        key(
            "down",
            Kind::Duration("1s", "1d"),
            "\"5m\"",
            "Fewer after the load asked for fewer all this time; each step takes away a quarter at most, or one. A number that was too few within twice this time is tried again after twice as long, up to 16 times as long.",
        ),
        key(
            "drain",
            Kind::Duration("0s", "1h"),
            "\"30s\"",
            "A server that is in no answer any more gets nothing new; it leaves when nothing is open there, or after this.",
        ),
    ],
};
