//! Where things lie on the machine, and where that is on this disk.
//!
//! **Job.** Name every path of an installation once. With `--root` (as packagers use DESTDIR) the machine is a folder: what is
//! written lies below it, what is written down in units and told to people does not know of it.
//! **Called by** `install`, `uninstall`, `doctor`, `firewall`. **Calls** nothing.
//!
//! Not here: what the files say (`units`, `firewall::rules`).

use std::path::{Path, PathBuf};

/// The unit of the server.
pub(in crate::cli) const SERVICE: &str = "madang.service";
/// The unit of its ports.
pub(in crate::cli) const SOCKET: &str = "madang.socket";
/// The unit of the packet filter.
pub(in crate::cli) const FIREWALL: &str = "madang-firewall.service";

/// A machine as a tree of files.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Place {
    root: Option<PathBuf>,
    prefix: PathBuf,
}

impl Place {
    /// `root`: where `/` of that machine lies here; `None`: it is this one.
    pub(in crate::cli) fn new(root: Option<&Path>, prefix: &Path) -> Self {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let root = root.map(absolute).filter(|root| root != Path::new("/"));
        Self { root, prefix: prefix.to_owned() }
    }

    /// The same machine, with the program elsewhere.
    pub(in crate::cli) fn with_prefix(&self, prefix: &Path) -> Self {
        Self { prefix: prefix.to_owned(), ..self.clone() }
    }

    /// Whether it is the machine we run on.
    pub(in crate::cli) const fn is_here(&self) -> bool {
        self.root.is_none()
    }

    /// Where a path of that machine lies here.
    pub(in crate::cli) fn here(&self, path: &Path) -> PathBuf {
        match &self.root {
            Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
            None => path.to_owned(),
        }
    }

    /// What a path here is called on that machine.
    pub(in crate::cli) fn there(&self, path: &Path) -> PathBuf {
        let inside = self.root.as_deref().and_then(|root| path.strip_prefix(root).ok());
        inside.map_or_else(|| path.to_owned(), |inside| Path::new("/").join(inside))
    }

    /// The program.
    pub(in crate::cli) fn program(&self) -> PathBuf {
        self.prefix.join("bin/madang")
    }

    /// A unit. What a package brings (prefix /usr) lies where an administrator's own files go before it.
    pub(in crate::cli) fn unit(&self, name: &str) -> PathBuf {
        let folder =
            if self.prefix == Path::new("/usr") { "/usr/lib/systemd/system" } else { "/etc/systemd/system" };
        Path::new(folder).join(name)
    }

    /// The user, for systemd-sysusers(8), where nobody can be made now.
    pub(in crate::cli) fn sysusers(&self) -> PathBuf {
        let folder = if self.prefix == Path::new("/usr") { "/usr/lib/sysusers.d" } else { "/etc/sysusers.d" };
        Path::new(folder).join("madang.conf")
    }
}

/// Settings where none are named, and what was installed.
pub(in crate::cli) fn etc() -> &'static Path {
    Path::new("/etc/madang")
}
/// Data where none is named, and the user's home.
pub(in crate::cli) fn var() -> &'static Path {
    Path::new("/var/lib/madang")
}
/// The settings, unless another file is named.
pub(in crate::cli) fn settings() -> PathBuf {
    etc().join("madang.toml")
}
/// What the service finds in its environment; may hold secrets.
pub(in crate::cli) fn environment() -> PathBuf {
    etc().join("environment")
}
/// The rules for nft(8).
pub(in crate::cli) fn rules() -> PathBuf {
    etc().join("firewall.nft")
}
/// What was installed, for people.
pub(in crate::cli) fn told() -> PathBuf {
    etc().join("installed.txt")
}
/// What was installed, for `uninstall`.
pub(in crate::cli) fn manifest() -> PathBuf {
    etc().join("installed.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a path goes into the tree and comes back; without a tree it stays.
    #[test]
    fn a_tree_is_entered_and_left() {
        let tree = Place::new(Some(Path::new("/tmp/tree")), Path::new("/usr"));
        assert_eq!(tree.here(Path::new("/etc/madang")), Path::new("/tmp/tree/etc/madang"));
        assert_eq!(tree.there(Path::new("/tmp/tree/etc/madang")), Path::new("/etc/madang"));
        assert_eq!(tree.there(Path::new("/srv/site")), Path::new("/srv/site"));
        assert_eq!(tree.unit(SERVICE), Path::new("/usr/lib/systemd/system/madang.service"));
        let machine = Place::new(Some(Path::new("/")), Path::new("/usr/local"));
        assert!(machine.is_here());
        assert_eq!(machine.here(Path::new("/etc")), Path::new("/etc"));
        assert_eq!(machine.unit(SERVICE), Path::new("/etc/systemd/system/madang.service"));
    }
}
