//! A root of its own: an image's files are all a program sees.
//!
//! **Job.** In the child, before it becomes the program: a mount namespace with that folder as `/`, /proc and a few devices in
//! it, the machine's name servers; then the image's user. **Called by** `exec`. **Calls** the kernel (pivot_root(2)).
//!
//! Invariants
//! 1. Nothing of the machine's files is reachable afterwards but what is mounted here.
//! 2. Nothing of the image's is run or loaded before the program: users are looked up by reading its /etc/passwd.
//!
//! It is a root of its own, not a prison: the network, the processes and - for one that is root - the rights are the machine's.
//!
//! Not here: making the folder (`roles/supervise`).

use std::ffi::{CString, OsStr};
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, getgrouplist, setgroups, setresgid, setresuid};

use super::exec::Failure;
use crate::rights::Identity;

/// The devices it gets.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Files of the machine's that it sees, as they are.
const MACHINES: [&str; 2] = ["etc/resolv.conf", "etc/hosts"];
/// The largest list of users, in bytes.
const LIST_BYTES_MAX: u64 = 4 << 20;

/// Somebody to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// For HOME.
    pub(super) home: Option<String>,
}

impl Who {
    /// A user of the machine's. Before [`enter`]: the machine's lists are read.
    pub(super) fn of_machine(name: &str) -> io::Result<Self> {
        let user = Identity::find(name).map_err(|error| io::Error::other(error.to_string()))?;
        let c_name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
        let groups = getgrouplist(&c_name, Gid::from_raw(user.gid)).map_err(io::Error::from)?;
        let groups = groups.into_iter().map(Gid::as_raw).collect();
        Ok(Self { uid: user.uid, gid: user.gid, groups, home: None })
    }

    /// `name`, `name:group` or numbers, as an image says it. Behind [`enter`]: the image's lists are read.
    pub(super) fn of_image(said: &str) -> io::Result<Self> {
        let list = |path: &str| match crate::file::read_text(Path::new(path), LIST_BYTES_MAX) {
            // An image need not have one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other,
        };
        find(said, &list("/etc/passwd")?, &list("/etc/group")?)
    }

    /// Becomes it, for good.
    pub(super) fn become_it(&self) -> io::Result<()> {
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        setgroups(&groups)?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
        let root = Uid::from_raw(0);
        if self.uid != 0 && setresuid(root, root, root).is_ok() {
            return Err(io::Error::other("root was not given up"));
        }
        Ok(())
    }
}

fn find(said: &str, users: &str, groups: &str) -> io::Result<Who> {
    let (user, group) = said.split_once(':').map_or((said, None), |(user, group)| (user, Some(group)));
    let line = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
        fields.len() >= 6 && (fields[0] == user || (user.parse::<u32>().is_ok() && fields[2] == user))
    });
    let number = |text: &str| text.parse::<u32>().ok();
    let missing = |what: &str| io::Error::other(format!("the image has no {what}"));
    let (uid, own_gid, name, home) = match &line {
        Some(fields) => {
            let uid = number(fields[2]).ok_or_else(|| missing(&format!("number for its user {user:?}")))?;
            (uid, number(fields[3]).unwrap_or(0), Some(fields[0]), Some(fields[5].to_owned()))
        }
        None => (number(user).ok_or_else(|| missing(&format!("user {user:?}")))?, 0, None, None),
    };
    let group_lines: Vec<Vec<&str>> = groups.lines().map(|line| line.split(':').collect()).collect();
    let gid = match group {
        None => own_gid,
        Some(group) => {
            let named = group_lines.iter().find(|fields| fields.len() >= 3 && fields[0] == group);
            let found = named.and_then(|fields| number(fields[2])).or_else(|| number(group));
            found.ok_or_else(|| missing(&format!("group {group:?}")))?
        }
    };
    let is_in = |fields: &&Vec<&str>| {
        fields.len() >= 4 && name.is_some_and(|name| fields[3].split(',').any(|member| member == name))
    };
    let mut all: Vec<u32> = if group.is_none() {
        group_lines.iter().filter(is_in).filter_map(|fields| number(fields[2])).collect()
    } else {
        Vec::new()
    };
    all.insert(0, gid);
    Ok(Who { uid, gid, groups: all, home })
}

/// From here on that folder is the root.
pub(super) fn enter(root: &Path, read_only: &[PathBuf]) -> Result<(), Failure> {
    let none: Option<&OsStr> = None;
    let step = |what: String, result: nix::Result<()>| result.map_err(|error| (error.into(), what));
    let files = |what: String, result: io::Result<()>| result.map_err(|error| (error, what));
    step("get a mount namespace".to_owned(), unshare(CloneFlags::CLONE_NEWNS))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    step("make mounts private".to_owned(), mount(none, "/", none, private, none))?;
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    step(format!("mount {}", root.display()), mount(Some(root), root, none, bind, none))?;

    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    let proc = Some(OsStr::new("proc"));
    step("mount /proc".to_owned(), mount(proc, &root.join("proc"), proc, plain, none))?;
    let tmpfs = Some(OsStr::new("tmpfs"));
    let dev = root.join("dev");
    let few = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    step("mount /dev".to_owned(), mount(tmpfs, &dev, tmpfs, few, Some("size=64k,mode=755")))?;
    for name in DEVICES {
        let place = dev.join(name);
        files(format!("make /dev/{name}"), std::fs::write(&place, ""))?;
        let device = Path::new("/dev").join(name);
        step(format!("mount /dev/{name}"), mount(Some(&device), &place, none, MsFlags::MS_BIND, none))?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        files(format!("make /dev/{name}"), std::os::unix::fs::symlink(target, dev.join(name)))?;
    }
    let shared = dev.join("shm");
    files("make /dev/shm".to_owned(), std::fs::create_dir(&shared))?;
    step("mount /dev/shm".to_owned(), mount(tmpfs, &shared, tmpfs, plain, Some("size=64m,mode=1777")))?;
    for name in MACHINES {
        let machines = Path::new("/").join(name);
        // A machine without one has nothing to show.
        if machines.try_exists().unwrap_or(false) {
            let place = root.join(name);
            step(format!("mount /{name}"), mount(Some(&machines), &place, none, MsFlags::MS_BIND, none))?;
            lock(&place)?;
        }
    }
    for folder in read_only {
        let place = root.join(folder.strip_prefix("/").unwrap_or(folder));
        step(format!("protect {}", folder.display()), mount(Some(&place), &place, none, bind, none))?;
        lock(&place)?;
    }
    let turned = || {
        std::env::set_current_dir(root)?;
        // Both names are this folder: the old root lies upon the new one and is taken away.
        rustix::process::pivot_root(".", ".")?;
        umount2(".", MntFlags::MNT_DETACH)?;
        std::env::set_current_dir("/")
    };
    files(format!("make {} the root", root.display()), turned())
}

/// What is mounted there cannot be written.
fn lock(place: &Path) -> Result<(), Failure> {
    let none: Option<&OsStr> = None;
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, place, none, read_only, none)
        .map_err(|error| (error.into(), format!("protect {}", place.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: users and groups as images write them, by name and by number, and what is missing in words.
    #[test]
    fn users_of_an_image_are_found_in_its_own_lists() {
        let users = "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102:Web:/srv:/bin/false\nbroken:x:y\n";
        let groups = "root:x:0:\nweb:x:102:\nextra:x:200:other,web\n";
        let told = |said: &str| match find(said, users, groups) {
            Ok(who) => format!("{} {} {:?} {}", who.uid, who.gid, who.groups, who.home.unwrap_or_default()),
            Err(error) => error.to_string(),
        };
        let check = |said: &str, want: &str| assert_eq!(told(said), want, "{said}");
        check("web", "101 102 [102, 200] /srv");
        check("101", "101 102 [102, 200] /srv");
        check("web:extra", "101 200 [200] /srv");
        check("7:8", "7 8 [8] ");
        check("7", "7 0 [0] ");
        check("nobody", "the image has no user \"nobody\"");
        check("broken", "the image has no user \"broken\"");
        check("web:none", "the image has no group \"none\"");
    }
}
