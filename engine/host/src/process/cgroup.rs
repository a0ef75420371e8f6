//! Control groups: what an instance may use, and everything that descends from it.
//!
//! **Job.** Make a group for each instance, set its limits, tell whether the out-of-memory killer was there, end whatever is
//! left in it. **Called by** `roles/supervise`. **Calls** the kernel (cgroups(7)).
//!
//! Version 2 is what is meant. Where a machine still has its controllers in version 1, memory, CPU and pids are limited there
//! as well; both together are what such a machine calls hybrid.
//!
//! Invariants
//! 1. Only groups below a folder of ours are made, written and removed.
//! 2. A machine that allows no group runs its apps all the same; a limit that cannot be set is an error, never passed over.
//!
//! Not here: joining (`exec`), who needs limits (`roles/supervise`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// What one group may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupLimits {
    /// Bytes, swap included.
    pub memory: Option<u64>,
    /// Percent of one core.
    pub cpu_percent: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// How often those left in a group are killed one by one. A fork bomb that is not limited may outrun it.
const KILL_ROUNDS: usize = 64;
/// CPU time is dealt out in pieces of this, in microseconds.
const PERIOD_US: u64 = 100_000;

/// Where this machine keeps its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// Version 2, where there is one that we may write.
    unified: Option<PathBuf>,
    /// Version 1, by controller: memory, cpu, pids.
    legacy: [Option<PathBuf>; 3],
}

const LEGACY: [&str; 3] = ["memory", "cpu", "pids"];

impl Groups {
    /// Looks at the machine; `name` is our folder there.
    pub fn find(name: &str) -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let unified =
            if root.join("cgroup.controllers").is_file() { root.to_owned() } else { root.join("unified") };
        let may = |folder: PathBuf| {
            let ours = folder.join(name);
            fs::create_dir_all(&ours).is_ok().then_some(ours)
        };
        let below = |root: &Path, controller: &str| {
            let path = own.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (controllers, path) = rest.split_once(':')?;
                controllers.split(',').any(|have| have == controller).then_some(path)
            })?;
            root.join("cgroup.procs").is_file().then(|| root.join(path.trim_start_matches('/')))
        };
        let legacy = LEGACY.map(|controller| below(&root.join(controller), controller).and_then(may));
        Self { unified: below(&unified, "").and_then(may), legacy }
    }

    /// A group of this name with these limits, empty.
    ///
    /// # Errors
    /// A limit was asked for that this machine does not let us set.
    pub fn make(&self, name: &str, limits: &GroupLimits) -> io::Result<Group> {
        let mut group = Group { unified: None, legacy: Vec::new(), memory: limits.memory };
        if let Some(ours) = &self.unified {
            let folder = ours.join(name);
            // Without a limit a group only helps to find what descends from an instance.
            if fs::create_dir_all(&folder).is_ok() {
                group.unified = Some(folder);
            }
        }
        let made = self.limit(name, limits, &mut group);
        if made.is_err() {
            group.remove();
        }
        made.map(|()| group)
    }

    /// Ends and removes every group of ours that is not among these: what a killed server had no time to write down.
    pub fn end_others(&self, known: &[PathBuf]) {
        let folders = self.unified.iter().chain(self.legacy.iter().flatten());
        // A folder that cannot be read has nothing for us.
        for entry in folders.filter_map(|ours| fs::read_dir(ours).ok()).flatten().flatten() {
            let folder = entry.path();
            if folder.is_dir() && !known.contains(&folder) {
                let group = Group::found(&[folder], None);
                group.kill();
                group.remove();
            }
        }
    }

    /// Removes our folders, as far as they are empty.
    pub fn remove(&self) {
        for ours in self.unified.iter().chain(self.legacy.iter().flatten()) {
            // One that is not empty stays.
            let _ = fs::remove_dir(ours);
        }
    }

    fn limit(&self, name: &str, limits: &GroupLimits, group: &mut Group) -> io::Result<()> {
        let quota = |percent: u32| u64::from(percent) * PERIOD_US / 100;
        let wanted = [
            ("memory", limits.memory.map(|bytes| bytes.to_string())),
            ("cpu", limits.cpu_percent.map(|percent| quota(percent).to_string())),
            ("pids", limits.pids.map(|pids| pids.to_string())),
        ];
        for (at, (controller, value)) in wanted.into_iter().enumerate() {
            let Some(value) = value else { continue };
            if let Some(folder) = self.legacy[at].as_ref().map(|ours| ours.join(name)) {
                fs::create_dir_all(&folder)?;
                group.legacy.push(folder.clone());
                match controller {
                    "memory" => {
                        fs::write(folder.join("memory.limit_in_bytes"), &value)?;
                        // Swap is counted only where the kernel was told to.
                        let _ = fs::write(folder.join("memory.memsw.limit_in_bytes"), &value);
                    }
                    "cpu" => {
                        fs::write(folder.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
                        fs::write(folder.join("cpu.cfs_quota_us"), &value)?;
                    }
                    _ => fs::write(folder.join("pids.max"), &value)?,
                }
                continue;
            }
            let refuse = |why: &str| {
                let told = format!(
                    "this machine lets nobody limit {controller} here: {why}; run as root, or delegate a cgroup (Delegate=yes in the unit)"
                );
                io::Error::new(io::ErrorKind::Unsupported, told)
            };
            let (Some(ours), Some(folder)) = (&self.unified, &group.unified) else {
                return Err(refuse("there is no cgroup v2 that may be written"));
            };
            enable(ours, controller).map_err(|error| refuse(&error.to_string()))?;
            match controller {
                "memory" => {
                    fs::write(folder.join("memory.max"), &value)?;
                    // A machine without swap has no such file.
                    let _ = fs::write(folder.join("memory.swap.max"), "0");
                }
                "cpu" => fs::write(folder.join("cpu.max"), format!("{value} {PERIOD_US}"))?,
                _ => fs::write(folder.join("pids.max"), &value)?,
            }
        }
        Ok(())
    }
}

/// Who is in a group.
fn members(folder: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
}

/// Lets groups below `ours` use a controller; it has to be handed down from above.
fn enable(ours: &Path, controller: &str) -> io::Result<()> {
    let has = |folder: &Path, file: &str| {
        fs::read_to_string(folder.join(file))
            .is_ok_and(|all| all.split_whitespace().any(|one| one == controller))
    };
    let parent = ours.parent().unwrap_or(ours);
    if !has(ours, "cgroup.controllers") {
        fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}")).or_else(|error| {
            // A group with processes of its own hands nothing down (but the root): ours move one down, then it may.
            if error.raw_os_error() != Some(rustix::io::Errno::BUSY.raw_os_error()) {
                return Err(error);
            }
            let server = parent.join("madang-server");
            fs::create_dir_all(&server)?;
            fs::write(server.join("cgroup.procs"), "0")?;
            fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"))
        })?;
    }
    if !has(ours, "cgroup.subtree_control") {
        fs::write(ours.join("cgroup.subtree_control"), format!("+{controller}"))?;
    }
    Ok(())
}

/// The group of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    unified: Option<PathBuf>,
    legacy: Vec<PathBuf>,
    memory: Option<u64>,
}

impl Group {
    /// A group that was made before, from its folders.
    pub fn found(folders: &[PathBuf], memory: Option<u64>) -> Self {
        let is_unified = |folder: &&PathBuf| folder.join("cgroup.kill").is_file();
        let unified = folders.iter().find(is_unified).cloned();
        let legacy = folders.iter().filter(|folder| !is_unified(folder)).cloned().collect();
        Self { unified, legacy, memory }
    }

    /// Its folders, to be found again.
    pub fn folders(&self) -> Vec<PathBuf> {
        self.unified.iter().chain(&self.legacy).cloned().collect()
    }

    /// What a process writes itself into to join.
    pub fn join_files(&self) -> Vec<PathBuf> {
        self.folders().into_iter().map(|folder| folder.join("cgroup.procs")).collect()
    }

    /// The limit of its memory, if the kernel ended something here because of it.
    pub fn was_out_of_memory(&self) -> Option<Option<u64>> {
        let counted = |text: String| {
            let kills =
                text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok());
            kills.is_some_and(|kills| kills > 0)
        };
        let files = self.unified.iter().map(|folder| folder.join("memory.events"));
        let legacy = self.legacy.iter().map(|folder| folder.join("memory.oom_control"));
        files.chain(legacy).any(|file| fs::read_to_string(file).is_ok_and(counted)).then_some(self.memory)
    }

    /// CPU time that everything in it has used so far; `None`: this machine does not count it by group.
    pub fn cpu_time(&self) -> Option<Duration> {
        let whole = |text: &str| text.trim().parse::<u64>().ok();
        // Version 2 counts always, whether the controller is on or not.
        let unified = self.unified.iter().find_map(|folder| {
            let text = fs::read_to_string(folder.join("cpu.stat")).ok()?;
            let used = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
            whole(used).map(Duration::from_micros)
        });
        let legacy = || {
            let files = self.legacy.iter().map(|folder| folder.join("cpuacct.usage"));
            files
                .into_iter()
                .find_map(|file| whole(&fs::read_to_string(file).ok()?).map(Duration::from_nanos))
        };
        unified.or_else(legacy)
    }

    /// Whether it wanted more processes than it may have.
    pub fn was_out_of_processes(&self) -> bool {
        let refused = |text: String| {
            let times = text.lines().find_map(|line| line.strip_prefix("max ")?.trim().parse::<u64>().ok());
            times.is_some_and(|times| times > 0)
        };
        let files = self.unified.iter().chain(&self.legacy).map(|folder| folder.join("pids.events"));
        files.into_iter().any(|file| fs::read_to_string(file).is_ok_and(refused))
    }

    /// Ends everything that is left in it: what left the process group and the session too.
    pub fn kill(&self) {
        let at_once = |folder: &PathBuf| fs::write(folder.join("cgroup.kill"), "1").is_ok();
        if self.unified.as_ref().is_some_and(at_once) {
            return;
        }
        // A kernel before 5.14, or version 1: one by one, and again, for those that were born meanwhile.
        for folder in self.folders() {
            for _ in 0..KILL_ROUNDS {
                let left = members(&folder);
                if left.is_empty() {
                    break;
                }
                for number in left {
                    let Ok(held) = pidfd_open(number, PidfdFlags::empty()) else { continue };
                    // Held first, then looked at: its number is no other one's now.
                    if members(&folder).contains(&number) {
                        // One that has ended is what was wanted.
                        let _ = pidfd_send_signal(&held, Signal::KILL);
                    }
                }
            }
        }
    }

    /// Removes it. False: something in it has not quite ended.
    pub fn remove(&self) -> bool {
        let gone = |folder: &PathBuf| match fs::remove_dir(folder) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        // Each is tried, whatever the others do.
        let left = self.folders().iter().filter(|folder| !gone(folder)).count();
        left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups as version 2 has them, on a folder tree: `has` are the controllers that were handed down.
    fn unified(has: &str) -> (tempfile::TempDir, Groups) {
        let folder = tempfile::tempdir().unwrap();
        let ours = folder.path().join("ours");
        fs::create_dir(&ours).unwrap();
        fs::write(ours.join("cgroup.controllers"), has).unwrap();
        (folder, Groups { unified: Some(ours), legacy: [None, None, None] })
    }

    // Goal: limits in version 2 are written as cgroups(7) has them, and handed down before. Method: a folder tree in its place,
    // because test machines often have version 1.
    #[test]
    fn limits_of_version_2_are_written_as_the_kernel_reads_them() {
        let (folder, groups) = unified("memory pids");
        let limits = GroupLimits { memory: Some(64 << 20), cpu_percent: Some(150), pids: Some(20) };
        let group = groups.make("app-1", &limits).unwrap();
        let check = |path: &str, want: &str| {
            let got = fs::read_to_string(folder.path().join(path)).unwrap_or_default();
            assert_eq!(got, want, "{path}");
        };
        check("ours/app-1/memory.max", "67108864");
        check("ours/app-1/memory.swap.max", "0");
        check("ours/app-1/cpu.max", "150000 100000");
        check("ours/app-1/pids.max", "20");
        // What was handed down from above is not asked for again; of the three, the last one written stays in a plain file.
        check("cgroup.subtree_control", "+cpu");
        check("ours/cgroup.subtree_control", "+pids");
        assert_eq!(group.join_files(), [folder.path().join("ours/app-1/cgroup.procs")]);

        fs::write(folder.path().join("ours/app-1/memory.events"), "oom 3\noom_kill 0\n").unwrap();
        assert_eq!(group.was_out_of_memory(), None);
        fs::write(folder.path().join("ours/app-1/memory.events"), "oom 3\noom_kill 1\n").unwrap();
        assert_eq!(group.was_out_of_memory(), Some(Some(64 << 20)));

        let free = groups.make("app-2", &GroupLimits::default()).unwrap();
        assert!(free.remove(), "nothing was written into it");
    }

    // Negative space: a limit that the machine does not let us set is refused in words, and nothing is left of the try.
    #[test]
    fn a_limit_that_cannot_be_set_is_refused() {
        let groups = Groups { unified: None, legacy: [None, None, None] };
        let limits = GroupLimits { pids: Some(20), ..GroupLimits::default() };
        let told = groups.make("app-1", &limits).unwrap_err().to_string();
        assert!(
            told.starts_with("this machine lets nobody limit pids here: there is no cgroup v2"),
            "{told}"
        );
        assert!(groups.make("app-1", &GroupLimits::default()).unwrap().folders().is_empty());
    }

    // Goal: where the kernel kills no group at once, everybody in it is killed all the same. Method: a real group, taken for one of
    // version 1; where none can be made this says so.
    #[test]
    fn a_group_is_ended_one_by_one_where_it_must_be() {
        use std::os::unix::process::ExitStatusExt;
        let groups = Groups::find(&format!("madang-test-{}", std::process::id()));
        let Some(ours) = groups.unified.clone() else {
            eprintln!("not proved here: this machine lets us make no group");
            return;
        };
        let folder = groups.make("several", &GroupLimits::default()).unwrap().folders().remove(0);
        #[allow(clippy::disallowed_methods)] // a test's own children
        let mut children: Vec<_> =
            (0..3).map(|_| std::process::Command::new("sleep").arg("600").spawn().unwrap()).collect();
        for child in &children {
            fs::write(folder.join("cgroup.procs"), child.id().to_string()).unwrap();
        }
        let group = Group { unified: None, legacy: vec![folder], memory: None };
        group.kill();
        let ends: Vec<_> = children.iter_mut().map(|child| child.wait().unwrap().signal()).collect();
        assert_eq!(ends, [Some(9); 3]);
        assert!(group.remove());
        fs::remove_dir(ours).unwrap();
    }

    // Goal: CPU time is read in the unit of each version, and never made up. Method: folders as a kernel fills them.
    #[test]
    fn cpu_time_has_the_unit_of_its_version() {
        check(
            &[("cgroup.kill", ""), ("cpu.stat", "nr_bursts 7\nusage_usec 1500000\nuser_usec 1\n")],
            Some(1_500),
        );
        check(&[("cpuacct.usage", "2500000000\n")], Some(2_500));
        check(&[("cgroup.kill", ""), ("cpu.stat", "usage_usec many\n")], None);
        check(&[("cpuacct.usage", "-1\n")], None);
        check(&[], None);

        #[track_caller]
        fn check(files: &[(&str, &str)], want_ms: Option<u64>) {
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in files {
                fs::write(folder.path().join(name), text).unwrap();
            }
            let group = Group::found(&[folder.path().to_owned()], None);
            assert_eq!(group.cpu_time(), want_ms.map(Duration::from_millis), "{files:?}");
        }
    }
}
