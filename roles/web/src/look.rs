//! The look of the pages that the web role writes itself: listings and errors.
//!
//! **Job.** Paper, ink and one accent, by day and by night, and the fonts, once.
//! **Called by** `error_page`, `files::listing_page`. Pure text.
//!
//! Invariants
//! 1. Nothing is fetched: no font, no picture. The pages' policies forbid it.
//! 2. Text has a contrast of at least 4.5 to 1 on its ground, in both lights.
//!
//! Not here: the layout of either page; a site's own pages.

/// Rules that come first in the style of every such page.
pub(crate) const BASE: &str = "\
:root{color-scheme:light dark;--paper:#f7f3ea;--sheet:#fffdf8;--ink:#2b2622;--soft:#6e6459;--line:#ddd3c2;--mark:#a3402a;\
--serif:Charter,'Iowan Old Style','Palatino Linotype','Noto Serif KR','Noto Serif CJK KR',Georgia,serif;\
--sans:-apple-system,BlinkMacSystemFont,'Segoe UI','Noto Sans KR','Noto Sans CJK KR','Apple SD Gothic Neo','Malgun Gothic',system-ui,sans-serif}\
:root:lang(ko){--serif:'Noto Serif KR','Noto Serif CJK KR','Nanum Myeongjo',AppleMyungjo,'Malgun Gothic',serif;word-break:keep-all}\
@media(prefers-color-scheme:dark){:root{--paper:#151311;--sheet:#1e1a16;--ink:#ece5d9;--soft:#a69b8c;--line:#38312a;--mark:#e88c64}}\
*{box-sizing:border-box}\
body{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.6 var(--sans)}\
h1{margin:0;font-family:var(--serif);font-weight:500;line-height:1.3;text-wrap:balance}\
a{color:inherit;text-decoration:none}a:hover{color:var(--mark)}\
a:focus-visible{outline:2px solid var(--mark);outline-offset:2px;border-radius:2px}";

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance of `#rrggbb` (WCAG 2.2).
    fn luminance(colour: &str) -> f64 {
        let part = |at: usize| {
            let value =
                f64::from(u8::from_str_radix(&colour[at..at + 2], 16).expect("two hex digits")) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    }

    // Goal: whoever changes a colour keeps the text readable. Method: every ink on every ground, by day and by night.
    #[test]
    fn text_is_readable_by_day_and_by_night() {
        let (day, night) = BASE.split_once("prefers-color-scheme:dark").expect("two lights");
        for light in [day, night] {
            let colour = |name: &str| {
                let at = light.find(&format!("--{name}:#")).expect(name) + name.len() + 3;
                luminance(&light[at..at + 7])
            };
            for ground in ["paper", "sheet"] {
                for ink in ["ink", "soft", "mark"] {
                    let (a, b) = (colour(ground), colour(ink));
                    let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                    assert!(contrast >= 4.5, "{ink} on {ground}: {contrast:.2}");
                }
            }
        }
    }
}
