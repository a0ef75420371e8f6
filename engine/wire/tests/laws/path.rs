//! The laws of the canonical path.
//!
//! **Job.** 1. A canonical path has no dot segment, no empty segment, no control byte, and is UTF-8. 2. Encoded and read
//! again it is itself. 3. A naive reader, which splits first and keeps a list of names, agrees about every input.
//! 4. The quick check never says yes to what the walk would change.
//!
//! Not here: which refusal has which name (`path.rs`).

use madang_wire::path::{canonicalise, is_canonical, percent_encode_path};

/// All laws for one input.
pub fn hold(raw: &[u8]) {
    let mut out = b"kept".to_vec();
    let result = canonicalise(raw, &mut out);
    assert_eq!(&out[..4], b"kept", "what stood before was touched");
    let naive = naive(raw);
    let Ok(()) = result else {
        assert_eq!(naive, None, "refused with {result:?}");
        return;
    };
    let path = std::str::from_utf8(&out[4..]).unwrap();
    check_canonical(path);
    assert_eq!(naive.as_deref(), Some(path));

    let (mut encoded, mut again) = (Vec::new(), Vec::new());
    percent_encode_path(path, &mut encoded);
    assert!(encoded.iter().all(u8::is_ascii_graphic), "{}", encoded.escape_ascii());
    canonicalise(&encoded, &mut again).unwrap();
    assert_eq!(again, path.as_bytes(), "encoded and read again it differs");

    // The quick check is asked about bytes that a target may have.
    if raw.iter().all(u8::is_ascii_graphic) && is_canonical(raw) {
        assert_eq!(raw, path.as_bytes(), "called canonical, and yet the walk changes it");
    }
}

/// What everybody behind the parser relies on.
pub fn check_canonical(path: &str) {
    assert!(path.starts_with('/') && !path.contains("//") && !path.contains('\\'), "{path:?}");
    assert!(!path.bytes().any(|byte| byte.is_ascii_control()), "{path:?}");
    for segment in path.split('/') {
        let dots = matches!(segment, "." | "..") || segment.starts_with(".;") || segment.starts_with("..;");
        assert!(!dots, "{path:?} has the segment {segment:?}");
    }
}

fn naive(raw: &[u8]) -> Option<String> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut open = true; // whether a slash ends the path
    for segment in raw.strip_prefix(b"/").unwrap_or(raw).split(|byte| *byte == b'/') {
        let segment = unescape(segment)?;
        open = true;
        match segment.as_slice() {
            b"" | b"." => {}
            b".." => drop(names.pop()?),
            name if name.starts_with(b".;") || name.starts_with(b"..;") => return None,
            _ => {
                names.push(segment);
                open = false;
            }
        }
    }
    let mut path = vec![b'/'];
    path.extend(names.join(&b'/'));
    if open && !names.is_empty() {
        path.push(b'/');
    }
    String::from_utf8(path).ok()
}

fn unescape(segment: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < segment.len() {
        let byte = if segment[at] == b'%' {
            let digits = segment.get(at + 1..at + 3).filter(|two| two.iter().all(u8::is_ascii_hexdigit))?;
            at += 3;
            u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
        } else {
            at += 1;
            segment[at - 1]
        };
        if byte.is_ascii_control() || byte == b'/' || byte == b'\\' {
            return None;
        }
        out.push(byte);
    }
    Some(out)
}
