//! Giving up root once the ports are open (`server.user`).
//!
//! **Job.** Find a user of this machine, become it for good, and prove that there is no way back.
//! **Reads** the user database (getpwnam(3), so LDAP and its like too). **Writes** the process's identity, owners of our files.
//! **Called by** `madang` between binding and accepting. **Calls** libc through `nix`.
//!
//! Invariants
//! 1. All threads change together. The kernel's own calls change one thread only; libc's change every one of them
//!    (nptl(7)), so it does not matter whether the log writer or a worker runs already.
//! 2. Order: supplementary groups, then group, then user; each later step takes away the right to the one before it.
//! 3. After a success root cannot be taken back: this is tried, not assumed.
//!
//! Not here: which files the user needs (`madang`), capabilities of a unit file (they need no root to begin with).

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Uid, User, getresgid, getresuid, initgroups, setresgid, setresuid};

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name it was found by.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its first group.
    pub gid: u32,
}

/// Whether anything had to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// We were root and are the user now.
    Root,
    /// We were that user already (the process after an upgrade).
    Already,
}

/// Why the process did not become the user. Whoever gets one must not go on as it is.
#[derive(Debug)]
#[non_exhaustive]
pub enum RightsError {
    /// The machine has no such user.
    NoSuchUser {
        /// As asked.
        name: String,
    },
    /// The user database could not be read.
    Database {
        /// As asked.
        name: String,
        /// What it said.
        error: io::Error,
    },
    /// Only root may become somebody else.
    NotRoot {
        /// As asked.
        name: String,
        /// Who we are.
        uid: u32,
    },
    /// A step failed.
    Step {
        /// The call.
        step: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
    /// Every step succeeded and yet root could be taken back, or the numbers are not the user's.
    NotDropped {
        /// The user number in force.
        uid: u32,
        /// The group number in force.
        gid: u32,
    },
}

impl fmt::Display for RightsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchUser { name } => write!(
                f,
                "server.user: this machine has no user {name:?}; make it: useradd --system --no-create-home {name}"
            ),
            Self::Database { name, error } => write!(f, "server.user: cannot look up {name:?}: {error}"),
            Self::NotRoot { name, uid } => write!(
                f,
                "server.user: only root can become {name:?}, this process is user {uid}; start it as root or leave \
                 server.user out"
            ),
            Self::Step { step, error } => write!(f, "server.user: {step} failed: {error}"),
            Self::NotDropped { uid, gid } => write!(
                f,
                "server.user: root was not given up (user {uid}, group {gid}); do not run this server here"
            ),
        }
    }
}
impl std::error::Error for RightsError {}

impl Identity {
    /// Looks a user up by name.
    ///
    /// # Errors
    /// [`RightsError::NoSuchUser`], [`RightsError::Database`].
    pub fn find(name: &str) -> Result<Self, RightsError> {
        match User::from_name(name) {
            Ok(Some(user)) => {
                Ok(Self { name: name.to_owned(), uid: user.uid.as_raw(), gid: user.gid.as_raw() })
            }
            Ok(None) => Err(RightsError::NoSuchUser { name: name.to_owned() }),
            Err(error) => Err(RightsError::Database { name: name.to_owned(), error: error.into() }),
        }
    }

    /// Becomes this user, on every thread, for good.
    ///
    /// # Errors
    /// Any of them leaves the process in between: end it.
    pub fn become_for_good(&self) -> Result<Dropped, RightsError> {
        let now = getresuid().map_err(step("getresuid"))?;
        if now.real.as_raw() == self.uid && now.effective == now.real && now.saved == now.real {
            return Ok(Dropped::Already);
        }
        if !now.effective.is_root() {
            return Err(RightsError::NotRoot { name: self.name.clone(), uid: now.effective.as_raw() });
        }
        let name = CString::new(self.name.as_str())
            .map_err(|_| RightsError::NoSuchUser { name: self.name.clone() })?;
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        initgroups(&name, gid).map_err(step("initgroups"))?;
        setresgid(gid, gid, gid).map_err(step("setresgid"))?;
        setresuid(uid, uid, uid).map_err(step("setresuid"))?;
        self.verify()?;
        Ok(Dropped::Root)
    }

    /// Invariant 3.
    fn verify(&self) -> Result<(), RightsError> {
        let users = getresuid().map_err(step("getresuid"))?;
        let groups = getresgid().map_err(step("getresgid"))?;
        let ours = [users.real, users.effective, users.saved].iter().all(|have| have.as_raw() == self.uid)
            && [groups.real, groups.effective, groups.saved].iter().all(|have| have.as_raw() == self.gid);
        let root = Uid::from_raw(0);
        // The trial: for a user that is not root it must be refused.
        let back = self.uid != 0 && setresuid(root, root, root).is_ok();
        if ours && !back {
            return Ok(());
        }
        Err(RightsError::NotDropped { uid: users.effective.as_raw(), gid: groups.effective.as_raw() })
    }

    /// Gives a file or folder of ours to this user; does not follow a link and does nothing when it is the user's.
    ///
    /// Call it as root, before [`Identity::become_for_good`], for what was made until then: the data folder, its lock,
    /// the control socket.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn own(&self, path: &Path) -> io::Result<()> {
        let meta = std::fs::symlink_metadata(path)?;
        if (meta.uid(), meta.gid()) == (self.uid, self.gid) {
            return Ok(());
        }
        std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid))
    }
}

fn step(step: &'static str) -> impl Fn(nix::errno::Errno) -> RightsError {
    move |error| RightsError::Step { step, error: error.into() }
}
