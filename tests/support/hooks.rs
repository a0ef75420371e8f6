//! A receiver of webhooks that can be told to fail.
//!
//! **Job.** Take POSTs, remember them in the order in which they came, answer as the test wants. **Called by** tests of alerts and of
//! hooks of chats. **Calls** the standard library.
//!
//! Not here: what is in a message.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// Instead of a status: it takes the message and never answers.
pub const HANG: u16 = 0;

/// A POST that came.
#[derive(Clone)]
pub struct Post {
    /// Lines of the head, their names in lower case.
    pub head: Vec<String>,
    /// As it came.
    pub body: Vec<u8>,
    /// What it was answered.
    pub status: u16,
}

impl Post {
    /// The body.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// A field of the head.
    #[track_caller]
    pub fn field(&self, name: &str) -> String {
        let found = self.head.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap_or_else(|| panic!("no {name} in {:?}", self.head)).to_owned()
    }

    /// Whether the signature is of this secret (Standard Webhooks).
    #[track_caller]
    pub fn is_signed_by(&self, secret: &str) -> bool {
        let signed = [self.field("webhook-id"), self.field("webhook-timestamp")].join(".");
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
        let bytes = [signed.as_bytes(), b".", &self.body].concat();
        let tag = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            self.field("webhook-signature").strip_prefix("v1,").unwrap(),
        );
        aws_lc_rs::hmac::verify(&key, &bytes, &tag.unwrap()).is_ok()
    }
}

/// Takes webhooks and remembers them.
pub struct Hooks {
    /// Where it listens.
    pub address: SocketAddr,
    status: Arc<AtomicU16>,
    fields: Arc<Mutex<String>>,
    posts: Arc<Mutex<Vec<Post>>>,
}

impl Hooks {
    /// Answers 204 until it is told otherwise.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            status: Arc::new(AtomicU16::new(204)),
            fields: Arc::default(),
            posts: Arc::default(),
        };
        let (status, posts) = (Arc::clone(&this.status), Arc::clone(&this.posts));
        let fields = Arc::clone(&this.fields);
        std::thread::spawn(move || {
            let mut hung = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(stream);
                let mut head = Vec::new();
                for line in reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty())
                {
                    let (name, rest) = line.split_once(':').unwrap_or((line.as_str(), ""));
                    head.push(format!("{}:{rest}", name.to_ascii_lowercase()));
                }
                let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                // Its sender was killed before the end of the head.
                let Some(length) = length else { continue };
                let mut body = vec![0; length];
                if reader.read_exact(&mut body).is_err() {
                    continue;
                }
                let status = status.load(Ordering::SeqCst);
                posts.lock().unwrap().push(Post { head, body, status });
                if status == HANG {
                    hung.push(reader);
                    continue;
                }
                let fields = fields.lock().unwrap().clone();
                let answer =
                    format!("HTTP/1.1 {status} X\r\n{fields}content-length: 0\r\nconnection: close\r\n\r\n");
                let _ = reader.into_inner().write_all(answer.as_bytes());
            }
        });
        this
    }

    /// All that came, whatever it was answered.
    pub fn all(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }

    /// Those that were answered 2xx.
    pub fn taken(&self) -> Vec<Post> {
        self.all().into_iter().filter(|post| (200..300).contains(&post.status)).collect()
    }

    /// How it answers from now on.
    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// The same with a field: `location: /x`.
    pub fn answer_with(&self, status: u16, field: &str) {
        *self.fields.lock().unwrap() = format!("{field}\r\n");
        self.answer(status);
    }
}
