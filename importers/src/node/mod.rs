//! package.json: a Node program, or a build that leaves files.
//!
//! **Job.** Tell which of the two it is, what starts it, and whether it listens at PORT. **Called by** `choose`. Pure.
//!
//! Not here: pm2's file (`pm2`).

mod literal;
pub(crate) mod pm2;

use serde_json::Value as Json;

use crate::draft::{Draft, Kind, Section};
use crate::folder::Folder;
use crate::listening::{set_env, set_run, site_for, tell};
use crate::{shell, statics};

/// Frameworks by the package that gives them away, the most telling first.
const FRAMEWORKS: [(&str, &str); 18] = [
    ("next", "Next.js"),
    ("nuxt", "Nuxt"),
    ("@sveltejs/kit", "SvelteKit"),
    ("@remix-run/node", "Remix"),
    ("@react-router/node", "React Router"),
    ("astro", "Astro"),
    ("gatsby", "Gatsby"),
    ("@nestjs/core", "NestJS"),
    ("@angular/core", "Angular"),
    ("express", "Express"),
    ("fastify", "Fastify"),
    ("koa", "Koa"),
    ("hono", "Hono"),
    ("@hapi/hapi", "hapi"),
    ("react-scripts", "Create React App"),
    ("@vue/cli-service", "Vue CLI"),
    ("vite", "Vite"),
    ("parcel", "Parcel"),
];
/// Frameworks whose build is files only.
const ONLY_FILES: [&str; 8] =
    ["Astro", "Gatsby", "Angular", "Create React App", "Vue CLI", "Vite", "Parcel", "SvelteKit"];
/// Commands that are for development.
const DEVELOPMENT: [&str; 9] = [
    "vite",
    "nodemon",
    "ts-node-dev",
    "react-scripts",
    "next dev",
    "nuxt dev",
    "webpack",
    "parcel",
    "ng serve",
];

struct Package<'a> {
    json: &'a Json,
    folder: &'a dyn Folder,
    file: &'a str,
}

impl Package<'_> {
    fn script(&self, name: &str) -> Option<&str> {
        self.json["scripts"][name].as_str().filter(|script| !script.trim().is_empty())
    }
    fn depends_on(&self, package: &str) -> bool {
        ["dependencies", "devDependencies"].iter().any(|key| self.json[*key].get(package).is_some())
    }
    /// The tool whose lock file lies there.
    fn tool(&self) -> &'static str {
        let locks =
            [("pnpm-lock.yaml", "pnpm"), ("yarn.lock", "yarn"), ("bun.lock", "bun"), ("bun.lockb", "bun")];
        locks.into_iter().find(|(file, _)| self.folder.has(file)).map_or("npm", |(_, tool)| tool)
    }
}

/// Reads package.json.
///
/// # Errors
/// It is not JSON, or there is nothing in it that could be served: a sentence.
pub(crate) fn import(folder: &dyn Folder, file: &str, text: &str) -> Result<Draft, String> {
    let json: Json = serde_json::from_str(text)
        .map_err(|error| format!("{file}:{}:{}: this is not JSON: {error}", error.line(), error.column()))?;
    let package = Package { json: &json, folder, file };
    let framework = FRAMEWORKS.iter().find(|(name, _)| package.depends_on(name)).map(|(_, name)| *name);
    let start = package.script("start");
    let development = start.is_some_and(|start| {
        let start = start.trim_start_matches("npx ");
        DEVELOPMENT.iter().any(|word| start == *word || start.starts_with(&format!("{word} ")))
            && !start.starts_with("vite preview")
    });
    if let Some(built) = built_by(&package, framework, start.is_some() && !development) {
        return Ok(built);
    }
    program(&package, framework, start, development)
}

/// A build that leaves files and needs no program.
fn built_by(package: &Package<'_>, framework: Option<&str>, has_program: bool) -> Option<Draft> {
    let folder = package.folder;
    let next_export = framework == Some("Next.js")
        && ["next.config.js", "next.config.mjs", "next.config.ts"]
            .iter()
            .filter_map(|file| folder.read(file).ok())
            .any(|text| text.contains("output: 'export'") || text.contains("output: \"export\""));
    let svelte_static = framework == Some("SvelteKit") && package.depends_on("@sveltejs/adapter-static");
    let only_files = framework.is_some_and(|name| ONLY_FILES.contains(&name) && name != "SvelteKit");
    let astro_server = framework == Some("Astro") && package.depends_on("@astrojs/node");
    if !(next_export || svelte_static || (only_files && !has_program && !astro_server)) {
        return None;
    }
    let usual = match framework {
        Some("Next.js") => "out",
        Some("SvelteKit" | "Create React App") => "build",
        Some("Gatsby") => "public",
        _ => "dist",
    };
    let angular = || {
        let names = folder.names("dist").into_iter().take(16);
        names
            .flat_map(|name| [format!("dist/{name}/browser"), format!("dist/{name}")])
            .find(|path| folder.has(&format!("{path}/index.html")))
    };
    let found = if folder.has(&format!("{usual}/index.html")) {
        Some(usual.to_owned())
    } else if framework == Some("Angular") {
        angular()
    } else {
        statics::BUILT
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| *name != "public")
            .find(|name| folder.has(&format!("{name}/index.html")))
            .map(str::to_owned)
    };
    let mut draft = Draft::from_source(package.file);
    let who = framework.unwrap_or("a build");
    let files = found.clone().unwrap_or_else(|| usual.to_owned());
    draft.found.push(format!(
        "{}: {who} leaves files in {files}/; no program is needed to serve them",
        package.file
    ));
    if found.is_none() {
        draft.next.push(format!("{} run build (makes {files}/)", package.tool()));
    }
    let many_pages = matches!(framework, Some("Astro" | "Gatsby" | "Next.js"))
        || (svelte_static
            && !folder.has(&format!("{files}/200.html"))
            && folder.names(&files).iter().filter(|name| name.ends_with(".html")).count() > 1);
    statics::site(&mut draft, folder, &files, !many_pages);
    if many_pages && let Some(route) = draft.sections.last_mut().and_then(|site| site.routes.last_mut()) {
        route.set("try", vec!["{path}", "{path}.html"]);
    }
    Some(draft)
}

fn program(
    package: &Package<'_>,
    framework: Option<&str>,
    start: Option<&str>,
    development: bool,
) -> Result<Draft, String> {
    let (folder, file) = (package.folder, package.file);
    let main = package.json["main"].as_str().filter(|main| folder.has(main));
    let mut draft = Draft::from_source(file);
    let name = package.json["name"].as_str().map(|name| name.rsplit('/').next().unwrap_or(name));
    let mut app = Section::new(Kind::App, draft.free_name(Kind::App, name.unwrap_or("app")));
    let known = framework.map(|name| format!(" ({name})")).unwrap_or_default();
    let command = match (start, framework) {
        (Some(start), _) if !development => {
            draft.found.push(format!("{file}: scripts.start = {start:?}{known}"));
            shell::command(start.trim_start_matches("npx "))
        }
        (_, Some("Next.js")) => {
            draft.found.push(format!("{file}: Next.js, started as `next start`"));
            shell::command("next start")
        }
        (_, Some("Nuxt")) => {
            draft.found.push(format!("{file}: Nuxt, which leaves a server in .output/"));
            shell::command("node .output/server/index.mjs")
        }
        (_, Some("SvelteKit")) => {
            draft.found.push(format!("{file}: SvelteKit, whose adapter-node leaves a server in build/"));
            shell::command("node build")
        }
        (Some(start), _) => {
            draft.found.push(format!("{file}: scripts.start = {start:?}, a server for development"));
            draft
                .next
                .push("scripts.start is for development: give `run` what starts it for users".to_owned());
            shell::command(start.trim_start_matches("npx "))
        }
        (None, _) => {
            let file = main.or_else(|| folder.has("server.js").then_some("server.js"));
            let Some(main) = file else {
                return Err(format!("{}: neither scripts.start nor a main file that is there", package.file));
            };
            draft.found.push(format!("{}: no scripts.start; {main} is its main file{known}", package.file));
            shell::command(&format!("node {}", shell::joined(&[main.to_owned()])))
        }
    };
    let run = by_modules(folder, command.run, command.shell, package.tool());
    set_run(&mut app, &run);
    set_env(&mut app, command.env);
    if app.get("env").is_none() {
        app.set("env", crate::draft::Value::map([("NODE_ENV".to_owned(), "production".to_owned())]));
    }
    if let Some(engine) = package.json["engines"]["node"].as_str() {
        app.say(format!("It asks for node {engine} (engines in {file})."));
    }
    // Frameworks' own servers listen at PORT.
    let entry = run
        .iter()
        .skip(1)
        .find(|word| word.ends_with(".js") || word.ends_with(".mjs") || word.ends_with(".cjs"));
    match (framework, entry) {
        (Some("Next.js" | "Nuxt" | "SvelteKit" | "Remix" | "React Router"), _) => {
            draft
                .found
                .push(format!("{} reads PORT: it listens where Madang says", framework.unwrap_or_default()));
        }
        (_, Some(entry)) => {
            let entry = entry.clone();
            tell(&mut draft, folder, &entry, "127.0.0.1 and the port in process.env.PORT");
        }
        _ => {}
    }
    if !folder.has_folder("node_modules") {
        let install =
            if package.tool() == "npm" && folder.has("package-lock.json") { "ci" } else { "install" };
        draft.next.insert(0, format!("{} {install}", package.tool()));
    }
    if package.script("build").is_some() && start.is_none_or(|start| !start.contains("build")) {
        draft.next.push(format!("{} run build", package.tool()));
    }
    let app_name = app.name.clone();
    draft.sections.push(app);
    site_for(&mut draft, &app_name);
    Ok(draft)
}

/// A program of node_modules by its path: no npm stands between Madang and the program, so signals reach it.
fn by_modules(folder: &dyn Folder, mut run: Vec<String>, shell: bool, tool: &str) -> Vec<String> {
    let Some(first) = run.first() else { return run };
    if shell
        || first.contains('/')
        || matches!(first.as_str(), "node" | "npm" | "yarn" | "pnpm" | "bun" | "deno" | "sh" | "python3")
    {
        return run;
    }
    let inside = format!("node_modules/.bin/{first}");
    if folder.is(&inside).is_some() {
        run[0] = format!("./{inside}");
        run
    } else {
        vec![tool.to_owned(), "start".to_owned()]
    }
}
