//! Bench: one HTTP/1 request head from bytes to the canonical value, the hottest pure function on a request's way.
//!
//! Question: what does our head cost beside the tokeniser it stands on (`httparse` alone), and beside what the usual
//! stack makes of the same tokens (an `http::Request`), and does a warm head cost heap allocations?
//! Budget: at most 4 times `httparse` alone, under 0.7 times the `http` crate's request, no allocation. On the machine of the
//! first run (2 cores, 2026-11): see the table at the end of docs/fuzzing.md.
//! Run: `cargo bench -p madang-wire --bench head`. Without `--bench` each runs once, so that it cannot rot.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)] // the input must be valid, or we time the error path

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use madang_wire::http1::head::{HeadParser, Parsed};
use madang_wire::request::{HeadLimits, RequestHead};

#[global_allocator]
static COUNTED: AllocProfiler = AllocProfiler::system();

const LIMITS: HeadLimits =
    HeadLimits { head_bytes_max: 64 * 1024, fields_max: 100, target_bytes_max: 8 * 1024 };

const CURL: &str =
    "GET /index.html HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";

const BROWSER: &str = "GET /assets/app.js?v=31 HTTP/1.1\r\n\
    Host: www.example.org\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: ko-KR,ko;q=0.8,en-US;q=0.5,en;q=0.3\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.example.org/some/page?of=the&same=site\r\n\
    Connection: keep-alive\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=all\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    If-None-Match: \"5f3c-18a7b2c9d40\"\r\n\
    Priority: u=0, i\r\n\r\n";

const HEADS: [(&str, &str); 2] = [("curl", CURL), ("browser", BROWSER)];

fn main() {
    divan::main();
}

fn bytes_of(name: &str) -> &'static [u8] {
    HEADS.iter().find(|(known, _)| *known == name).expect("a known head").1.as_bytes()
}

#[divan::bench(args = ["curl", "browser"], sample_size = 1_000, sample_count = 200)]
fn madang(bencher: Bencher<'_, '_>, name: &str) {
    let bytes = bytes_of(name);
    let (mut parser, mut head) = (HeadParser::default(), RequestHead::new());
    let mut once = || {
        let parsed = parser.parse(black_box(bytes), false, &LIMITS, &mut head).expect("valid");
        assert_eq!(parsed, Parsed::Complete { consumed: bytes.len() });
    };
    once(); // a connection's second request is the usual one: the head has its room
    bencher.counter(BytesCount::of_slice(bytes)).bench_local(once);
}

#[divan::bench(args = ["curl", "browser"], sample_size = 1_000, sample_count = 200)]
fn httparse_alone(bencher: Bencher<'_, '_>, name: &str) {
    let bytes = bytes_of(name);
    bencher.counter(BytesCount::of_slice(bytes)).bench_local(|| {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut fields);
        let status = request.parse(black_box(bytes)).expect("valid");
        assert_eq!(status, httparse::Status::Complete(bytes.len()));
        black_box(request.headers.len())
    });
}

/// What hyper-like stacks do with the tokens: method, URI, names and values of their own types. No canonical form yet.
#[divan::bench(args = ["curl", "browser"], sample_size = 1_000, sample_count = 200)]
fn httparse_and_http_crate(bencher: Bencher<'_, '_>, name: &str) {
    let bytes = bytes_of(name);
    bencher.counter(BytesCount::of_slice(bytes)).bench_local(|| {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut fields);
        request.parse(black_box(bytes)).expect("valid");
        let mut built = http::Request::builder()
            .method(request.method.expect("a method"))
            .uri(request.path.expect("a target"))
            .version(http::Version::HTTP_11);
        let map = built.headers_mut().expect("valid so far");
        for field in request.headers.iter() {
            let name = http::HeaderName::from_bytes(field.name.as_bytes()).expect("a name");
            map.append(name, http::HeaderValue::from_bytes(field.value).expect("a value"));
        }
        built.body(()).expect("valid")
    });
}
