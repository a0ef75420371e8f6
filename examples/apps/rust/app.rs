//! An app in Rust, of the standard library alone: answers with its name and its process, and ends well when asked to (SIGTERM).
//!
//! `rustc --edition=2024 -O -o app app.rs` builds it; in `../madang.toml` a job does that before the app starts.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// The largest head and the largest body that are read, in bytes.
const HEAD_BYTES_MAX: u64 = 16 * 1024;
const BODY_BYTES_MAX: u64 = 1024 * 1024;
/// Connections at once; one more is closed.
const CONNECTIONS_MAX: usize = 512;

static STOPPING: AtomicBool = AtomicBool::new(false);
static LISTENER: AtomicI32 = AtomicI32::new(-1);

/// Connections, and those of them in the middle of a request.
#[derive(Default)]
struct Open {
    counts: Mutex<(usize, usize)>,
    quiet: Condvar,
}

fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(3000);
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("listening on {}", listener.local_addr()?);
    LISTENER.store(listener.as_raw_fd(), Ordering::SeqCst);
    on_term();

    let open = Arc::new(Open::default());
    while let Ok((stream, _)) = listener.accept() {
        if STOPPING.load(Ordering::SeqCst) {
            break;
        }
        if open.counts.lock().unwrap().0 >= CONNECTIONS_MAX {
            continue;
        }
        open.counts.lock().unwrap().0 += 1;
        let open = Arc::clone(&open);
        thread::spawn(move || {
            // A client that went away is no trouble of ours.
            let _ = serve(&stream, &open);
            open.counts.lock().unwrap().0 -= 1;
        });
    }
    // Whoever is being answered is answered to the end; a connection without a request is closed by our going.
    let mut counts = open.counts.lock().unwrap();
    while counts.1 > 0 {
        counts = open.quiet.wait(counts).unwrap();
    }
    println!("goodbye");
    Ok(())
}

/// Answers one request after the other.
fn serve(stream: &TcpStream, open: &Open) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        // The next request begins with its first byte, however long that takes.
        if reader.fill_buf()?.is_empty() {
            return Ok(());
        }
        open.counts.lock().unwrap().1 += 1;
        let answered = answer(&mut reader, stream);
        open.counts.lock().unwrap().1 -= 1;
        open.quiet.notify_all();
        if !answered? {
            return Ok(());
        }
    }
}

/// One request; true: the connection may go on.
fn answer(reader: &mut BufReader<&TcpStream>, mut stream: &TcpStream) -> std::io::Result<bool> {
    let (mut first, mut length, mut last) = (String::new(), 0, false);
    let mut head = reader.by_ref().take(HEAD_BYTES_MAX);
    head.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        let Some((name, value)) = line.split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or(u64::MAX),
            "transfer-encoding" => length = u64::MAX,
            "connection" => last = value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    let path = first.split(' ').nth(1).unwrap_or("/");
    let (status, text) = if length > BODY_BYTES_MAX {
        ("413 Content Too Large", "too much\n".to_owned())
    } else {
        std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
        if path.starts_with("/slow") {
            thread::sleep(Duration::from_millis(300));
        }
        let instance = std::env::var("MADANG_INSTANCE").unwrap_or_else(|_| "?".to_owned());
        ("200 OK", format!("rust {instance} {}\n", std::process::id()))
    };
    // Said, so that nobody sends another request into a connection that is about to go.
    let last = last || length > BODY_BYTES_MAX || STOPPING.load(Ordering::SeqCst);
    let goes_on = if last { "connection: close\r\n" } else { "" };
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n{goes_on}\r\n", text.len());
    let text = if first.starts_with("HEAD ") { "" } else { &text };
    stream.write_all(format!("{head}{text}").as_bytes())?;
    Ok(!last)
}

/// SIGTERM ends the waiting for connections, and so `main`. The standard library has no word for signals; a program with a
/// runtime of its own has (`tokio::signal`), and needs nothing of this.
fn on_term() {
    unsafe extern "C" {
        fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
        fn shutdown(socket: i32, how: i32) -> i32;
    }
    extern "C" fn stop(_: i32) {
        STOPPING.store(true, Ordering::SeqCst);
        // Safe: signal-safety(7) allows it in a handler, and on a closed socket it does nothing.
        unsafe { shutdown(LISTENER.load(Ordering::SeqCst), 0) };
    }
    const SIGTERM: i32 = 15;
    // Safe: the handler touches two atomics and makes one call that handlers may make.
    unsafe { signal(SIGTERM, stop) };
}
