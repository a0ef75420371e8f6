//! Every error answer of the web role, in one place.
//!
//! **Job.** Turn a [`Failure`] into an answer: the site's own page, HTML, JSON, problem+json or text, as the client prefers;
//! to a client of gRPC what it understands (`grpc_error`).
//! **Reads** `accept`, `accept-language`, the site's pages. **Called by** `phases` (explain).
//!
//! Invariants
//! 1. Status, name, one sentence, request id: nothing else leaves, above all not `failure.detail`.
//! 2. Nothing the client sent is in the page, so nothing has to be escaped but the id, which has safe characters only.
//! 3. Fields the failing step set (`allow`, `retry-after`, …) stay.
//!
//! Not here: when something fails (everywhere else), answers of other roles that have a body (they pass as they are).

use std::fmt::Write;
use std::sync::LazyLock;

use bytes::Bytes;
use madang_http::body::Body;
use madang_http::exchange::Exchange;
use madang_http::response::Text;
use madang_wire::http1::response::reason;
use madang_wire::request::RequestHead;

use crate::files::quality::{media_weight, members};
use crate::grpc_error;
use crate::inline;
use crate::look::BASE;
use crate::verdict::Failure;

/// A site's own page.
#[derive(Debug, Clone)]
pub(crate) struct OwnPage {
    /// Which status; 400 or 500 for a whole class.
    pub(crate) status: u16,
    pub(crate) whole_class: bool,
    pub(crate) body: Bytes,
    pub(crate) media_type: Text,
}

/// How an error is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Html,
    Json,
    Problem,
    Plain,
}

impl Form {
    fn media_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Json => "application/json",
            Self::Problem => "application/problem+json",
            Self::Plain => "text/plain; charset=utf-8",
        }
    }

    /// The form the client wants most. Browsers name HTML, programs JSON; who names nothing (curl) reads text.
    fn wanted(head: &RequestHead) -> Self {
        let weight = |media_type| match head.get("accept") {
            None => 0,
            Some(_) => media_weight(head.get_all("accept"), media_type),
        };
        let mut best = (Self::Plain, weight("text/plain"));
        for form in [Self::Html, Self::Json, Self::Problem] {
            let name = form.media_type().split(';').next().unwrap_or("");
            let weight = weight(name);
            if weight > best.1 || (weight == best.1 && weight > 0 && names(head, name)) {
                best = (form, weight);
            }
        }
        best.0
    }
}

/// Whether `accept` names this type itself, not by a range.
fn names(head: &RequestHead, media_type: &str) -> bool {
    head.get_all("accept").flat_map(members).any(|(name, _)| name.eq_ignore_ascii_case(media_type))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    English,
    Korean,
}

impl Language {
    fn wanted(head: &RequestHead) -> Self {
        let mut best = (Self::English, 0);
        for (tag, weight) in head.get_all("accept-language").flat_map(members) {
            let language = match tag.split('-').next().unwrap_or("") {
                "ko" | "KO" | "Ko" => Self::Korean,
                "en" | "EN" | "En" => Self::English,
                _ => continue,
            };
            if weight > best.1 {
                best = (language, weight);
            }
        }
        best.0
    }
}

/// Writes the error answer.
pub(crate) fn write(exchange: &mut Exchange, failure: &Failure, own: &[OwnPage]) {
    if grpc_error::is_grpc(&exchange.head) {
        return grpc_error::write(exchange, failure, sentence(Language::English, failure));
    }
    let form = Form::wanted(&exchange.head);
    let language = Language::wanted(&exchange.head);
    let id = exchange.notes.request_id.as_deref().and_then(|id| std::str::from_utf8(id).ok());
    let page = own_page(own, failure.status).filter(|_| !matches!(form, Form::Json | Form::Problem));
    let (body, media_type) = match page {
        Some(page) => (page.body.clone(), page.media_type.clone()),
        None => (Bytes::from(told(form, language, failure, id)), form.media_type().into()),
    };
    let response = &mut exchange.response;
    response.status = failure.status;
    response.body = Body::Bytes(body);
    response.length_hint = None;
    for meant_for_the_answer in
        ["etag", "last-modified", "content-encoding", "accept-ranges", "content-disposition"]
    {
        response.fields.remove(meant_for_the_answer);
    }
    response.fields.set("content-type", media_type);
    response.fields.set("cache-control", "no-store");
    response.fields.set_default("x-content-type-options", "nosniff");
    if page.is_none() && form == Form::Html {
        response.fields.set_default("content-security-policy", POLICY.as_str());
    }
    response.fields.add_to_list("vary", "accept");
    response.fields.add_to_list("vary", "accept-language");
}

/// The page of exactly this status, else that of its class.
fn own_page(own: &[OwnPage], status: u16) -> Option<&OwnPage> {
    own.iter()
        .find(|page| !page.whole_class && page.status == status)
        .or_else(|| own.iter().find(|page| page.whole_class && page.status / 100 == status / 100))
}

fn told(form: Form, language: Language, failure: &Failure, id: Option<&str>) -> String {
    let (status, name) = (failure.status, failure.name);
    let title = reason(status);
    match form {
        Form::Html => html(language, failure, id),
        Form::Plain => {
            let mut text = format!("{status} {title}: {}\n", sentence(Language::English, failure));
            if let Some(id) = id {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "request id {id}");
            }
            text
        }
        Form::Json => {
            let message = sentence(language, failure);
            let error =
                serde_json::json!({ "status": status, "name": name, "message": message, "request_id": id });
            serde_json::json!({ "error": error }).to_string()
        }
        // RFC 9457; the type is about:blank, so the title is the status's.
        Form::Problem => {
            let detail = sentence(language, failure);
            serde_json::json!({ "status": status, "title": title, "detail": detail, "name": name, "request_id": id })
                .to_string()
        }
    }
}

fn html(language: Language, failure: &Failure, id: Option<&str>) -> String {
    let status = failure.status;
    let (lang, label, title) = match language {
        Language::English => ("en", "Request", reason(status)),
        Language::Korean => ("ko", "요청 번호", korean_title(status)),
    };
    let sentence = sentence(language, failure);
    let id = id.map(|id| format!("<footer>{label} <code>{id}</code></footer>\n")).unwrap_or_default();
    format!(
        "<!doctype html>\n<html lang=\"{lang}\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{status} {title}</title>\n<style>{BASE}</style>\n<style>{STYLE}</style>\n\
         <main>\n<p class=\"status\">{status}</p>\n<h1>{title}</h1>\n<p>{sentence}</p>\n{id}</main>\n</html>\n"
    )
}

/// What the page may do: show itself.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = format!("{} {}", inline::source(BASE), inline::source(STYLE));
    format!(
        "default-src 'none'; style-src {style}; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
});

const STYLE: &str = "\
body{min-height:100vh;min-height:100svh;display:grid;align-content:center;justify-items:center;padding:1.5rem 1.5rem 14vh;font-size:1.0625rem;overflow-wrap:break-word}\
main{width:100%;max-width:32rem}\
.status{color:var(--mark);font-size:1rem;font-weight:600;letter-spacing:.08em}\
h1{margin:.125rem 0 .75rem;font-size:clamp(2rem,1.6rem + 2vw,2.5rem);letter-spacing:-.01em}\
p{margin:0}\
footer{margin-top:2rem;padding-top:.875rem;border-top:1px solid var(--line);color:var(--soft);font-size:.8125rem}\
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:.95em;overflow-wrap:anywhere}";

/// One plain sentence: what happened and, where there is something, what to do.
fn sentence(language: Language, failure: &Failure) -> &'static str {
    let (english, korean) = match (failure.status, failure.name) {
        (401, name)
            if name == "sign-in-required" || name.starts_with("token-") || name.starts_with("key-") =>
        {
            ("Sign in to see this page.", "이 페이지를 보려면 로그인해 주세요.")
        }
        (403, "users-only") => {
            ("This page is for people with an account.", "계정이 있는 사람만 볼 수 있는 페이지입니다.")
        }
        (403, "role-missing") => (
            "This page is for people with a role that you do not have.",
            "이 페이지를 볼 수 있는 역할이 없습니다.",
        ),
        (status, _) => of_status(status),
    };
    match language {
        Language::English => english,
        Language::Korean => korean,
    }
}

fn of_status(status: u16) -> (&'static str, &'static str) {
    match status {
        400 => ("The server could not understand this request.", "서버가 이 요청을 이해하지 못했습니다."),
        401 => {
            ("This page asks for a name and a password.", "이 페이지를 보려면 이름과 비밀번호가 필요합니다.")
        }
        403 => ("You may not see this page.", "이 페이지를 볼 권한이 없습니다."),
        404 => ("There is nothing at this address.", "이 주소에는 아무것도 없습니다."),
        405 => (
            "This address does not take this kind of request.",
            "이 주소에서는 이런 방식의 요청을 받지 않습니다.",
        ),
        406 => (
            "What is here comes in none of the forms asked for.",
            "요청한 형식으로 제공할 수 있는 내용이 없습니다.",
        ),
        408 => ("The request took too long to arrive.", "요청이 도착하는 데 너무 오래 걸렸습니다."),
        410 => ("What was here is gone for good.", "이곳에 있던 내용은 더 이상 제공되지 않습니다."),
        412 => (
            "The page is not in the state the request expected.",
            "페이지의 상태가 요청이 기대한 것과 다릅니다.",
        ),
        413 => (
            "What was sent is larger than is taken here.",
            "보낸 내용이 여기서 받을 수 있는 크기를 넘었습니다.",
        ),
        414 => ("The address is too long.", "주소가 너무 깁니다."),
        415 => (
            "What was sent is in a form that is not taken here.",
            "보낸 내용의 형식을 여기서는 받지 않습니다.",
        ),
        416 => ("The part asked for lies beyond the end.", "요청한 범위가 내용의 끝을 넘어섰습니다."),
        421 => {
            ("This name is not served on this connection.", "이 연결에서는 이 이름으로 서비스하지 않습니다.")
        }
        425 => ("Please send this request again.", "이 요청을 다시 보내 주세요."),
        426 => ("This address speaks another protocol.", "이 주소는 다른 프로토콜로 통신합니다."),
        429 => (
            "Too many requests came in a short time. Please wait a moment.",
            "짧은 시간에 요청이 너무 많았습니다. 잠시 후 다시 시도해 주세요.",
        ),
        431 => ("The request's header fields are too large.", "요청의 헤더가 너무 큽니다."),
        451 => (
            "This page may not be shown for legal reasons.",
            "법적인 이유로 이 페이지를 보여 드릴 수 없습니다.",
        ),
        500 => ("Something went wrong on the server.", "서버에 문제가 생겼습니다."),
        501 => ("The server cannot do what was asked.", "서버가 지원하지 않는 요청입니다."),
        502 => (
            "The program behind this page gave no usable answer.",
            "이 페이지 뒤의 프로그램이 제대로 응답하지 않았습니다.",
        ),
        503 => (
            "The server is busy. Please try again in a moment.",
            "서버가 바쁩니다. 잠시 후 다시 시도해 주세요.",
        ),
        504 => (
            "The program behind this page took too long.",
            "이 페이지 뒤의 프로그램이 너무 오래 응답하지 않았습니다.",
        ),
        507 => ("The server has no room left.", "서버에 남은 공간이 없습니다."),
        400..=499 => ("The server does not take this request.", "서버가 이 요청을 받지 않습니다."),
        _ => ("The server could not answer this request.", "서버가 이 요청에 답하지 못했습니다."),
    }
}

fn korean_title(status: u16) -> &'static str {
    match status {
        400 => "잘못된 요청",
        401 => "로그인이 필요합니다",
        403 => "볼 수 없는 페이지",
        404 => "찾을 수 없는 페이지",
        405 => "받지 않는 요청 방식",
        408 => "시간이 초과되었습니다",
        410 => "사라진 페이지",
        413 => "너무 큰 내용",
        421 => "다른 연결의 주소",
        429 => "너무 많은 요청",
        500 => "서버 오류",
        502 | 504 => "응답하지 않는 프로그램",
        503 => "잠시 쉬는 중",
        400..=499 => "받을 수 없는 요청",
        _ => "서버가 답하지 못했습니다",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::exchange;
    use crate::verdict::Blame;
    use proptest::prelude::*;

    fn answer(fields: &[(&str, &str)], own: &[OwnPage]) -> (String, String) {
        let mut exchange = exchange("GET", "/x", fields);
        exchange.notes.request_id = Some(Bytes::from_static(b"abc123"));
        exchange.response.fields.set("etag", "\"1\"");
        write(&mut exchange, &Failure::new(404, Blame::Client, "file-not-found", "no file /secret"), own);
        assert_eq!((exchange.response.status, exchange.response.fields.get("etag")), (404, None));
        let Body::Bytes(body) = &exchange.response.body else { panic!("an error has a body") };
        let kind = exchange.response.fields.get("content-type").unwrap();
        (String::from_utf8(kind.to_vec()).unwrap(), String::from_utf8(body.to_vec()).unwrap())
    }

    // Goal: the policy allows the page's own style, letter by letter, and nothing else inline.
    #[test]
    fn the_policy_names_each_style_of_the_page() {
        let (_, page) = answer(&[("accept", "text/html")], &[]);
        let styles = page.split("<style>").skip(1).map(|rest| rest.split("</style>").next().unwrap());
        assert_eq!(styles.clone().count(), 2);
        for style in styles {
            assert!(POLICY.contains(&inline::source(style)), "{}", *POLICY);
        }
        assert!(
            !POLICY.contains("unsafe") && !page.contains("style=") && !page.contains("<script"),
            "{page}"
        );
    }

    // Goal: each kind of client gets the form it reads.
    #[test]
    fn the_form_follows_accept() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        check(None, "text/plain; charset=utf-8");
        check(Some("*/*"), "text/plain; charset=utf-8");
        check(Some(""), "text/plain; charset=utf-8");
        check(Some(browser), "text/html; charset=utf-8");
        check(Some("text/html"), "text/html; charset=utf-8");
        check(Some("application/json"), "application/json");
        check(Some("application/json, text/plain, */*"), "application/json");
        check(Some("application/problem+json, application/json;q=0.9"), "application/problem+json");
        check(Some("text/html;q=0.1, application/json"), "application/json");
        check(Some("image/avif,image/*"), "text/plain; charset=utf-8");

        #[track_caller]
        fn check(accept: Option<&str>, want: &str) {
            let fields: Vec<_> = accept.map(|accept| ("Accept", accept)).into_iter().collect();
            assert_eq!(answer(&fields, &[]).0, want);
        }
    }

    // Goal: each form tells status, name or sentence and id, in the client's language; never the detail.
    #[test]
    fn every_form_tells_the_same_facts() {
        check("text/plain", "", "404 Not Found: There is nothing at this address.\nrequest id abc123\n");
        let json = r#"{"error":{"message":"이 주소에는 아무것도 없습니다.","name":"file-not-found","request_id":"abc123","status":404}}"#;
        check("application/json", "ko-KR,ko;q=0.9,en;q=0.8", json);
        let json = r#"{"error":{"message":"There is nothing at this address.","name":"file-not-found","request_id":"abc123","status":404}}"#;
        check("application/json", "fr, en;q=0.5, ko;q=0.4", json);
        let problem = r#"{"detail":"There is nothing at this address.","name":"file-not-found","request_id":"abc123","status":404,"title":"Not Found"}"#;
        check("application/problem+json", "", problem);

        #[track_caller]
        fn check(accept: &str, language: &str, want: &str) {
            assert_eq!(answer(&[("Accept", accept), ("Accept-Language", language)], &[]).1, want);
        }
    }

    // Goal: a site's page for the status beats that for the class; programs get JSON all the same.
    #[test]
    fn own_pages_are_used_for_people() {
        let page = |status, whole_class, text: &'static str| OwnPage {
            status,
            whole_class,
            body: Bytes::from_static(text.as_bytes()),
            media_type: "text/html".into(),
        };
        let both = [page(400, true, "class"), page(404, false, "exact"), page(500, true, "other")];
        assert_eq!(answer(&[("Accept", "text/html")], &both).1, "exact");
        assert_eq!(answer(&[("Accept", "text/html")], &both[..1]).1, "class");
        assert_eq!(answer(&[], &both[2..]).0, "text/plain; charset=utf-8");
        assert_eq!(answer(&[("Accept", "application/json")], &both).0, "application/json");
    }

    proptest! {
        // Goal: whatever a client sends, the page is the same as for a harmless client with the same wishes.
        // Method: noise in the path, query, and fields that pages could be tempted to repeat.
        #[test]
        fn nothing_a_client_sent_is_in_the_page(noise in "[a-zA-Z<>\"'&;(){}/ ]{8,40}", status in 400_u16..600) {
            let encoded: String = noise.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let encoded = encoded.replace("%2F", "/").replace("%5C", "");
            let fields = [("Accept", "text/html"), ("User-Agent", noise.as_str()), ("Referer", noise.as_str()), ("Cookie", noise.as_str())];
            let mut noisy = exchange("GET", &format!("/{encoded}?{encoded}"), &fields);
            let mut plain = exchange("GET", "/", &fields[..1]);
            let failure = Failure::new(status, Blame::Client, "test", noise.clone());
            write(&mut noisy, &failure, &[]);
            write(&mut plain, &failure, &[]);
            let (Body::Bytes(noisy), Body::Bytes(plain)) = (&noisy.response.body, &plain.response.body) else {
                return Err(TestCaseError::fail("an error has a body"));
            };
            prop_assert_eq!(noisy, plain);
        }
    }
}
