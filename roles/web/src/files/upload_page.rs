//! The part of a listing's page that takes files.
//!
//! **Job.** A place to drop files on, with progress, in the page's language. **Called by** `listing_page`, where uploads
//! are taken. Pure.
//!
//! Invariants
//! 1. The page's policy allows this one script and its styles by their digests, and no other.
//! 2. It sends PUT: a page of another origin cannot without being asked first (CORS), and it is not allowed there.
//!
//! Not here: taking the files (`upload`).

use std::sync::LazyLock;

use super::listing_page;
use crate::inline;

/// Without a script there is nothing to see: `hidden` is taken off by it.
pub(super) fn part(korean: bool) -> String {
    let (drop, done, exists, failed) = if korean {
        (
            "여기에 파일을 끌어다 놓거나 골라 주세요",
            "올렸습니다",
            "같은 이름의 파일이 이미 있습니다",
            "올리지 못했습니다",
        )
    } else {
        (
            "Drop files here, or choose some",
            "sent",
            "a file of this name is there already",
            "could not be sent",
        )
    };
    format!(
        "<label id=\"drop\" hidden data-done=\"{done}\" data-exists=\"{exists}\" data-failed=\"{failed}\">\
         <span>{drop}</span><input type=\"file\" multiple></label><ul id=\"sent\" aria-live=\"polite\"></ul>\n\
         <script>{SCRIPT}</script>\n"
    )
}

/// The part's own style, an element beside the page's.
pub(super) fn style() -> String {
    format!("<style>{STYLE}</style>\n")
}

const STYLE: &str = "\
#drop{display:block;margin:0 .75rem 1.25rem;padding:1.25rem;border:1.5px dashed var(--soft);background:var(--sheet);color:var(--soft);text-align:center;cursor:pointer}\
#drop[hidden]{display:none}#drop:hover,#drop.over,#drop:focus-within{border-color:var(--mark);color:var(--ink)}\
#drop input{position:absolute;width:1px;height:1px;opacity:0}\
#sent{list-style:none;margin:0 .75rem;padding:0;font-size:.875rem;color:var(--soft)}#sent:not(:empty){margin-bottom:1rem}\
#sent li{padding:.25rem 0;overflow-wrap:anywhere}#sent progress{display:block;width:100%;height:.35rem;accent-color:var(--mark)}";

const SCRIPT: &str = "\
const drop=document.getElementById('drop'),list=document.getElementById('sent'),input=drop.querySelector('input');drop.hidden=false;\
const say=drop.dataset;let all=Promise.resolve(true);\
const send=file=>new Promise(resolve=>{\
const line=document.createElement('li'),bar=document.createElement('progress');line.textContent=file.name;line.append(bar);list.append(line);\
const request=new XMLHttpRequest();request.open('PUT',encodeURIComponent(file.name));\
request.upload.onprogress=event=>{if(event.lengthComputable){bar.max=event.total;bar.value=event.loaded}};\
request.onloadend=()=>{const ok=request.status===201;bar.remove();\
line.textContent=file.name+': '+(ok?say.done:request.status===409?say.exists:say.failed+(request.status?' ('+request.status+')':''));resolve(ok)};\
request.send(file)});\
const take=files=>{for(const file of files)all=all.then(async fine=>await send(file)&&fine);all=all.then(fine=>{if(fine)location.reload();return true})};\
input.onchange=()=>take([...input.files]);\
addEventListener('dragover',event=>{event.preventDefault();drop.classList.add('over')});\
addEventListener('dragleave',()=>drop.classList.remove('over'));\
addEventListener('drop',event=>{event.preventDefault();drop.classList.remove('over');take([...event.dataTransfer.files])});";

/// What a page with this part may do.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let styles = format!("{} {}", inline::source(listing_page::STYLE), inline::source(STYLE));
    let script = inline::source(SCRIPT);
    format!("{}; script-src {script}; connect-src 'self'", listing_page::policy(&styles))
});
