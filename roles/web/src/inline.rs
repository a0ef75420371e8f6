//! What stands inline in our own pages, named to the browser by its digest.
//!
//! **Job.** The source expression (CSP Level 3, 2.3.1) that allows one style or script and nothing else.
//! **Called by** the pages: `error_page`, `files::listing_page`, `files::upload_page`. Pure.
//!
//! Not here: the rest of a policy (each page's own).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// `'sha256-…'` of the text between the tags, which must be exactly that.
pub(crate) fn source(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    format!("'sha256-{}'", STANDARD.encode(digest.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the expression is the standard's own. Method: the example of CSP Level 3, 8.3 (`alert('Hello, world.');`).
    #[test]
    fn a_source_is_the_digest_that_browsers_compute() {
        let known = "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='";
        assert_eq!(source("alert('Hello, world.');"), known);
    }
}
