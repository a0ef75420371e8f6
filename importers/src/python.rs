//! Python: Django by manage.py, Flask and FastAPI by their app, else a plain program.
//!
//! **Job.** Find the file, the app in it and the server that runs it. **Called by** `choose`. Pure.
//!
//! Invariants
//! 1. A server that is not among the requirements is not written down, unless the framework brings it.
//!
//! Not here: installing anything.

use crate::draft::{Draft, Kind, Section};
use crate::folder::Folder;
use crate::listening::{site_for, tell};

/// Files that usually hold the app.
const FILES: [&str; 6] = ["app.py", "main.py", "wsgi.py", "asgi.py", "server.py", "application.py"];
/// Where requirements stand.
const REQUIREMENTS: [&str; 4] = ["requirements.txt", "pyproject.toml", "Pipfile", "setup.cfg"];

/// Looks at the folder, or at one file of it.
pub(crate) fn import(folder: &dyn Folder, only: Option<&str>) -> Option<Draft> {
    let required: String = REQUIREMENTS
        .iter()
        .filter_map(|file| folder.read(file).ok())
        .collect::<Vec<_>>()
        .join("\n")
        .to_lowercase();
    let python = [".venv/bin/python", "venv/bin/python"]
        .into_iter()
        .find(|path| folder.has(path))
        .unwrap_or("python3");
    if only.is_none_or(|only| only == "manage.py")
        && let Some(draft) = django(folder, &required, python)
    {
        return Some(draft);
    }
    let file = match only {
        Some(only) => only,
        None => FILES.into_iter().find(|file| folder.has(file))?,
    };
    let text = folder.read(file).ok()?;
    let module = file.strip_suffix(".py")?.replace('/', ".");
    let (framework, variable) = app_in(&text);
    let mut draft = Draft::from_source(file);
    let has = |name: &str| required.contains(name);
    let (run, why): (Vec<&str>, String) = match framework {
        Some("FastAPI" | "Starlette" | "Quart") if has("hypercorn") && !has("uvicorn") => {
            (vec!["-m", "hypercorn", "--bind", "127.0.0.1:$PORT"], "hypercorn".to_owned())
        }
        Some("FastAPI" | "Starlette" | "Quart") => {
            (vec!["-m", "uvicorn", "--port", "$PORT"], "uvicorn".to_owned())
        }
        Some("Flask") if has("gunicorn") => {
            (vec!["-m", "gunicorn", "--bind", "127.0.0.1:$PORT"], "gunicorn".to_owned())
        }
        Some("Flask") if has("waitress") => {
            (vec!["-m", "waitress", "--listen", "127.0.0.1:$PORT"], "waitress".to_owned())
        }
        Some("Flask") => (vec!["-m", "flask", "--app"], "flask".to_owned()),
        _ => (vec![], String::new()),
    };
    let target = format!("{module}:{variable}");
    let command = match framework {
        Some("Flask") if why == "flask" => {
            draft.next.push(
                "flask run is for development: pip install gunicorn, then madang init --force".to_owned(),
            );
            Some(format!("exec {python} -m flask --app {target} run --port $PORT"))
        }
        Some(_) if !run.is_empty() => Some(format!("exec {python} {} {target}", run.join(" "))),
        _ => None,
    };
    match (framework, &command) {
        (Some(framework), Some(_)) => {
            draft.found.push(format!("{file}: {framework} app {variable:?}, run by {why}"));
            if !why.is_empty() && !has(&why) && why != "flask" {
                draft.next.push(format!("pip install {why} (it is not among the requirements)"));
            }
        }
        _ => {
            draft.found.push(format!("{file}: a Python program"));
            tell(&mut draft, folder, file, "127.0.0.1 and the port in os.environ[\"PORT\"]");
        }
    }
    let mut app = Section::new(Kind::App, draft.free_name(Kind::App, &folder.name()));
    match command {
        Some(command) => app.set("run", vec!["sh".to_owned(), "-c".to_owned(), command]),
        None => app.set("run", vec![python, file]),
    }
    app.set("env", crate::draft::Value::map([("PYTHONUNBUFFERED".to_owned(), "1".to_owned())]));
    finish(&mut draft, app, folder, python);
    Some(draft)
}

fn django(folder: &dyn Folder, required: &str, python: &str) -> Option<Draft> {
    let text = folder.read("manage.py").ok()?;
    let settings = text.split_once("DJANGO_SETTINGS_MODULE")?.1.split(['"', '\'']).nth(2)?.to_owned();
    let project = settings.split('.').next().filter(|name| !name.is_empty())?.to_owned();
    let plain = project.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !plain {
        return None;
    }
    let mut draft = Draft::from_source("manage.py");
    let command = if required.contains("gunicorn") {
        draft.found.push(format!("manage.py: Django project {project}, run by gunicorn"));
        format!("exec {python} -m gunicorn --bind 127.0.0.1:$PORT {project}.wsgi")
    } else if required.contains("uvicorn") {
        draft.found.push(format!("manage.py: Django project {project}, run by uvicorn"));
        format!("exec {python} -m uvicorn --port $PORT {project}.asgi:application")
    } else {
        draft.found.push(format!(
            "manage.py: Django project {project}; no gunicorn or uvicorn among the requirements"
        ));
        draft
            .next
            .push("runserver is for development: pip install gunicorn, then madang init --force".to_owned());
        format!("exec {python} manage.py runserver --noreload 127.0.0.1:$PORT")
    };
    let mut app = Section::new(Kind::App, draft.free_name(Kind::App, &project));
    app.set("run", vec!["sh".to_owned(), "-c".to_owned(), command]);
    app.set("env", crate::draft::Value::map([("PYTHONUNBUFFERED".to_owned(), "1".to_owned())]));
    let files = ["staticfiles", "static"].into_iter().find(|name| folder.has_folder(name));
    draft.next.push(format!("{python} manage.py migrate && {python} manage.py collectstatic"));
    finish(&mut draft, app, folder, python);
    if let (Some(files), Some(site)) = (files, draft.sections.first_mut()) {
        let route =
            crate::draft::Route::at("/static/*").with("files", folder.named(files)).with("strip", "/static");
        site.routes.insert(0, route);
        draft.found.push(format!("{files}/ is served at /static/ without the app (STATIC_URL)"));
    }
    Some(draft)
}

fn finish(draft: &mut Draft, app: Section, folder: &dyn Folder, python: &str) {
    let name = app.name.clone();
    draft.sections.push(app);
    site_for(draft, &name);
    if python == "python3" && folder.has("requirements.txt") {
        draft.next.insert(
            0,
            "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt, then madang init --force"
                .to_owned(),
        );
    }
}

/// `app = Flask(__name__)`: the framework and the variable.
fn app_in(text: &str) -> (Option<&'static str>, String) {
    for line in text.lines().take(20_000) {
        let Some((left, right)) = line.split_once('=') else { continue };
        let (left, right) = (left.split(':').next().unwrap_or_default().trim(), right.trim());
        let plain = !left.is_empty() && left.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        for framework in ["Flask", "FastAPI", "Starlette", "Quart"] {
            let called = right.strip_prefix(framework).is_some_and(|rest| rest.starts_with('('))
                || right.contains(&format!(".{framework}("));
            if plain && called && !line.starts_with([' ', '\t']) {
                return (Some(framework), left.to_owned());
            }
        }
    }
    (None, "app".to_owned())
}
