//! Images: layers of files with a command of their own.
//!
//! **Job.** Recognise one in an unpacked archive (an OCI layout, or what `docker save` writes), apply its layers in order, say
//! how it is run. **Called by** `prepare`. **Calls** `unpack`, `tree`.
//!
//! Invariants
//! 1. What has a digest is used only after the digest was found right.
//! 2. One image is deployed: where an archive holds several, nothing is guessed.
//!
//! Not here: running it (`host::process::root`).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use serde::Deserialize;

use super::ImageFacts;
use super::bounds::{Doing, Meter, Unfit};
use super::tree::{Facts, Tree};
use super::unpack::{Kind, decompressed, unpack};

/// The largest index, manifest or config, in bytes.
const JSON_BYTES_MAX: u64 = 4 << 20;
/// Layers of an image; container engines stop at 127.
const LAYERS_MAX: usize = 256;
/// Indexes within indexes.
const INDEXES_MAX: usize = 4;

/// An image, found.
#[derive(Debug)]
pub(super) struct Image {
    /// Of its manifest, or of its config where there is no manifest with one.
    pub(super) digest: String,
    pub(super) facts: ImageFacts,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    path: PathBuf,
    /// Of the file as it lies there.
    digest: Option<String>,
    /// Of what comes out when it is decompressed.
    content: String,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: String,
    #[serde(default)]
    media_type: String,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize, Clone)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// What `docker save` writes.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    config: Option<Run>,
    rootfs: RootFs,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Run {
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// An archive that was unpacked, and its name when something is wrong with it.
pub(super) struct Unpacked<'a> {
    pub(super) tree: &'a Tree,
    pub(super) path: &'a Path,
}

impl Unpacked<'_> {
    fn wrong(&self, fault: impl Into<String>) -> Unfit {
        Unfit::Archive { path: self.path.to_owned(), fault: fault.into() }
    }

    /// The image in it; `None`: it is a plain archive.
    pub(super) fn image(&self) -> Result<Option<Image>, Unfit> {
        if self.tree.open(Path::new("oci-layout")).is_ok() && self.tree.open(Path::new("index.json")).is_ok()
        {
            return self.of_layout().map(Some);
        }
        // An app may have a file of that name: it is an image's only if it reads as one.
        let Ok(bytes) = self.bytes(Path::new("manifest.json")) else { return Ok(None) };
        match serde_json::from_slice::<Vec<Saved>>(&bytes) {
            Ok(saved) if !saved.is_empty() => self.of_saved(saved).map(Some),
            _ => Ok(None),
        }
    }

    fn of_layout(&self) -> Result<Image, Unfit> {
        let index: Index = self.json(Path::new("index.json"), None)?;
        let mut found = Vec::new();
        let mut others = Vec::new();
        self.choose(index, 0, &mut found, &mut others)?;
        found.sort_by(|a: &Descriptor, b| a.digest.cmp(&b.digest));
        found.dedup_by(|a, b| a.digest == b.digest);
        let chosen = match &found[..] {
            [one] => one,
            [] => {
                let (ours, others) = (ours(), others.join(", "));
                let others = if others.is_empty() { String::new() } else { format!(", only for {others}") };
                return Err(self.wrong(format!("holds no image for linux/{ours}{others}")));
            }
            several => {
                let name = |one: &Descriptor| {
                    let named = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
                    let name = named.iter().find_map(|key| one.annotations.get(*key));
                    name.cloned().unwrap_or_else(|| one.digest.clone())
                };
                return Err(self.several(several.iter().map(name).collect()));
            }
        };
        let manifest: Manifest = self.json(&self.blob(&chosen.digest)?, Some(&chosen.digest))?;
        let config: Config =
            self.json(&self.blob(&manifest.config.digest)?, Some(&manifest.config.digest))?;
        let layer = |layer: &Descriptor| Ok((self.blob(&layer.digest)?, Some(layer.digest.clone())));
        let layers = manifest.layers.iter().map(layer).collect::<Result<_, Unfit>>()?;
        self.put_together(chosen.digest.clone(), config, layers)
    }

    fn choose(
        &self,
        index: Index,
        depth: usize,
        found: &mut Vec<Descriptor>,
        others: &mut Vec<String>,
    ) -> Result<(), Unfit> {
        if depth > INDEXES_MAX {
            return Err(self.wrong(format!("has more than {INDEXES_MAX} indexes within each other")));
        }
        for manifest in index.manifests {
            if manifest.media_type.contains("index") || manifest.media_type.contains("manifest.list") {
                let inner = self.json(&self.blob(&manifest.digest)?, Some(&manifest.digest))?;
                self.choose(inner, depth + 1, found, others)?;
                continue;
            }
            match &manifest.platform {
                // What was built, by whom: not an image.
                Some(platform) if platform.os == "unknown" => {}
                Some(platform) if platform.os != "linux" || platform.architecture != ours() => {
                    others.push(format!("{}/{}", platform.os, platform.architecture));
                }
                _ => found.push(manifest),
            }
        }
        Ok(())
    }

    fn of_saved(&self, saved: Vec<Saved>) -> Result<Image, Unfit> {
        let [one] = &saved[..] else {
            let name = |one: &Saved| {
                let tags = one.repo_tags.clone().unwrap_or_default();
                if tags.is_empty() { one.config.clone() } else { tags.join(" ") }
            };
            return Err(self.several(saved.iter().map(name).collect()));
        };
        // The name is the digest.
        let stem = Path::new(&one.config).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let digest = format!("sha256:{stem}");
        let named = hex(&digest).is_some();
        let config: Config = self.json(Path::new(&one.config), named.then_some(digest.as_str()))?;
        let layers = one.layers.iter().map(|layer| (PathBuf::from(layer), None)).collect();
        self.put_together(if named { digest } else { String::new() }, config, layers)
    }

    fn put_together(
        &self,
        digest: String,
        config: Config,
        layers: Vec<(PathBuf, Option<String>)>,
    ) -> Result<Image, Unfit> {
        let platform = format!("{}/{}", config.os, config.architecture);
        if (!config.architecture.is_empty() && config.architecture != ours())
            || (!config.os.is_empty() && config.os != "linux")
        {
            return Err(
                self.wrong(format!("holds an image for {platform}, this machine is linux/{}", ours()))
            );
        }
        let contents = config.rootfs.diff_ids;
        if layers.len() != contents.len() || layers.len() > LAYERS_MAX {
            let (have, want) = (layers.len(), contents.len());
            let told = format!("has {have} layers, its config names {want}, and {LAYERS_MAX} are the most");
            return Err(self.wrong(told));
        }
        let layer = |((path, digest), content)| Layer { path, digest, content };
        let layers = layers.into_iter().zip(contents).map(layer).collect();
        let run = config.config.unwrap_or_default();
        let mut words = run.entrypoint.unwrap_or_default();
        words.extend(run.cmd.unwrap_or_default());
        if words.iter().any(|word| word.contains('\0')) {
            return Err(self.wrong("has a command with a NUL character"));
        }
        let env = run.env.unwrap_or_default();
        let env = env.iter().filter_map(|line| line.split_once('=')).filter(|(name, _)| !name.is_empty());
        let facts = ImageFacts {
            run: words,
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            dir: run.working_dir.unwrap_or_default(),
            user: run.user.filter(|user| !user.is_empty()),
        };
        Ok(Image { digest, facts, layers })
    }

    fn several(&self, names: Vec<String>) -> Unfit {
        self.wrong(format!(
            "holds {} images ({}): save the one that is to run",
            names.len(),
            names.join(", ")
        ))
    }

    /// The path of a blob. Not a word of it is believed that is no digest.
    fn blob(&self, digest: &str) -> Result<PathBuf, Unfit> {
        match hex(digest) {
            Some(hex) => Ok(Path::new("blobs/sha256").join(hex)),
            None => Err(self.wrong(format!("names something by {digest:?}, which is no SHA-256 digest"))),
        }
    }

    fn bytes(&self, path: &Path) -> Result<Vec<u8>, Unfit> {
        let read = || {
            let mut bytes = Vec::new();
            self.tree.open(path)?.take(JSON_BYTES_MAX + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > JSON_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 4 MiB"));
            }
            Ok(bytes)
        };
        read().map_err(|error| self.wrong(format!("lacks {}: {error}", path.display())))
    }

    fn json<T: for<'a> Deserialize<'a>>(&self, path: &Path, digest: Option<&str>) -> Result<T, Unfit> {
        let bytes = self.bytes(path)?;
        if let Some(digest) = digest {
            let mut context = Context::new(&SHA256);
            context.update(&bytes);
            self.check(path, digest, &written(context))?;
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| self.wrong(format!("has a {} that does not read: {error}", path.display())))
    }

    fn check(&self, path: &Path, want: &str, have: &str) -> Result<(), Unfit> {
        if want == have {
            return Ok(());
        }
        Err(self
            .wrong(format!("is damaged: {} should have the digest {want} and has {have}", path.display())))
    }

    /// Applies the layers in order, into an empty tree.
    pub(super) fn apply(&self, image: &Image, root: &mut Tree, meter: &mut Meter<'_>) -> Result<(), Unfit> {
        meter.progress().doing(Doing::Layers);
        for layer in &image.layers {
            let open = || {
                let told = |error| self.wrong(format!("lacks the layer {}: {error}", layer.path.display()));
                self.tree.open(&layer.path).map_err(told)
            };
            if let Some(digest) = &layer.digest {
                self.check(&layer.path, digest, &self.digest(open()?, &layer.path)?)?;
            }
            let mut stream =
                Hashed { stream: decompressed(open()?, &layer.path)?, context: Context::new(&SHA256) };
            unpack(&mut stream, &layer.path, Kind::Layer, root, meter)?;
            self.check(&layer.path, &layer.content, &written(stream.context))?;
        }
        Ok(())
    }

    fn digest(&self, mut file: File, path: &Path) -> Result<String, Unfit> {
        let mut context = Context::new(&SHA256);
        let mut piece = vec![0; 1 << 18];
        loop {
            match file.read(&mut piece) {
                Ok(0) => return Ok(written(context)),
                Ok(count) => context.update(&piece[..count]),
                Err(error) => return Err(Unfit::Read { path: path.to_owned(), error }),
            }
        }
    }
}

/// What every image has to have to be run: places for what is mounted, and the folder it starts in.
pub(super) fn furnish(root: &mut Tree, dir: &Path) -> io::Result<()> {
    let facts = Facts { mode: 0o755, owner: None, changed: 0 };
    for folder in ["proc", "dev", "etc", "tmp"] {
        let is_there = root.names(Path::new("")).is_ok_and(|names| names.iter().any(|name| name == folder));
        if !is_there {
            let mode = if folder == "tmp" { 0o1777 } else { 0o755 };
            root.folder(Path::new(folder), Facts { mode, ..facts })?;
        }
    }
    for folder in ["proc", "dev"] {
        // Ours to mount upon: a link would lead the mount elsewhere.
        root.folder(Path::new(folder), facts)?;
    }
    for file in ["etc/resolv.conf", "etc/hosts"] {
        // Likewise, and what was there was of another machine.
        Tree::finish(&root.file(Path::new(file))?, Facts { mode: 0o644, ..facts })?;
    }
    let inside = dir.strip_prefix("/").unwrap_or(dir);
    let plain = inside.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if plain && !inside.as_os_str().is_empty() && root.names(inside).is_ok_and(|names| names.is_empty()) {
        // Engines make it where it is missing; one that is there and empty stays as it is.
        root.folder(inside, facts)?;
    }
    root.close()
}

/// The hexadecimal digits of a SHA-256 digest.
fn hex(digest: &str) -> Option<&str> {
    let digits = digest.strip_prefix("sha256:")?;
    let fine = digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    fine.then_some(digits)
}

pub(super) fn written(context: Context) -> String {
    context.finish().as_ref().iter().fold("sha256:".to_owned(), |mut out, byte| {
        use std::fmt::Write as _;
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// This machine, as images name it (GOARCH).
fn ours() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// Hashes what goes through.
pub(super) struct Hashed<R> {
    pub(super) stream: R,
    pub(super) context: Context,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.context.update(&buffer[..count]);
        Ok(count)
    }
}
