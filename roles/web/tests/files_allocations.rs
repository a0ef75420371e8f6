//! A small file that is in the cache is answered without touching the heap.
//!
//! Method: an allocator that counts what this thread asks of it, and the plain requests of a warm worker.

#[path = "../../../engine/http/tests/counting/mod.rs"]
mod counting;

use madang_host::clock;
use madang_host::connection::Connection;
use madang_http::exchange::Exchange;
use madang_web::files::{CacheLimits, Caches, Files, FilesOptions};
use madang_web::verdict::Verdict;
use madang_wire::http1::head::{HeadParser, Parsed};
use madang_wire::request::HeadLimits;

use counting::{ASKED, Counting};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// Goal: a warm worker answers plain requests for cached files without one allocation.
// Method: each request a few times to warm up, then a hundred times counted, on one reused exchange.
#[test]
fn a_cached_file_is_answered_without_touching_the_heap() {
    let directory = tempfile::tempdir().unwrap();
    let page = "<p>courtyard</p>".repeat(200);
    for (name, contents) in [("index.html", &*page), ("tiny.txt", "tiny"), ("a.css", "x"), ("a.css.br", "y")]
    {
        std::fs::write(directory.path().join(name), contents).unwrap();
    }
    std::fs::write(directory.path().join("large.bin"), vec![7; 100_000]).unwrap();
    let caches = Caches::new(CacheLimits::default(), || 5_000);
    let files = Files::new(FilesOptions::new(directory.path()), &caches).unwrap();
    let mut exchange = Box::new(Exchange::new(Connection::nobody(), clock::now()));
    let connection = Connection::nobody();

    let mut check = |request: &str, status: u16| {
        let mut asked = 0;
        for round in 0..110 {
            exchange.clear(&connection, clock::now());
            let limits = HeadLimits { head_bytes_max: 8192, fields_max: 100, target_bytes_max: 8192 };
            let before = ASKED.get();
            let parsed = HeadParser::default().parse(request.as_bytes(), false, &limits, &mut exchange.head);
            assert!(matches!(parsed, Ok(Parsed::Complete { .. })));
            let verdict = files.answer_from(&mut exchange, 0);
            if round >= 10 {
                asked += ASKED.get() - before;
            }
            assert!(matches!(verdict, Verdict::Answer));
            assert_eq!(exchange.response.status, status);
        }
        assert_eq!(asked, 0, "{request}");
    };
    let browser = "host: a.test\r\nuser-agent: Mozilla/5.0\r\naccept: text/html,*/*;q=0.8\r\naccept-language: ko,en;q=0.5\r\n";
    let packed = "accept-encoding: gzip, deflate, br, zstd\r\n";
    check(&format!("GET / HTTP/1.1\r\n{browser}\r\n"), 200);
    check(&format!("GET /tiny.txt HTTP/1.1\r\n{browser}\r\n"), 200);
    check(&format!("HEAD /tiny.txt HTTP/1.1\r\n{browser}\r\n"), 200);
    check(&format!("GET /large.bin HTTP/1.1\r\n{browser}\r\n"), 200);
    check(&format!("GET / HTTP/1.1\r\n{browser}{packed}\r\n"), 200);
    check(&format!("GET /a.css HTTP/1.1\r\n{browser}{packed}\r\n"), 200);
    check(&format!("GET /tiny.txt HTTP/1.1\r\n{browser}if-none-match: *\r\n\r\n"), 304);

    // The counter counts: a range needs its own field value.
    let before = ASKED.get();
    exchange.clear(&connection, clock::now());
    let limits = HeadLimits { head_bytes_max: 8192, fields_max: 100, target_bytes_max: 8192 };
    let request = format!("GET /tiny.txt HTTP/1.1\r\n{browser}range: bytes=0-1\r\n\r\n");
    HeadParser::default().parse(request.as_bytes(), false, &limits, &mut exchange.head).unwrap();
    files.answer_from(&mut exchange, 0);
    assert!(ASKED.get() > before);
}
