//! Where a program listens: by PORT, or at a port of its own.
//!
//! **Job.** Look for PORT in a program's first file, and for ports in its arguments, which Madang has to choose.
//! **Called by** the importers of programs. Pure.
//!
//! Not here: how PORT is given (docs/configuration.md, `give`).

use crate::draft::{Draft, Kind, Route, Section};
use crate::folder::Folder;
use crate::shell;

/// What a source file says about the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Port {
    /// It reads PORT, on this line.
    Read(usize),
    /// It listens at this one, on this line.
    Own(usize, String),
    /// It does not say.
    Unsaid,
}

/// Looks into a source file.
pub(crate) fn in_source(text: &str) -> Port {
    let mut own = Port::Unsaid;
    for (index, line) in text.lines().enumerate().take(20_000) {
        let code = line.trim_start();
        if code.starts_with("//") || code.starts_with('#') {
            continue;
        }
        let reads = ["process.env.PORT", "env.PORT", "LISTEN_FDS", "env.SOCKET"]
            .iter()
            .any(|word| code.contains(word))
            || (code.to_ascii_lowercase().contains("env")
                && (code.contains("\"PORT\"") || code.contains("'PORT'")));
        if reads {
            return Port::Read(index + 1);
        }
        if own == Port::Unsaid
            && let Some(number) =
                [".listen(", "port=", "port =", "port:", "Listen(\":", "Serve(\":", "bind(\""]
                    .iter()
                    .find_map(|word| code.split_once(word).and_then(|(_, behind)| number_in(behind)))
        {
            own = Port::Own(index + 1, number);
        }
    }
    own
}

/// A port in front, or behind the first colon.
fn number_in(text: &str) -> Option<String> {
    let begin = text.trim_start();
    let begin = match begin.split_once(':') {
        Some((host, rest))
            if host.len() < 40 && !host.starts_with(|c: char| c.is_ascii_digit() && !host.contains('.')) =>
        {
            rest
        }
        _ => begin,
    };
    let digits: String = begin.chars().take_while(char::is_ascii_digit).collect();
    digits.parse::<u16>().ok().filter(|port| *port > 0).map(|_| digits)
}

/// What is found of the port is told: by the draft's sentences, or by what is to be done.
pub(crate) fn tell(draft: &mut Draft, folder: &dyn Folder, file: &str, how: &str) {
    match folder.read(file).map(|text| in_source(&text)) {
        Ok(Port::Read(line)) => {
            draft.found.push(format!("{file}:{line} reads PORT: it listens where Madang says"))
        }
        Ok(Port::Own(line, number)) => draft.next.push(format!(
            "{file}:{line} listens at {number}: let it listen at {how}, which Madang sets for each instance"
        )),
        Ok(Port::Unsaid) => draft.next.push(format!(
            "{file} does not name PORT: see that it listens at {how}, which Madang sets for each instance"
        )),
        Err(_) => {}
    }
}

/// Ports in a command's words become PORT; gives back the new command and what stood there.
pub(crate) fn freed(run: &[String]) -> Option<(Vec<String>, String)> {
    let mut words = run.to_vec();
    let mut stood = None;
    let is_port = |text: &str| text.parse::<u16>().is_ok_and(|port| port >= 80);
    for at in 1..words.len() {
        let (before, word) = (words[at - 1].clone(), words[at].clone());
        let names_port = matches!(before.as_str(), "-p" | "--port" | "-P" | "--http-port" | "-port");
        let names_address = matches!(
            before.as_str(),
            "-b" | "--bind"
                | "-l"
                | "--listen"
                | "--http"
                | "--addr"
                | "--address"
                | "-addr"
                | "--http-address"
        );
        let (front, value) = match word.split_once('=') {
            Some((name, value)) if name.starts_with('-') => (format!("{name}="), value),
            _ => (String::new(), word.as_str()),
        };
        let named = front.trim_end_matches('=');
        let by_name = matches!(named, "--port" | "-port" | "--http-port");
        let by_address = matches!(
            named,
            "--bind" | "--listen" | "--http" | "--addr" | "--address" | "-addr" | "--http-address"
        );
        let fresh = if (names_port && front.is_empty() || by_name) && is_port(value) {
            Some(format!("{front}$PORT"))
        } else if names_address && front.is_empty() || by_address || before == "runserver" {
            match value.rsplit_once(':') {
                Some((host, port)) if is_port(port) && !host.contains('/') => {
                    // The instance is reached at 127.0.0.1 only: nothing is gained by more.
                    Some(format!("{front}127.0.0.1:$PORT"))
                }
                None if is_port(value) => Some(format!("{front}$PORT")),
                _ => None,
            }
        } else {
            None
        };
        if let Some(fresh) = fresh {
            stood = Some(value.to_owned());
            words[at] = fresh;
        }
    }
    let stood = stood?;
    Some((vec!["sh".to_owned(), "-c".to_owned(), format!("exec {}", shell::joined(&words))], stood))
}

/// Gives a command to an app; a port of its own in the arguments becomes PORT.
pub(crate) fn set_run(app: &mut Section, run: &[String]) {
    match freed(run) {
        Some((run, stood)) => {
            app.set("run", run);
            app.say(format!(
                "It had {stood} in its arguments: each instance gets a port of its own in PORT."
            ));
        }
        None => app.set("run", run.to_vec()),
    }
}

/// Sets an app's variables; those that Madang sets itself are left out and told.
pub(crate) fn set_env(app: &mut Section, env: Vec<(String, String)>) {
    const OURS: [&str; 8] = [
        "PORT",
        "SOCKET",
        "LISTEN_FDS",
        "LISTEN_PID",
        "NOTIFY_SOCKET",
        "MADANG_APP",
        "MADANG_INSTANCE",
        "MADANG_RELEASE",
    ];
    let mut kept: Vec<(String, String)> = Vec::new();
    for (name, value) in env {
        if OURS.contains(&name.as_str()) {
            app.say(format!("{name} = {value} is left out: Madang sets {name} for each instance."));
            continue;
        }
        // Neither can be an environment's (environ(7)).
        if name.is_empty()
            || name.bytes().any(|b| b == b'=' || b <= b' ' || b == 0x7f)
            || value.contains('\0')
        {
            continue;
        }
        kept.retain(|(known, _)| *known != name);
        kept.push((name, value));
    }
    if !kept.is_empty() {
        app.set("env", crate::draft::Value::map(kept));
    }
}

/// The site in front of an app.
pub(crate) fn site_for(draft: &mut Draft, app: &str) {
    let name = draft.free_name(Kind::Site, "main");
    let mut site = Section::new(Kind::Site, name);
    site.set_why("listen", "http://127.0.0.1:8080", "\"http://0.0.0.0:80\" lets others in");
    site.routes.push(Route::at("/*").with("proxy", app));
    draft.sections.insert(0, site);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_file_says_where_it_listens() {
        check("const port = process.env.PORT || 3000", Port::Read(1));
        check("import os\nport = int(os.environ.get('PORT', 8000))", Port::Read(2));
        check("let p = env::var(\"PORT\");", Port::Read(1));
        check("http.ListenAndServe(\":\"+os.Getenv(\"PORT\"), nil)", Port::Read(1));
        check("// process.env.PORT\napp.listen(3000)", Port::Own(2, "3000".to_owned()));
        check("app.run(host=\"0.0.0.0\", port=5000)", Port::Own(1, "5000".to_owned()));
        check("TcpListener::bind(\"127.0.0.1:7878\")", Port::Own(1, "7878".to_owned()));
        check("hello", Port::Unsaid);

        #[track_caller]
        fn check(text: &str, want: Port) {
            assert_eq!(in_source(text), want);
        }
    }

    #[test]
    fn ports_in_arguments_become_port() {
        check("gunicorn --bind 0.0.0.0:8000 app:app", Some("exec gunicorn --bind 127.0.0.1:$PORT app:app"));
        check("uvicorn app:app --port=8000", Some("exec uvicorn app:app --port=$PORT"));
        check("next start -p 3000", Some("exec next start -p $PORT"));
        check("server --listen=:8080", Some("exec server --listen=127.0.0.1:$PORT"));
        check("gunicorn -b unix:/run/a.sock app", None);
        check("sleep -p 5", None);
        check("node server.js", None);

        #[track_caller]
        fn check(command: &str, want: Option<&str>) {
            let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
            assert_eq!(freed(&words).map(|(run, _)| run[2].clone()).as_deref(), want);
        }
    }
}
