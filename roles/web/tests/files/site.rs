//! A folder, a clock that stands still, and a client.

use std::cell::Cell;
use std::future::poll_fn;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use madang_host::clock;
use madang_host::connection::Connection;
use madang_http::body::{Body, BodyFault, Frame, Pipe, RequestBody};
use madang_http::exchange::Exchange;
use madang_web::files::{CacheLimits, Caches, Files, FilesOptions};
use madang_web::verdict::{Failure, Verdict};
use madang_wire::http1::head::{HeadParser, Parsed};
use madang_wire::request::{HeadLimits, Method};

/// What a client sees, or the failure an error page would be made of.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Where the body lies in memory, when it is shared.
    shared: Option<(usize, usize)>,
    /// What `content-length` would say.
    pub(crate) length: Option<u64>,
    pub(crate) failure: Option<Failure>,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }
    pub(crate) fn shared_body(&self) -> Option<(usize, usize)> {
        self.shared
    }
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }
    #[track_caller]
    pub(crate) fn etag(&self) -> &str {
        self.field("etag").expect("an entity tag")
    }
}

pub(crate) struct Site {
    pub(crate) files: Files,
    pub(crate) now_ms: Rc<Cell<u64>>,
    pub(crate) caches: Rc<Caches>,
    directory: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Site {
    /// A folder with these files, served with these options.
    pub(crate) fn with(files: &[(&str, &str)], change: impl FnOnce(&mut FilesOptions)) -> Self {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let root = directory.path().join("root");
        std::fs::create_dir(&root).expect("the root");
        for (path, contents) in files {
            write(&root.join(path), contents.as_bytes());
        }
        let mut options = FilesOptions::new(&root);
        change(&mut options);
        let now_ms = Rc::new(Cell::new(1_000_000));
        let clock = Rc::clone(&now_ms);
        let caches = Caches::new(CacheLimits::default(), move || clock.get());
        let files = Files::new(options, &caches).expect("the root opens");
        // One thread for slow work: whoever holds it decides when that begins (`ask_together`).
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.max_blocking_threads(1).build().expect("a runtime");
        Self { files, now_ms, caches, directory, runtime }
    }

    /// The same tree, with another root.
    pub(crate) fn serving(self, root: PathBuf) -> Self {
        self.serving_with(root, |_| {})
    }

    /// The same caches, with another folder and other options.
    pub(crate) fn serving_with(self, root: PathBuf, change: impl FnOnce(&mut FilesOptions)) -> Self {
        let mut options = FilesOptions::new(root);
        change(&mut options);
        let files = Files::new(options, &self.caches).expect("the root opens");
        Self { files, ..self }
    }

    /// The same tree, with caches of these limits.
    pub(crate) fn with_limits(self, entries_max: usize, bytes_max: usize) -> Self {
        let limits = CacheLimits { entries_max, bytes_max, ..CacheLimits::default() };
        let clock = Rc::clone(&self.now_ms);
        let caches = Caches::new(limits, move || clock.get());
        let files = Files::new(FilesOptions::new(self.root()), &caches).expect("the root opens");
        Self { files, caches, ..self }
    }

    /// Time passes.
    pub(crate) fn advance(&self, ms: u64) {
        self.now_ms.set(self.now_ms.get() + ms);
    }

    /// The folder that is served.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// The folder around it, for what must never be served.
    pub(crate) fn outside(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn write(&self, path: &str, contents: &[u8]) {
        write(&self.root().join(path), contents);
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, &[])
    }

    /// A path handed over as it stands, as a caller would that has not cleaned it.
    pub(crate) fn hand_over(&self, rel_path: &str) -> Answer {
        let mut exchange = Box::new(Exchange::new(Connection::nobody(), clock::now()));
        self.runtime.block_on(async {
            let verdict = self.files.answer(&mut exchange, rel_path);
            collect(exchange, verdict).await
        })
    }

    /// One request. A head the parser refuses shows up as its status.
    pub(crate) fn ask(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
        let mut exchange = match exchange(method, target, fields) {
            Ok(exchange) => exchange,
            Err(status) => return Answer { status, ..Answer::default() },
        };
        self.runtime.block_on(async {
            let verdict = self.begin(&mut exchange);
            collect(exchange, verdict).await
        })
    }

    /// Several clients ask at once, before any of them is answered.
    pub(crate) fn ask_together(&self, target: &str, fields: &[(&str, &str)], clients: usize) -> Vec<Answer> {
        self.runtime.block_on(async {
            // Nothing slow is done before all have asked: else the last may find it done already.
            let (all_asked, hold) = std::sync::mpsc::channel::<()>();
            let held = tokio::task::spawn_blocking(move || hold.recv());
            let mut begun = Vec::new();
            for _ in 0..clients {
                let mut exchange = exchange("GET", target, fields).expect("a good head");
                let verdict = self.begin(&mut exchange);
                assert!(matches!(verdict, Verdict::Wait(_)), "it must be waited for: {verdict:?}");
                begun.push((exchange, verdict));
            }
            drop(all_asked);
            assert!(held.await.expect("the thread").is_err(), "it was held until the sender went");
            let mut answers = Vec::new();
            for (exchange, verdict) in begun {
                answers.push(collect(exchange, verdict).await);
            }
            answers
        })
    }

    /// A client asks and is gone before the answer.
    pub(crate) fn ask_and_leave(&self, target: &str, fields: &[(&str, &str)]) {
        self.runtime.block_on(async {
            let mut exchange = exchange("GET", target, fields).expect("a good head");
            let verdict = self.begin(&mut exchange);
            assert!(matches!(verdict, Verdict::Wait(_)), "it must be waited for: {verdict:?}");
        });
    }

    /// One upload whose body comes in these pieces.
    pub(crate) fn put(&self, target: &str, fields: &[(&str, &str)], pieces: &[&[u8]]) -> Answer {
        self.put_ending(target, fields, pieces, |pipe| pipe.end(Vec::new()))
    }

    /// One upload whose client goes away after these pieces.
    pub(crate) fn put_broken(&self, target: &str, pieces: &[&[u8]]) -> Answer {
        self.put_ending(target, &[], pieces, |pipe| pipe.fail(BodyFault::Gone))
    }

    fn put_ending(
        &self,
        target: &str,
        fields: &[(&str, &str)],
        pieces: &[&[u8]],
        end: impl FnOnce(&Pipe),
    ) -> Answer {
        let (mut exchange, pipe) = upload(target, fields, pieces);
        end(&pipe);
        self.runtime.block_on(async {
            let verdict = self.begin(&mut exchange);
            collect(exchange, verdict).await
        })
    }

    /// The work of an upload is dropped while it waits for more.
    pub(crate) fn put_and_leave(&self, target: &str, pieces: &[&[u8]]) {
        let (mut exchange, _pipe) = upload(target, &[], pieces);
        self.runtime.block_on(async {
            let Verdict::Wait(resume) = self.begin(&mut exchange) else { panic!("it must be waited for") };
            let mut answer = resume(exchange);
            // Until it has nothing more to do: the hidden file is there then.
            let mut begun = false;
            poll_fn(|cx| {
                assert!(answer.as_mut().poll(cx).is_pending(), "it is not over");
                begun |= std::fs::read_dir(self.root()).expect("the root").any(|entry| {
                    entry.expect("an entry").file_name().to_string_lossy().starts_with(".upload-")
                });
                if begun { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        });
    }

    /// An upload by a path handed over as it stands.
    pub(crate) fn hand_over_put(&self, rel_path: &str) -> Answer {
        let (mut exchange, pipe) = upload("/x", &[], &[b"x"]);
        pipe.end(Vec::new());
        self.runtime.block_on(async {
            let verdict = self.files.answer(&mut exchange, rel_path);
            collect(exchange, verdict).await
        })
    }

    fn begin(&self, exchange: &mut Exchange) -> Verdict {
        self.files.answer_from(exchange, 0)
    }
}

/// A request as it comes off the wire, or the status the parser refuses it with.
fn exchange(method: &str, target: &str, fields: &[(&str, &str)]) -> Result<Box<Exchange>, u16> {
    let mut exchange = Box::new(Exchange::new(Connection::nobody(), clock::now()));
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: a.test\r\n");
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let limits = HeadLimits { head_bytes_max: 65_536, fields_max: 100, target_bytes_max: 32_768 };
    match HeadParser::default().parse(head.as_bytes(), false, &limits, &mut exchange.head) {
        Ok(Parsed::Complete { .. }) => Ok(exchange),
        Ok(Parsed::Partial) => panic!("the head is whole: {head:?}"),
        Err(malformed) => Err(malformed.status()),
    }
}

/// A PUT and the pipe that feeds its body.
fn upload(target: &str, fields: &[(&str, &str)], pieces: &[&[u8]]) -> (Box<Exchange>, Rc<Pipe>) {
    let mut exchange = exchange("PUT", target, fields).expect("a good head");
    let pipe = Rc::<Pipe>::default();
    for piece in pieces {
        pipe.push(Bytes::copy_from_slice(piece));
    }
    exchange.body = RequestBody::piped(Rc::clone(&pipe));
    (exchange, pipe)
}

pub(crate) fn write(path: &Path, contents: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("the folders");
    std::fs::write(path, contents).expect("the file");
}

/// Waits where that is asked for, then reads the answer as a protocol would send it.
async fn collect(exchange: Box<Exchange>, verdict: Verdict) -> Answer {
    let (mut exchange, verdict) = match verdict {
        Verdict::Wait(resume) => resume(exchange).await,
        verdict => (exchange, verdict),
    };
    let (status, failure) = match verdict {
        Verdict::Answer => (exchange.response.status, None),
        Verdict::Fail(failure) => (failure.status, Some(failure)),
        other => panic!("neither answer nor failure: {other:?}"),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let fields = exchange.response.fields.iter().map(|(name, value)| (text(name), text(value))).collect();
    let body = std::mem::take(&mut exchange.response.body);
    let head = exchange.head.method() == Method::Head;
    let length = if head && body.is_empty() { exchange.response.length_hint } else { body.length() };
    let shared =
        if let Body::Bytes(bytes) = &body { Some((bytes.as_ptr() as usize, bytes.len())) } else { None };
    Answer { status, fields, body: read(body).await, shared, length, failure }
}

async fn read(body: Body) -> Vec<u8> {
    match body {
        Body::Empty => Vec::new(),
        Body::Bytes(bytes) => bytes.to_vec(),
        Body::File(file) => {
            let mut bytes = vec![0; usize::try_from(file.length).expect("it fits")];
            file.file.read_exact_at(&mut bytes, file.offset).expect("the file is there");
            bytes
        }
        Body::Stream(mut stream) => {
            let mut bytes = Vec::new();
            while let Some(frame) = poll_fn(|cx| stream.poll_next(cx)).await {
                let Frame::Data(piece) = frame.expect("the body is whole") else {
                    panic!("files have no trailers")
                };
                bytes.extend_from_slice(&piece);
            }
            assert_eq!(stream.length(), Some(bytes.len() as u64), "the announced length is kept");
            bytes
        }
        Body::Upgrade(_) => panic!("files upgrade nothing"),
    }
}
