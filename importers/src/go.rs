//! go.mod with a program.
//!
//! **Job.** Find the main package and whether it reads PORT. **Called by** `choose`. Pure.
//!
//! Not here: building it.

use crate::draft::{Draft, Kind, Section};
use crate::folder::Folder;
use crate::listening::{site_for, tell};

/// Reads go.mod; `None`: there is no main package.
pub(crate) fn import(folder: &dyn Folder, file: &str, text: &str) -> Option<Draft> {
    let module = text.lines().find_map(|line| line.trim().strip_prefix("module "))?.trim().trim_matches('"');
    let is_main = |path: &str| {
        folder.read(path).is_ok_and(|text| text.lines().any(|line| line.trim() == "package main"))
    };
    let (package, main) = if is_main("main.go") {
        (".".to_owned(), "main.go".to_owned())
    } else {
        folder
            .names("cmd")
            .into_iter()
            .take(64)
            .map(|name| (format!("./cmd/{name}"), format!("cmd/{name}/main.go")))
            .find(|(_, main)| is_main(main))?
    };
    // A last part such as v2 is the module's version, not its name.
    let versioned = |part: &&str| part.strip_prefix('v').is_some_and(|n| n.parse::<u32>().is_ok());
    let own = module.rsplit('/').find(|part| !versioned(part)).unwrap_or("app");
    let name = package.strip_prefix("./cmd/").unwrap_or(own).to_owned();
    let mut draft = Draft::from_source(file);
    draft.found.push(format!("{file}: the program {name} ({main})"));
    tell(&mut draft, folder, &main, "127.0.0.1 and the port in PORT");
    let mut app = Section::new(Kind::App, draft.free_name(Kind::App, &name));
    app.set("run", vec![format!("./{name}")]);
    let app_name = app.name.clone();
    draft.sections.push(app);
    site_for(&mut draft, &app_name);
    draft.next.insert(0, format!("go build -o {name} {package}"));
    Some(draft)
}
