//! Reading settings: what holds for every text, and the rules of includes, the environment and names.
//!
//! **Method.** Files live in memory; texts are made from fragments that look like settings, and from plain noise.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use madang_settings::reader::Reader;
use madang_settings::report::{Mark, PROBLEMS_MAX, Report};
use madang_settings::schema::{Key, Kind, Section};
use madang_settings::source::{self, DEPTH_MAX, FILE_BYTES_MAX, FILES_MAX, Source};
use madang_settings::tree::Table;
use proptest::prelude::*;

const fn key(name: &'static str, kind: Kind, default: &'static str) -> Key {
    Key { name, kind, default, doc: "A key." }
}

/// One key of every kind.
static ROOT: Section = Section {
    title: "root",
    doc: "All kinds.",
    keys: &[
        key("text", Kind::Text, "\"plain\""),
        key("path", Kind::Path, "\"here\""),
        key("bool", Kind::Bool, "false"),
        key("count", Kind::Count(1, 64), "4"),
        key("time", Kind::Duration("1s", "5m"), "\"10s\""),
        key("size", Kind::Size("1KiB", "1MiB"), "\"16KiB\""),
        key("rate", Kind::Rate, ""),
        key("address", Kind::Address, ""),
        key("networks", Kind::Networks, ""),
        key("choice", Kind::Choice(&["red", "green"]), "\"red\""),
        key("texts", Kind::List(&Kind::Text), ""),
        key("map", Kind::Map(&Kind::Text), ""),
        key("table", Kind::Table(&INNER), ""),
        key("named", Kind::Named(&INNER), ""),
        key("list", Kind::List(&Kind::Table(&INNER)), ""),
    ],
};
static INNER: Section = Section {
    title: "inner",
    doc: "Below.",
    keys: &[key("count", Kind::Count(0, 9), "0"), key("text", Kind::Text, "")],
};

/// Files in memory.
#[derive(Default)]
struct Files(BTreeMap<PathBuf, String>);

impl Source for Files {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.get(path).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
    fn list(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let pattern = pattern.to_string_lossy();
        let (before, behind) = pattern.split_once('*').unwrap_or((&pattern, ""));
        let fits = |path: &&PathBuf| {
            let path = path.to_string_lossy();
            if pattern.contains('*') {
                path.strip_prefix(before).is_some_and(|rest| rest.ends_with(behind) && !rest.contains('/'))
            } else {
                path == pattern
            }
        };
        Ok(self.0.keys().filter(fits).cloned().collect())
    }
}

fn files(list: &[(&str, &str)]) -> Files {
    Files(list.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect())
}

fn environment(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load(files: &Files, variables: &[(&str, &str)]) -> (Table, Report) {
    let mut report = Report::default();
    let tree = source::load("a.toml".as_ref(), &environment(variables), files, &mut report);
    (tree, report)
}

/// What a reader of every key makes of a tree, as text.
fn read(tree: &Table, report: &mut Report) -> String {
    let mut r = Reader::root(tree, &ROOT, report);
    let inner = |r: &mut Reader<'_>| format!("{:?} {:?}", r.count("count"), r.text("text"));
    let plain = format!(
        "{} {:?} {} {:?} {:?} {} {:?} {:?} {:?} {} {:?} {:?}",
        r.text_or_default("text"),
        r.path_or_default("path"),
        r.bool("bool"),
        r.count("count"),
        r.duration("time"),
        r.size("size"),
        r.rate("rate"),
        r.address("address"),
        r.networks("networks"),
        r.choice("choice"),
        r.texts("texts"),
        r.text_map("map"),
    );
    let tables = format!(
        "{} {:?} {:?}",
        r.table_or_default("table", &INNER, inner),
        r.named("named", &INNER, |r, name| format!("{name} {}", inner(r))),
        r.tables("list", &INNER, |r, at| format!("{at} {}", inner(r))),
    );
    plain + &tables
}

/// The problems as `file:line:column key: message [help]`.
fn told(report: &Report) -> Vec<String> {
    let json = report.to_json();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("").to_owned();
    let one = |problem: &serde_json::Value| {
        let help = problem["help"].as_str().map(|help| format!(" [{help}]")).unwrap_or_default();
        let (file, key, message) = (text(&problem["file"]), text(&problem["key"]), text(&problem["message"]));
        format!("{file}:{}:{} {key}: {message}{help}", problem["line"], problem["column"])
    };
    json["problems"].as_array().map(|list| list.iter().map(one).collect()).unwrap_or_default()
}

/// Loads and reads a single file; gives the problems.
#[track_caller]
fn check(text: &str, want: &[&str]) {
    let (tree, mut report) = load(&files(&[("a.toml", text)]), &[]);
    read(&tree, &mut report);
    assert_eq!(told(&report), want);
}

/// Lines that are nearly settings, so that noise gets past the TOML parser.
fn nearly_settings() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        prop::sample::select(ROOT.keys.iter().map(|key| key.name).collect::<Vec<_>>())
            .prop_map(str::to_owned),
        "[a-z]{1,6}",
        "\"[^\"\\\\\\x00-\\x1f]{0,6}\"",
    ];
    let value = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        "\"[^\"\\\\\\x00-\\x1f]{0,12}\"",
        "\"\\$\\{[A-Z]{0,3}(:-[a-z]{0,3})?\\}?\"",
        prop::sample::select(vec![
            "true",
            "[]",
            "{}",
            "1.5",
            "1979-05-27",
            "99999999999999999999",
            "\"5s\"",
            "\"1h\"",
            "\"2KiB\"",
            "\"10/s\"",
            "[1, \"a\", { count = 3 }]",
            "{ count = 12 }",
            "{ a = { text = 1 } }",
            "nonsense",
            "\"\\u0000\"",
        ])
        .prop_map(str::to_owned),
    ];
    let line = prop_oneof![
        8 => (name.clone(), value).prop_map(|(name, value)| format!("{name} = {value}")),
        2 => name.clone().prop_map(|name| format!("[{name}]")),
        1 => name.prop_map(|name| format!("[[{name}]]")),
        1 => "\\PC{0,20}",
    ];
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

/// Every problem stands in a file that was read, at a line and column that this file has.
fn every_problem_has_a_place(files: &Files, report: &Report) -> Result<(), TestCaseError> {
    for problem in &report.problems {
        let path = report.files.path(problem.mark);
        let text = files.0.get(path);
        prop_assert!(text.is_some(), "{problem:?} is in {path:?}");
        let text = text.map_or("", String::as_str);
        prop_assert!(problem.mark.offset as usize <= text.len(), "{problem:?} is behind the end");
        let (line, column, shown) = report.files.locate(problem.mark);
        let whole = text.split('\n').nth(line - 1).unwrap_or_default();
        prop_assert!(
            whole == shown || whole.strip_suffix('\r') == Some(shown),
            "{whole:?} shown as {shown:?}"
        );
        prop_assert!(column <= shown.chars().count() + 2, "{problem:?} column {column} of {shown:?}");
    }
    Ok(())
}

// Found by the law below: a text that ends in carriage returns has its problem at a column that it has.
#[test]
fn carriage_returns_alone_have_columns() {
    let files = files(&[("a.toml", "x = 1\n\r\r")]);
    let (_, report) = load(&files, &[]);
    assert!(!report.problems.is_empty());
    every_problem_has_a_place(&files, &report).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    // Goal: no text at all can stop the reader, and what it says can be found.
    #[test]
    fn any_text_is_read_without_a_panic_and_every_problem_has_its_place(
        text in prop_oneof![nearly_settings(), "\\PC{0,200}", "[\\x00-\\x7f]{0,200}"],
        second in nearly_settings(),
    ) {
        let first = format!("include = \"b.toml\"\n{text}");
        let files = files(&[("a.toml", &first), ("b.toml", &second)]);
        let (tree, mut report) = load(&files, &[("A", "x"), ("AB", "12")]);
        read(&tree, &mut report);
        every_problem_has_a_place(&files, &report)?;
        prop_assert!(report.problems.len() <= PROBLEMS_MAX);
        let (text, json) = (report.to_text(false), report.to_json());
        prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{text:?}");
        prop_assert_eq!(json["ok"].as_bool(), Some(!report.has_errors()));
    }

    // Goal: reading depends on what is written, not on the order of keys. Method: the same lines backwards.
    #[test]
    fn the_order_of_keys_means_nothing(count in 0_i64..100, seconds in 0_u64..1000, bool in any::<bool>()) {
        let lines = [format!("count = {count}"), format!("time = \"{seconds}s\""), format!("bool = {bool}")];
        let backwards: Vec<&str> = lines.iter().rev().map(String::as_str).collect();
        let value = |text: &str| {
            let (tree, mut report) = load(&files(&[("a.toml", text)]), &[]);
            (read(&tree, &mut report), report.has_errors())
        };
        let (values, failed) = value(&lines.join("\n"));
        prop_assert_eq!(failed, !(1..=64).contains(&count) || !(1..=300).contains(&seconds));
        prop_assert_eq!((values, failed), value(&backwards.join("\n")));
    }

    // Goal: a value of the environment is in no message, whatever is wrong with it.
    // Method: the same odd value for every key; only the settings' own words may be told.
    #[test]
    fn a_secret_is_never_shown(secret in "[\"\\\\a-zA-Z0-9~ ]{0,8}Q7Z[\"\\\\a-zA-Z0-9~ ]{1,70}") {
        let mut text = String::new();
        for key in ROOT.keys.iter().filter(|key| !matches!(key.name, "table" | "named" | "list")) {
            text += &format!("{} = \"${{SECRET}}\"\n", key.name);
        }
        text += "include = [\"${SECRET}\", \"x-${SECRET}.toml\"]\n[table]\ncount = \"${SECRET}\"\n[named]\na = \"<${SECRET}>\"\n";
        let files = files(&[("a.toml", &text)]);
        let (tree, mut report) = load(&files, &[("SECRET", &secret)]);
        read(&tree, &mut report);
        let mark = report.problems.first().map(|problem| Mark { file: 0, ..problem.mark }).unwrap_or_default();
        // An owner that forgets to ask is caught as well.
        report.error(mark, "text", format!("cannot use {secret:?}, {secret}"), Some(secret.to_lowercase()));
        for shown in [report.to_text(false), report.to_json().to_string()] {
            prop_assert!(!shown.to_lowercase().contains("q7z"), "{shown}");
        }
        prop_assert!(report.has_errors());
    }
}

#[test]
fn a_value_that_is_wrong_is_told_with_what_is_allowed_and_what_was_meant() {
    check("count = 0", &["a.toml:1:9 count: 0 is outside the range: 1 to 64"]);
    check("count = 65", &["a.toml:1:9 count: 65 is outside the range: 1 to 64"]);
    check("count = -1", &["a.toml:1:9 count: -1 is outside the range: 1 to 64"]);
    check(
        "count = \"4\"",
        &["a.toml:1:9 count: \"4\" is not a whole number from 1 to 64 [write 4, without quotes]"],
    );
    check("time = \"10m\"", &["a.toml:1:8 time: \"10m\" is outside the range: \"1s\" to \"5m\""]);
    check(
        "time = 30",
        &[
            "a.toml:1:8 time: 30 is not a duration from \"1s\" to \"5m\", with a unit: ms, s, m, h, d, w [write the unit, in quotes: \"30s\" or \"30ms\"]",
        ],
    );
    check(
        "size = \"10MB\"",
        &[
            "a.toml:1:8 size: \"10MB\" is not a size from \"1KiB\" to \"1MiB\", with a unit: B, KiB, MiB, GiB [sizes are powers of two: MiB]",
        ],
    );
    check("bool = \"yes\"", &["a.toml:1:8 bool: \"yes\" is not true or false [write true, without quotes]"]);
    check(
        "choice = \"gren\"",
        &["a.toml:1:10 choice: \"gren\" is not \"red\" or \"green\" [did you mean \"green\"?]"],
    );
    check(
        "address = 9900",
        &[
            "a.toml:1:11 address: 9900 is not an address with port such as \"127.0.0.1:9900\" [with its address: \"127.0.0.1:9900\"]",
        ],
    );
    check("text = 3", &["a.toml:1:8 text: 3 is not text [put it in quotes: \"3\"]"]);
    check("named = { a = 3 }", &["a.toml:1:15 named.a: 3 is not a table"]);
    check("map = { a = 3 }", &["a.toml:1:13 map.a: 3 is not text"]);
    check("count = 99999999999999999999", &["a.toml:1:9 count: the number is too large"]);
}

#[test]
fn all_that_is_wrong_is_told_at_once_in_the_order_of_the_file() {
    check(
        "tex = \"a\"\ncount = 0\n[table]\nbanana = 1\ntime = 3\n",
        &[
            "a.toml:1:1 tex: unknown section or key `tex` [did you mean `text`?]",
            "a.toml:2:9 count: 0 is outside the range: 1 to 64",
            "a.toml:4:1 table.banana: unknown key `banana` [known here: count, text]",
            "a.toml:5:1 table.time: unknown key `time` [known here: count, text]",
        ],
    );
}

#[test]
fn a_table_is_continued_in_another_file_and_a_key_set_twice_names_both_places() {
    let files = files(&[
        ("a.toml", "include = \"conf/*.toml\"\ncount = 3\n[named.one]\ncount = 1\n"),
        ("conf/10.toml", "[named.two]\ncount = 2\n[named.one]\ntext = \"more\"\n"),
        ("conf/20.toml", "count = 5\n[named.one]\ncount = 9\n"),
    ]);
    let (tree, mut report) = load(&files, &[]);
    let values = read(&tree, &mut report);
    assert_eq!(
        told(&report),
        [
            "conf/20.toml:1:1 count: is already set in a.toml:2 [keep one of the two]",
            "conf/20.toml:3:1 named.one.count: is already set in a.toml:4 [keep one of the two]",
        ]
    );
    // The first one stays, the continued table is whole, and names come in the order they were written.
    assert!(values.contains("Some(3)"), "{values}");
    assert!(values.ends_with("[\"one Some(1) Some(\\\"more\\\")\", \"two Some(2) None\"] []"), "{values}");
}

#[test]
fn includes_are_read_once_in_the_order_of_their_names_and_relative_to_their_file() {
    let files = files(&[
        ("a.toml", "include = [\"x/*.toml\", \"y.toml\"]"),
        ("x/2.toml", "named.second = {}\nnamed.third = { text = \"t\" }"),
        ("x/1.toml", "named.first = {}\npath = \"below\""),
        ("y.toml", "include = \"x/deep/z.toml\"\nnamed.fourth = {}"),
        ("x/deep/z.toml", "named.fifth = {}"),
    ]);
    let (tree, mut report) = load(&files, &[]);
    let read: Vec<String> = report.files.paths().map(|path| path.display().to_string()).collect();
    assert_eq!(read, ["a.toml", "x/1.toml", "x/2.toml", "y.toml", "x/deep/z.toml"]);
    let mut r = Reader::root(&tree, &ROOT, &mut report);
    assert_eq!(r.path_value("path"), Some(PathBuf::from("x/below")));
    let names = r.named("named", &INNER, |_, name| name.to_owned());
    assert_eq!(names, ["first", "second", "third", "fourth", "fifth"]);
    assert_eq!(told(&report), Vec::<String>::new());
}

#[test]
fn includes_that_cannot_be_are_told_at_their_place() {
    check_include(
        "include = \"b.toml\"",
        "include = \"./x/../a.toml\"",
        "b.toml:1:11 include: ./x/../a.toml is included twice or in a circle",
    );
    check_include(
        "include = [\"b.toml\", \"b.toml\"]",
        "",
        "a.toml:1:22 include: b.toml is included twice or in a circle",
    );
    check_include(
        "include = \"none.toml\"",
        "",
        "a.toml:1:11 include: there is no file none.toml [the path is relative to the file that includes it]",
    );
    check_include(
        "include = 3",
        "",
        "a.toml:1:11 include: 3 is not a file name [for example include = \"conf.d/*.toml\"]",
    );
    check_include(
        "include = [\"b.toml\", true]",
        "",
        "a.toml:1:22 include: true is not a file name [for example include = \"conf.d/*.toml\"]",
    );
    for stars in ["*/b.toml", "**.toml"] {
        check_include(
            &format!("include = \"{stars}\""),
            "",
            "a.toml:1:11 include: one `*` may stand in the last part of the path, none in its folders [for example \"conf.d/*.toml\"]",
        );
    }

    #[track_caller]
    fn check_include(first: &str, second: &str, want: &str) {
        let (_, report) = load(&files(&[("a.toml", first), ("b.toml", second), ("./x/../a.toml", "")]), &[]);
        assert_eq!(told(&report), [want]);
    }
    // A pattern that finds nothing is an empty folder, not a mistake.
    assert_eq!(
        told(&load(&files(&[("a.toml", "include = \"conf.d/*.toml\"")]), &[]).1),
        Vec::<String>::new()
    );
}

// Goal: neither depth nor number of files is without end. Method: a chain, and a folder, one longer than allowed.
#[test]
fn includes_end_somewhere() {
    let mut chain = Files::default();
    for depth in 0..=DEPTH_MAX + 1 {
        let name = if depth == 0 { "a.toml".to_owned() } else { format!("{depth}.toml") };
        chain.0.insert(name.into(), format!("include = \"{}.toml\"", depth + 1));
    }
    let (_, report) = load(&chain, &[]);
    assert_eq!(told(&report), ["8.toml:1:11 include: 9.toml is included more than 8 files deep"]);

    let mut folder = files(&[("a.toml", "include = \"x/*.toml\"")]);
    for number in 0..FILES_MAX {
        folder.0.insert(format!("x/{number}.toml").into(), String::new());
    }
    assert_eq!(told(&load(&folder, &[]).1), ["a.toml:1:11 include: more than 1024 settings files"]);
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let (_, report) = load(&files(&[]), &[]);
    assert_eq!(
        told(&report),
        [
            "a.toml:1:1 : cannot read a.toml: entity not found [name another file with -c, or serve a folder without settings: `madang DIR`]"
        ]
    );
    let large = "#".repeat(FILE_BYTES_MAX + 1);
    let (_, report) = load(&files(&[("a.toml", &large)]), &[]);
    assert_eq!(told(&report), ["a.toml:1:1 : cannot read a.toml: it is larger than 4 MiB"]);
    let (_, report) = load(&files(&[("a.toml", "include = \"b.toml\""), ("b.toml", &large)]), &[]);
    assert_eq!(told(&report), ["a.toml:1:11 : cannot read b.toml: it is larger than 4 MiB"]);
}

#[test]
fn the_environment_is_put_in_with_defaults_and_escapes() {
    check_text("${NAME}", Ok("value"));
    check_text("a${NAME}b${NAME}c", Ok("avaluebvaluec"));
    check_text("${NONE:-other}", Ok("other"));
    check_text("${NAME:-other}", Ok("value"));
    check_text("${NONE:-}", Ok(""));
    check_text("${EMPTY:-other}", Ok(""));
    check_text("$${NAME}", Ok("${NAME}"));
    check_text("$NAME {NAME} $", Ok("$NAME {NAME} $"));
    // What comes from the environment is not looked at again.
    check_text("${NESTED}", Ok("${NAME}"));
    check_text(
        "${NONE}",
        Err(&["text: the environment has no NONE [set it, or give a default: ${NONE:-value}]"]),
    );
    check_text("a${NAME", Err(&["text: `${` without `}` [write `$${` for a plain `${`]"]));
    check_text(
        "${ONE}${TWO}",
        Err(&[
            "text: the environment has no ONE [set it, or give a default: ${ONE:-value}]",
            "text: the environment has no TWO [set it, or give a default: ${TWO:-value}]",
        ]),
    );

    #[track_caller]
    fn check_text(written: &str, want: Result<&str, &[&str]>) {
        let variables = [("NAME", "value"), ("EMPTY", ""), ("NESTED", "${NAME}")];
        let (tree, mut report) = load(&files(&[("a.toml", &format!("text = '{written}'"))]), &variables);
        let text = Reader::root(&tree, &ROOT, &mut report).text("text").unwrap_or_default();
        let told: Vec<String> = told(&report)
            .iter()
            .filter_map(|line| line.strip_prefix("a.toml:1:8 ").map(str::to_owned))
            .collect();
        match want {
            Ok(want) => assert_eq!((text.as_str(), told.len()), (want, 0), "{told:?}"),
            Err(want) => assert_eq!(told, want),
        }
    }
}

#[test]
fn numbers_and_truths_may_come_from_the_environment_and_only_from_there() {
    let read_with = |text: &str, variables: &[(&str, &str)]| {
        let (tree, mut report) = load(&files(&[("a.toml", text)]), variables);
        let mut r = Reader::root(&tree, &ROOT, &mut report);
        let values = (r.count("count"), r.bool("bool"));
        (values, told(&report))
    };
    let text = "count = \"${N:-7}\"\nbool = \"${B:-true}\"";
    assert_eq!(read_with(text, &[]), ((Some(7), true), vec![]));
    assert_eq!(read_with(text, &[("N", "12"), ("B", "false")]), ((Some(12), false), vec![]));
    let (values, told) = read_with(text, &[("N", "65"), ("B", "maybe")]);
    assert_eq!(values, (Some(4), false));
    assert_eq!(
        told,
        [
            "a.toml:1:9 count: a value from the environment is not a whole number from 1 to 64",
            "a.toml:2:8 bool: a value from the environment is not true or false",
        ]
    );
    assert_eq!(read_with("bool = \"true\"", &[]).1.len(), 1);
}

// Goal: a missing variable is told once, not again by whoever reads the hole it leaves.
#[test]
fn a_missing_variable_is_one_problem() {
    check(
        "time = \"${NONE}\"\ncount = \"${NONE}\"",
        &[
            "a.toml:1:8 time: the environment has no NONE [set it, or give a default: ${NONE:-value}]",
            "a.toml:2:9 count: the environment has no NONE [set it, or give a default: ${NONE:-value}]",
        ],
    );
}

// Goal: a file of very many wrong keys is refused in a moment. Method: the number of problems kept is bounded, and
// reading a hundred thousand keys is linear (a quadratic reader takes minutes here and the test run's limit ends it).
#[test]
fn very_many_problems_are_counted_not_kept() {
    let mut text = String::new();
    for number in 0..100_000 {
        text += &format!("k{number} = 1\n");
    }
    let (tree, mut report) =
        load(&files(&[("a.toml", "include = [\"b.toml\"]\nmore = 1"), ("b.toml", &text)]), &[]);
    read(&tree, &mut report);
    assert_eq!((report.problems.len(), report.count()), (PROBLEMS_MAX, 100_001));
    assert!(report.to_text(false).ends_with("and 99901 more problems\n"));
}

#[test]
fn nesting_without_end_is_refused() {
    for text in [
        "a.".repeat(100_000) + "a = 1",
        format!("[{}a]", "a.".repeat(50_000)),
        "a = ".to_owned() + &"[".repeat(50_000),
    ] {
        let (tree, mut report) = load(&files(&[("a.toml", &text)]), &[]);
        read(&tree, &mut report);
        assert!(report.has_errors());
        assert!(report.to_text(false).contains("this is not TOML"), "{}", report.to_text(false));
    }
}
