//! Answers that bear the label of their command (IRCv3 labeled-response).
//!
//! **Job.** Put a label on whatever a command was answered: one line, several, or none. **Called by** `machine`.
//!
//! Invariants
//! 1. A label is said once, on the first line of its answer.
//!
//! Not here: which lines are an answer (`machine`).

use madang_wire::irc::{Line, Message};

use super::caps::Cap;
use super::pen::Pen;

/// Writes an answer: as it is when it is one line or one batch, as a batch of its own when it is more, as ACK when it is nothing.
pub(super) fn answer(pen: &mut Pen, out: &mut Vec<u8>, label: &str, lines: &[u8]) {
    let first = lines.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    if lines.is_empty() {
        Line::new(out).tag("label", label).source(&pen.net.server).command("ACK").end();
        return;
    }
    if first.len() == lines.len() || is_one_batch(lines) || !pen.caps.has(Cap::Batch) {
        add_tag(out, first, "label", label);
        out.extend_from_slice(&lines[first.len()..]);
        return;
    }
    let batch = pen.batch();
    Line::new(out)
        .tag("label", label)
        .source(&pen.net.server)
        .command("BATCH")
        .param(&format!("+{batch}"))
        .param("labeled-response")
        .end();
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        add_tag(out, line, "batch", &batch);
    }
    pen.server(out, "BATCH").param(&format!("-{batch}")).end();
}

/// Appends a line with one tag more in front.
fn add_tag(out: &mut Vec<u8>, line: &[u8], key: &str, value: &str) {
    // A line of an inner batch belongs to that one.
    let inner = key == "batch" && line.starts_with(b"@batch=");
    if inner {
        out.extend_from_slice(line);
        return;
    }
    // Not ended: what follows is the line itself.
    let _ = Line::new(out).tag(key, value);
    match line.strip_prefix(b"@") {
        Some(tagged) => {
            out.pop();
            out.push(b';');
            out.extend_from_slice(tagged);
        }
        None => out.extend_from_slice(line),
    }
}

/// Whether these lines are a batch with nothing around it.
fn is_one_batch(lines: &[u8]) -> bool {
    let words = |line: &[u8]| -> Option<String> {
        let text = std::str::from_utf8(line).ok()?.trim_end();
        let message = Message::parse(text).ok()?;
        (message.command == "BATCH").then(|| message.param(0).map(str::to_owned)).flatten()
    };
    let mut all = lines.split_inclusive(|byte| *byte == b'\n');
    let (first, last) = (all.next().and_then(words), all.next_back().and_then(words));
    match (first, last) {
        (Some(first), Some(last)) => first.strip_prefix('+') == last.strip_prefix('-'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Network;
    use super::*;

    // Goal: nothing, one line, a batch and several lines are each answered in their own form.
    #[test]
    fn every_answer_has_its_label_once() {
        check("", "@label=x :s.madang ACK|");
        check("PONG|", "@label=x PONG|");
        check("@time=1 PONG|", "@label=x;time=1 PONG|");
        check("BATCH +a k|@batch=a A|BATCH -a|", "@label=x BATCH +a k|@batch=a A|BATCH -a|");
        check(
            "A|@time=1 B|",
            "@label=x :s.madang BATCH +b1 labeled-response|@batch=b1 A|@batch=b1;time=1 B|:s.madang BATCH -b1|",
        );
        check(
            "BATCH +a k|@batch=a A|BATCH -a|B|",
            "@label=x :s.madang BATCH +b1 labeled-response|@batch=b1 BATCH +a k|@batch=a A|@batch=b1 BATCH -a|@batch=b1 B|:s.madang BATCH -b1|",
        );

        #[track_caller]
        fn check(lines: &str, want: &str) {
            let mut pen = Pen::new(Arc::new(Network::new("s", "1")));
            pen.caps = pen.caps.with(Cap::Batch);
            let mut out = Vec::new();
            answer(&mut pen, &mut out, "x", lines.replace('|', "\r\n").as_bytes());
            assert_eq!(String::from_utf8(out).unwrap().replace("\r\n", "|"), want);
        }
    }
}
