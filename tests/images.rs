//! `madang app deploy --image`: archives of a folder, images, and what is wrong with either.
//!
//! The archives are made here. An image's program is a static one of Rust's, built once: nothing else runs in an empty root.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::json;
use tar::{Builder, EntryType, Header};

use crate::releases::{APP, answer, app, history, house, shelf};
use crate::support::house::House;

const QUICK: &str = "deploy = { watch = \"100ms\", healthy_within = \"5s\", disk = \"64MiB\" }\nstop = { drain = \"1s\", grace = \"1s\" }";

/// An entry with whatever name and kind: the builder's own refuses what we want to see refused.
fn entry(out: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, link: &str, mode: u32, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    let bytes = header.as_mut_bytes();
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    out.append(&header, content).unwrap();
}

fn archive(make: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
    let mut out = Builder::new(Vec::new());
    make(&mut out);
    out.into_inner().unwrap()
}

fn app_in(folder: &str, version: &str) -> Vec<u8> {
    archive(|out| {
        if !folder.is_empty() {
            entry(out, EntryType::Directory, folder, "", 0o755, b"");
        }
        entry(out, EntryType::Regular, &format!("{folder}app.py"), "", 0o644, APP.as_bytes());
        entry(out, EntryType::Regular, &format!("{folder}version"), "", 0o600, version.as_bytes());
        entry(out, EntryType::Symlink, &format!("{folder}again"), "version", 0o777, b"");
        entry(out, EntryType::Link, &format!("{folder}same"), &format!("{folder}version"), 0o600, b"");
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn deploy(house: &House, name: &str, bytes: impl AsRef<[u8]>) -> (Option<i32>, String) {
    house.write(name, bytes);
    let file = house.path(name);
    app(house, &["deploy", "hello", "--image", file.to_str().unwrap()])
}

// Goal: an archive of a folder is deployed like the folder, however it was packed. Method: with a top folder and without one;
// plain, gzip, zstd.
#[test]
fn an_archive_of_a_folder_is_deployed() {
    let house = house(QUICK);
    let cases: [(&str, Vec<u8>); 4] = [
        ("a.tar", app_in("hello-1.2/", "plain")),
        ("b.tar", app_in("./", "inside")),
        ("c.tar.gz", gzip(&app_in("", "gzip"))),
        ("d.tar.zst", zstd::encode_all(&app_in("hello/", "zstd")[..], 1).unwrap()),
    ];
    for ((name, bytes), want) in cases.into_iter().zip(["plain", "inside", "gzip", "zstd"]) {
        let (code, said) = deploy(&house, name, &bytes);
        assert_eq!(code, Some(0), "{name}: {said}");
        assert!(answer(&house).starts_with(&format!("{want} ")), "{name}: {}", answer(&house));
        let last = history(&house)["deploys"].as_array().unwrap().last().unwrap()["origin"].clone();
        let want = sha256(&bytes);
        assert_eq!(last["archive"]["digest"], want, "{name}");
    }
}

// Goal: an archive that is not what it should be is refused with one sentence, and nothing of it is left. Method: each kind of
// harm there is in an archive, by the real program; nothing appears outside.
#[test]
fn harmful_archives_are_refused_each_with_its_sentence() {
    let house = house(QUICK);
    let one = |kind, name: &str, link: &str, content: &[u8]| {
        archive(|out| entry(out, kind, name, link, 0o644, content))
    };
    use EntryType as E;
    let good = app_in("", "good");
    let truncated = good[..good.len() / 3].to_vec();
    let links = archive(|out| {
        entry(out, E::Directory, "a", "", 0o755, b"");
        entry(out, E::Directory, "a/b", "", 0o755, b"");
        entry(out, E::Symlink, "a/b/up", "..", 0o777, b"");
        entry(out, E::Symlink, "a/b/top", "up/..", 0o777, b"");
        entry(out, E::Symlink, "a/b/out", "up/../../x", 0o777, b"");
    });
    let through = archive(|out| {
        entry(out, E::Symlink, "out", "/tmp", 0o777, b"");
        entry(out, E::Regular, "out/pwned-by-madang-test", "", 0o644, b"x");
    });
    let mut long = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_entry_type(E::GNULongName);
    header.set_size(3 << 20);
    header.set_cksum();
    long.append(&header, &vec![b'n'; 3 << 20][..]).unwrap();
    let bomb = archive(|out| {
        let zeros = vec![0; 90 << 20];
        entry(out, E::Regular, "zeros", "", 0o644, &zeros);
    });
    let deep = {
        let mut out = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        out.append_data(&mut header, "d/".repeat(200) + "file", &b""[..]).unwrap();
        out.into_inner().unwrap()
    };
    let cases: [(&str, Vec<u8>, &str); 17] = [
        (
            "absolute.tar",
            one(E::Regular, "/etc/x", "", b"x"),
            "\"/etc/x\" in the archive has an absolute path",
        ),
        (
            "dots.tar",
            one(E::Regular, "a/../../x", "", b"x"),
            "in the archive leads out of the archive by `..`",
        ),
        (
            "link.tar",
            one(E::Symlink, "l", "/etc/passwd", b""),
            "is a link that leads out of the archive, to /etc/passwd",
        ),
        (
            "up.tar",
            one(E::Symlink, "a/l", "../../x", b""),
            "is a link that leads out of the archive, to ../../x",
        ),
        ("links.tar", links, "is a link that leads out of the archive"),
        ("through.tar", through, "\"out\" in the archive is a link that leads out of the archive, to /tmp"),
        (
            "hard.tar",
            one(E::Link, "l", "nothing", b""),
            "is another name of nothing, which is not there before it",
        ),
        (
            "hardout.tar",
            one(E::Link, "l", "../x", b""),
            "\"../x\" in the archive leads out of the archive by `..`",
        ),
        ("device.tar", one(E::Char, "null", "", b""), "\"null\" in the archive is a device"),
        ("pipe.tar", one(E::Fifo, "pipe", "", b""), "\"pipe\" in the archive is a named pipe"),
        ("longname.tar", long.into_inner().unwrap(), "a header or a name of more than 1.0 MiB"),
        (
            "bomb.tar.gz",
            gzip(&bomb),
            "it takes more than the 64.0 MiB there are for it: deploy.disk is 64.0 MiB",
        ),
        ("deep.tar", deep, "in the archive lies in more than 128 folders"),
        ("cut.tar", truncated, "cannot be read as a tar archive: "),
        ("text.tar", b"this is no archive at all".to_vec(), "cannot be read as a tar archive: "),
        (
            "app.zip",
            b"PK\x03\x04whatever".to_vec(),
            "is a zip file; a tar archive is needed: tar -czf app.tar.gz -C FOLDER .",
        ),
        (
            "app.tar.xz",
            b"\xfd7zXZ\0whatever".to_vec(),
            "is packed with xz; pack it with gzip, with zstd or not at all",
        ),
    ];
    for (name, bytes, want) in cases {
        let (code, said) = deploy(&house, name, bytes);
        assert_eq!(code, Some(1), "{name}: {said}");
        assert!(said.contains(want), "{name}: {said}");
        assert_eq!(shelf(&house), ["record.json"], "{name}");
    }
    let (code, said) = deploy(&house, "empty.tar", archive(|_| {}));
    assert!(code == Some(1) && said.contains("is empty"), "{said}");
    assert!(!Path::new("/tmp/pwned-by-madang-test").try_exists().unwrap());
    assert!(answer(&house).starts_with("one "));
}

/// Tells what it sees: its version, user, folder, environment and files.
const PROGRAM: &str = r#"
use std::io::{Read, Write};
fn main() {
    let port = std::env::var("PORT").unwrap();
    let listener = std::net::TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let mut head = [0; 4096];
        let Ok(1..) = stream.read(&mut head) else { continue };
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ids = |key| status.lines().find_map(|line: &str| line.strip_prefix(key).map(|ids| ids.split_whitespace().next().unwrap_or("").to_owned())).unwrap_or_default();
        let list = |dir: &str| {
            let mut names: Vec<String> = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.file_name().into_string().unwrap()).collect();
            names.sort();
            names.join(",")
        };
        let mut zero = [1; 4];
        let read = std::fs::File::open("/dev/zero").and_then(|mut zeros| zeros.read(&mut zero)).is_ok() && zero == [0; 4];
        let text = format!("uid {} gid {} dir {} args {} FOO {} HOME {} PATH {} data {} root {} zero {read} resolv {}",
            ids("Uid:"), ids("Gid:"), std::env::current_dir().unwrap().display(), std::env::args().skip(1).collect::<Vec<_>>().join("+"),
            std::env::var("FOO").unwrap_or_default(), std::env::var("HOME").unwrap_or_default(), std::env::var("PATH").unwrap_or_default(), list("/data"), list("/"),
            std::fs::read("/etc/resolv.conf").map_or(0, |bytes| bytes.len()));
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}", text.len());
    }
}
"#;

/// The program, built once.
fn program() -> &'static [u8] {
    static PROGRAM_BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM_BYTES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let (source, target): (PathBuf, PathBuf) =
            (folder.path().join("main.rs"), folder.path().join("main"));
        std::fs::write(&source, PROGRAM).unwrap();
        let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
        let done = std::process::Command::new(rustc)
            .args([
                "--edition=2021",
                "-Copt-level=1",
                "-Cstrip=symbols",
                "-Ctarget-feature=+crt-static",
                "-o",
            ])
            .arg(&target)
            .arg(&source)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        std::fs::read(target).unwrap()
    })
}

fn sha256(bytes: &[u8]) -> String {
    let hex: String = digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// What may be wrong with an image.
#[derive(Default)]
struct Wrong {
    architecture: Option<&'static str>,
    damaged_layer: bool,
    twice: bool,
    no_layer: bool,
    user: Option<&'static str>,
}

fn layers() -> [Vec<u8>; 2] {
    use EntryType as E;
    let lower = archive(|out| {
        entry(out, E::Directory, "bin/", "", 0o755, b"");
        entry(out, E::Regular, "bin/serve", "", 0o755, program());
        entry(out, E::Directory, "etc/", "", 0o755, b"");
        entry(
            out,
            E::Regular,
            "etc/passwd",
            "",
            0o644,
            b"root:x:0:0::/root:/\nweb:x:1234:1235::/srv/web:/\n",
        );
        entry(out, E::Symlink, "etc/resolv.conf", "/proc/mounts", 0o777, b"");
        entry(out, E::Symlink, "usr", "/", 0o777, b"");
        entry(out, E::Directory, "data/", "", 0o755, b"");
        entry(out, E::Regular, "data/kept", "", 0o644, b"1");
        entry(out, E::Regular, "data/hidden", "", 0o644, b"1");
        entry(out, E::Directory, "opaque/", "", 0o755, b"");
        entry(out, E::Regular, "opaque/old", "", 0o644, b"1");
        entry(out, E::Char, "dev/console", "", 0o600, b"");
    });
    let upper = archive(|out| {
        entry(out, E::Regular, "./data/.wh.hidden", "", 0o644, b"");
        entry(out, E::Regular, "./usr/data/added", "", 0o644, b"2");
        entry(out, E::Regular, "opaque/new", "", 0o644, b"2");
        entry(out, E::Regular, "opaque/.wh..wh..opq", "", 0o644, b"");
    });
    [lower, upper]
}

fn config(wrong: &Wrong, layers: &[Vec<u8>; 2]) -> Vec<u8> {
    let ours = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    json!({
        "architecture": wrong.architecture.unwrap_or(ours), "os": "linux",
        "config": {
            "Env": ["PATH=/bin", "FOO=of the image"], "Entrypoint": ["serve"], "Cmd": ["one", "two"],
            "WorkingDir": "/srv/web", "User": wrong.user.unwrap_or("web"),
        },
        "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|layer| sha256(layer)).collect::<Vec<_>>() },
    })
    .to_string()
    .into_bytes()
}

fn oci(wrong: &Wrong) -> Vec<u8> {
    let layers = layers();
    let mut blobs: Vec<Vec<u8>> = vec![gzip(&layers[0]), layers[1].clone()];
    let config = config(wrong, &layers);
    let describe = |bytes: &[u8], media: &str| json!({ "mediaType": media, "digest": sha256(bytes), "size": bytes.len() });
    let manifest = json!({
        "schemaVersion": 2, "config": describe(&config, "application/vnd.oci.image.config.v1+json"),
        "layers": blobs.iter().map(|blob| describe(blob, "application/vnd.oci.image.layer.v1.tar")).collect::<Vec<_>>(),
    })
    .to_string()
    .into_bytes();
    let mut manifests = vec![describe(&manifest, "application/vnd.oci.image.manifest.v1+json")];
    if wrong.twice {
        manifests.push(describe(&config, "application/vnd.oci.image.manifest.v1+json"));
    }
    let index = json!({ "schemaVersion": 2, "manifests": manifests }).to_string();
    blobs.extend([config, manifest]);
    archive(|out| {
        entry(out, EntryType::Regular, "oci-layout", "", 0o644, b"{\"imageLayoutVersion\":\"1.0.0\"}");
        entry(out, EntryType::Regular, "index.json", "", 0o644, index.as_bytes());
        for (at, blob) in blobs.iter().enumerate() {
            let name = format!("blobs/sha256/{}", sha256(blob).trim_start_matches("sha256:"));
            let mut blob = blob.clone();
            if wrong.damaged_layer && at == 1 {
                blob[600] ^= 1;
            }
            if !(wrong.no_layer && at == 1) {
                // The name does not fit into the old field of a hundred bytes twice: it does once.
                entry(out, EntryType::Regular, &name, "", 0o644, &blob);
            }
        }
    })
}

fn docker(wrong: &Wrong) -> Vec<u8> {
    let layers = layers();
    let config = config(wrong, &layers);
    let name = format!("{}.json", sha256(&config).trim_start_matches("sha256:"));
    let one = json!({ "Config": name, "RepoTags": ["hello:1"], "Layers": ["a/layer.tar", "b/layer.tar"] });
    let manifest = if wrong.twice { json!([one, one]) } else { json!([one]) };
    archive(|out| {
        entry(out, EntryType::Regular, &name, "", 0o644, &config);
        entry(out, EntryType::Regular, "a/layer.tar", "", 0o644, &layers[0]);
        entry(out, EntryType::Regular, "b/layer.tar", "", 0o644, &layers[1]);
        entry(out, EntryType::Regular, "manifest.json", "", 0o644, manifest.to_string().as_bytes());
    })
}

// Goal: an image runs with its files as its root, its command, folder, user and environment; the settings win where they
// say something; it is found again after a kill. Method: both forms of image, and what each layer adds or hides.
#[test]
fn an_image_runs_in_a_root_of_its_own() {
    let mut house = house(QUICK);
    if !rustix::process::geteuid().is_root() {
        let (code, said) = deploy(&house, "a.tar", oci(&Wrong::default()));
        assert!(
            code == Some(1) && said.contains("only a server that is root can give it a root of its own"),
            "{said}"
        );
        return;
    }
    for (name, bytes) in
        [("oci.tar.gz", gzip(&oci(&Wrong::default()))), ("docker.tar", docker(&Wrong::default()))]
    {
        let (code, said) = deploy(&house, name, bytes);
        assert_eq!(code, Some(0), "{name}: {said}\n{}", house.said());
        let text = answer(&house);
        let want = "uid 1234 gid 1235 dir /srv/web args one+two FOO of the image HOME /srv/web PATH /bin \
                    data added,kept root bin,data,dev,etc,opaque,proc,srv,tmp,usr zero true resolv ";
        assert!(text.starts_with(want), "{name}: {text}");
        let machines = std::fs::read("/etc/resolv.conf").map_or(0, |bytes| bytes.len());
        assert!(text.ends_with(&format!("resolv {machines}")), "{name}: {text}");
        let last = history(&house)["deploys"].as_array().unwrap().last().unwrap()["origin"].clone();
        assert!(last["image"]["digest"].as_str().unwrap().starts_with("sha256:"), "{last}");
    }
    let opaque = house.path("data/apps/hello/releases/3/opaque");
    let names: Vec<_> = std::fs::read_dir(opaque).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["new"]);

    house.kill_and_start_again();
    house.until(|| answer(&house).starts_with("uid 1234"));
    let settings = crate::releases::settings(QUICK);
    let says = "env = { FOO = \"of the settings\" }\nimage = { run = [\"/bin/serve\", \"three\"], dir = \"/data\" }\n";
    house.reload(&format!("{settings}{says}"));
    house.until(|| answer(&house).contains("dir /data args three FOO of the settings"));
    let (code, said) = app(&house, &["rollback", "hello", "--to", "1"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(answer(&house).starts_with("one "), "from an image back to the settings: {}", answer(&house));
    let first = house.path("first");
    let (code, said) = app(&house, &["deploy", "hello", "--dir", first.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    assert!(answer(&house).starts_with("one "), "from an image back to a folder: {}", answer(&house));
}

// Goal: an image that is damaged, foreign, or one of several is refused with its sentence, before anything of it runs.
#[test]
fn images_that_cannot_be_run_are_refused_each_with_its_sentence() {
    let house = house(QUICK);
    let root = rustix::process::geteuid().is_root();
    let wrong = |wrong: Wrong| (oci(&wrong), docker(&wrong));
    let foreign = wrong(Wrong { architecture: Some("s390x"), ..Wrong::default() });
    let twice = wrong(Wrong { twice: true, ..Wrong::default() });
    let damaged = oci(&Wrong { damaged_layer: true, ..Wrong::default() });
    let missing = oci(&Wrong { no_layer: true, ..Wrong::default() });
    let nobody = oci(&Wrong { user: Some("nobody-there"), ..Wrong::default() });
    let check = |name: &str, bytes: &[u8], want: &str| {
        let (code, said) = deploy(&house, name, bytes);
        assert_eq!(code, Some(1), "{name}: {said}");
        assert!(said.contains(want), "{name}: {said}");
        house.until(|| shelf(&house) == ["record.json"]);
    };
    check("foreign.tar", &foreign.0, "holds an image for linux/s390x, this machine is linux/");
    check("foreign-saved.tar", &foreign.1, "holds an image for linux/s390x, this machine is linux/");
    check("twice.tar", &twice.0, "holds 2 images (sha256:");
    check("twice-saved.tar", &twice.1, "holds 2 images (hello:1, hello:1): save the one that is to run");
    if root {
        check("damaged.tar", &damaged, "is damaged: blobs/sha256/");
        check("missing.tar", &missing, "lacks the layer blobs/sha256/");
        check("nobody.tar", &nobody, "cannot become the user nobody-there: the image has no user");
    }
    assert!(answer(&house).starts_with("one "));
}
