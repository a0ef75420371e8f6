//! Goal: what apps write is found again - by name, level, age and instance -, does nothing to a terminal, and costs neither the
//! disk nor the server more than it may. Method: the real binary; small shell and Python programs that write like others do.

use std::io::Read;
use std::process::Stdio;

use crate::support::house::{House, program};

/// Settings with these apps and nothing else that writes.
fn house(apps: &str, files: &[(&str, &[u8])]) -> House {
    let settings = format!(
        "[server]\nworkers = 1\n[site.main]\nlisten = \"http://127.0.0.1:0\"\nroute = [{{ path = \"/*\", files = \"public\" }}]\n{apps}"
    );
    House::start(&settings, files)
}

/// A job that runs this once.
fn job(name: &str, shell: &str) -> String {
    format!(
        "[app.{name}]\nrun = [\"sh\", \"-c\", '''{shell}''']\nonce = true\nrestart = {{ at_most = \"never\" }}\n"
    )
}

fn logs(house: &House, arguments: &[&str]) -> String {
    let mut all = vec!["logs"];
    all.extend(arguments);
    let output = house.ask(&all);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Lines without their time.
fn lines(house: &House, arguments: &[&str]) -> Vec<String> {
    let text = logs(house, arguments);
    text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

// Goal: source, instance and level are known of each line; a trace stays with its error; every choice works.
#[test]
fn lines_are_found_by_level_source_instance_and_age() {
    let shell = "echo 'INFO begins'; echo 'Traceback (most recent call last):' >&2; echo '  File a.py' >&2; echo 'ValueError: no' >&2; \
                 echo '{\"level\":40,\"msg\":\"late\"}'; echo 'plain words'; echo '<7>quiet' >&2; exit 0";
    let house = house(&job("hello", shell), &[]);
    house.until(|| house.path("data/logs/app-hello.log").is_file() && lines(&house, &["hello"]).len() == 7);
    let mut all = lines(&house, &["hello"]);
    all.sort();
    let want = [
        "1 err   File a.py",
        "1 err <7>quiet",
        "1 err Traceback (most recent call last):",
        "1 err ValueError: no",
        "1 out INFO begins",
        "1 out plain words",
        "1 out {\"level\":40,\"msg\":\"late\"}",
    ];
    assert_eq!(all, want);
    let errors = lines(&house, &["hello", "--level", "error"]);
    assert_eq!(
        errors,
        ["1 err Traceback (most recent call last):", "1 err   File a.py", "1 err ValueError: no"]
    );
    assert_eq!(lines(&house, &["hello", "--level", "warn"]).len(), 4);
    assert_eq!(lines(&house, &["hello", "--level", "trace"]).len(), 6);
    assert_eq!(lines(&house, &["hello", "-n", "2"]).len(), 2);
    assert_eq!(lines(&house, &["hello", "--since", "10m"]).len(), 7);
    assert_eq!(logs(&house, &["hello", "--instance", "2"]), "");
    let json = logs(&house, &["hello", "--json", "--level", "warn", "--instance", "1"]);
    let late: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let late = late.iter().find(|line| line["source"] == "out").unwrap();
    assert_eq!(
        (&late["level"], &late["app"], &late["goes_on"]),
        (&"warn".into(), &"hello".into(), &false.into())
    );
    for wrong in [["--level", "loud"], ["--since", "yesterday"]] {
        assert_eq!(house.ask(&["logs", "hello", wrong[0], wrong[1]]).status.code(), Some(2));
    }
}

// Goal: without a name the lines of all apps come, by time, with their names.
#[test]
fn without_a_name_all_apps_are_merged() {
    let apps = format!("{}{}", job("one", "echo first"), job("two", "echo second")) + "after = [\"one\"]\n";
    let house = house(&apps, &[]);
    house.until(|| house.path("data/logs/app-one.log").is_file() && lines(&house, &[]).len() == 2);
    assert_eq!(lines(&house, &[]), ["one 1 out first", "two 1 out second"]);
    let refused = house.ask(&["logs", "three"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("there are: one, two"));
}

// Goal: no byte of a program reaches the operator's terminal as anything but text, on disk and on the screen; a line that is
// too long is cut and says so.
#[test]
fn nothing_a_program_writes_moves_the_terminal() {
    let app = "import sys\nout = sys.stdout.buffer\nout.write(b'\\x1b[31mred\\x1b[0m \\x1b]0;title\\x07 \\x1b[2J \\xff\\xfe \\xc2\\x9b bell\\x07\\n')\n\
               out.write(b'x' * 20000 + b'\\n' + b'the end')\n";
    let keys =
        "[app.hello]\nrun = [\"python3\", \"app.py\"]\nonce = true\nrestart = { at_most = \"never\" }\n";
    let house = house(keys, &[("app.py", app.as_bytes())]);
    house.until(|| house.path("data/logs/app-hello.log").is_file() && lines(&house, &["hello"]).len() == 3);
    let all = lines(&house, &["hello"]);
    assert_eq!(all[0], "1 out red \\x1b]0;title\\x07 \\x1b[2J \\xff\\xfe \\u{9b} bell\\x07");
    assert!(all[1].ends_with("xxx [cut: 11808 bytes more]") && all[1].len() < 8300, "{}", all[1].len());
    assert_eq!(all[2], "1 out the end");
    let file = std::fs::read(house.path("data/logs/app-hello.log")).unwrap();
    assert!(file.iter().all(|byte| *byte >= 0x20 || *byte == b'\n'), "control bytes on disk");
    // What somebody else wrote into the file is made harmless too.
    let mut forged = file;
    forged.extend_from_slice(b"2030-01-01T00:00:00.000Z 1 out - \x1b[2J\n");
    std::fs::write(house.path("data/logs/app-hello.log"), forged).unwrap();
    assert!(!logs(&house, &["hello"]).contains('\x1b'));
}

// Goal: what comes too fast is dropped and counted in words; the program goes on, and so does everybody else.
#[test]
fn a_flood_is_cut_and_counted() {
    let shell = "i=0; while [ $i -lt 20000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done; echo over > over";
    let apps = job("flood", shell) + "log = { rate = \"10KiB\", keep = \"1MiB\", files = 4 }\n";
    let house = house(&apps, &[]);
    house.until(|| house.path("over").is_file());
    house.write("public/a.txt", "a");
    assert_eq!(house.client().get("/a.txt").status, 200);
    house.until(|| {
        logs(&house, &["flood", "-n", "100000"])
            .contains("lines dropped: they came faster than log.rate allows")
    });
    house.until(|| {
        let all = lines(&house, &["flood", "-n", "100000"]);
        let dropped = all.iter().filter_map(|line| {
            line.strip_prefix("1 log ")?.split(' ').next()?.replace(',', "").parse::<u64>().ok()
        });
        let (dropped, kept) =
            (dropped.sum::<u64>(), all.iter().filter(|line| line.starts_with("1 out ")).count() as u64);
        dropped + kept == 20_000
    });
}

// Goal: lines are followed as they come, over an exchange of files.
#[test]
fn lines_are_followed_over_a_rotation() {
    let shell = "i=0; while [ $i -lt 3000 ]; do echo line $i 0123456789012345678901234567890123456789; i=$((i+1)); [ $((i % 100)) = 0 ] && sleep 0.02; done; echo done; sleep 60";
    let apps = job("hello", shell) + "log = { keep = \"400KiB\", files = 4 }\n";
    let house = house(&apps, &[]);
    house.until(|| house.path("data/logs/app-hello.log").is_file());
    let mut command = program();
    command.args(["logs", "hello", "-f", "-n", "5000", "-c"]).arg(house.path("madang.toml"));
    let mut follows = command.stdout(Stdio::piped()).spawn().unwrap();
    let (mut seen, mut out) = (String::new(), follows.stdout.take().unwrap());
    let mut piece = [0; 65536];
    while !seen.contains("1 out done\n") {
        let count = out.read(&mut piece).unwrap();
        assert!(count > 0, "it ended");
        seen.push_str(std::str::from_utf8(&piece[..count]).unwrap());
    }
    follows.kill().unwrap();
    follows.wait().unwrap();
    assert!(house.path("data/logs/app-hello.log.1").is_file(), "it was exchanged");
    let last = seen.lines().filter(|line| line.contains(" line ")).count();
    assert!(last > 1000, "{last} lines were seen");
}

// Goal: the last crashes are kept with what was said before them, over a restart of the server.
#[test]
fn crashes_are_kept_with_their_last_words() {
    let shell = "i=0; while [ $i -lt 30 ]; do echo word $i; i=$((i+1)); done; echo 'it broke' >&2; exit 7";
    let mut house = house(&job("hello", shell), &[]);
    house.until_said("ended with code 7");
    let told = |house: &House| String::from_utf8(house.ask(&["app", "why", "hello"]).stdout).unwrap();
    let why = told(&house);
    assert!(why.contains("hello  failed") && why.contains("instance 1 ended with code 7\n"), "{why}");
    assert!(
        why.contains("    it broke\n") && why.contains("    word 29\n") && !why.contains("word 5\n"),
        "{why}"
    );
    house.kill_and_start_again();
    house.until_said("ended with code 7");
    house.until(|| told(&house).matches("ended with code 7\n    ").count() == 2);
    assert!(!house.ask(&["app", "why", "nobody"]).status.success());
}

// Goal: a full disk costs the file, not the newest lines: they are shown from memory, and it is told.
#[test]
fn a_full_disk_leaves_the_newest_lines_in_memory() {
    let house = house("", &[]);
    std::fs::create_dir_all(house.path("data/logs")).unwrap();
    std::os::unix::fs::symlink("/dev/full", house.path("data/logs/app-hello.log")).unwrap();
    let settings = std::fs::read_to_string(house.path("madang.toml")).unwrap();
    house.reload(&(settings + &job("hello", "echo still here; sleep 60")));
    house.until_said("No space left on device");
    house.until(|| lines(&house, &["hello"]) == ["1 out still here"]);
    let told = house.ask(&["logs", "hello"]);
    assert!(String::from_utf8_lossy(&told.stderr).contains("the disk does not take its lines"));
}
