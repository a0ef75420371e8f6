//! The access log's lines about streams: one per connection or UDP session, at its end.
//!
//! **Job.** Write one record in one of the forms into a buffer. **Called by** whoever records streams (`madang`).
//!
//! The forms of Apache know requests only: what stands for one there is the protocol, the stream and the server, and the
//! status says how it ended in HTTP's numbers, as nginx's stream log has them.
//!
//! Invariants
//! 1. What a client sent (its name) cannot end a line or forge a field.
//!
//! Not here: requests (`access`), files (`writer`).

use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::access::{duration, escape, size};
use crate::config::AccessForm;

/// One connection or session that ended.
#[derive(Debug)]
#[allow(missing_docs)] // the names are the log's own words
pub struct StreamRecord<'a> {
    pub at: SystemTime,
    pub peer: IpAddr,
    /// `TCP`, `TLS` (ended here) or `UDP`.
    pub protocol: &'static str,
    pub stream: &'a str,
    /// The name the client asked for, where it was looked at.
    pub name: Option<&'a str>,
    pub server: Option<&'a str>,
    /// 200: as both ends wanted; 400 the client's fault, 403 refused, 502 no server, 503 too many, 504 too long.
    pub status: u16,
    /// How it ended.
    pub end: &'static str,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration: Duration,
}

impl StreamRecord<'_> {
    /// Appends the line, with its end.
    pub fn write(&self, form: AccessForm, colour: bool, out: &mut Vec<u8>) {
        match form {
            AccessForm::Off => {}
            AccessForm::Text => self.text(colour, out),
            AccessForm::Json => self.json(out),
            AccessForm::Common => self.common(out, false),
            AccessForm::Combined => self.common(out, true),
        }
    }

    fn text(&self, colour: bool, out: &mut Vec<u8>) {
        let (open, close) = match (colour, self.status / 100) {
            (false, _) => ("", ""),
            (true, 2) => ("\x1b[32m", "\x1b[0m"),
            (true, 4) => ("\x1b[33m", "\x1b[0m"),
            (true, _) => ("\x1b[31m", "\x1b[0m"),
        };
        let time =
            jiff::Zoned::try_from(self.at).map(|at| at.strftime("%H:%M:%S").to_string()).unwrap_or_default();
        let took = duration(self.duration.as_secs_f64() * 1000.0);
        let moved = size(self.bytes_out);
        // Writing to memory cannot fail.
        let _ = write!(
            out,
            "{time} {open}{}{close} {took:>7} {moved:>8}  {:<4} ",
            self.protocol.to_lowercase(),
            self.end
        );
        escape(out, self.stream.as_bytes());
        let _ = write!(out, " to {}", self.server.unwrap_or("-"));
        if let Some(name) = self.name {
            out.extend_from_slice(b" for ");
            escape(out, name.as_bytes());
        }
        let _ = writeln!(out, "  {}", self.peer);
    }

    fn json(&self, out: &mut Vec<u8>) {
        let time = jiff::Timestamp::try_from(self.at).map(|at| format!("{at:.3}")).unwrap_or_default();
        let line = serde_json::json!({
            "time": time,
            "peer": self.peer,
            "protocol": self.protocol,
            "stream": self.stream,
            "name": self.name,
            "upstream": self.server,
            "status": self.status,
            "end": self.end,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "duration_ms": (self.duration.as_secs_f64() * 1e6).round() / 1e3,
        });
        let _ = serde_json::to_writer(&mut *out, &line);
        out.push(b'\n');
    }

    fn common(&self, out: &mut Vec<u8>, combined: bool) {
        let time = jiff::Zoned::try_from(self.at)
            .map(|at| at.strftime("%d/%b/%Y:%H:%M:%S %z").to_string())
            .unwrap_or_default();
        let _ = write!(out, "{} - - [{time}] \"{} ", self.peer, self.protocol);
        escape(out, self.stream.as_bytes());
        let _ = write!(out, " {}\" {} {}", self.server.unwrap_or("-"), self.status, self.bytes_out);
        if combined {
            out.extend_from_slice(b" \"-\" \"");
            escape(out, self.name.unwrap_or("-").as_bytes());
            out.push(b'"');
        }
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: AccessForm, name: &str) -> String {
        let record = StreamRecord {
            at: SystemTime::UNIX_EPOCH,
            peer: IpAddr::from([192, 0, 2, 1]),
            protocol: "TCP",
            stream: "db",
            name: Some(name),
            server: Some("127.0.0.1:5432"),
            status: 200,
            end: "done",
            bytes_in: 7,
            bytes_out: 12,
            duration: Duration::from_micros(1500),
        };
        let mut out = Vec::new();
        record.write(form, false, &mut out);
        String::from_utf8(out).unwrap()
    }

    // Goal: every form is one line that a client cannot forge, and holds who, where to and how much.
    #[test]
    fn a_stream_is_one_line_in_every_form() {
        for form in [AccessForm::Text, AccessForm::Json, AccessForm::Common, AccessForm::Combined] {
            let line = written(form, "a\r\nb\" evil");
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(!line.contains('\r'), "{line}");
            for fact in ["192.0.2.1", "db", "127.0.0.1:5432"] {
                assert!(line.contains(fact), "{fact} is not in {line}");
            }
        }
        let combined = written(AccessForm::Combined, "b.test");
        assert!(combined.ends_with("] \"TCP db 127.0.0.1:5432\" 200 12 \"-\" \"b.test\"\n"), "{combined}");
        let json: serde_json::Value = serde_json::from_str(&written(AccessForm::Json, "b.test")).unwrap();
        assert_eq!(
            (&json["end"], &json["bytes_in"], &json["duration_ms"]),
            (&"done".into(), &7.into(), &1.5.into())
        );
        assert_eq!(written(AccessForm::Off, "b.test"), "");
    }
}
