//! A folder of files: what a static site generator or bundler made, or pages written by hand.
//!
//! **Job.** Find the folder to serve, and whether it is a single-page app. **Called by** `choose`, `node`. Pure.
//!
//! Invariants
//! 1. A folder that holds madang.toml is served without it and without the data folder.
//!
//! Not here: programs.

use crate::draft::{Draft, Entry, Kind, Route, Section};
use crate::folder::Folder;

/// Where generators leave a site, and who does.
pub(crate) const BUILT: [(&str, &str); 6] = [
    ("dist", "a build"),
    ("build", "a build"),
    ("public", "Hugo or Gatsby"),
    ("_site", "Jekyll or Eleventy"),
    ("out", "next export"),
    ("www", "a site"),
];

/// The site for a folder inside the project.
pub(crate) fn site(draft: &mut Draft, folder: &dyn Folder, files: &str, single_page: bool) {
    let mut site = Section::new(Kind::Site, draft.free_name(Kind::Site, "main"));
    site.set_why("listen", "http://127.0.0.1:8080", "\"http://0.0.0.0:80\" lets others in");
    if files == "." {
        // Everything in the folder is served: our own files must not be.
        draft.server.push(Entry {
            key: "data",
            value: ".madang".into(),
            why: "a name with a dot: it lies in the folder that is served".to_owned(),
        });
        site.routes.push(Route::at("/madang.toml").with("respond", "").with("status", 404));
    }
    let mut route = Route::at("/*").with("files", folder.named(files));
    if single_page {
        route.set("fallback", "/index.html");
        route.say("A single-page app: unknown paths get /index.html where a page is asked for; missing files stay 404.");
    }
    site.routes.push(route);
    draft.sections.push(site);
}

/// A page whose script draws everything: nothing else answers its paths.
pub(crate) fn is_single_page(folder: &dyn Folder, files: &str) -> bool {
    let inside = if files == "." { String::new() } else { format!("{files}/") };
    let Ok(page) = folder.read(&format!("{inside}index.html")) else { return false };
    let pages =
        folder.names(files).iter().filter(|name| name.ends_with(".html") && *name != "404.html").count();
    pages == 1
        && page.contains("type=\"module\"")
        && (page.contains("id=\"root\"") || page.contains("id=\"app\""))
}

/// A folder with pages and no program.
pub(crate) fn import(folder: &dyn Folder) -> Option<Draft> {
    let here = folder.has("index.html").then_some((".", "pages"));
    let built = BUILT.iter().copied().find(|(name, _)| folder.has(&format!("{name}/index.html")));
    let (files, what) = here.or(built)?;
    let page = if files == "." { "index.html".to_owned() } else { format!("{files}/index.html") };
    let mut draft = Draft::from_source(&page);
    draft.found.push(format!("{page}: {what}, served as files"));
    let single_page = is_single_page(folder, files);
    site(&mut draft, folder, files, single_page);
    Some(draft)
}
