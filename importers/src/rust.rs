//! Cargo.toml with a program.
//!
//! **Job.** Find the program's name and whether it reads PORT. **Called by** `choose`. Pure.
//!
//! Not here: building it.

use toml::de::DeTable;

use crate::draft::{Draft, Kind, Section};
use crate::folder::Folder;
use crate::listening::{site_for, tell};

/// Reads Cargo.toml; `None`: there is no program in it.
pub(crate) fn import(folder: &dyn Folder, file: &str, text: &str) -> Option<Draft> {
    let parsed = DeTable::parse(text).ok()?;
    let manifest = parsed.get_ref();
    let package = manifest.get("package")?.get_ref().as_table()?;
    let own = text_of(package, "name")?;
    let bins: Vec<(&str, &str)> = manifest
        .get("bin")
        .and_then(|bins| bins.get_ref().as_array())
        .into_iter()
        .flat_map(|bins| bins.iter())
        .filter_map(|bin| bin.get_ref().as_table())
        .filter_map(|bin| Some((text_of(bin, "name")?, text_of(bin, "path")?)))
        .collect();
    let default = text_of(package, "default-run");
    let (name, main) =
        match default.and_then(|wish| bins.iter().find(|(name, _)| *name == wish)).or(bins.first()) {
            Some((name, path)) => (*name, *path),
            None if folder.has("src/main.rs") => (own, "src/main.rs"),
            None => return None,
        };
    let mut draft = Draft::from_source(file);
    draft.found.push(format!("{file}: the program {name} ({main})"));
    if bins.len() > 1 {
        let others: Vec<&str> = bins.iter().map(|(other, _)| *other).filter(|other| *other != name).collect();
        draft.found.push(format!("not taken: {} (write an [app.NAME] for each)", others.join(", ")));
    }
    tell(&mut draft, folder, main, "127.0.0.1 and the port in PORT");
    let mut app = Section::new(Kind::App, draft.free_name(Kind::App, name));
    app.set("run", vec![format!("target/release/{name}")]);
    let app_name = app.name.clone();
    draft.sections.push(app);
    site_for(&mut draft, &app_name);
    draft.next.insert(0, "cargo build --release".to_owned());
    Some(draft)
}

fn text_of<'t>(table: &'t DeTable<'_>, key: &str) -> Option<&'t str> {
    table.get(key)?.get_ref().as_str()
}
