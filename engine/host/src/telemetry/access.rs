//! The access log's lines.
//!
//! **Job.** Write one record in one of the forms into a buffer. **Called by** the web role's record step.
//!
//! Invariants
//! 1. What a client sent cannot end a line or forge a field: control bytes, quotes and backslashes are escaped, bytes that
//!    are not UTF-8 shown as \xNN.
//!
//! Not here: files (`writer`), what is recorded (`roles/web`).

use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::config::AccessForm;

/// One answered request.
#[derive(Debug)]
#[allow(missing_docs)] // the names are the log's own words
pub struct Record<'a> {
    pub at: SystemTime,
    pub peer: IpAddr,
    pub user: Option<&'a str>,
    pub method: &'a str,
    pub host: &'a str,
    pub target: &'a str,
    pub protocol: &'static str,
    pub status: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration: Duration,
    pub complete: bool,
    pub referer: Option<&'a [u8]>,
    pub user_agent: Option<&'a [u8]>,
    pub site: &'a str,
    pub route: Option<u32>,
    pub request_id: Option<&'a [u8]>,
    pub error: Option<&'static str>,
    pub upstream: Option<&'a str>,
}

impl Record<'_> {
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
            (true, 3) => ("\x1b[36m", "\x1b[0m"),
            (true, 4) => ("\x1b[33m", "\x1b[0m"),
            (true, _) => ("\x1b[31m", "\x1b[0m"),
        };
        let time =
            jiff::Zoned::try_from(self.at).map(|at| at.strftime("%H:%M:%S").to_string()).unwrap_or_default();
        let ms = self.duration.as_secs_f64() * 1000.0;
        let _ = write!(
            out,
            "{time} {open}{}{close} {:>7} {:>8}  {:<4} ",
            self.status,
            duration(ms),
            size(self.bytes_out),
            self.method
        );
        escape(out, self.target.as_bytes());
        let _ = write!(out, "  {}", self.peer);
        if let Some(error) = self.error {
            let _ = write!(out, "  {error}");
        }
        if !self.complete {
            out.extend_from_slice(b"  (broke off)");
        }
        out.push(b'\n');
    }

    fn json(&self, out: &mut Vec<u8>) {
        let time = jiff::Timestamp::try_from(self.at).map(|at| format!("{at:.3}")).unwrap_or_default();
        let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let line = serde_json::json!({
            "time": time,
            "peer": self.peer,
            "user": self.user,
            "method": self.method,
            "host": self.host,
            "target": self.target,
            "protocol": self.protocol,
            "status": self.status,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "duration_ms": (self.duration.as_secs_f64() * 1e6).round() / 1e3,
            "complete": self.complete,
            "referer": text(self.referer),
            "user_agent": text(self.user_agent),
            "site": self.site,
            "route": self.route,
            "request_id": text(self.request_id),
            "error": self.error,
            "upstream": self.upstream,
        });
        // Writing to memory cannot fail.
        let _ = serde_json::to_writer(&mut *out, &line);
        out.push(b'\n');
    }

    /// The forms of Apache's mod_log_config: `%h %l %u %t "%r" %>s %b`, combined adds referer and user agent.
    fn common(&self, out: &mut Vec<u8>, combined: bool) {
        let time = jiff::Zoned::try_from(self.at)
            .map(|at| at.strftime("%d/%b/%Y:%H:%M:%S %z").to_string())
            .unwrap_or_default();
        let _ = write!(out, "{} - ", self.peer);
        escape(out, self.user.unwrap_or("-").as_bytes());
        let _ = write!(out, " [{time}] \"");
        escape(out, self.method.as_bytes());
        out.push(b' ');
        escape(out, self.target.as_bytes());
        let _ = write!(out, " {}\" {} ", self.protocol, self.status);
        if self.bytes_out == 0 {
            out.push(b'-')
        } else {
            let _ = write!(out, "{}", self.bytes_out);
        }
        if combined {
            for value in [self.referer, self.user_agent] {
                out.extend_from_slice(b" \"");
                escape(out, value.unwrap_or(b"-"));
                out.push(b'"');
            }
        }
        out.push(b'\n');
    }
}

pub(super) fn duration(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{:.0}us", ms * 1000.0),
        ms if ms < 100.0 => format!("{ms:.1}ms"),
        ms if ms < 10_000.0 => format!("{ms:.0}ms"),
        ms => format!("{:.1}s", ms / 1000.0),
    }
}

/// A size for people.
pub fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
    let (unit, factor) = UNITS.iter().find(|(_, factor)| bytes >= *factor).unwrap_or(&UNITS[3]);
    if *factor == 1 {
        format!("{bytes}{unit}")
    } else {
        format!("{:.1}{unit}", bytes as f64 / *factor as f64)
    }
}

/// Appends text with everything escaped that could end a line or a quote.
pub fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                c if c.is_control() => {
                    let mut bytes = [0; 4];
                    for byte in c.encode_utf8(&mut bytes).bytes() {
                        let _ = write!(out, "\\x{byte:02x}");
                    }
                }
                c => {
                    let mut bytes = [0; 4];
                    out.extend_from_slice(c.encode_utf8(&mut bytes).as_bytes());
                }
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(target: &str) -> Record<'_> {
        Record {
            at: SystemTime::UNIX_EPOCH,
            peer: IpAddr::from([192, 0, 2, 1]),
            user: None,
            method: "GET",
            host: "example.org",
            target,
            protocol: "HTTP/1.1",
            status: 200,
            bytes_in: 0,
            bytes_out: 12,
            duration: Duration::from_micros(1500),
            complete: true,
            referer: None,
            user_agent: Some(b"a\"b\xff"),
            site: "main",
            route: Some(0),
            request_id: None,
            error: None,
            upstream: None,
        }
    }

    // Goal: no form lets what a client sent end the line or a quoted field.
    #[test]
    fn clients_cannot_forge_lines() {
        for form in [AccessForm::Text, AccessForm::Json, AccessForm::Common, AccessForm::Combined] {
            let mut out = Vec::new();
            record("/a\r\n192.0.2.9 - - evil\u{1b}[2J").write(form, false, &mut out);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            assert!(!text.contains(['\r', '\u{1b}']), "{text}");
        }
    }

    #[test]
    fn combined_has_the_fields_in_apaches_order() {
        let mut out = Vec::new();
        record("/x").write(AccessForm::Combined, false, &mut out);
        let text = String::from_utf8(out).unwrap();
        let (before, behind) = (text.find('[').unwrap(), text.find(']').unwrap());
        assert_eq!(&text[..before], "192.0.2.1 - - ");
        assert_eq!(&text[behind..], "] \"GET /x HTTP/1.1\" 200 12 \"-\" \"a\\\"b\\xff\"\n");
    }

    #[test]
    fn json_lines_parse() {
        let mut out = Vec::new();
        record("/x").write(AccessForm::Json, false, &mut out);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&value["status"], &value["duration_ms"]), (&200.into(), &1.5.into()));
    }
}
